#!/usr/bin/env bash
# A rank of a real run that is stopped: one line on standard error names it, and the run ends.
#   hang_test.sh EXPAR MPIRUN
set -euo pipefail
# shellcheck source=tests/cli/running.sh
source "$(dirname "$0")/running.sh"

for exchange in native spread; do
    start_run 3 --exchange "$exchange" --timeout 3
    kill -STOP "${rank_process[1]}"
    end_run
    ((code != 0)) || fail "$exchange: a run with a stopped rank ended with code 0"
    # MPICH adds a line of its own on the end.
    lines=$(grep "rank" err.txt | grep --invert-match --count '^Abort(') || true
    [[ $lines == 1 ]] || fail "$exchange: expected one line, got $lines: $(<err.txt)"
    place='step [0-9]*, [a-z -]*\(, layer [0-9]*\)\?: waited 3\.[0-9] s for .*\(values\|rows\|enter\)'
    grep --quiet "^\[rank [02]\] rank [02]: $place.*; rank 1 shows no sign of life for [0-9.]* s: step [0-9]*, " err.txt ||
        fail "$exchange: the line does not name rank, phase, counts and rank 1: $(<err.txt)"
    grep --quiet "(process ${rank_process[1]} on " err.txt || fail "$exchange: the process is not named: $(<err.txt)"
    expect_no_process
    # The same is said afterwards.
    "$expar" inspect run --end >end.txt
    grep --quiet --fixed-strings "$(<end.txt)" err.txt || fail "$exchange: afterwards: $(<end.txt)"
done
echo "a stopped rank is named in one line"
