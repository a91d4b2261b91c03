# tap_folder(NAME [PROGRAM] USES folder... LINK library...): one static library per folder of src/, made of every .cpp in
# it. PROGRAM: only the program has it, libtapetum does not.
function(tap_folder NAME)
  cmake_parse_arguments(F "PROGRAM" "" "USES;LINK" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/src/${NAME}/*.cpp" "${CMAKE_SOURCE_DIR}/src/${NAME}/*/*.cpp")
  list(TRANSFORM F_USES PREPEND tap_ OUTPUT_VARIABLE uses)
  if(sources)
    add_library(tap_${NAME} STATIC ${sources})
    set(scope PUBLIC)
  else()
    add_library(tap_${NAME} INTERFACE)
    set(scope INTERFACE)
  endif()
  target_include_directories(tap_${NAME} ${scope} "${CMAKE_SOURCE_DIR}/src" "${CMAKE_SOURCE_DIR}/include")
  target_link_libraries(tap_${NAME} ${scope} ${uses} ${F_LINK})
  if(NOT F_PROGRAM)
    set_property(GLOBAL APPEND PROPERTY TAP_FOLDERS ${NAME})  # for cmake/Install.cmake
    set_property(GLOBAL APPEND PROPERTY TAP_LINKED ${F_LINK})
  endif()
endfunction()

# tap_test(FOLDER [TIMEOUT seconds] USES … LINK …): one executable per folder of tests/unit, every doctest case a ctest case of its own.
function(tap_test FOLDER)
  cmake_parse_arguments(T "" "TIMEOUT" "USES;LINK" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/${FOLDER}/*_test.cpp")
  if(NOT sources)
    return()
  endif()
  list(TRANSFORM T_USES PREPEND tap_ OUTPUT_VARIABLE uses)
  string(REPLACE "/" "_" name "test_${FOLDER}")
  add_executable(${name} ${sources})
  target_link_libraries(${name} PRIVATE tap_test_main ${uses} ${T_LINK})
  tap_discover_tests(${name} ${T_TIMEOUT})
endfunction()

# Lists the cases after the build; "[B12] text" becomes the ctest case "bad.B12 text" (or fault.F..), others "<folder>.text".
# A second argument is their timeout in seconds.
function(tap_discover_tests NAME)
  set(list "${CMAKE_CURRENT_BINARY_DIR}/${NAME}_cases.cmake")
  set(timeout)
  if(ARGC GREATER 1)  # else ARGV1 is the caller's
    set(timeout "${ARGV1}")
  endif()
  add_custom_command(TARGET ${NAME} POST_BUILD VERBATIM
    COMMAND ${CMAKE_COMMAND} -D "exe=$<TARGET_FILE:${NAME}>" -D "name=${NAME}" -D "out=${list}"
            -D "timeout=${timeout}" -D "sanitized=${TAPETUM_SANITIZE}" -P "${CMAKE_SOURCE_DIR}/cmake/DiscoverTests.cmake")
  set(include "${CMAKE_CURRENT_BINARY_DIR}/${NAME}_include.cmake")
  file(WRITE "${include}" "if(EXISTS \"${list}\")\n  include(\"${list}\")\nelse()\n  add_test(${NAME}_NOT_BUILT ${NAME}_NOT_BUILT)\nendif()\n")
  set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES "${include}")
endfunction()
