#!/usr/bin/env bash
# Whether `expar train` says before its start how much memory it will have used at its end: trains a few steps of several
# shapes, of float32 and bf16 rows, with and without --recompute, on 1, 2 and 4 ranks, and compares
# memory_predicted_bytes with memory_peak_bytes of their summaries.
#
#   scripts/check_memory.sh [--build-dir DIR] [--percent N] [--size NAME]
#
# --build-dir DIR  where expar is built (default: build)
# --percent N      how far the two may be apart (default: 10)
# --size NAME      only this one: small, wide, deep, large
#
# Prints a line for each of 80 runs and fails when one is beyond. Needs 3 GB of memory and some ten minutes.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib/common.sh
source "$root/scripts/lib/common.sh"

build_dir=$root/build
percent=10
chosen=
run_seconds=300
while (($#)); do
    case $1 in
        --build-dir) build_dir=$(absolute "$(value_of "$@")") && shift 2 ;;
        --percent) percent=$(value_of "$@") && whole_number "$1" "$percent" && shift 2 ;;
        --size) chosen=$(value_of "$@") && shift 2 ;;
        --help) show_help && exit ;;
        *) fail "unknown argument '$1'; see --help" ;;
    esac
done
expar=$build_dir/expar
[[ -x $expar ]] || fail "$expar is missing: build it, or see --build-dir"
mpi_environment 4
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for ((i = 0; i < 20000; ++i)); do echo "line $i of a text that is read for its length"; done >"$folder/text.txt"

declare -A sizes=(
    [small]="--hidden 64 --heads 4 --intermediate 128 --layers 2 --batch 8 --sequence 64"
    [wide]="--hidden 256 --heads 8 --intermediate 512 --layers 4 --batch 8 --sequence 256"
    [deep]="--hidden 128 --heads 4 --intermediate 128 --layers 12 --batch 16 --sequence 128 --top-k 4"
    [large]="--hidden 512 --heads 8 --intermediate 1024 --layers 3 --experts 16 --batch 8 --sequence 256 --top-k 2"
)
value() { sed --quiet "s/^ *\"$1\": \([0-9]*\),*$/\1/p" "$folder/run/summary.json"; }

# check SIZE LAYOUT DTYPE RECOMPUTE: one run, one line.
beyond=0
check() {
    local ranks=${2%:*} members=${2#*:} shape predicted peak apart
    read -ra shape <<<"${sizes[$1]}"
    rm -rf "$folder/run"
    timeout --kill-after=10 "$run_seconds" mpirun -q -n "$ranks" "$expar" train --text "$folder/text.txt" \
        "${shape[@]}" --ep "$members" --dtype "$3" --recompute "$4" --steps 4 --out "$folder/run" >"$folder/log" 2>&1 ||
        { cat "$folder/log" >&2 && fail "$1 on $ranks ranks: the run failed"; }
    predicted=$(value memory_predicted_bytes) peak=$(value memory_peak_bytes)
    apart=$(((predicted - peak) * 1000 / peak))
    printf '%-6s %5s %4s %-8s %-10s %6d MiB %6d MiB %6s %%\n' "$1" "$ranks" "$members" "$3" "$4" \
        $((predicted >> 20)) $((peak >> 20)) "$(awk "BEGIN { printf \"%.1f\", $apart / 10 }")"
    if ((apart > percent * 10 || apart < -percent * 10)); then beyond=$((beyond + 1)); fi
}

printf '%-6s %5s %4s %-8s %-10s %10s %10s %8s\n' size ranks EP dtype recompute predicted peak apart
for size in small wide deep large; do
    [[ -z $chosen || $chosen == "$size" ]] || continue
    for layout in 1:1 2:1 2:2 4:2 4:4; do
        for dtype in float32 bf16; do
            for recompute in false true; do check "$size" "$layout" "$dtype" "$recompute"; done
        done
    done
done
((beyond == 0)) || fail "$beyond predictions are more than $percent % from what was used"
