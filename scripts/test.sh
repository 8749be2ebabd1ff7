#!/usr/bin/env bash
# Builds expar with its tests and runs them all.
#
#   scripts/test.sh [--no-install] [--build-dir DIR] [--mpi openmpi|mpich] [--warnings-as-errors] [CTEST_ARGUMENT...]
#
#   --no-install           install nothing
#   --build-dir DIR        build there (default: build, in the source tree; build-mpich with --mpi mpich)
#   --mpi mpich            with Debian's MPICH and its HDF5, whatever mpicc and mpirun mean here, which stays as it is;
#                          tests that need Open MPI's mpirun are skipped
#   --warnings-as-errors   as CI does
#   CTEST_ARGUMENT...      go to ctest, for instance: -R exchange
#
# Expect some minutes of compiling and under ten of tests on 2 cores. The tests need no network.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib/common.sh
source "$root/scripts/lib/common.sh"

install=yes
build=
packages=("${build_packages[@]}")
mpi=openmpi
configuration=(-DCMAKE_BUILD_TYPE=Release -DEXPAR_TESTS=ON)
while (($#)); do
    case $1 in
        --help | -h) show_help; exit 0 ;;
        --no-install) install=no; shift ;;
        --build-dir) build=$(absolute "$(value_of "$@")"); shift 2 ;;
        --mpi) mpi=$(value_of "$@"); shift 2 ;;
        --warnings-as-errors) configuration+=(-DEXPAR_WARNINGS_AS_ERRORS=ON); shift ;;
        *) break ;;
    esac
done

case $mpi in
    openmpi) build=${build:-$root/build} ;;
    mpich)
        build=${build:-$root/build-mpich}
        packages=("${mpich_packages[@]}")
        configuration+=(-DMPI_C_COMPILER=mpicc.mpich -DMPIEXEC_EXECUTABLE=/usr/bin/mpiexec.mpich
            -DHDF5_C_COMPILER_EXECUTABLE=/usr/bin/h5pcc.mpich) ;;
    *) fail "--mpi: '$mpi', expected openmpi or mpich" ;;
esac
if [[ $install == yes ]]; then install_packages "${packages[@]}"; fi
build_tree "$build" all "${configuration[@]}"
ctest --test-dir "$build" --output-on-failure --parallel "$(cores)" "$@"
