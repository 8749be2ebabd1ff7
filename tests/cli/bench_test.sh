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
    "$mpirun" -n 3 "$expar" bench "$what" "${small[@]}" --out made --json "$what.json" >"$what.txt"
    grep --quiet "asked: at most" "$what.txt" || { cat "$what.txt"; exit 1; }
    [[ ! -e made ]] || { echo "bench $what has left its folder"; exit 1; }
done
grep --quiet '"ratio": ' checkpoint.json
grep --quiet '"percent": ' record.json
"$mpirun" -n 3 "$expar" bench reduce "${small[@]}" --json reduce.json >reduce.txt
grep --quiet '"hidden_share": ' reduce.json

# One rank alone has a kernel's time. On a busy machine so few repetitions may contradict a bound: exit status 3.
"$expar" bench kernels --filter rms_norm_forward --seconds 0.01 --threads 2 --isa all --json kernels.json \
    >kernels.txt || [[ $? == 3 ]]
grep --quiet "^rms_norm_forward .*float32" kernels.txt || { cat kernels.txt; exit 1; }
for key in kernel shape dtype isa seconds bytes flops bound_seconds efficiency max_error; do
    grep --quiet "\"$key\": " kernels.json || { echo "bench kernels: no $key"; cat kernels.json; exit 1; }
done

# Every row is checked, and is in the files. On a busy machine a bound may be contradicted: exit status 3.
for launch in 1 2; do
    "$mpirun" -n 3 "$expar" bench dispatch --tokens 24,7 --hidden 64 --top-k 2 --experts 5 --dispatcher all \
        --order exact,reduced --workload zipf:1.2 --cache warm --cached-plan --seconds 0.01 --json "d$launch.json" \
        --csv "d$launch.csv" >dispatch.txt 2>err.txt || [[ $? == 3 ]] || { cat dispatch.txt err.txt; exit 1; }
done
rows=$(grep --count '"dispatcher": *"window"\|"dispatcher":"window"' d1.json)
[[ $rows == 40 && $(grep --count ',window,' d1.csv) == 40 ]] || { echo "bench dispatch: $rows rows of window"; exit 1; }
for key in workload hash phase median_seconds bound_seconds stage_bound_seconds efficiency skew x2_busiest wrong_rows; do
    grep --quiet "\"$key\":" d1.json || { echo "bench dispatch: no $key"; exit 1; }
done
! grep --quiet '"wrong_rows":[1-9]' d1.json || { echo "bench dispatch: wrong rows"; exit 1; }
"$mpirun" -n 3 "$expar" bench exchange --tokens 24,7 --hidden 33 --workload zipf:1.2 --exchange all --seconds 0.01 \
    --json e.json --csv e.csv >exchange.txt 2>err.txt || [[ $? == 3 ]] || { cat exchange.txt err.txt; exit 1; }
for exchange in native spread node bruck window auto MPI_Alltoallv; do
    [[ $(grep --count "\"exchange\":\"$exchange\"" e.json) == 2 && $(grep --count ",bf16,,$exchange," e.csv) == 2 ]] ||
        { echo "bench exchange: no rows of $exchange"; cat e.csv; exit 1; }
done
for key in chosen cached_plan alltoallv_seconds bound_seconds efficiency wire_bytes_inter wrong_rows; do
    grep --quiet "\"$key\":" e.json || { echo "bench exchange: no $key"; exit 1; }
done
! grep --quiet '"wrong_rows":[1-9]' e.json || { echo "bench exchange: wrong rows"; exit 1; }
"$mpirun" -n 4 "$expar" bench exchange --ranks-per-node 2 --exchange all --tokens 5 --seconds 0.01 >exchange.txt \
    2>err.txt || [[ $? == 3 ]]
grep --quiet "^window needs all ranks on one node" err.txt || { cat err.txt; exit 1; }
"$mpirun" -n 3 "$expar" bench layer --layers 2 --chunks 1,2 --tokens 24 --hidden 40 --intermediate 24 --experts 5 \
    --ranks-per-node 2 --seconds 0.01 --json l.json >layer.txt 2>err.txt || [[ $? == 3 ]] || { cat layer.txt err.txt; exit 1; }
[[ $(grep --count '"layers":2,"chunks":2' l.json) == 10 ]] || { echo "bench layer: rows of two chunks"; cat l.json; exit 1; }
grep --quiet '"hidden_fraction":-\?[0-9]' l.json || { echo "bench layer: no hidden_fraction"; exit 1; }
! grep --quiet '"wrong_rows":[1-9]' l.json || { echo "bench layer: wrong rows"; exit 1; }
"$mpirun" -n 3 "$expar" bench allreduce --bytes 800,2097152 --seconds 0.01 --json a.json >allreduce.txt
for algorithm in gradient_reducer communicator_sum MPI_Allreduce; do
    [[ $(grep --count "\"algorithm\":\"$algorithm\".*\"wrong_elements\":0" a.json) == 2 ]] ||
        { echo "bench allreduce: rows of $algorithm"; cat a.json; exit 1; }
done
for key in bytes median_seconds bus_gb_per_second bound_seconds efficiency; do
    grep --quiet "\"$key\":" a.json || { echo "bench allreduce: no $key"; exit 1; }
done
"$expar" bench merge d1.json d2.json --json merged.json >merged.txt
[[ $(grep --count '"launches":2' merged.json) == $(grep --count '"launches":1' d1.json) ]] ||
    { echo "bench merge: rows differ"; cat merged.txt; exit 1; }
"$mpirun" -n 2 "$expar" bench probe --top-k 2 --row-bytes 512 --mebibytes 1 --seconds 0.01 --json probe.json >probe.txt
for key in pattern bytes gb_per_second alpha_seconds; do
    grep --quiet "\"$key\":" probe.json || { echo "bench probe: no $key"; exit 1; }
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
expect_refusal "bench kernels: .* expected 1 rank" "$mpirun" -n 2 "$expar" bench kernels
expect_refusal "--filter: nothing has 'nonsense'" "$expar" bench kernels --filter nonsense
expect_refusal "unknown instruction set 'sse'" "$expar" bench kernels --isa sse
expect_refusal "--seconds: 0, expected more than 0" "$expar" bench kernels --seconds 0
expect_refusal "unknown dispatcher 'x'; known: packed" "$mpirun" -n 2 "$expar" bench dispatch --dispatcher x
expect_refusal "--tokens: 0, expected at least 1" "$expar" bench dispatch --tokens 0
expect_refusal "unknown workload" "$mpirun" -n 2 "$expar" bench dispatch --workload nonsense
expect_refusal "unknown exchange 'x'; known: native" "$mpirun" -n 2 "$expar" bench exchange --exchange x
expect_refusal "unknown exchange option 'x'" "$expar" bench exchange --exchange spread:x=1
expect_refusal "--bytes: 12, expected a multiple of 8" "$mpirun" -n 2 "$expar" bench allreduce --bytes 12
echo nonsense >nonsense.json
expect_refusal "nonsense.json: not the rows of a benchmark" "$expar" bench merge nonsense.json
mkdir made
expect_refusal "made: exists already" "$expar" bench checkpoint "${small[@]}" --out made
[[ -d made ]] || { echo "bench checkpoint has removed what it did not make"; exit 1; }
echo "benchmarks measure and clean up"
