# All dependencies are Debian 12 packages; tools/packages.sh lists them by name.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
pkg_check_modules(liburing REQUIRED IMPORTED_TARGET liburing)
pkg_check_modules(libsodium REQUIRED IMPORTED_TARGET libsodium)
pkg_check_modules(libevent REQUIRED IMPORTED_TARGET libevent_core libevent_extra)
pkg_check_modules(jsoncpp REQUIRED IMPORTED_TARGET jsoncpp)
pkg_check_modules(cares REQUIRED IMPORTED_TARGET libcares)
find_package(spdlog REQUIRED)
find_package(CLI11 REQUIRED)

# libipsec-mb has no pkg-config file and exists on x86-64 only.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  find_library(IPSEC_MB_LIBRARY IPSec_MB REQUIRED)
  add_library(ipsec_mb INTERFACE)
  target_link_libraries(ipsec_mb INTERFACE ${IPSEC_MB_LIBRARY})
  target_compile_definitions(ipsec_mb INTERFACE QANAT_HAVE_IPSEC_MB=1)
endif()
