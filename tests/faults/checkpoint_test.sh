#!/usr/bin/env bash
# A few of the faults and kills of scripts/faults_checkpoint.sh.
#   checkpoint_test.sh SOURCE_DIR BUILD_DIR
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$1/scripts/faults_checkpoint.sh" --build-dir "$2" --out "$folder/out" --points 3 --kills 4 --disks 2 --seed "${3:-1}"
