#!/usr/bin/env bash
# Trains the same model twice, on rows of float32 and of bfloat16, and compares the two loss curves step by step.
#
#   scripts/compare_dtypes.sh [--expar FILE] [--steps N] [--tolerance X] [--text FILE]... [-- OPTION...]
#
# --expar FILE     the program (build/expar)
# --steps N        steps of either run (200)
# --tolerance X    largest difference of the losses, smoothed over 10 steps, that passes, in nats (0.02)
# --text FILE      what to train on, as for `expar train`; without: a text that is made here
# -- OPTION...     further options of `expar train`
#
# The learning rate is one at which training forgets small differences (1e-3): float32 of two instruction sets, which
# differ in last bits, then stay within 1e-4, and bfloat16 was seen within 0.006. At 3e-3 even last bits grow to 0.02, and
# nothing could be told from it. Prints the largest difference and both last losses; ends with 1 beyond the tolerance.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/scripts/lib/common.sh"

expar=$root/build/expar
steps=200
tolerance=0.02
texts=()
while (($# > 0)); do
    case $1 in
        --expar) expar=$(value_of "$@") ;;
        --steps) steps=$(value_of "$@") && whole_number "$1" "$steps" ;;
        --tolerance) tolerance=$(value_of "$@") ;;
        --text) texts+=(--text "$(value_of "$@")") ;;
        --help) show_help && exit 0 ;;
        --) shift && break ;;
        *) fail "unknown option '$1'; see --help" ;;
    esac
    shift 2
done
[[ -x $expar ]] || fail "no program at $expar; build it, or give --expar"

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if ((${#texts[@]} == 0)); then
    for ((i = 0; i < 4000; ++i)); do
        echo "$i plus $((i * 7 % 100)) is $((i + i * 7 % 100)), as anyone can reckon"
    done >"$folder/text.txt"
    texts=(--text "$folder/text.txt")
fi
for dtype in float32 bf16; do
    "$expar" train "${texts[@]}" --layers 2 --hidden 64 --heads 4 --intermediate 64 --experts 8 --sequence 64 --batch 8 \
        --learning-rate 1e-3 --steps "$steps" --validate off --keep 1 --dtype "$dtype" --out "$folder/$dtype" "$@" >"$folder/$dtype.log"
    grep "^compute" "$folder/$dtype.log"
    grep -o '"loss":[-+0-9.e]*' "$folder/$dtype/metrics.jsonl" | cut -d: -f2 >"$folder/$dtype.losses"
done
paste "$folder/float32.losses" "$folder/bf16.losses" | awk -v tolerance="$tolerance" '
    {
        difference[NR] = $2 - $1
        sum += difference[NR] - (NR > 10 ? difference[NR - 10] : 0)
        mean = sum / (NR < 10 ? NR : 10)
        if (NR == 1) first = $1
        if (mean < 0) mean = -mean
        if (mean > largest) { largest = mean; where = NR }
    }
    END {
        if (NR == 0) { print "no losses"; exit 1 }
        printf "%d steps: loss %.4f at first, %.4f in float32 and %.4f in bf16 at last\n", NR, first, $1, $2
        printf "largest difference over 10 steps %.4f nats at step %d, tolerance %s\n", largest, where, tolerance
        exit largest <= tolerance ? 0 : 1
    }'
