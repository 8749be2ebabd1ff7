#!/usr/bin/env bash
# What of the gradients' sum backward hides when the ranks have only a network between them: `expar bench reduce` on two
# ranks, each in a network namespace of its own, over a link of a given rate. Also runs it over shared memory, to compare.
#
#   scripts/measure_overlap.sh [--build-dir DIR] [--rate RATE] [--seconds N] [--json DIR] [-- FLAG...]
#
# --build-dir DIR  where expar is built (default: build)
# --rate RATE      of the link each way, as tc reads it (default: 1gbit)
# --seconds N      after which a measurement is ended (default: 300)
# --json DIR       where reduce-<layout>-<link>.json are written (default: nowhere)
# FLAG...          of expar bench reduce, for instance --hidden 512
#
# Needs root, and ip and tc (Debian: iproute2). The namespaces are its own and are removed at the end, whatever it is.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib/common.sh
source "$root/scripts/lib/common.sh"

build_dir=$root/build
rate=1gbit
seconds=300
json=
flags=()
while (($#)); do
    case $1 in
        --build-dir) build_dir=$(absolute "$(value_of "$@")") && shift 2 ;;
        --rate) rate=$(value_of "$@") && shift 2 ;;
        --seconds) seconds=$(value_of "$@") && whole_number "$1" "$seconds" && shift 2 ;;
        --json) json=$(absolute "$(value_of "$@")") && shift 2 ;;
        --help) show_help && exit ;;
        --) shift && flags=("$@") && break ;;
        *) fail "unknown argument '$1'; see --help" ;;
    esac
done
expar=$build_dir/expar
[[ -x $expar ]] || fail "$expar is missing: build it, or see --build-dir"
((EUID == 0)) || fail "network namespaces need root"
for tool in ip tc unshare mpirun; do
    command -v "$tool" >/dev/null || fail "$tool is missing (Debian: iproute2, util-linux, openmpi-bin)"
done
[[ -z $json ]] || mkdir -p "$json"
mpi_environment 2

folder=$(mktemp -d)
node=("expar-$$-0" "expar-$$-1")
address=(10.213.77.1 10.213.77.2)
clean_up() {
    local name
    for name in "${node[@]}"; do ip netns delete "$name" 2>/dev/null || true; done
    rm -rf "$folder"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# make_link: two namespaces and a cable between them, each end of which sends at the rate.
make_link() {
    local i
    for i in 0 1; do
        ip netns add "${node[i]}"
        ip -netns "${node[i]}" link set lo up
        mkdir "$folder/${node[i]}"
    done
    ip link add "xp$$" netns "${node[0]}" type veth peer name "xp$$" netns "${node[1]}"
    for i in 0 1; do
        ip -netns "${node[i]}" address add "${address[i]}/24" dev "xp$$"
        ip -netns "${node[i]}" link set "xp$$" up
        tc -netns "${node[i]}" qdisc add dev "xp$$" root tbf rate "$rate" burst 256kb latency 100ms
    done
}

# `start` has Open MPI's daemon run inside a namespace, where it would log in to a machine. A host name and a folder of its
# own make it a node of its own.
write_start() {
    cat >"$folder/start" <<START
#!/usr/bin/env bash
case \$1 in
    ${address[0]}) name=${node[0]} ;;
    *) name=${node[1]} ;;
esac
shift
exec ip netns exec "\$name" unshare --uts --ipc bash -c "hostname \$name; export TMPDIR=$folder/\$name; \$*"
START
    chmod +x "$folder/start"
}

# measure NAME MPIRUN_COMMAND... -- LAYOUT_FLAG...
measure() {
    local name=$1 command=() output=()
    shift
    while [[ $1 != -- ]]; do command+=("$1") && shift; done
    shift
    [[ -z $json ]] || output=(--json "$json/reduce-$name.json")
    printf '\n== %s: ' "$name"
    timeout --kill-after=10 "$seconds" "${command[@]}" "$expar" bench reduce "$@" "${flags[@]}" "${output[@]}" ||
        fail "$name: expar bench reduce failed, or took more than $seconds s"
}

make_link
write_start
network=("$folder/start" "${address[0]}" mpirun -q -n 2 --host "${address[0]}:1,${address[1]}:1" --bind-to none
    --mca plm_rsh_agent "$folder/start" --mca plm_rsh_no_tree_spawn 1 --mca btl "self,tcp"
    --mca btl_tcp_if_include 10.213.77.0/24 --mca oob_tcp_if_include 10.213.77.0/24)
for ep in 1 2; do
    measure "ep$ep-shared-memory" mpirun -q -n 2 -- --ep "$ep"
    measure "ep$ep-$rate" "${network[@]}" -- --ep "$ep"
done
