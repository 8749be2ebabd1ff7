#!/usr/bin/env bash
# Dispatch and combine of expar beside PyTorch over gloo: the same routing, types, threads and cores, in turn.
#
#   scripts/compare_peers.sh [--json FILE] [--tokens LIST] [--hidden LIST] [--top-k LIST] [--experts LIST] [--ranks N]
#                            [--dtype NAME] [--workload NAME] [--rounds N] [--seconds N] [--build-dir DIR]
#
#   --json FILE       the figures, with everything that is not in the table
#   --tokens LIST     of a rank, by commas (default: 64,512,4096; 64 to 8192 are of interest)
#   --hidden LIST     columns of a row (default: 1024)
#   --top-k LIST      experts of a token (default: 2)
#   --experts LIST    over all ranks (default: 8)
#   --ranks N         a core each (default: 2)
#   --dtype NAME      of rows: bf16, float32 (default: bf16)
#   --workload NAME   as `expar bench dispatch` knows it (default: uniform)
#   --rounds N        in each of which every side is started once (default: 3)
#   --seconds N       of measuring for each shape, side and round (default: 1)
#   --build-dir DIR   where expar is built and the Python environment is made (default: EXPAR_BUILD_DIR, else build)
#
# expar: `window`, and `packed` on `native`. Peers (scripts/peers/gloo_movers.py): `gloo` as most write it, a row for
# each choice by all_to_all_single with uneven splits, index_select, index_add; `gloo, once per rank`, which sends a row
# once to each rank and adds in one pass. Routing is written by `expar trace workload`, and the hashes must agree. All
# buffers are allocated before, and so many in turn that they exceed the caches; dispatch begins with the choices.
#
# Every row of every side is checked; a wrong one ends the comparison with status 1. A time is the median over rounds of
# each round's median. Expect under two minutes on 2 cores with nothing else to do, besides making the environment.
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
exec python3 "$root/scripts/peers/compare_peers.py" "$@"
