#!/usr/bin/env bash
# What `expar trace` reads, keeps together, and refuses. The same routing, written in every form that import knows, must
# be the same trace; a part of one must be what its documents alone would have been.
#   trace_test.sh EXPAR MPIRUN
set -euo pipefail
expar=$1 mpirun=$2
recorded=$(cd "$(dirname "$0")/../data" && pwd)/gptoss20b_small.h5
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

fail() {
    echo "$*"
    exit 1
}
# trace ARGUMENT...: which must succeed.
trace() {
    "$expar" trace "$@" >said.txt 2>err.txt || fail "trace $*: $(<err.txt)"
}
# refuses PATTERN ARGUMENT...: with one line and code 2, and without a file.
refuses() {
    local code=0 pattern=$1
    shift
    "$expar" trace "$@" >said.txt 2>err.txt || code=$?
    [[ $code == 2 && $(wc -l <err.txt) == 1 && ! -s said.txt ]] || fail "trace $*: code $code, $(<said.txt) $(<err.txt)"
    grep --quiet -- "$pattern" err.txt || fail "trace $*: expected '$pattern': $(<err.txt)"
    [[ ! -e none.h5 ]] || fail "trace $*: has left a file"
}
# print_same FILE: its documents, and the hash of what it replays in each of its three layers.
print_same() {
    "$expar" trace inspect "$1" --json facts.json >said.txt || fail "$1 cannot be inspected"
    python3 -c 'import json; facts = json.load(open("facts.json")); print(facts["layers"], facts["datasets"])'
    for layer in 0 1 2; do
        "$expar" bench dispatch --trace "$1" --layer "$layer" --hidden 1 --cache warm --seconds 0.001 --json hash.json \
            >said.txt 2>&1 || [[ $? == 3 ]] || fail "$1 cannot be replayed: $(<said.txt)"
        grep --only-matching --max-count 1 '"hash":"[0-9a-f]*"' hash.json | head -n 1
    done
}
# is_same FILE REFERENCE
is_same() {
    [[ -e $2.txt && ! $2 -nt $2.txt ]] || print_same "$2" >"$2.txt"
    print_same "$1" >found.txt
    diff "$2.txt" found.txt || fail "$1 is not $2"
}

# 60 tokens of six documents, 3 layers, 4 different ones of 300 experts, as several programs would write them. Of the
# parts, raw ids are written by name: `ids two,five out`.
cat >write.py <<'PYTHON'
import gzip, json, random, struct, sys
random.seed(5)
lengths = {"one": 7, "two": 1, "three": 20, "four": 12, "five": 11, "six": 9}
tokens = {name: [[random.sample(range(300), 4) for _ in range(3)] for _ in range(count)] for name, count in lengths.items()}
def raw(names, letter):
    ids = [expert for name in names for token in tokens[name] for layer in token for expert in layer]
    return struct.pack(f"<{len(ids)}{letter}", *ids)
def table(names):
    lines, offset = ["dataset\tcategory\thas_repetition\tn_tokens\ttoken_offset"], 0
    for name in names:
        lines.append(f"{name}\texam\t{int(name == 'four')}\t{lengths[name]}\t{offset}")
        offset += lengths[name]
    return "\n".join(lines) + "\n"
def npy(data, descr, shape):
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data
if len(sys.argv) > 1:
    names = sys.argv[1].split(",")
    open("part.u16", "wb").write(raw(names, "H"))
    open("part.tsv", "w").write(table(names))
    raise SystemExit
names = list(lengths)
open("ids.u16", "wb").write(raw(names, "H"))
open("ids.i64", "wb").write(raw(names, "q"))
open("ids.tsv", "w").write(table(names))
with gzip.open("ids.u16.gz", "wb") as file: file.write(raw(names, "H"))
open("ids.npy", "wb").write(npy(raw(names, "i"), "<i4", (60, 3, 4)))
open("fortran.npy", "wb").write(npy(raw(names, "i"), "<i4", (60, 3, 4)).replace(b"False", b"True "))
open("float.npy", "wb").write(npy(raw(names, "i"), "<f4", (60, 3, 4)))
lines = [json.dumps({"id": name, "topk": [{"layer_index": layer, "expert_ids": ids} for layer, ids in enumerate(token)]})
         for name in names for token in tokens[name]]
open("ids.jsonl", "w").write("\n".join(['{"phase": "begin"}', *lines]) + "\n")
with gzip.open("ids.jsonl.gz", "wb") as file: file.write("\n".join(lines).encode())
open("eight.u8", "wb").write(bytes(expert % 5 for token in range(6) for layer in range(2) for expert in (token, token + 1)))
PYTHON
python3 write.py
documents=(--experts 300 --documents ids.tsv)

trace import ids.u16 --dtype u16 --shape -1,3,4 "${documents[@]}" --model m --source s --out raw.h5
grep --quiet "^wrote raw.h5: 60 tokens of 6 documents, 3 layers, 300 experts, 4 choices of a token$" said.txt ||
    fail "$(<said.txt)"
trace import ids.i64 --dtype i64 --shape 60,-1,4 "${documents[@]}" --out i64.h5
trace import ids.u16.gz --dtype u16 --shape 60,3,4 "${documents[@]}" --out gz.h5
trace import ids.npy "${documents[@]}" --out npy.h5
trace import ids.jsonl --field routing=topk --field request=id "${documents[@]}" --out jsonl.h5
trace import ids.jsonl.gz --field routing=topk --field request=id "${documents[@]}" --out jsonl_gz.h5
for file in i64 gz npy jsonl jsonl_gz; do is_same $file.h5 raw.h5; done
"$mpirun" -n 2 "$expar" trace import ids.npy "${documents[@]}" --out ranks.h5 >said.txt
[[ $(wc -l <said.txt) == 1 ]] || fail "not said once on 2 ranks: $(<said.txt)"
is_same ranks.h5 raw.h5
# The ids of another order are another trace.
python3 write.py two,one,three,four,five,six
trace import part.u16 --dtype u16 --shape -1,3,4 "${documents[@]}" --out other.h5
print_same other.h5 >found.txt
! diff --brief raw.h5.txt found.txt >/dev/null || fail "a trace with its first two documents exchanged has the same hash"

# Without a table all is one document; lines of one request are one.
trace import eight.u8 --shape -1,2,2 --experts 5 --out eight.h5
grep --quiet "6 tokens of 1 document, 2 layers, 5 experts, 2 choices" said.txt || fail "$(<said.txt)"
trace import ids.jsonl --field routing=topk --field request=id --experts 300 --out requests.h5
grep --quiet "60 tokens of 6 documents" said.txt || fail "$(<said.txt)"

# Documents stay whole, in their order.
trace select raw.h5 --dataset five,two,three --out part.h5
python3 write.py two,three,five
trace import part.u16 --dtype u16 --shape -1,3,4 --experts 300 --documents part.tsv --out expected.h5
is_same part.h5 expected.h5
trace select raw.h5 --no-repetition --max-tokens 30 --out part.h5
python3 write.py one,two,three
trace import part.u16 --dtype u16 --shape -1,3,4 --experts 300 --documents part.tsv --out expected.h5
is_same part.h5 expected.h5
trace split raw.h5 --share 0.6 --seed 3 --out train.h5 --rest test.h5
all=
for part in train test; do
    trace inspect $part.h5 --json facts.json
    names=$(python3 -c 'import json; print(",".join(one["dataset"] for one in json.load(open("facts.json"))["datasets"]))')
    python3 write.py "$names"
    trace import part.u16 --dtype u16 --shape -1,3,4 --experts 300 --documents part.tsv --out expected.h5
    is_same $part.h5 expected.h5
    all+=$names,
done
[[ $(tr , '\n' <<<"${all%,}" | sort | tr '\n' ,) == five,four,one,six,three,two, ]] || fail "the parts have documents $all"

head -c 30 ids.u16.gz >cut.gz
head -c 101 ids.npy >cut.npy
head -c 1439 ids.u16 >cut.u16
sed '3s/.*/{"topk": 5}/' ids.jsonl >damaged.jsonl
sed '4s/20/19/' ids.tsv >short.tsv
# shellcheck disable=SC2054  # commas within a shape
raw=(--dtype u16 --shape -1,3,4 --experts 300 --out none.h5)
refuses "^expar: nowhere.u16: " import nowhere.u16 "${raw[@]}"
refuses "cut.gz: a gzip file that is cut off" import cut.gz "${raw[@]}"
refuses "cut.npy: a .npy file that is cut off" import cut.npy --experts 300 --out none.h5
refuses "fortran.npy: a .npy file in Fortran's order" import fortran.npy --experts 300 --out none.h5
refuses "float.npy: a .npy file of type '<f4'" import float.npy --experts 300 --out none.h5
refuses "cut.u16: 1439 bytes, expected a multiple of 2" import cut.u16 "${raw[@]}"
refuses "shape 61,3,4: 720 ids are there, expected 732" import ids.u16 --dtype u16 --shape 61,3,4 --experts 300 --out none.h5
refuses "shape -1,7,4: 720 ids are there" import ids.u16 --dtype u16 --shape -1,7,4 --experts 300 --out none.h5
refuses "'x', expected whole numbers" import ids.u16 --dtype u16 --shape 60,x --experts 300 --out none.h5
refuses "expert [0-9]*, expected one of 100" import ids.u16 --dtype u16 --shape -1,3,4 --experts 100 --out none.h5
refuses "raw ids need --shape" import ids.u16 --experts 300 --out none.h5
refuses "^expar: damaged.jsonl:3: 'topk' is no list of layers" import damaged.jsonl --field routing=topk --experts 300 \
    --out none.h5
refuses "no line has 'routing'; see --field" import ids.jsonl --experts 300 --out none.h5
refuses "short.tsv" import ids.u16 "${raw[@]}" --documents short.tsv
refuses "unknown type of ids 'u7'" import ids.u16 --dtype u7 --shape -1,3,4 --experts 300 --out none.h5
refuses "not a trace" select "${recorded%/*}/mixtral.h5" --out none.h5
refuses "ids.npy: " inspect ids.npy
refuses "no such documents; known: " select raw.h5 --dataset seven --out none.h5
refuses "no document fits" select raw.h5 --dataset three --max-tokens 19 --out none.h5
refuses "expected a number between 0 and 1" split raw.h5 --share 1 --out none.h5 --rest rest.h5

# What is in the source tree says whose it is.
trace inspect "$recorded" --json facts.json
python3 - <<'PYTHON'
import json
facts = json.load(open("facts.json"))
assert facts["tokens"] == 4776 and facts["experts"] == 32 and facts["layers"] == list(range(24)), facts
assert "commit 72b368f" in facts["source"] and "AmanPriyanshu/GPT-OSS-MoE-ExpertFingerprinting" in facts["source"]
for words in ("Apache License, Version 2.0", "apache.org/licenses/LICENSE-2.0", "72b368f", "changed", "Keep this notice"):
    assert words in facts["notice"], facts["notice"]
PYTHON
trace select "$recorded" --category anatomy --out anatomy.h5
"$expar" trace inspect anatomy.h5 --json facts.json >said.txt
grep --quiet "Apache License, Version 2.0" facts.json || fail "a part of a trace has lost its notice"
