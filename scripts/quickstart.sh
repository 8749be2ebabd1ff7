#!/usr/bin/env bash
# Trains a Mixture-of-Experts language model on real text, from nothing: installs what is missing, builds, prepares text,
# trains for some minutes on several MPI ranks, validates on held-out text and writes a paragraph.
#
#   scripts/quickstart.sh [--no-install] [--build-dir DIR] [--out DIR] [--text FILE...] [--seconds N] [--ranks N]
#                         [--half-hour] [-- FLAG...]
#
#   --no-install      install nothing; packages come from modules, spack or conda (CMAKE_PREFIX_PATH) or are there
#   --build-dir DIR   build there (default: build, in the source tree)
#   --out DIR         write text, run and results there (default: runs/quickstart-<date>-<time> in the source tree)
#   --text FILE...    train on these files, one domain each, instead of the distribution's texts
#   --seconds N       of training, about (default: 180)
#   --ranks N         MPI ranks, an even number; experts are spread over groups of 2 (default: 4, EP=2 x DP=2)
#   --half-hour       a larger model, trained 1800 seconds on a rank per core (--seconds and --ranks after it change that);
#                     exit status 1 unless it takes fewer bits per byte than gzip -9 in every domain of prose
#   -- FLAG...        flags of `expar train`, such as --dtype bf16; they come after this script's own
#
# Expect under 5 minutes to the first training step on 2 cores, most of it compiling, and then --seconds and one more.
# Ctrl-C during the training saves the run and says how to go on with it; twice ends it at once.
# Writes to --build-dir and --out alone, needs no root with --no-install, and never downloads text.
set -euo pipefail
started=$(date +%s)
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib/common.sh
source "$root/scripts/lib/common.sh"
export PYTHONDONTWRITEBYTECODE=1

# --- what one may want to change ----------------------------------------------------------------------------------------
ranks=4
expert_parallel=2
seconds=180
# beside --text, --ep, --steps and --out: a model small enough to see some millions of bytes in three minutes
train_options=(--hidden 128 --heads 4 --intermediate 256 --sequence 256 --batch 16 --learning-rate 4e-3 --final-fraction 0.05)
half_hour_options=(--hidden 256 --heads 8 --intermediate 512 --sequence 512 --batch 8 --learning-rate 1.5e-3
    --final-fraction 0.02 --warmup-steps 100 --checkpoint-every 1000 --keep 2)
probe_steps=12                  # steps of a short run that measures the speed
minimum_steps=10
prompts=("And it came to pass" "/* SPDX-License-Identifier")   # the first for a text with a bible, the last for any other
sample_bytes=400

# --- command line -------------------------------------------------------------------------------------------------------
install=yes
build=$root/build
out=$root/runs/quickstart-$(date +%Y%m%d-%H%M%S)
texts=()
more_options=()
judge=()
while (($#)); do
    case $1 in
        --seconds) seconds=$(value_of "$@"); whole_number "$1" "$seconds"; shift 2 ;;
        --half-hour)
            seconds=1800
            ranks=$((($(cores) + 1) / 2 * 2))
            train_options=("${half_hour_options[@]}")
            judge=(--prose-below gzip)
            shift ;;
        --) more_options=("${@:2}"); break ;;
        *) text_flag "$@"; shift "$taken" ;;
    esac
done
((ranks % expert_parallel == 0)) || fail "--ranks must be a multiple of $expert_parallel, got $ranks"
[[ ! -e $out/run ]] || fail "$out/run exists already: give another --out"

build_and_prepare "$ranks"

# --- train --------------------------------------------------------------------------------------------------------------
# plan_training FOLDER STEPS: sets `training`, the command that trains on the prepared text.
plan_training() {
    training=(mpirun -n "$ranks" "$expar" train --text "$out/text" --ep "$expert_parallel" --steps "$2"
        --schedule-steps "$2" "${train_options[@]}" "${more_options[@]}" --validate false --out "$1")
}

# announce_first_step: waits for the first line of the run's metrics, and prints the time since the script began.
announce_first_step() {
    until [[ -s $out/run/metrics.jsonl ]]; do sleep 0.5; done
    echo $(($(date +%s) - started)) >"$out/seconds_to_first_step"
    echo "== first training step $(<"$out/seconds_to_first_step") s after the start of this script"
}

# save_and_stop: for Ctrl-C while the process `trainer` trains.
save_and_stop() {
    if [[ -z $trainer ]]; then
        stop_wanted=yes
    elif [[ $interrupted == yes ]]; then
        kill -TERM "$trainer" || true
    else
        interrupted=yes
        echo
        echo "== saving the run; Ctrl-C again ends it at once"
        kill -USR1 "$trainer" || true  # mpirun passes it on
    fi
}

# wait_for PROCESS: its exit status, whatever signals this script gets meanwhile.
wait_for() {
    while kill -0 "$1" 2>/dev/null; do wait "$1" || true; done
    wait "$1"
}

echo "== measure the speed: $probe_steps steps"
plan_training "$out/probe" "$probe_steps"
"${training[@]}" >"$out/probe.log" 2>&1 || { cat "$out/probe.log" >&2; fail "training failed"; }
# The first step also warms up; the rest tells the speed.
steps=$(python3 - "$out/probe/metrics.jsonl" "$seconds" "$minimum_steps" <<'PYTHON'
import json, statistics, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
each = statistics.median(line["seconds"] for line in lines[1:])
print(max(int(sys.argv[3]), int(float(sys.argv[2]) / each)))
PYTHON
)

echo "== train $steps steps, about $seconds s, on $ranks ranks: EP=$expert_parallel x DP=$((ranks / expert_parallel))"
plan_training "$out/run" "$steps"
interrupted=no failed=no trainer='' stop_wanted=no
# Before anything starts: what a signal finds must be ended, also where its number is not known yet.
# shellcheck disable=SC2046  # several numbers
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
trap save_and_stop INT
announce_first_step &
watcher=$!
set -m  # a process group of its own: the terminal's Ctrl-C must not reach mpirun, which would end the ranks unsaved
"${training[@]}" </dev/null &
trainer=$!
set +m
if [[ $stop_wanted == yes ]]; then save_and_stop; fi
wait_for "$trainer" || failed=yes
if [[ $interrupted == yes ]]; then
    [[ $failed == no ]] || fail "ended at once; what was saved before is in $out/run/checkpoints"
    echo "== interrupted; this shell goes on with:"
    echo "env $(env | grep -E '^(OMPI_|PRTE_|OMP_NUM_THREADS)' | sort | tr '\n' ' ')mpirun -n $ranks $expar train" \
        "--resume --out $out/run"
    exit 130
fi
[[ $failed == no ]] || fail "training failed"
trap - INT
wait "$watcher"
trap - EXIT

# --- validate, sample, sum up -------------------------------------------------------------------------------------------
echo "== validate on held-out text"
mkdir -p "$out/validation"
sequence=$(sed -n 's/^sequence = //p' "$out/run/config.toml")
for text in "$out"/text/validation/*.txt; do
    domain=$(basename "$text" .txt)
    mpirun -n "$ranks" "$expar" eval "$out/run" --text "$text" --sequence "$sequence" \
        --json "$out/validation/$domain.json"
done

if [[ -e $out/text/train/bible.txt ]]; then prompt=${prompts[0]}; else prompt=${prompts[-1]}; fi
echo "== $sample_bytes bytes that the model writes after \"$prompt\""
"$expar" generate "$out/run" --prompt "$prompt" --bytes "$sample_bytes" | tee "$out/sample.txt"
echo

echo "== summary"
verdict=0
python3 "$root/scripts/text_references.py" "$out/text" --evaluated "$out/validation" --json "$out/references.json" \
    "${judge[@]}" || verdict=$?
cat <<SUMMARY
first training step  $(<"$out/seconds_to_first_step") s after the start; everything $(($(date +%s) - started)) s
text                 $out/text (corpus.json says where it is from and what was cut)
run                  $out/run (config.toml, metrics.jsonl, summary.json, checkpoints/)
validation           $out/validation/*.json
table above          $out/references.json
sample               $out/sample.txt
a picture of it      python3 $root/scripts/plot_run.py $out/run --references $out/references.json --evaluated $out/validation
SUMMARY
exit "$verdict"
