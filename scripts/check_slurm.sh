#!/usr/bin/env bash
# Is a run that Slurm stops three times, and its batch script starts again, the run that was left alone?
#
#   scripts/check_slurm.sh [--no-install] [--build-dir DIR] [--out DIR]
#
# Brings up scripts/virtual_slurm.sh in a folder of its own and runs slurm/train.sbatch there twice: once alone, and once
# with SIGUSR1 (as before the end of a job's time), a job of higher priority on its nodes (SIGTERM), and a requeue by hand
# (SIGTERM and SIGKILL). Compares the losses of all steps: equal, to the last digit. The build is taken from --build-dir
# (default: build); logs and runs go to --out (default: runs/slurm-<date>-<time>). Expect two to three minutes on 2 cores.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib/common.sh
source "$root/scripts/lib/common.sh"

# What one may want to change.
steps=300
checkpoint_every=25
stop_at=(30 60 90)             # steps from which on it is stopped: by SIGUSR1, by another job, by a requeue
job_seconds=600                 # limit of each of the two runs

build=$root/build
out=$root/runs/slurm-$(date +%Y%m%d-%H%M%S)
up=(up)
while (($#)); do
    case $1 in
        --help | -h) show_help; exit 0 ;;
        --no-install) up+=(--no-install); shift ;;
        --build-dir) build=$(absolute "$(value_of "$@")"); shift 2 ;;
        --out) out=$(absolute "$(value_of "$@")"); shift 2 ;;
        *) fail "unknown argument '$1'; see --help" ;;
    esac
done
[[ -x $build/expar ]] || fail "$build/expar: not built; scripts/test.sh builds it"
[[ ! -e $out/alone && ! -e $out/stopped ]] || fail "$out: has such runs already; give another --out"
mkdir -p "$out"

# start NAME: the batch script, with its folder and log under that name; returns when it has ended.
start() {
    OUT=$out/$1 ROOT=$root EXPAR=$build/expar STEPS=$steps CHECKPOINT_EVERY=$checkpoint_every TEXT='' \
        EXPAR_SLURM_RUN_SECONDS=$job_seconds "$slurm" run "$root/slurm/train.sbatch" --output="$out/$1.log"
}

# reached STEP: waits until the second run has got there.
reached() {
    local metrics=$out/stopped/run/metrics.jsonl end=$((SECONDS + job_seconds))
    until [[ -f $metrics && $(squeue --noheader --jobs="$job" --format=%T) == RUNNING ]] &&
        (($(wc -l <"$metrics") >= $1)); do
        if ((SECONDS >= end)) || ! kill -0 "$follower" 2>/dev/null; then
            fail "the run did not reach step $1; see $out/stopped.log"
        fi
        sleep 0.2
    done
}

slurm=$root/scripts/virtual_slurm.sh
EXPAR_SLURM_STATE=$(mktemp --directory --tmpdir expar-slurm.XXXXXX)
export EXPAR_SLURM_STATE SLURM_CONF=$EXPAR_SLURM_STATE/slurm.conf
trap '"$slurm" down; rm -rf "$EXPAR_SLURM_STATE"' EXIT
"$slurm" "${up[@]}"

echo "== $steps steps, left alone"
start alone

echo "== $steps steps, stopped three times"
start stopped &
follower=$!
until job=$(squeue --noheader --format=%i) && [[ -n $job ]]; do
    kill -0 "$follower" 2>/dev/null || fail "the job did not start"
    sleep 0.2
done
reached "${stop_at[0]}"
echo "== SIGUSR1"
scancel --signal=USR1 "$job"
reached "${stop_at[1]}"
echo "== a job of higher priority"
"$slurm" preempt "$job"
reached "${stop_at[2]}"
echo "== a requeue by hand"
scontrol requeue "$job"
wait "$follower" || fail "the run that was stopped failed; see $out/stopped.log"
[[ -d $out/stopped/start-3 && ! -d $out/stopped/start-4 ]] ||
    fail "not started again three times: $(cd "$out/stopped" && echo start-*)"

python3 - "$out/alone/run/metrics.jsonl" "$out/stopped/run/metrics.jsonl" "$steps" <<'PYTHON'
import json, sys

alone, stopped = ([(line["step"], line["loss"]) for line in map(json.loads, open(path))] for path in sys.argv[1:3])
for path, column in zip(sys.argv[1:3], (alone, stopped)):
    if [step for step, _ in column] != list(range(1, int(sys.argv[3]) + 1)):
        sys.exit(f"{path}: its steps are not 1 to {sys.argv[3]}, each once")
for (step, one), (_, other) in zip(alone, stopped):
    if one != other:
        sys.exit(f"loss column: differs from step {step} on: {one!r} and {other!r}")
print(f"loss column: {len(alone)} steps, equal")
PYTHON
