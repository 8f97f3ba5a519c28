# Every target of the project links qanat_options: warnings, hardening and the chosen sanitizers.
add_library(qanat_options INTERFACE)
target_include_directories(qanat_options INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_options(qanat_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wnon-virtual-dtor
  -Wold-style-cast -Wcast-qual -Wformat=2 -fno-strict-aliasing -fstack-protector-strong)
target_compile_definitions(qanat_options INTERFACE _GNU_SOURCE QANAT_VERSION="${PROJECT_VERSION}")
target_link_options(qanat_options INTERFACE -Wl,-z,relro,-z,now)
if(QANAT_WERROR)
  target_compile_options(qanat_options INTERFACE -Werror)
endif()
if(QANAT_SANITIZE)
  target_compile_options(qanat_options INTERFACE
    -fsanitize=${QANAT_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all -g)
  target_link_options(qanat_options INTERFACE -fsanitize=${QANAT_SANITIZE})
endif()
