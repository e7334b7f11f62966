# AddressSanitizer and UBSan, with -O1, at which gcc warns of what is not so.
set(CMAKE_C_COMPILER gcc CACHE STRING "")
set(CONVOY_TESTS ON CACHE STRING "" FORCE)
set(CONVOY_SANITIZE ON CACHE STRING "" FORCE)
