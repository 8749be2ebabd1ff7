#!/usr/bin/env bash
# Ranks of a real run are killed: its status files name them, where they were, and who waited.
#   death_test.sh EXPAR MPIRUN
set -euo pipefail
# shellcheck source=tests/cli/running.sh
source "$(dirname "$0")/running.sh"

# expect_end PATTERN
expect_end() {
    "$expar" inspect run --end >end.txt
    [[ $(wc -l <end.txt) == 1 ]] || fail "expected one line: $(<end.txt)"
    grep --quiet -- "$1" end.txt || fail "expected '$1': $(<end.txt)"
}

for exchange in native spread; do
    start_run 3 --exchange "$exchange"
    kill -KILL "${rank_process[2]}"
    end_run
    ((code != 0)) || fail "$exchange: a run with a killed rank ended with code 0"
    expect_no_process
    expect_end "^rank 2 died [0-9.]* s before the others: step [0-9]*, .*(process ${rank_process[2]} on "
    expect_end "; rank 0: step [0-9]*, waiting in .* for .*; rank 1: step [0-9]*, waiting in "
    ! grep --quiet "rank [01] died" end.txt || fail "a survivor is said to have died: $(<end.txt)"
    # It is the step that was being done: the last one in the metrics, or the next.
    done=$(wc -l <run/metrics.jsonl)
    step=$(sed 's/^[^:]*: step \([0-9]*\),.*/\1/' end.txt)
    ((step == done || step == done + 1)) || fail "$exchange: died in step $step, $done steps in the metrics: $(<end.txt)"
done

start_run 4
kill -KILL "${rank_process[1]}" "${rank_process[2]}"
end_run
expect_end "rank 1 died .*; rank 2 died .*\|rank 2 died .*; rank 1 died "
expect_no_process

# All at once, the launcher first, which could end some of them itself.
start_run 3
kill -KILL "$run" "${rank_process[@]}"
end_run 2>/dev/null
expect_end "^3 of 3 ranks ended together, not as meant; rank "
expect_no_process

rm -rf run
"$mpirun" -n 2 "$expar" train "${options[@]}" --steps 3 --out run >out.txt
expect_end "^all 2 ranks ended as meant, after step 3$"
rm run/status/rank-00001
expect_end "^rank 1 never began$"
rm -rf run/status
expect_end "^no rank has left a status"
echo "a killed rank is named"
