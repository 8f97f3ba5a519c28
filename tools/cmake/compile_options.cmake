# Every target of the project links qanat_options: warnings, hardening and the chosen sanitizers.
include(CheckPIESupported)
check_pie_supported(LANGUAGES CXX)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

# No NDEBUG in any configuration: QANAT_ASSERT does not know it, and the libraries' own assertions stay on as well.
# -O2 as Debian builds everything; -O3 has to earn its place by a measurement first.
set(CMAKE_CXX_FLAGS_RELEASE "-O2")
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O2 -g")
set(CMAKE_CXX_FLAGS_DEBUG "-Og -g")

option(QANAT_HARDEN "Bounds-checked standard library, _FORTIFY_SOURCE, stack and control-flow protection" ON)
option(QANAT_LTO "Optimise across files at link time" OFF)

add_library(qanat_options INTERFACE)
target_include_directories(qanat_options INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_options(qanat_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wnon-virtual-dtor
  -Wold-style-cast -Wcast-qual -Wformat=2 -fno-strict-aliasing)
target_compile_definitions(qanat_options INTERFACE _GNU_SOURCE QANAT_VERSION="${PROJECT_VERSION}")
target_link_options(qanat_options INTERFACE -Wl,-z,relro,-z,now -Wl,-z,noexecstack)
if(QANAT_WERROR)
  target_compile_options(qanat_options INTERFACE -Werror)
endif()

if(QANAT_HARDEN)
  target_compile_options(qanat_options INTERFACE -fstack-protector-strong -fstack-clash-protection)
  # An index out of range ends the process instead of reading what lies behind.
  target_compile_definitions(qanat_options INTERFACE _GLIBCXX_ASSERTIONS)
  # _FORTIFY_SOURCE needs an optimiser, and the sanitizers replace what it wraps.
  if(NOT QANAT_SANITIZE AND NOT QANAT_FUZZ)
    set(optimised $<CONFIG:Release,RelWithDebInfo>)
    target_compile_options(qanat_options INTERFACE $<${optimised}:-U_FORTIFY_SOURCE> $<${optimised}:-D_FORTIFY_SOURCE=2>)
  endif()
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    target_compile_options(qanat_options INTERFACE -fcf-protection)
  endif()
endif()

if(QANAT_LTO)
  include(CheckIPOSupported)
  check_ipo_supported(LANGUAGES CXX)
  set(CMAKE_INTERPROCEDURAL_OPTIMIZATION ON)
endif()

# -O1 keeps stacks in reports readable and the tests quick. -g1: reports need lines, not variables, and the build is a
# seventh shorter.
if(QANAT_SANITIZE)
  set(CMAKE_CXX_FLAGS_RELEASE "-O1 -g1")
  target_compile_options(qanat_options INTERFACE
    -fsanitize=${QANAT_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(qanat_options INTERFACE -fsanitize=${QANAT_SANITIZE})
endif()
