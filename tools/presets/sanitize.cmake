# AddressSanitizer and UBSan, built by clang, whose warnings count too.
set(CMAKE_C_COMPILER clang CACHE STRING "")
set(CONVOY_TESTS ON CACHE STRING "" FORCE)
set(CONVOY_WERROR ON CACHE BOOL "" FORCE)
set(CONVOY_SANITIZE ON CACHE STRING "" FORCE)
include(${CMAKE_CURRENT_LIST_DIR}/lld.cmake)
