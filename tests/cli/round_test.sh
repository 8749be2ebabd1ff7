#!/usr/bin/env bash
# A run from training to export: what one subcommand writes, the next one reads, at other rank counts.
#   round_test.sh EXPAR MPIRUN
set -euo pipefail
expar=$1 mpirun=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

fail() {
    echo "$*"
    exit 1
}
expect_equal() { [[ $1 == "$2" ]] || fail "expected '$2', got '$1'"; }
# number_of KEY FILE: of a line of JSON written by expar
number_of() { grep -o "\"$1\": *[-+0-9.e]*" "$2" | head -n 1 | sed 's/.*: *//'; }

for ((i = 0; i < 400; ++i)); do echo "line $i of a text that can be learned a little"; done >text.txt
options=(--text text.txt --layers 2 --hidden 16 --heads 2 --intermediate 8 --experts 5 --sequence 24 --batch 3 --steps 4
    --threads 1)

"$mpirun" -n 4 "$expar" train "${options[@]}" --ep 2 --checkpoint-every 2 --record-batches \
    --timeline-steps 2:3 --prometheus four.prom --out four >four.log
expect_equal "$(wc -l <four/metrics.jsonl)" 4
for file in config.toml summary.json batches.h5 routing.h5 timeline.json checkpoints/step-000000.h5 checkpoints/step-000002.h5 \
    checkpoints/step-000004.h5; do
    [[ -s four/$file ]] || fail "four/$file is missing"
done
expect_equal "$(grep '"name": "step"' four/timeline.json | grep -o '"tid": [0-9]*' | sort | uniq -c | xargs)" \
    "2 tid: 0 2 tid: 1 2 tid: 2 2 tid: 3"
grep -q "^expar_steps_total 4$" four.prom || fail "$(<four.prom)"
grep -q '"router_entropy":1\.[0-9]*,.*"phase_seconds":{"data":.*"experts_backward":.*"reduce":' four/metrics.jsonl ||
    fail "$(<four/metrics.jsonl)"
grep -q "parameters, .* of them active" four.log || fail "no parameter count in: $(<four.log)"
grep -q "^step 4/4 .*bits/byte.*tokens/s.*dispatch+combine.*load max/mean.*dropped 0" four.log || fail "$(<four.log)"

# Its own configuration starts the same run again, and gives the same numbers.
"$mpirun" -n 4 "$expar" train --config four/config.toml --out again >again.log
expect_equal "$(tail -n 1 again/metrics.jsonl | grep -o '"loss":[^,]*')" \
    "$(tail -n 1 four/metrics.jsonl | grep -o '"loss":[^,]*')"
cmp four/config.toml again/config.toml

"$expar" eval four --text text.txt --sequence 32 --json one.json >eval.log
"$mpirun" -n 3 "$expar" eval four --text text.txt --sequence 32 --json three.json >>eval.log
expect_equal "$(number_of tokens three.json)" "$(number_of tokens one.json)"
expect_equal "$(number_of bits_per_byte three.json | cut -c 1-8)" "$(number_of bits_per_byte one.json | cut -c 1-8)"

# loads_of FILE: what each expert was given, layer by layer
loads_of() { tr -d ' \n' <"$1" | grep -o '"expert_loads":[][0-9,]*'; }
expect_equal "$(loads_of three.json)" "$(loads_of one.json)"
# In each of 2 layers every token chooses 2 experts.
total=$(loads_of one.json | grep -o '[0-9]*' | awk '{ sum += $1 } END { print sum }')
expect_equal "$total" $((2 * 2 * $(number_of tokens one.json)))

"$expar" generate four --prompt "line" --bytes 20 --seed 3 >one.txt
"$mpirun" -n 3 "$expar" generate four --prompt "line" --bytes 20 --seed 3 | tr -d '\r' >three.txt
cmp <(tr -d '\r' <one.txt) three.txt

"$expar" export four --hf hf >export.log
for file in config.json model.safetensors tokenizer.json tokenizer_config.json; do
    [[ -s hf/$file ]] || fail "hf/$file is missing"
done
echo "a run goes from training to export"
