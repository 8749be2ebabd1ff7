#!/usr/bin/env bash
# Every mistake of a user is one line on standard error at 4 ranks, names what was wrong, and ends with code 2.
#   bad_input_test.sh EXPAR MPIRUN
set -uo pipefail
expar=$1 mpirun=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit 1
checked=0 failed=0

# refuses PATTERN ARGUMENT...
refuses() {
    local pattern=$1 code lines
    shift
    "$mpirun" -n 4 "$expar" "$@" >out.txt 2>err.txt
    code=$?
    lines=$(wc -l <err.txt)
    checked=$((checked + 1))
    if [[ $code == 2 && $lines == 1 ]] && grep -q -- "$pattern" err.txt; then return; fi
    echo "expar $*: code $code, $lines lines on standard error; expected 2, 1 and '$pattern':"
    cat err.txt
    failed=$((failed + 1))
}

head -c 5000 /dev/urandom | base64 >text.txt
: >empty.txt
echo "short" >short.txt
printf 'layers = 1\nhiden = 4\n' >unknown.toml
printf 'layers = "one"\n' >type.toml
printf 'layers = = 1\n' >broken.toml
mkdir taken
mkdir --parents prepared/train prepared/validation
cp text.txt prepared/train/a.txt
: >prepared/validation/a.txt
small=(--layers 1 --hidden 16 --heads 2 --intermediate 8 --experts 4 --sequence 16 --steps 2 --log-every 1)
train=(train --text text.txt "${small[@]}")

refuses "unknown flag '--hiden'; did you mean '--hidden'" train --text text.txt --hiden 4
refuses "unknown subcommand 'trian'; did you mean 'train'" trian
refuses "unexpected argument 'extra'" doctor extra
refuses "hidden: expected an integer, got 'wide'" train --text text.txt --hidden wide
refuses "seed: expected an integer from 0" train --text text.txt --seed -1
refuses "unknown.toml:2: unknown key 'hiden'; did you mean 'hidden'" train --text text.txt --config unknown.toml
refuses "type.toml:1: layers: expected an integer" train --text text.txt --config type.toml
refuses "broken.toml:1: " train --text text.txt --config broken.toml
refuses "none.toml: cannot be read" train --text text.txt --config none.toml
refuses "top_k" "${train[@]}" --experts 2 --top-k 3
refuses "ep" "${train[@]}" --ep 3
refuses "heads" "${train[@]}" --heads 3
refuses "learning_rate" "${train[@]}" --learning-rate -1
refuses "vocabulary" "${train[@]}" --vocabulary 100
refuses "memory: a rank needs about" "${train[@]}" --batch 100000000
refuses "layers \* experts" "${train[@]}" --layers 1000000000
refuses "unknown instruction set 'sse'; known: avx2, avx512, avx512_bf16, amx" "${train[@]}" --isa sse
refuses "unknown instruction set 'sse'" verify --isa sse
refuses "unknown dtype 'fp16'; known: float32, bf16" "${train[@]}" --dtype fp16
refuses "unknown dtype 'fp16'" verify --dtype fp16
refuses "exchange" "${train[@]}" --exchange pigeon
refuses "dispatcher" "${train[@]}" --dispatcher pigeon
refuses "timeout: 1e+10" "${train[@]}" --timeout 1e10
refuses "batch \* (sequence + 1): " "${train[@]}" --batch 200000000
refuses "the embedding has .* parameters" "${train[@]}" --hidden 65536 --vocabulary 65536
refuses "none.txt" train --text none.txt "${small[@]}"
refuses "empty.txt" train --text empty.txt "${small[@]}"
refuses "short.txt" train --text short.txt "${small[@]}"
refuses "text" train "${small[@]}"
refuses "timeline-steps: expected first:last" "${train[@]}" --timeline-steps 3
refuses "1:1000 are 1000 steps, expected at most 100" "${train[@]}" --timeline-steps 1:1000
refuses "taken: cannot be written" "${train[@]}" --prometheus taken --out with-prometheus
[[ ! -e with-prometheus ]] || { echo "a refused run left its folder"; exit 1; }
refuses "taken: exists already" "${train[@]}" --out taken
refuses "not finite" "${train[@]}" --out diverges --steps 20 --optimizer sgd --learning-rate 1e30 --warmup-steps 0 --clip 0
refuses "none: no such run" eval none --text text.txt
refuses "text.txt: no digest beside it" eval text.txt --text text.txt
refuses "taken: holds no checkpoints" generate taken --prompt x
refuses "seed: expected at least 0" generate taken --seed -1
refuses "threads: 0, expected at least 1" verify --threads 0
refuses "text.txt: no digest beside it" export text.txt --hf exported
refuses "RUN" export
refuses "threads: expected a number, got 'x'" eval none --text text.txt --threads x
refuses "text.txt: not an HDF5 file" verify --golden text.txt
refuses "taken: cannot be written" verify --json taken
refuses "taken: cannot be written" eval none --text text.txt --json taken
refuses "validation/a.txt: is empty" train --text prepared "${small[@]}"
if [[ $(id -u) != 0 ]]; then
    cp text.txt unreadable.txt && chmod 000 unreadable.txt
    refuses "unreadable.txt" train --text unreadable.txt "${small[@]}"
fi

echo "$((checked - failed)) of $checked mistakes end in one line and code 2"
[[ $failed == 0 ]]
