#!/usr/bin/env bash
# The proof that no crash loses a run: tiny training runs are killed, torn and starved in every place, resumed, and
# compared with a run that nobody disturbed.
#
#   scripts/faults_checkpoint.sh [--kills N] [--seed N] [--points N] [--disks N] [--jobs N] [--list] [--build-dir DIR]
#                                [--out DIR]
#
#   --kills N         of the real program at random moments, one rank or all of 2 to 4 (default: 200)
#   --seed N          of these moments (default: 1)
#   --points N        of the fault points of a save, so many, evenly chosen, at 2 ranks only (default: all)
#   --disks N         small file systems that run full; 0: none (default: 8)
#   --jobs N          experiments at a time (default: one per core)
#   --list            print every fault point, and disturb nothing
#   --build-dir DIR   where expar and its tests are built (default: build)
#   --out DIR         which must not exist (default: runs/faults-<date>-<time>); what was lost stays there
#
# A fault point is a call with which a rank changes files of the run: open, write, sync, rename, close and more, in the
# save at step 4 of 6 and the steps up to the next one. They are counted by a library for LD_PRELOAD
# (tests/faults/fault_points.cpp), and then at each of them, of each rank:
#   kill one rank, kill all ranks    by SIGKILL, before the call
#   torn writes                      half of the write, then SIGKILL to one rank or to all
#   failing calls                    EIO from this call; ENOSPC from it and from all later ones that need room: the run
#                                    goes on, or ends with status 2 and one line
# 2 ranks are killed at all points. The last two kinds, and kills at 3 ranks (EP=3) and 4 (EP=2 x DP=2), take the first,
# the middle and the last of a stretch of like calls on one file. The order of writes, syncs and renames is checked as
# well, which says what a loss of power would leave.
#
# Every time `expar train --resume` must bring the run to its end with the loss of every step, as it is written in
# metrics.jsonl, and the data of the last checkpoint that the undisturbed run has. These words are used:
#   lost                          it did not
#   with --from-step              the newest checkpoint had no digest yet; its refusal named the one before, used
#   before the first checkpoint   there was neither a checkpoint nor a step: nothing to lose
#   ended before their fault      the run was over before the kill; not counted in N
#   never came to a fault point   at which it was to be killed, although the point was counted; not counted in N
# At the end it says `lost L of N`, N the runs that were disturbed; status 1 when L is not 0, N is, a run never came to its
# fault point, or a full disk lost a run.
#
# Expect a quarter of an hour on 2 cores with nothing else to do. Full disks need root or user namespaces.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib/common.sh
source "$root/scripts/lib/common.sh"
export PYTHONDONTWRITEBYTECODE=1

build=$root/build
out=$root/runs/faults-$(date +%Y%m%d-%H%M%S)
kills=200
seed=1
points=0
disks=8
jobs=$(cores)
list=()
while (($#)); do
    case $1 in
        --help | -h) show_help; exit 0 ;;
        --kills) kills=$(value_of "$@"); whole_number "$1" "$kills"; shift 2 ;;
        --seed) seed=$(value_of "$@"); whole_number "$1" "$seed"; shift 2 ;;
        --points) points=$(value_of "$@"); whole_number "$1" "$points"; shift 2 ;;
        --disks) disks=$(value_of "$@"); [[ $disks == 0 ]] || whole_number "$1" "$disks"; shift 2 ;;
        --jobs) jobs=$(value_of "$@"); whole_number "$1" "$jobs"; shift 2 ;;
        --list) list=(--list); shift ;;
        --build-dir) build=$(absolute "$(value_of "$@")"); shift 2 ;;
        --out) out=$(absolute "$(value_of "$@")"); shift 2 ;;
        *) fail "unknown argument '$1'; see --help" ;;
    esac
done
library=$build/tests/faults/libfault_points.so
for file in "$build/expar" "$library"; do
    [[ -e $file ]] || fail "$file: not built; scripts/test.sh builds it, see --build-dir"
done
[[ ! -e $out ]] || fail "$out: exists already, give another --out"

mpi_environment 64                                    # experiments side by side outnumber the cores
export OMP_NUM_THREADS=1
export OMPI_MCA_hwloc_base_binding_policy=none        # or they would all get the first cores
export OMPI_MCA_odls_base_sigkill_timeout=0           # when a rank dies, mpirun would wait a second for nothing
# For full disks: expar is started as the root of a user namespace.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
exec python3 "$root/scripts/faults/prove.py" --expar "$build/expar" --library "$library" --out "$out" --kills "$kills" \
    --seed "$seed" --points "$points" --disks "$disks" --jobs "$jobs" "${list[@]}"
