#!/usr/bin/env bash
# simulate_test.sh SCRIPT BUILD_DIR: every exchange that can run between nodes moves its rows on 16 simulated ranks.
set -euo pipefail
for program in smpicxx smpirun python3; do
    command -v "$program" >/dev/null || { echo "skipped: no $program; Debian's package is libsimgrid-dev"; exit 77; }
done
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$1" --no-install --build-dir "$2" --ranks 16 --shapes even:1:64,zipf:4:512 --json "$folder/simulated.json"
python3 - "$folder/simulated.json" <<'PYTHON'
import json, sys
found = json.load(open(sys.argv[1]))
kinds = {row["exchange"] for row in found["rows"]}
assert {"native", "spread", "node", "bruck"} <= kinds, kinds
assert "another node" in found["cannot_run"]["window, 16 ranks"], found["cannot_run"]
assert len(found["rows"]) == 2 * len(kinds) and all(row["seconds"] > 1e-6 for row in found["rows"])
assert sum(row["best"] for row in found["rows"]) >= 2
PYTHON
