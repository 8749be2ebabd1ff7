#!/usr/bin/env bash
# The benchmarks run on several ranks, check what they measure, and leave nothing behind.
#   bench_test.sh EXPAR MPIRUN
set -euo pipefail
expar=$1 mpirun=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
small=(--layers 2 --hidden 16 --heads 2 --intermediate 8 --experts 5 --sequence 24 --batch 3 --iterations 2)

for what in checkpoint record; do
    "$mpirun" -q -n 3 "$expar" bench "$what" "${small[@]}" --out made --json "$what.json" >"$what.txt"
    grep --quiet "asked: at most" "$what.txt" || { cat "$what.txt"; exit 1; }
    [[ ! -e made ]] || { echo "bench $what has left its folder"; exit 1; }
done
grep --quiet '"ratio": ' checkpoint.json
grep --quiet '"percent": ' record.json
"$mpirun" -q -n 3 "$expar" bench reduce "${small[@]}" --json reduce.json >reduce.txt
grep --quiet '"hidden_share": ' reduce.json
mkdir made
code=0
"$expar" bench checkpoint "${small[@]}" --out made 2>err.txt || code=$?
if [[ $code != 2 || ! -d made ]] || ! grep --quiet "^expar: made: exists already" err.txt; then
    echo "code $code: $(<err.txt)"
    exit 1
fi
echo "benchmarks measure and clean up"
