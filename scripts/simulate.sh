#!/usr/bin/env bash
# Which exchange wins at which number of ranks and which size, on a cluster that SimGrid simulates.
#
#   scripts/simulate.sh [--ranks LIST] [--ranks-per-node N] [--options TEXT] [--shapes LIST] [--kind-seconds N]
#                       [--json FILE] [--build-dir DIR] [--no-install]
#
#   --ranks LIST        (default: 16,64; more is slow to simulate: see --kind-seconds)
#   --ranks-per-node N  (default: 8); every number of ranks is a multiple of it, of two nodes at least
#   --options TEXT      of every exchange, such as open=8: few messages at once are simulated much faster
#   --shapes LIST       WORKLOAD:ROWS:ROW_BYTES, ROWS between two ranks on average, WORKLOAD even or zipf; those of which
#                       all rows together take more than 600 MB are left out
#   --kind-seconds N    of computing for one kind at one number of ranks; what is not done then is named (default: 120)
#   --json FILE         all of it, as JSON
#   --build-dir DIR     build expar_core with SimGrid's compiler there (default: build-simulate, in the source tree)
#   --no-install        install nothing; otherwise Debian's libsimgrid-dev
#
# Nodes hang in a fat tree without oversubscription (10 Gbit/s, 1 us a link; 20 GB/s, 0.3 us within a node); a message
# costs either side 0.4 us; copying and computing cost nothing. Every row is checked. Times are simulated: they depend
# neither on this machine nor on its load.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib/common.sh
source "$root/scripts/lib/common.sh"

simulation_packages=(build-essential cmake ninja-build python3 libsimgrid-dev)
ranks=16,64
ranks_per_node=8
options=
shapes=even:1:64,even:1:1024,even:4:2048,even:16:4096,zipf:1:64,zipf:4:2048,zipf:16:4096
kind_seconds=120
most_bytes=6e8
json=
install=yes
build=$root/build-simulate
while (($#)); do
    case $1 in
        --help | -h) show_help; exit 0 ;;
        --ranks) ranks=$(value_of "$@"); shift 2 ;;
        --ranks-per-node) ranks_per_node=$(value_of "$@"); whole_number "$1" "$ranks_per_node"; shift 2 ;;
        --options) options=:$(value_of "$@"); shift 2 ;;
        --shapes) shapes=$(value_of "$@"); shift 2 ;;
        --kind-seconds) kind_seconds=$(value_of "$@"); whole_number "$1" "$kind_seconds"; shift 2 ;;
        --json) json=$(absolute "$(value_of "$@")"); shift 2 ;;
        --build-dir) build=$(absolute "$(value_of "$@")"); shift 2 ;;
        --no-install) install=no; shift ;;
        *) fail "unknown argument '$1'; see --help" ;;
    esac
done
IFS=, read -ra counts <<<"$ranks"
IFS=, read -ra shape_list <<<"$shapes"
for count in "${counts[@]}"; do
    whole_number --ranks "$count"
    ((count % ranks_per_node == 0 && count > ranks_per_node)) ||
        fail "--ranks $count: expected a multiple of $ranks_per_node, of two nodes at least"
done
if [[ $install == yes ]]; then install_packages "${simulation_packages[@]}"; fi
for program in smpicxx smpirun python3; do
    command -v "$program" >/dev/null || fail "$program is missing; without --no-install this script installs it"
done
source_dir=$root/scripts/simulate build_tree "$build" exchange_study -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_C_COMPILER=smpicc -DCMAKE_CXX_COMPILER=smpicxx
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# describe_cluster RANKS: writes the platform and which ranks are where. Leaf switches of 8 nodes, with 8 links up.
describe_cluster() {
    local nodes=$(($1 / ranks_per_node)) tree node
    tree="1;$nodes;1;1"
    if ((nodes > 8)); then
        tree="2;8,$(((nodes + 7) / 8));1,8;1,1"
        nodes=$(((nodes + 7) / 8 * 8))
    fi
    cat >"$folder/platform.xml" <<XML
<?xml version='1.0'?>
<!DOCTYPE platform SYSTEM "https://simgrid.org/simgrid.dtd">
<platform version="4.1">
  <cluster id="fat_tree" prefix="node" suffix="" radical="0-$((nodes - 1))" speed="1Gf" bw="1.25GBps" lat="1us"
    loopback_bw="20GBps" loopback_lat="300ns" topology="FAT_TREE" topo_parameters="$tree"/>
</platform>
XML
    for ((node = 0; node < $1 / ranks_per_node; ++node)); do echo "node$node:$ranks_per_node"; done >"$folder/hosts"
}

# simulate RANKS ARGUMENT...: the study on so many ranks. It has no variables of its own to keep apart (-no-privatize); time
# passes as the study says, not by how long this machine takes; no factors that fit another network.
simulate() {
    (cd "$folder" && exec timeout --kill-after=5 "$kind_seconds" smpirun -no-privatize -np "$1" \
        -platform platform.xml -hostfile hosts --log=root.thres:warning \
        --cfg=smpi/simulate-computation:no --cfg=smpi/test:0 --cfg=smpi/bw-factor:0:1 --cfg=smpi/lat-factor:0:1 \
        --cfg=smpi/os:0:4e-7:0 --cfg=smpi/ois:0:4e-7:0 --cfg=smpi/or:0:4e-7:0 \
        --cfg=network/crosstraffic:0 --cfg=network/weight-S:0 "$build/exchange_study" "${@:2}")
}

describe_cluster $((2 * ranks_per_node))
mapfile -t kinds < <(simulate $((2 * ranks_per_node)) kinds | awk '!seen[$0]++')
export XDG_CACHE_HOME=$folder  # costs that an exchange measures are those of the simulation
for count in "${counts[@]}"; do
    describe_cluster "$count"
    mkdir -p "$folder/results/$count"
    for kind in "${kinds[@]}"; do
        echo "== $kind on $count ranks" >&2
        status=0
        simulate "$count" run "$kind$options" "$ranks_per_node" "$most_bytes" "${shape_list[@]}" \
            >"$folder/results/$count/$kind" 2>"$folder/err" || status=$?
        if ((status == 124 || status == 137)); then
            echo "{\"cannot_run\": \"not all done in $kind_seconds s of computing\"}" >>"$folder/results/$count/$kind"
        elif ((status)); then
            cat "$folder/results/$count/$kind" "$folder/err" >&2
            fail "$kind on $count ranks ended with code $status"
        fi
    done
done
python3 -B "$root/scripts/simulate/report.py" "$folder/results" --ranks-per-node "$ranks_per_node" \
    --options "${options#:}" ${json:+--json "$json"}
