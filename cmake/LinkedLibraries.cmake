# The libraries that libtapetum is linked with. Read by this build (cmake/Dependencies.cmake), and installed for builds
# that use the static library (tapetumConfig.cmake), so that both always mean the same.
include(CMakeFindDependencyMacro)
find_dependency(PkgConfig)
if(NOT TAPETUM_FUZZ)  # Clang's OpenMP would bring a second runtime library
  find_dependency(OpenMP COMPONENTS CXX)
endif()
find_dependency(fmt)
find_dependency(spdlog)
find_dependency(simdjson)
find_dependency(JPEG)
find_dependency(PNG)
find_dependency(Freetype)
find_dependency(GIF)
find_dependency(OpenSSL COMPONENTS Crypto)
pkg_check_modules(webp REQUIRED IMPORTED_TARGET libwebp libwebpdemux)
pkg_check_modules(hwy REQUIRED IMPORTED_TARGET libhwy)
pkg_check_modules(utf8proc REQUIRED IMPORTED_TARGET libutf8proc)
pkg_check_modules(pcre2 REQUIRED IMPORTED_TARGET libpcre2-8)
# oneDNN's own config file wants OpenCL's development files, which nothing here uses.
if(NOT TARGET DNNL::dnnl)
  find_path(DNNL_INCLUDE_DIR oneapi/dnnl/dnnl.hpp REQUIRED)
  find_library(DNNL_LIBRARY dnnl REQUIRED)
  add_library(DNNL::dnnl UNKNOWN IMPORTED)
  set_target_properties(DNNL::dnnl PROPERTIES IMPORTED_LOCATION "${DNNL_LIBRARY}" INTERFACE_INCLUDE_DIRECTORIES "${DNNL_INCLUDE_DIR}")
endif()
# The same for tapetum.pc: modules, and what has none.
set(tapetum_pc_modules "fmt spdlog simdjson libjpeg libpng freetype2 libcrypto libwebp libwebpdemux libhwy libutf8proc libpcre2-8")
set(tapetum_pc_libraries "-lgif -ldnnl -lgomp -lstdc++ -lm -ldl -lpthread")
