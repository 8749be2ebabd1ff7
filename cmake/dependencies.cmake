# Finds every dependency first, then reports all that are missing at once, by the names of the usual package managers.
# Looks where CMAKE_PREFIX_PATH points, so modules, spack and conda need nothing else. The same table is in the README.
set(expar_missing "")

# expar_need(<found> <what> <apt> <dnf> <spack> <conda>) notes the package as missing when <found> is false.
function(expar_need found what apt dnf spack conda)
  if(NOT ${found})
    string(APPEND expar_missing
      "\n  ${what}\n    apt: ${apt}\n    dnf: ${dnf}\n    spack: ${spack}\n    conda-forge: ${conda}")
    set(expar_missing "${expar_missing}" PARENT_SCOPE)
  endif()
endfunction()

find_package(MPI 3.1 QUIET COMPONENTS C)
find_package(OpenMP QUIET COMPONENTS CXX)
set(HDF5_PREFER_PARALLEL ON)
find_package(HDF5 QUIET COMPONENTS C)
find_package(CLI11 QUIET CONFIG)
find_package(nlohmann_json QUIET CONFIG)
find_package(tomlplusplus QUIET CONFIG)
if(EXPAR_TESTS)
  find_package(GTest QUIET)
endif()

expar_need(MPI_C_FOUND "MPI 3.1 or newer" "openmpi-bin libopenmpi-dev" openmpi-devel openmpi openmpi)
expar_need(OpenMP_CXX_FOUND OpenMP g++ gcc-c++ gcc gxx)
expar_need(HDF5_FOUND HDF5 libhdf5-openmpi-dev hdf5-openmpi-devel "hdf5+mpi" "hdf5=*=mpi_openmpi*")
expar_need(CLI11_FOUND CLI11 libcli11-dev cli11-devel cli11 cli11)
expar_need(nlohmann_json_FOUND nlohmann-json nlohmann-json3-dev json-devel nlohmann-json nlohmann_json)
expar_need(tomlplusplus_FOUND toml++ libtomlplusplus-dev tomlplusplus-devel tomlplusplus tomlplusplus)
if(EXPAR_TESTS)
  expar_need(GTest_FOUND "GoogleTest (or set EXPAR_TESTS=OFF)" libgtest-dev gtest-devel googletest gtest)
endif()
if(expar_missing)
  message(FATAL_ERROR "missing, or not where CMAKE_PREFIX_PATH points:${expar_missing}")
endif()

if(HDF5_IS_PARALLEL)
  set(expar_hdf5_kind parallel)
else()
  set(expar_hdf5_kind serial)
endif()
message(STATUS "expar uses MPI ${MPI_C_VERSION}, HDF5 ${HDF5_VERSION} (${expar_hdf5_kind})")

# FindHDF5 of CMake 3.22 makes no target; a parallel HDF5 includes mpi.h.
add_library(expar_hdf5 INTERFACE)
target_include_directories(expar_hdf5 SYSTEM INTERFACE ${HDF5_C_INCLUDE_DIRS})
target_link_libraries(expar_hdf5 INTERFACE ${HDF5_C_LIBRARIES})
if(HDF5_IS_PARALLEL)
  target_link_libraries(expar_hdf5 INTERFACE MPI::MPI_C)
endif()
