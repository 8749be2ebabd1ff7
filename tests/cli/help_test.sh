#!/usr/bin/env bash
# Help and version are printed once, at any rank count, and without mpirun.
#   help_test.sh EXPAR MPIRUN
set -euo pipefail
expar=$1 mpirun=$2

# prints_once PATTERN ARGUMENT...: the output has exactly one line that matches, alone and on 3 ranks, and code 0.
prints_once() {
    local pattern=$1 output launcher
    shift
    for launcher in "" "$mpirun -n 3"; do
        output=$($launcher "$expar" "$@" 2>&1) || { echo "$launcher expar $*: failed: $output"; exit 1; }
        if [[ $(grep -c -- "$pattern" <<<"$output") != 1 ]]; then
            echo "$launcher expar $*: expected one line with '$pattern', got:"
            echo "$output"
            exit 1
        fi
    done
}

prints_once "Usage: expar" --help
prints_once "Usage: expar"
prints_once "^expar [0-9]" --version
prints_once "Usage: expar train" train --help
prints_once "--kv-heads INTEGER=0" train --help
prints_once "Usage: expar export" export --help
prints_once "Usage: expar bench checkpoint" bench checkpoint --help
prints_once "Usage: expar bench dispatch" bench dispatch --help
prints_once "^HDF5" doctor
echo "help is printed once"
