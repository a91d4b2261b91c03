# libtapetum (every folder of src/ but the program, as one library) and what `cmake --install` puts where.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

foreach(part MAJOR MINOR PATCH)
  file(STRINGS "${CMAKE_SOURCE_DIR}/include/tapetum/version.h" line REGEX "define TAPETUM_VERSION_${part} ")
  if(NOT line MATCHES " ${PROJECT_VERSION_${part}}$")
    message(FATAL_ERROR "include/tapetum/version.h says \"${line}\", project() says ${PROJECT_VERSION}")
  endif()
endforeach()

# tap_library(TARGET [SHARED|STATIC]): without a kind, BUILD_SHARED_LIBS decides.
function(tap_library TARGET)
  get_property(folders GLOBAL PROPERTY TAP_FOLDERS)
  get_property(linked GLOBAL PROPERTY TAP_LINKED)
  list(REMOVE_DUPLICATES linked)
  list(REMOVE_ITEM linked nlohmann_json::nlohmann_json)  # headers only
  set(objects "")
  foreach(folder IN LISTS folders)
    get_target_property(type tap_${folder} TYPE)
    if(type STREQUAL STATIC_LIBRARY)
      list(APPEND objects "$<TARGET_OBJECTS:tap_${folder}>")
    endif()
  endforeach()
  add_library(${TARGET} ${ARGN} ${objects})
  target_include_directories(${TARGET} INTERFACE "$<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/include>")
  target_compile_features(${TARGET} INTERFACE cxx_std_20)
  target_link_libraries(${TARGET} PRIVATE ${linked})
  # While the major version is 0, a minor version may change the interface.
  set_target_properties(${TARGET} PROPERTIES OUTPUT_NAME tapetum LINKER_LANGUAGE CXX
    VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}
    ARCHIVE_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/lib" LIBRARY_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/lib")
  get_target_property(type ${TARGET} TYPE)
  if(type STREQUAL SHARED_LIBRARY)
    target_link_options(${TARGET} PRIVATE "LINKER:--version-script=${CMAKE_SOURCE_DIR}/cmake/tapetum.map")
    set_target_properties(${TARGET} PROPERTIES LINK_DEPENDS "${CMAKE_SOURCE_DIR}/cmake/tapetum.map")
  endif()
endfunction()

tap_library(libtapetum)
set_target_properties(libtapetum PROPERTIES EXPORT_NAME tapetum)
add_library(tapetum::tapetum ALIAS libtapetum)

# How installed files find each other, however the prefix is moved.
set(TAPETUM_DATA_DIR "${CMAKE_INSTALL_DATADIR}/tapetum")
file(RELATIVE_PATH data_from_lib "${CMAKE_INSTALL_FULL_LIBDIR}" "${CMAKE_INSTALL_FULL_DATADIR}/tapetum")
file(RELATIVE_PATH data_from_bin "${CMAKE_INSTALL_FULL_BINDIR}" "${CMAKE_INSTALL_FULL_DATADIR}/tapetum")
file(RELATIVE_PATH TAPETUM_PREFIX_FROM_PC "${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig" "${CMAKE_INSTALL_PREFIX}")
set_source_files_properties("${CMAKE_SOURCE_DIR}/src/io/embedded.cpp" PROPERTIES COMPILE_DEFINITIONS
  "TAPETUM_DATA_FROM_LIB=\"${data_from_lib}\";TAPETUM_DATA_FROM_BIN=\"${data_from_bin}\";TAPETUM_DATA_INSTALLED=\"${CMAKE_INSTALL_FULL_DATADIR}/tapetum\"")
set_source_files_properties("${CMAKE_SOURCE_DIR}/src/api/error.cpp" PROPERTIES COMPILE_DEFINITIONS "TAPETUM_VERSION=\"${PROJECT_VERSION}\"")

set(package "${CMAKE_INSTALL_LIBDIR}/cmake/tapetum")
install(TARGETS libtapetum EXPORT tapetum
  ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}"
  LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}"
  INCLUDES DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(EXPORT tapetum NAMESPACE tapetum:: FILE tapetumTargets.cmake DESTINATION "${package}")
configure_package_config_file("${CMAKE_SOURCE_DIR}/cmake/tapetumConfig.cmake.in" "${CMAKE_BINARY_DIR}/tapetumConfig.cmake"
  INSTALL_DESTINATION "${package}" PATH_VARS TAPETUM_DATA_DIR)
write_basic_package_version_file("${CMAKE_BINARY_DIR}/tapetumConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${CMAKE_BINARY_DIR}/tapetumConfig.cmake" "${CMAKE_BINARY_DIR}/tapetumConfigVersion.cmake" DESTINATION "${package}")
set(TAPETUM_PC_REQUIRES_PRIVATE "")
set(TAPETUM_PC_LIBS_PRIVATE "")
if(NOT BUILD_SHARED_LIBS)
  set(TAPETUM_PC_REQUIRES_PRIVATE "${tapetum_pc_modules}")
  set(TAPETUM_PC_LIBS_PRIVATE "${tapetum_pc_libraries}")
  install(FILES "${CMAKE_SOURCE_DIR}/cmake/LinkedLibraries.cmake" DESTINATION "${package}")
endif()
configure_file("${CMAKE_SOURCE_DIR}/cmake/tapetum.pc.in" "${CMAKE_BINARY_DIR}/tapetum.pc" @ONLY)
install(FILES "${CMAKE_BINARY_DIR}/tapetum.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
install(DIRECTORY "${CMAKE_SOURCE_DIR}/include/" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")

# Completions and manual pages, made by the program itself.
set(docs "${CMAKE_BINARY_DIR}/docs")
add_custom_command(OUTPUT "${docs}.stamp" VERBATIM DEPENDS tapetum "${CMAKE_SOURCE_DIR}/cmake/GenerateDocs.cmake"
  COMMAND ${CMAKE_COMMAND} -D "program=$<TARGET_FILE:tapetum>" -D "out=${docs}" -P "${CMAKE_SOURCE_DIR}/cmake/GenerateDocs.cmake"
  COMMAND ${CMAKE_COMMAND} -E touch "${docs}.stamp")
add_custom_target(tapetum_docs ALL DEPENDS "${docs}.stamp")
install(DIRECTORY "${docs}/bash-completion" "${docs}/zsh" "${docs}/fish" DESTINATION "${CMAKE_INSTALL_DATADIR}")
install(DIRECTORY "${docs}/man/" DESTINATION "${CMAKE_INSTALL_MANDIR}")

install(TARGETS tapetum RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
install(DIRECTORY "${CMAKE_SOURCE_DIR}/data/nano" DESTINATION "${CMAKE_INSTALL_DATADIR}/tapetum")
install(FILES "${CMAKE_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DOCDIR}")
