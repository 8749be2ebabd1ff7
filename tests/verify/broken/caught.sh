#!/usr/bin/env bash
# caught.sh LAUNCHER... -- PROGRAM...: runs each broken program under the launcher and counts those that verify caught.
set -euo pipefail
launcher=()
while [ "$1" != -- ]; do launcher+=("$1"); shift; done
shift
caught=0
for program in "$@"; do
    printf '%s: ' "$(basename "$program")"
    if timeout 250 "${launcher[@]}" "$program"; then caught=$((caught + 1)); else echo "NOT caught"; fi
done
echo "caught $caught of $#"
[ "$caught" -eq $# ]
