# What is installed and used: without the tests, which need more packages.
set(CONVOY_TESTS OFF CACHE STRING "" FORCE)
