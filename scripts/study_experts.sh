#!/usr/bin/env bash
# What are 8 experts worth beside a dense model that uses as many parameters for a token, and do they choose by domain?
#
#   scripts/study_experts.sh [--seeds N] [--steps N] [--json FILE] [--no-install] [--build-dir DIR] [--out DIR]
#                            [--text FILE...] [--ranks N] [-- FLAG...]
#
#   --seeds N         seeds 1 to N, each for both models (default: 3)
#   --steps N         of each training, in which its learning rate falls (default: 1200)
#   --json FILE       write the figures there too
#   --no-install, --build-dir DIR, --out DIR, --text FILE...   as scripts/quickstart.sh has them
#   --ranks N         MPI ranks, over which the experts are spread (default: 2)
#   -- FLAG...        flags of `expar train` for both models, such as --hidden 256; they come after this script's own
#
# Both models train on the same batches with the same settings. Prints bits per byte of the held-out text of every domain,
# mean and range over seeds, and the mutual information of domain and expert in every layer (scripts/studies).
# Expect under 25 minutes on 2 cores with the defaults.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib/common.sh
source "$root/scripts/lib/common.sh"
export PYTHONDONTWRITEBYTECODE=1

# --- what one may want to change ----------------------------------------------------------------------------------------
seeds=3
steps=1200
ranks=2
# The best for both models after 250 steps, of 2e-3 and 4e-3 with 20 steps of warm-up and 3e-3 with 60.
train_options=(--hidden 128 --heads 4 --intermediate 256 --experts 8 --top-k 2 --sequence 256 --batch 16
    --learning-rate 3e-3 --warmup-steps 100 --final-fraction 0.05)
dense_options=(--moe-every 1000000)  # no layer has experts, each is as wide as a token's experts together

# --- command line -------------------------------------------------------------------------------------------------------
install=yes
build=$root/build
out=$root/runs/study-experts-$(date +%Y%m%d-%H%M%S)
json=
texts=()
while (($#)); do
    case $1 in
        --seeds) seeds=$(value_of "$@"); whole_number "$1" "$seeds"; shift 2 ;;
        --steps) steps=$(value_of "$@"); whole_number "$1" "$steps"; shift 2 ;;
        --json) json=$(absolute "$(value_of "$@")"); shift 2 ;;
        --) train_options+=("${@:2}"); break ;;
        *) text_flag "$@"; shift "$taken" ;;
    esac
done
[[ ! -e $out/evaluated ]] || fail "$out holds a study already: give another --out"

build_and_prepare "$ranks"

# --- train and evaluate -------------------------------------------------------------------------------------------------
# logged NAME COMMAND...: runs it with its output in a file of the study, which is shown when it fails.
logged() {
    "${@:2}" >"$out/$1.log" 2>&1 || { cat "$out/$1.log" >&2; fail "failed: ${*:2}"; }
}

# study_model NAME SEED FLAG...: trains one model and evaluates it on every part of the held-out text.
study_model() {
    local name=$1-$2 sequence
    echo "== $name: $steps steps (after $((SECONDS / 60)) min $((SECONDS % 60)) s)"
    logged "$name" mpirun -n "$ranks" "$expar" train --text "$out/text" --steps "$steps" --schedule-steps "$steps" \
        --validate false "${train_options[@]}" --seed "$2" "${@:3}" --out "$out/$name"
    sequence=$(sed -n 's/^sequence = //p' "$out/$name/config.toml")
    [[ -d $out/parts ]] || python3 "$root/scripts/studies/experts.py" cut "$out/text" "$out" --window "$sequence"
    logged "$name-evaluated" mpirun -n "$ranks" "$expar" eval "$out/$name" --text "$out"/parts/*.txt \
        --sequence "$sequence" --batch 16 --json "$out/evaluated/$name.json"
}

mkdir "$out/evaluated"
for ((seed = 1; seed <= seeds; ++seed)); do
    study_model moe "$seed"
    study_model dense "$seed" "${dense_options[@]}"
done

echo "== report"
report=(python3 "$root/scripts/studies/experts.py" report "$out")
if [[ -n $json ]]; then report+=(--json "$json"); fi
"${report[@]}"
echo
echo "runs and evaluations  $out"
echo "a picture of it       python3 $root/scripts/plot_study.py $out"
