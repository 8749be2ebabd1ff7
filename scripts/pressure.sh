#!/usr/bin/env bash
# Dispatch under pressure: random shapes, routings, placements (with copies, of experts that the ranks do not divide), row
# types, combine orders, kinds of dispatcher and exchange; ranks without tokens, experts that everybody chooses, several
# movements open at once that every rank finishes in an order of its own, forward and backward. Every row is checked:
# against what it must be by routing and placement alone, or, of random bits, against `packed`, one movement at a time.
#
#   scripts/pressure.sh [--seconds N | --cases N] [--ranks LIST] [--seed N] [--first N] [--timeout SECONDS]
#                       [--build-dir DIR] [-- ARGUMENT...]
#
#   --seconds N        of all numbers of ranks together, split evenly (default: 60)
#   --cases N          so many instead, however long they take; split evenly, too
#   --ranks LIST       1..8 or 2,3,5 (default: 1..8)
#   --seed N           another one gives other cases (default: 1)
#   --first N          index of the first case (default: 0)
#   --timeout SECONDS  that a rank may wait for another before it counts as hung (default: 30)
#   --build-dir DIR    where expar and its tests are built (default: build)
#   ARGUMENT...        go to tests/pressure/pressure, for instance --flip 30, which falsifies a row
#
# A case that fails prints what was wrong, its shape and the flags that repeat it. A rank that hangs in no wait of ours is
# found by the case that nobody leaves. The last line is `cases N, wrong N, hung N`; status 1 unless both are 0.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib/common.sh
source "$root/scripts/lib/common.sh"

seconds=60
cases=
ranks=1..8
seed=1
first=0
timeout=30
build=$root/build
while (($#)); do
    case $1 in
        --help | -h) show_help; exit 0 ;;
        --seconds) seconds=$(value_of "$@"); whole_number "$1" "$seconds"; shift 2 ;;
        --cases) cases=$(value_of "$@"); whole_number "$1" "$cases"; shift 2 ;;
        --ranks) ranks=$(value_of "$@"); shift 2 ;;
        --seed) seed=$(value_of "$@"); whole_number "$1" "$seed"; shift 2 ;;
        --first) first=$(value_of "$@"); shift 2 ;;
        --timeout) timeout=$(value_of "$@"); whole_number "$1" "$timeout"; shift 2 ;;
        --build-dir) build=$(absolute "$(value_of "$@")"); shift 2 ;;
        --) shift; break ;;
        *) fail "unknown argument '$1'; see --help" ;;
    esac
done
[[ $first =~ ^[0-9]+$ ]] || fail "--first needs a whole number, got '$first'"
if [[ $ranks =~ ^([1-9][0-9]*)\.\.([1-9][0-9]*)$ ]]; then
    mapfile -t counts < <(seq "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}")
else
    IFS=, read -ra counts <<<"$ranks"
fi
((${#counts[@]})) || fail "--ranks $ranks: no number of ranks"
for count in "${counts[@]}"; do whole_number --ranks "$count"; done
program=$build/tests/pressure/pressure
[[ -x $program ]] || fail "$program: not built; scripts/test.sh builds it, see --build-dir"

if [[ -n $cases ]]; then
    amount=(--cases $(((cases + ${#counts[@]} - 1) / ${#counts[@]})))
else
    amount=(--seconds "$(awk -v all="$seconds" -v runs="${#counts[@]}" 'BEGIN { print all / runs }')")
fi
folder=$(mktemp -d)
run=
stop_run() {
    [[ -n $run ]] || return 0
    kill -TERM "$run" 2>/dev/null || return 0
    for ((i = 0; i < 50; ++i)); do
        kill -0 "$run" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -KILL "$run" 2>/dev/null || true
}
trap 'stop_run; rm -rf "$folder"' EXIT

# watch RANKS: until the run ends; false when nobody went on to another case for longer than any wait may last.
watch() {
    local last='' now since=$SECONDS
    while kill -0 "$run" 2>/dev/null; do
        now=$(tr --delete "\0" <"$folder/progress")
        if [[ $now != "$last" ]]; then last=$now since=$SECONDS; fi
        if ((SECONDS - since > 2 * timeout + 5)); then
            stop_run
            return 1
        fi
        sleep 0.2
    done
}

# Cases that all ranks have left, by the file that says where each is.
cases_left() { sort --numeric-sort "$folder/progress" | awk -v first="$first" 'NR == 1 { print $1 - first }'; }

# one_count RANKS ARGUMENT...: one mpirun.
all_cases=0 all_wrong=0 all_hung=0
one_count() {
    local count=$1 begin=$SECONDS status=0 watched=0 wrong hung ran line
    shift
    mpi_environment "$count"
    : >"$folder/progress"
    "$build/tests/mpirun" -n "$count" "$program" --seed "$seed" --first "$first" "${amount[@]}" --timeout "$timeout" \
        --progress "$folder/progress" "$@" >"$folder/out" 2>"$folder/err" &
    run=$!
    watch || watched=1
    wait "$run" || status=$?
    run=
    grep --text '^\[rank \|^hung: ' "$folder/err" >&2 || true
    if line=$(grep --text '^cases [0-9]*, wrong [0-9]*, hung 0$' "$folder/out") && ((status == 0 || status == 1)); then
        read -r ran wrong hung <<<"$(tr --complement --delete '0-9 ' <<<"$line")"
    else
        ran=$(cases_left) wrong=0 hung=0
        ran=$((${ran:-0} + 1))  # with the one that did not end
        if ((watched || status == 3)) || grep --quiet --text '^hung: ' "$folder/err"; then hung=1; else wrong=1; fi
        if ! grep --quiet --text '^\[rank ' "$folder/err"; then
            echo "ranks $count ended with status $status near case $((first + ran - 1)): scripts/pressure.sh" \
                "--ranks $count --seed $seed --first $first --cases $((ran + count))" >&2
            tail -n 5 "$folder/err" >&2
        fi
    fi
    echo "ranks $count: cases $ran, wrong $wrong, hung $hung, $((SECONDS - begin)) s"
    all_cases=$((all_cases + ran)) all_wrong=$((all_wrong + wrong)) all_hung=$((all_hung + hung))
}

for count in "${counts[@]}"; do one_count "$count" "$@"; done
echo "cases $all_cases, wrong $all_wrong, hung $all_hung"
((all_wrong == 0 && all_hung == 0))
