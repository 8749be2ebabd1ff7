#!/usr/bin/env bash
# The proof that a rank which dies, stalls or disagrees never leaves the others waiting: real runs are disturbed, and must
# end within the time that their user set, with the rank named.
#
#   scripts/faults.sh [--rounds N] [--ranks N] [--timeout SECONDS] [--build-dir DIR]
#
#   --rounds N         of every fault on every kind of communication, each on another rank (default: 3)
#   --ranks N          of a run (default: 3)
#   --timeout SECONDS  that a run may wait for a rank (default: 3)
#   --build-dir DIR    where expar and its tests are built (default: build)
#
#   kill            kill -9: mpirun ends the other ranks, `expar inspect RUN --end` names the one that died
#   kill, recovery  the same under mpirun --enable-recovery, which leaves the others alone: one of them names it
#   stop            SIGSTOP: the rank that shows no sign of life is named
#   count           tests/faults/wrong_count.cpp falsifies a count on its way: the plan is refused before rows move
#
# A line for each: fault, kind, rank, whether it was detected and the rank named right, the seconds from the fault to the
# end of the run; a rank's line behind it. At the end `injected N, detected N, rank named right N, seconds at most S`; status 1
# unless all three are equal.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib/common.sh
source "$root/scripts/lib/common.sh"

rounds=3
ranks=3
timeout=3
build=$root/build
while (($#)); do
    case $1 in
        --help | -h) show_help; exit 0 ;;
        --rounds) rounds=$(value_of "$@"); whole_number "$1" "$rounds"; shift 2 ;;
        --ranks) ranks=$(value_of "$@"); whole_number "$1" "$ranks"; shift 2 ;;
        --timeout) timeout=$(value_of "$@"); whole_number "$1" "$timeout"; shift 2 ;;
        --build-dir) build=$(absolute "$(value_of "$@")"); shift 2 ;;
        *) fail "unknown argument '$1'; see --help" ;;
    esac
done
((ranks > 1)) || fail "--ranks 1: nobody is left to say who died, expected at least 2"
library=$build/tests/faults/libwrong_count.so
for file in "$build/expar" "$library"; do
    [[ -e $file ]] || fail "$file: not built; scripts/test.sh builds it, see --build-dir"
done
mpi_environment "$ranks"
set -- "$build/expar" "$build/tests/mpirun"
# shellcheck source=tests/cli/running.sh
source "$root/tests/cli/running.sh"

kinds=("--exchange native" "--exchange spread" "--dispatcher window")
injected=0 detected=0 named=0 slowest=0

seconds_since() { awk -v from="$1" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.1f", to - from }'; }

# judge FAULT KIND RANK BEGIN PATTERN FILE: after the end of a run that was disturbed at BEGIN.
judge() {
    local seconds said found=no right=no
    seconds=$(seconds_since "$4")
    injected=$((injected + 1))
    # Under --enable-recovery mpirun's own status is 0, whatever its ranks end with.
    if ((code != 0)) || grep --quiet '^\[rank ' err.txt; then found=yes; detected=$((detected + 1)); fi
    if said=$(grep --max-count=1 -- "$5" "$6"); then right=yes; named=$((named + 1)); else said=$(head -n 1 "$6"); fi
    printf '%-14s  %-22s  rank %d  detected %-3s  named right %-3s  %5s s  %s\n' "$1" "$2" "$3" "$found" "$right" "$seconds" "$said"
    slowest=$(awk -v a="$slowest" -v b="$seconds" 'BEGIN { print (a > b ? a : b) }')
}

# Each: KIND RANK. A kind is several words.
# shellcheck disable=SC2086
inject_kill() {
    local begin
    start_run "$ranks" $1 --timeout "$timeout"
    begin=$EPOCHREALTIME
    kill -KILL "${rank_process[$2]}"
    end_run
    expect_no_process
    "$expar" inspect run --end >end.txt
    judge kill "$1" "$2" "$begin" "^rank $2 died " end.txt
}

# shellcheck disable=SC2086
inject_kill_in_recovery() {
    local begin
    mpirun_flags=(--enable-recovery)
    start_run "$ranks" $1 --timeout "$timeout"
    mpirun_flags=()
    begin=$EPOCHREALTIME
    kill -KILL "${rank_process[$2]}"
    end_run
    expect_no_process
    judge "kill, recovery" "$1" "$2" "$begin" "rank $2 shows no sign of life" err.txt
}

# shellcheck disable=SC2086
inject_stop() {
    local begin
    start_run "$ranks" $1 --timeout "$timeout"
    begin=$EPOCHREALTIME
    kill -STOP "${rank_process[$2]}"
    end_run
    expect_no_process
    judge stop "$1" "$2" "$begin" "rank $2 shows no sign of life" err.txt
}

# The run is disturbed from within, in its 20th plan.
# shellcheck disable=SC2086
inject_count() {
    local begin
    rm -rf run
    "$mpirun" -n "$ranks" -x LD_PRELOAD="$library" -x EXPAR_FAULT_RANK="$2" -x EXPAR_FAULT_AT=20 "$expar" train \
        "${options[@]}" --steps 20000 --out run $1 --timeout "$timeout" >out.txt 2>err.txt &
    run=$!
    rank_process=()
    end_run
    begin=$(sed --quiet 's/^injected: a wrong count for rank .* at //p' err.txt)
    [[ -n $begin ]] || fail "no count was falsified: $(<err.txt)"
    judge count "$1" "$2" "$begin" "plan of layer [0-9]*: member $2 announces " err.txt
}

for ((round = 0; round < rounds; ++round)); do
    rank=$((round % ranks))
    for kind in "${kinds[@]}"; do
        inject_kill "$kind" "$rank"
        inject_kill_in_recovery "$kind" "$rank"
        inject_stop "$kind" "$rank"
        [[ $kind == *window* ]] || inject_count "$kind" "$rank"  # its counts pass no call of MPI
    done
done
echo "injected $injected, detected $detected, rank named right $named, seconds at most $slowest"
((detected == injected && named == injected))
