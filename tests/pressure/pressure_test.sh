#!/usr/bin/env bash
# pressure_test.sh SOURCE_DIR BUILD_DIR: some seconds of cases come out right; a falsified row and a rank that stops are
# found, counted, and repeated by the flags that are printed.
set -euo pipefail
pressure=$1/scripts/pressure.sh
build=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

die() {
    echo "pressure_test: $*" >&2
    cat out.txt err.txt >&2
    exit 1
}
# pressure STATUS LAST_LINE ARGUMENT...
pressure() {
    local expected=$1 last=$2 status=0
    shift 2
    "$pressure" --build-dir "$build" "$@" >out.txt 2>err.txt || status=$?
    ((status == expected)) || die "status $status, expected $expected: $*"
    [[ $(tail -n 1 out.txt) =~ ^$last$ ]] || die "the last line is not '$last': $*"
}

pressure 0 "cases [1-9][0-9]*, wrong 0, hung 0" --seconds 12 --ranks 1,2,3,5

pressure 1 "cases 52, wrong 2, hung 0" --cases 52 --ranks 2..3 -- --flip 20
grep --quiet '^\[rank 2\] case 2[0-9]: wrong: 1 rows of ' err.txt || die "the rank that has a wrong row does not say so"
found=$(grep '^\[rank 2\]' err.txt)
again=${found#*again: scripts/pressure.sh }
read -ra flags <<<"${again%, or it alone*}"
pressure 0 "cases [1-9][0-9]*, wrong 0, hung 0" "${flags[@]}"
pressure 1 "cases [1-9][0-9]*, wrong 1, hung 0" "${flags[@]}" -- --flip 20
[[ $(grep '^\[rank 2\]' err.txt) == "$found" ]] || die "the flags repeat another case than: $found"

# In a wait of ours, of a case that makes no dispatcher, and where nobody waits.
pressure 1 "cases 25, wrong 0, hung 1" --cases 40 --ranks 2 --timeout 2 -- --stall 24
grep --quiet '^\[rank 0\] case 24: hung: rank 0: ' err.txt || die "no rank says that it waited"
pressure 1 "cases 21, wrong 0, hung 1" --cases 40 --ranks 1 --timeout 1 -- --stall 20
grep --quiet 'near case 20: scripts/pressure.sh --ranks 1 --seed 1 --first 0 --cases 22' err.txt || die "no flags to repeat it"
