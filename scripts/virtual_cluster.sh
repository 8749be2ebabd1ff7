#!/usr/bin/env bash
# Several nodes on this machine, to run MPI programs across: network namespaces behind a bridge, each link limited in
# both directions. What MPI sees as a node has its own host name, address and temporary folder, and nothing but the link.
#
#   scripts/virtual_cluster.sh up [--nodes N] [--rate RATE]       make it (default: 4 nodes, 1gbit; rates as `tc` has them)
#   scripts/virtual_cluster.sh run [--ranks-per-node Q] COMMAND…  mpirun COMMAND with Q ranks on each node (default: 2)
#   scripts/virtual_cluster.sh counters                           what the kernel counted on each link since `up`, in bytes
#   scripts/virtual_cluster.sh down                               end what runs there, remove it all
#   scripts/virtual_cluster.sh check                              can this machine do it? Exits 77 and says why not
#   scripts/virtual_cluster.sh figures [--rates R,R] [--json FILE] [--expar PATH] [--nodes N] [--ranks-per-node Q]
#                                                                 bench dispatch over each exchange at each rate, beside
#                                                                 what the links carry, and bench layer in chunks on two
#                                                                 nodes of one rank (about 6 minutes), then remove it all
#
# --state DIR, after the command's name, says where everything lies (default: expar-cluster-<uid> in $TMPDIR or /tmp).
# Needs root, for the namespaces, and Open MPI. An interrupted `up` or `figures` leaves nothing behind, an interrupted
# `run` no process. `run` ends after $EXPAR_CLUSTER_RUN_SECONDS (default: 600); its exit code is mpirun's, 124 when it
# took too long. up takes a second, down as long as what runs there needs to end, 5 s at most.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib/common.sh
source "$root/scripts/lib/common.sh"

# What one may want to change.
state=${TMPDIR:-/tmp}/expar-cluster-$EUID
nodes=4
rate=1gbit
ranks_per_node=2
run_seconds=${EXPAR_CLUSTER_RUN_SECONDS:-600}
network=10.77.0                 # of the nodes; the namespaces know no other
rates=1gbit,200mbit
json=
expar=$root/build/expar
exchanges=(spread native node)   # of `figures`
tokens=512                      # of a rank, in `figures`
figure_seconds=5                # for each exchange there
layer_tokens=2048               # of a rank in `figures` of overlap, where both computing and links take long
skip_code=77                    # of `check`, as ctest reads it

space() { printf '%s-%s' "$prefix" "$1"; }                # the namespace of node 1, 2, … or of the switch
mark() { printf '%s/expar-virtual-cluster' "$state"; }    # made first, removed last: without it nothing is touched
inside() { ip netns exec "$(space "$1")" "${@:2}"; }

# load: what `up` wrote down.
load() {
    [[ -f $(mark) ]] || fail "no cluster in $state; bring one up first"
    # shellcheck disable=SC1090
    source "$(mark)"
}

# obstacle: prints why this machine cannot do it; nothing when it can.
obstacle() {
    local program probe=expar-probe-$$
    ((EUID == 0)) || { echo "not root: network namespaces cannot be made"; return; }
    for program in ip tc mpirun unshare; do
        command -v "$program" >/dev/null || { echo "$program is missing (iproute2, openmpi-bin, util-linux)"; return; }
    done
    mpirun --version 2>/dev/null | grep --quiet 'Open MPI' || { echo "mpirun is not that of Open MPI"; return; }
    {
        ip netns add "$probe" &&
            ip -n "$probe" link add name bridge0 type bridge &&
            ip -n "$probe" link add name one type veth peer name two &&
            tc -n "$probe" qdisc add dev one root tbf rate 1gbit burst 256kb latency 100ms &&
            ip netns exec "$probe" unshare --uts --ipc hostname expar-probe
    } >/dev/null 2>&1 || echo "the kernel refuses namespaces, bridges, veth pairs or tbf"
    ip netns delete "$probe" 2>/dev/null || true
}

# processes: what runs in our namespaces.
processes() {
    local name
    for name in switch $(seq "$nodes"); do ip netns pids "$(space "$name")" 2>/dev/null || true; done
}

# end_processes: SIGTERM, and SIGKILL for what is still there after 3 s.
end_processes() {
    local signal pids
    for signal in TERM KILL; do
        mapfile -t pids < <(processes)
        ((${#pids[@]})) || return 0
        kill -"$signal" "${pids[@]}" 2>/dev/null || true
        for _ in {1..30}; do
            [[ -n $(processes) ]] || return 0
            sleep 0.1
        done
    done
}

down() {
    [[ -f $(mark) ]] || return 0
    load
    end_processes
    local name
    for name in switch $(seq "$nodes"); do ip netns delete "$(space "$name")" 2>/dev/null || true; done
    rm -rf "$state"
}

# limit NAMESPACE DEVICE: what leaves it goes at the rate.
limit() { tc -n "$1" qdisc add dev "$2" root tbf rate "$rate" burst 256kb latency 100ms; }

add_node() {
    local node=$1 name switch
    name=$(space "$1")
    switch=$(space switch)
    ip netns add "$name"
    ip -n "$name" link set lo up
    ip -n "$name" link add name eth0 type veth peer name "port$node" netns "$switch"
    ip -n "$name" address add "$network.$node/24" dev eth0
    ip -n "$name" link set eth0 up
    ip -n "$switch" link set "port$node" master bridge0 up
    limit "$name" eth0
    limit "$switch" "port$node"
    mkdir -p "$state/tmp/$node"
}

# How mpirun starts a process on a node, whose address comes first, and itself on the first.
write_agent() {
    cat >"$state/agent" <<EOF
#!/usr/bin/env bash
node=\${1##*.}
shift
exec ip netns exec $prefix-\$node unshare --uts --ipc bash -c '
    hostname node\$0
    export TMPDIR=$state/tmp/\$0
    eval "exec \$*"' "\$node" "\$@"
EOF
    chmod +x "$state/agent"
}

up() {
    local reason node
    reason=$(obstacle)
    [[ -z $reason ]] || fail "$reason"
    [[ ! -e $state ]] || fail "$state: there is a cluster already; see down"
    prefix=expar-$$
    trap 'down; exit 130' INT TERM
    trap 'down' ERR
    mkdir -p "$state"
    printf 'prefix=%s\nnodes=%s\nrate=%s\n' "$prefix" "$nodes" "$rate" >"$(mark)"
    ip netns add "$(space switch)"
    ip -n "$(space switch)" link add name bridge0 type bridge
    ip -n "$(space switch)" link set bridge0 up
    for node in $(seq "$nodes"); do add_node "$node"; done
    write_agent
    trap - INT TERM ERR
}

# run COMMAND...: in the background and waited for, so that a signal is seen at once.
run() {
    local node hosts="" job code=0
    (($#)) || fail "run needs a command"
    for node in $(seq "$nodes"); do hosts+=${hosts:+,}$network.$node:$ranks_per_node; done
    mpi_environment $((nodes * ranks_per_node))
    trap 'end_processes; exit 130' INT TERM
    timeout --kill-after=5 "$run_seconds" "$state/agent" "$network.1" "$(printf '%q ' mpirun \
        --mca plm_rsh_agent "$state/agent" --mca plm_rsh_no_tree_spawn 1 \
        --mca btl self,vader,tcp --mca btl_tcp_if_include "$network.0/24" --mca oob_tcp_if_include "$network.0/24" \
        --mca btl_vader_single_copy_mechanism none --mca mpi_yield_when_idle 1 --oversubscribe --bind-to none \
        --host "$hosts" -n "$((nodes * ranks_per_node))" "$@")" &
    job=$!
    wait "$job" || code=$?
    end_processes
    trap - INT TERM
    return "$code"
}

# counters: "node1 OUT IN", one line a node.
counters() {
    local node
    for node in $(seq "$nodes"); do
        printf 'node%s %s %s\n' "$node" "$(inside "$node" cat /sys/class/net/eth0/statistics/tx_bytes)" \
            "$(inside "$node" cat /sys/class/net/eth0/statistics/rx_bytes)"
    done
}

# gbit RATE: as a number of Gbit/s.
gbit() {
    case $1 in
        *gbit) echo "${1%gbit}" ;;
        *mbit) awk -v mbit="${1%mbit}" 'BEGIN { print mbit / 1000 }' ;;
        *) fail "--rates: '$1', expected rates in mbit or gbit" ;;
    esac
}

# measure NAME COMMAND...: the benchmark of that command on the cluster, its rows in NAME.json among the results.
measure() {
    local name=$1 code=0
    shift
    echo "${name//-/, }" >&2
    run "$expar" bench "$@" --link eth0 --link-gbit "$(gbit "$rate")" --seconds "$figure_seconds" \
        --json "$results/$name.json" >"$results/log" 2>&1 || code=$?
    # 3: faster than a bound, which the figures show
    ((code == 0 || code == 3)) || { cat "$results/log" >&2; fail "$name: exit status $code"; }
}

# measure_overlap: of layers, on two nodes with a rank on each, so that it has a core while the other computes.
measure_overlap() {
    local nodes=2 ranks_per_node=1
    up
    measure "$rate-layer" layer --layers 2 --tokens "$layer_tokens" --chunks 1,2,4 --dispatcher packed
    files+=(--layer "$rate=$results/$rate-layer.json")
    down
}

# figures: every exchange at every rate. Where something fails or is interrupted, the cluster goes, too.
figures() {
    local one exchange files=() results
    [[ -x $expar ]] || fail "$expar: not built; see --expar"
    for one in ${rates//,/ }; do gbit "$one" >/dev/null; done
    results=$(mktemp -d)
    for one in ${rates//,/ }; do
        rate=$one
        up
        trap 'down; rm -rf "$results"' EXIT
        for exchange in "${exchanges[@]}"; do
            measure "$rate-$exchange" dispatch --tokens "$tokens" --hidden 1024 --top-k 4 --experts 32 --dtype bf16 \
                --cache warm --dispatcher packed,naive --order reduced,exact --exchange "$exchange"
            files+=(--rate "$rate=$results/$rate-$exchange.json")
        done
        down
        measure_overlap
    done
    python3 "$root/scripts/cluster_figures.py" "${files[@]}" ${json:+--json "$json"}
    rm -rf "$results"
    trap - EXIT
}

(($#)) || { show_help; exit 2; }
command=$1
shift
while (($#)); do
    case $1 in
        --help | -h) show_help; exit 0 ;;
        --state) state=$(absolute "$(value_of "$@")"); shift 2 ;;
        --nodes) nodes=$(value_of "$@"); whole_number "$1" "$nodes"; shift 2 ;;
        --rate) rate=$(value_of "$@"); shift 2 ;;
        --ranks-per-node) ranks_per_node=$(value_of "$@"); whole_number "$1" "$ranks_per_node"; shift 2 ;;
        --rates) rates=$(value_of "$@"); shift 2 ;;
        --json) json=$(absolute "$(value_of "$@")"); shift 2 ;;
        --expar) expar=$(absolute "$(value_of "$@")"); shift 2 ;;
        --) shift; break ;;
        -*) fail "unknown argument '$1'; see --help" ;;
        *) break ;;
    esac
done
((nodes <= 250)) || fail "--nodes needs a whole number from 1 to 250, got '$nodes'"

case $command in
    --help | -h) show_help ;;
    up) up; echo "$nodes nodes at $rate; $0 run COMMAND, $0 down" ;;
    run) load; run "$@" ;;
    counters) load; counters ;;
    down) down ;;
    figures) figures ;;
    check)
        reason=$(obstacle)
        if [[ -n $reason ]]; then
            echo "no virtual cluster here: $reason"
            exit "$skip_code"
        fi ;;
    *) fail "unknown command '$command'; see --help" ;;
esac
