#!/usr/bin/env bash
# Builds expar with its tests and runs them all.
#
#   scripts/test.sh [--no-install] [--build-dir DIR] [--warnings-as-errors] [CTEST_ARGUMENT...]
#
#   --no-install           install nothing
#   --build-dir DIR        build there (default: build, in the source tree)
#   --warnings-as-errors   as CI does
#   CTEST_ARGUMENT...      go to ctest, for instance: -R exchange
#
# Expect some minutes of compiling and under ten of tests on 2 cores. The tests need no network.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib/common.sh
source "$root/scripts/lib/common.sh"

install=yes
build=$root/build
configuration=(-DCMAKE_BUILD_TYPE=Release -DEXPAR_TESTS=ON)
while (($#)); do
    case $1 in
        --help | -h) show_help; exit 0 ;;
        --no-install) install=no; shift ;;
        --build-dir) build=$(absolute "$(value_of "$@")"); shift 2 ;;
        --warnings-as-errors) configuration+=(-DEXPAR_WARNINGS_AS_ERRORS=ON); shift ;;
        *) break ;;
    esac
done

if [[ $install == yes ]]; then install_packages "${build_packages[@]}"; fi
build_tree "$build" all "${configuration[@]}"
ctest --test-dir "$build" --output-on-failure --parallel "$(cores)" "$@"
