#!/usr/bin/env bash
# What `expar inspect` says of a run, its files, and files that are damaged or none of ours.
#   inspect_test.sh EXPAR MPIRUN
set -euo pipefail
expar=$1 mpirun=$2
golden=$(cd "$(dirname "$0")/../data" && pwd)/mixtral.h5
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

fail() {
    echo "$*"
    exit 1
}
# says PATTERN...: inspect of $file succeeds, and each pattern is in one of its lines.
says() {
    local pattern
    "$expar" inspect "$file" --json facts.json >said.txt 2>err.txt || fail "inspect $file failed: $(<err.txt)"
    for pattern in "$@"; do grep --quiet -- "$pattern" said.txt || fail "$file: expected '$pattern' in: $(<said.txt)"; done
}
# refuses PATTERN: with one line and code 2.
refuses() {
    local code=0
    "$expar" inspect "$file" >said.txt 2>err.txt || code=$?
    [[ $code == 2 && $(wc -l <err.txt) == 1 && ! -s said.txt ]] || fail "inspect $file: code $code, $(<said.txt) $(<err.txt)"
    grep --quiet -- "$1" err.txt || fail "$file: expected '$1': $(<err.txt)"
}

for ((i = 0; i < 400; ++i)); do echo "line $i of a text that can be learned a little"; done >text.txt
"$mpirun" -n 2 "$expar" train --text text.txt --layers 2 --hidden 16 --heads 2 --intermediate 8 --experts 5 \
    --sequence 24 --batch 3 --steps 4 --threads 1 --ep 2 --checkpoint-every 2 --out run >train.log

file=run
says "^state  *finished" "2 layers, hidden 16" "^last  *step 4, loss" "step-000000.h5 .*EP=2 x DP=1  *ok" \
    "step-000004.h5 .*ok" "metrics.jsonl ("
file=run/checkpoints/step-000004.h5
says "agrees with its digest" "^step  *4 done, 288 tokens" "2 ranks, EP=2 x DP=1" "placement .*experts 0-2 | 3-4" \
    "layers.\*.experts.gate.weight  *\[5, 8, 16\]  *2 " "rms moment2"
python3 - <<'PYTHON'
import json
facts = json.load(open("facts.json"))
tensors = {tensor["name"]: tensor for tensor in facts["tensors"]}
assert facts["step"] == 4 and facts["placement"] == [[[0, 1, 2], [3, 4]]] * 2, facts
assert tensors["layers.1.experts.up.weight"]["shape"] == [5, 8, 16] and len(tensors) == 2 * 10 + 3, tensors.keys()
# Weights begin as normal numbers of that deviation, and norms as ones.
assert abs(tensors["embedding.weight"]["rms"]["value"] - 0.02) < 0.002, tensors["embedding.weight"]
assert abs(tensors["norm.weight"]["rms"]["value"] - 1) < 0.1 and tensors["norm.weight"]["not_finite"] == 0
PYTHON
# On several ranks it is said once.
[[ $("$mpirun" -n 3 "$expar" inspect "$file" | grep -c "^checkpoint") == 1 ]] || fail "not said once on 3 ranks"
file=run/routing.h5
says "^experts  *5, top 2" "^steps  *4: 1 to 4" "^ *0  *1\.[0-9]*  *[0-4] (1" "0 %"

# One byte in the middle of a tensor is turned over; the newest has lost its digest.
cp -r run damaged
piece=$(grep --max-count 1 "value/layers.1.experts.up.weight\[3\]" damaged/checkpoints/step-000002.h5.digest)
offset=$(($(cut -d ' ' -f 2 <<<"$piece") + 7))
value=$(od -An -tu1 -j "$offset" -N 1 damaged/checkpoints/step-000002.h5)
printf "%b" "\\x$(printf '%02x' $((value ^ 255)))" |
    dd of=damaged/checkpoints/step-000002.h5 bs=1 seek="$offset" conv=notrunc status=none
rm damaged/checkpoints/step-000004.h5.digest
file=damaged/checkpoints/step-000002.h5
refuses "^expar: damaged/checkpoints/step-000002.h5: damaged: value/layers.1.experts.up.weight\[3\]"
file=damaged/checkpoints/step-000004.h5
refuses "a checkpoint without its digest"
file=damaged
says "step-000000.h5 .*ok" "step-000002.h5 .*damaged: value/layers.1.experts.up.weight\[3\]" "step-000004.h5 .*incomplete"

file=$golden
says "expar-golden-1" "experts.\*.up.weight  *\[28, 20\]  *5" "^  router.weight  *\[5, 20\]  *1"
head -c 3000 "$golden" >cut.h5
file=cut.h5
refuses "^expar: cut.h5: a damaged HDF5 file"
"$expar" export run --hf hf >export.log
file=hf/model.safetensors
says "lm_head.weight  *\[256, 16\]  *F32  *1"
head -c 3000 "$file" >cut.safetensors
file=cut.safetensors
refuses "^expar: cut.safetensors: "
file=text.txt
refuses "text.txt: neither a run's folder nor a file of HDF5 or safetensors"
file=none
refuses "none: no such file or folder"
mkdir empty
file=empty
refuses "empty: not the folder of a run"
echo "inspect says what is there"
