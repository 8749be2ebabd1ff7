#!/usr/bin/env bash
# The threads of a rank run on CPUs of their own however mpirun has bound it, or the run says what is in the way.
#   threads_test.sh EXPAR MPIRUN
set -euo pipefail
# shellcheck source=tests/cli/running.sh
source "$(dirname "${BASH_SOURCE[0]}")/running.sh"

# places: the CPUs of the run's threads that compute, one a line. Others, of MPI, wait and may run anywhere.
places() {
    local task
    for task in "/proc/${rank_process[0]}"/task/*/status; do
        awk '/^Cpus_allowed_list:/ { print $2 }' "$task"
    done
}

# launches EXPECTED NOTE FLAG...: with 2 threads and mpirun's flags, `EXPECTED` CPUs have a thread to themselves.
launches() {
    local expected=$1 note=$2 found
    shift 2
    mpirun_flags=("$@")
    start_run 1 --threads 2
    found=$(places | grep --extended-regexp --count '^[0-9]+$' || true)
    distinct=$(places | grep --extended-regexp '^[0-9]+$' | sort --unique | wc --lines || true)
    kill -KILL "${rank_process[0]}"
    end_run
    [[ $distinct == "$expected" ]] || fail "mpirun $*: $found threads on $distinct CPUs, expected $expected: $(places) $(<out.txt)"
    if [[ -n $note ]]; then
        grep --quiet "$note" out.txt || fail "mpirun $*: expected '$note' in: $(<out.txt)"
    elif grep --extended-regexp --quiet '^(note|warning):' out.txt; then
        fail "mpirun $*: expected no note: $(<out.txt)"
    fi
}

cpus=$(env --unset=OMP_NUM_THREADS nproc)
if ((cpus < 2)); then
    echo "skipped: one CPU"
    exit 0
fi
launches 2 "note: mpirun had bound a rank to 1 CPU"
launches 1 "expected mpirun --bind-to none or --map-by slot:PE=2" --bind-to core
launches 2 "" --map-by slot:PE=2
if ((cpus == 2)); then launches 2 "" --bind-to none; fi
echo "threads have their CPUs"
