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

# One rank alone has a kernel's time. On a busy machine so few repetitions may contradict a bound: exit status 3.
"$expar" bench kernels --filter rms_norm_forward --seconds 0.01 --threads 2 --isa all --json kernels.json \
    >kernels.txt || [[ $? == 3 ]]
grep --quiet "^rms_norm_forward .*float32" kernels.txt || { cat kernels.txt; exit 1; }
for key in kernel shape dtype isa seconds bytes flops bound_seconds efficiency max_error; do
    grep --quiet "\"$key\": " kernels.json || { echo "bench kernels: no $key"; cat kernels.json; exit 1; }
done

# expect_refusal LINE ARGUMENT...: exit status 2 and one line that begins so.
expect_refusal() {
    local line=$1 code=0
    shift
    "$@" 2>err.txt || code=$?
    if [[ $code != 2 ]] || ! grep --quiet "^expar: $line" err.txt; then
        echo "$*: code $code: $(<err.txt)"
        exit 1
    fi
}
expect_refusal "bench kernels: .* expected 1 rank" "$mpirun" -q -n 2 "$expar" bench kernels
expect_refusal "--filter: nothing has 'nonsense'" "$expar" bench kernels --filter nonsense
expect_refusal "unknown instruction set 'sse'" "$expar" bench kernels --isa sse
expect_refusal "--seconds: 0, expected more than 0" "$expar" bench kernels --seconds 0
mkdir made
expect_refusal "made: exists already" "$expar" bench checkpoint "${small[@]}" --out made
[[ -d made ]] || { echo "bench checkpoint has removed what it did not make"; exit 1; }
echo "benchmarks measure and clean up"
