# `cmake --install BUILD --prefix DIR`, after which find_package(expar) gives expar::expar_core and, unless that was
# built alone, expar::expar.
include(CMakePackageConfigHelpers)

# The names that find_package gives, for those who add this tree to theirs.
add_library(expar::expar_core ALIAS expar_core)
set(expar_libraries expar_core)
if(NOT EXPAR_CORE_ONLY)
  add_library(expar::expar ALIAS expar)
  list(APPEND expar_libraries expar expar_hdf5 expar_xxhash expar_zlib)
  install(TARGETS expar_cli)
endif()

set(expar_package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/expar)
install(TARGETS ${expar_libraries} EXPORT expar)
install(DIRECTORY include/expar TYPE INCLUDE)
install(EXPORT expar NAMESPACE expar:: FILE expar-targets.cmake DESTINATION ${expar_package_folder})

configure_package_config_file(cmake/expar-config.cmake.in ${PROJECT_BINARY_DIR}/expar-config.cmake
  INSTALL_DESTINATION ${expar_package_folder})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/expar-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/expar-config.cmake ${PROJECT_BINARY_DIR}/expar-config-version.cmake
  DESTINATION ${expar_package_folder})
