#!/usr/bin/env bash
# Measures how fast expar trains, beside PyTorch on the same cores, and what share of the cores' dense rate that is.
#
#   scripts/benchmark_training.sh [--json FILE] [--rounds N] [--steps N] [--sizes LIST] [--only PATTERNS]
#                                 [--peer-limit SECONDS] [--quick] [--build-dir DIR]
#
#   --json FILE       the figures, with everything that is not in the table
#   --rounds N        in each of which every contestant trains some steps (default: 3)
#   --steps N         timed steps of a contestant in a round (default: 10 small, 4 large)
#   --sizes LIST      small: vocabulary 256, hidden 256, 8 heads, 4 layers, 8 experts of width 512, top-2, sequence 256,
#                     batch 8; large: hidden 512, 6 layers, 16 experts of width 1024, top-4, otherwise alike
#                     (default: small,large; with --quick small)
#   --only PATTERNS   of rows, such as small-1x1-float32 (size, ranks x threads, dtype) or '*-2x1-*', by commas
#   --peer-limit N    seconds after which a start of a peer is given up, mostly in torch.compile (default: 300)
#   --quick           a smoke run: one round, one timed step, nothing compiled; its figures mean little
#   --build-dir DIR   where expar is built and the Python environment is made (default: EXPAR_BUILD_DIR, else build)
#
# Rows: float32 on 1 rank with 1 and 2 threads and on 2 ranks (EP=2), bfloat16 on 1 rank and on 2.
# Peers on 1 rank: transformers' MixtralForCausalLM (sdpa, fused AdamW) with each implementation of its experts, as it
# is and through torch.compile; in bfloat16 under autocast and wholly in bfloat16. On 2 ranks: the same model over gloo,
# experts by all_to_all_single, the rest by DistributedDataParallel (scripts/peers/expert_parallel.py), which is first
# shown to compute what one rank does. The fastest peer counts. Both sides train on random bytes with AdamW at a
# learning rate that moves nothing; expar computes its balance loss and clips the gradient besides.
#
# Expect about an hour on 2 cores with nothing else to do, half of it for torch.compile in the trials.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib/common.sh
source "$root/scripts/lib/common.sh"
export PYTHONDONTWRITEBYTECODE=1

for argument in "$@"; do
    case $argument in --help | -h) show_help; exit 0 ;; esac
done
for program in python3 mpirun taskset; do
    command -v "$program" >/dev/null || fail "$program is missing"
done
exec python3 "$root/scripts/peers/benchmark_training.py" "$@"
