# Libraries from the distribution only (tools/deps/apt-build.txt names the packages); all headers are SYSTEM.
set(CMAKE_FIND_PACKAGE_NAME tapetum)  # whose requirements find_dependency() speaks of
set(tapetum_FIND_REQUIRED TRUE)
include(LinkedLibraries)
unset(CMAKE_FIND_PACKAGE_NAME)
unset(tapetum_FIND_REQUIRED)
# Headers only.
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
# Of the program only.
find_package(OpenSSL REQUIRED COMPONENTS SSL)
find_package(prometheus-cpp REQUIRED CONFIG)
find_path(BOOST_INCLUDE_DIR boost/beast/version.hpp REQUIRED)
# Opened when first needed (base/dynamic_library.h): headers only.
find_path(AVIF_INCLUDE_DIR avif/avif.h REQUIRED)
find_path(TIFF_INCLUDE_DIR tiffio.h REQUIRED)
find_path(CURL_INCLUDE_DIR curl/curl.h REQUIRED)
