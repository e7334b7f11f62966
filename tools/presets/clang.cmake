# clang's warnings. They do not depend on optimisation, which takes half of the build's time.
set(CMAKE_C_COMPILER clang CACHE STRING "")
set(CMAKE_BUILD_TYPE Debug CACHE STRING "")
set(CONVOY_TESTS ON CACHE STRING "" FORCE)
set(CONVOY_WERROR ON CACHE BOOL "" FORCE)
