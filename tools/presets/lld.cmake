# A test is a program, and there are over a hundred: lld links each in a third of the time.
find_program(CONVOY_LLD ld.lld)
if(CONVOY_LLD)
  set(CMAKE_EXE_LINKER_FLAGS -fuse-ld=lld CACHE STRING "")
endif()
