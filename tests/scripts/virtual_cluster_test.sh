#!/usr/bin/env bash
# virtual_cluster_test.sh SCRIPT PROGRAM: two nodes of two ranks; PROGRAM, the test of the exchanges, must pass across
# them, and nothing may be left, also when a run is interrupted.
set -euo pipefail
script=$1 program=$2
cluster() { "$script" "$1" --state "$state" "${@:2}"; }
fail() { echo "$*" >&2; exit 1; }

state=$(mktemp --directory --dry-run "${TMPDIR:-/tmp}/expar-cluster-test-XXXXXX")
"$script" check || exit $?
trap 'cluster down' EXIT
cluster up --nodes 2 --rate 1gbit >/dev/null
# shellcheck disable=SC1091
prefix=$(source "$state/expar-virtual-cluster" && printf '%s' "$prefix")

# Two nodes of two ranks, as MPI sees them: 4 names, 2 different.
names=$(cluster run --ranks-per-node 2 hostname | sort | uniq --count | tr --squeeze-repeats ' ' | xargs)
[[ $names == "2 node1 2 node2" ]] || fail "expected two ranks on each of two nodes, got: $names"

before=$(cluster counters | awk '{ sum += $2 } END { print sum }')
cluster run --ranks-per-node 2 "$program" --gtest_brief=1 \
    --gtest_filter='*DeliversUneven*:*DifferentOrders*:*LargeRows*/spread:*LargeRows*/node:-*window*' || fail "the exchanges failed across nodes"
after=$(cluster counters | awk '{ sum += $2 } END { print sum }')
# LargeRowsAndManyRows alone moves more than 1 MB between any two ranks.
((after - before > 8 * 1024 * 1024)) || fail "the links carried only $((after - before)) bytes"

# An interrupted run ends what it started.
"$script" run --state "$state" sleep 300 &
job=$!
for _ in {1..100}; do
    [[ $(ip netns pids "$prefix-2" | wc -l) -ge 3 ]] && break
    sleep 0.1
done
[[ $(ip netns pids "$prefix-2" | wc -l) -ge 3 ]] || fail "the run to interrupt did not start"
kill -TERM "$job"
wait "$job" && fail "an interrupted run ended with code 0"
left=$(ip netns pids "$prefix-1"; ip netns pids "$prefix-2")
[[ -z $left ]] || fail "processes left after an interrupted run: $left"

cluster down
[[ ! -e $state ]] || fail "$state is left"
if ip netns list | grep --quiet "^$prefix-"; then fail "namespaces are left: $(ip netns list)"; fi
