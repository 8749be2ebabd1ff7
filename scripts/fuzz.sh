#!/usr/bin/env bash
# Feeds every reader of files with damaged input, guided by what of its code an input reaches (libFuzzer), under
# AddressSanitizer and UBSan: none may crash, allocate beyond its input's size times a factor that its target states, or
# refuse in more than one line.
#
#   scripts/fuzz.sh [--seconds N | --runs N] [--target NAME]... [--no-install] [--build-dir DIR]
#
#   --seconds N       of all targets together, split evenly (default: 60)
#   --runs N          inputs for each target instead, for instance 1000000
#   --target NAME     only this one; again for more. tests/fuzz/NAME_fuzz.cpp says what its input means
#   --no-install      install nothing
#   --build-dir DIR   build there, and keep what was found there (default: build-fuzz, in the source tree)
#
# Starts from the stored inputs of tests/fuzz/corpus and from what earlier runs reached. Prints for each target how many
# inputs it ran, in how many seconds, and what it found; ends with 1 when it found something, says where the input lies
# and how to run it again. Expect two to four minutes of compiling on 2 cores. A golden file is read in a process of its
# own, some hundred in a second; the other targets run thousands.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib/common.sh
source "$root/scripts/lib/common.sh"

# What one may want to change.
compiler=16            # of Clang
longest_input=4096     # bytes
slowest_input=25       # seconds
most_memory=2048       # MiB of a target's process

install=yes
build=$root/build-fuzz
seconds=60
runs=
targets=()
while (($#)); do
    case $1 in
        --help | -h) show_help; exit 0 ;;
        --no-install) install=no; shift ;;
        --build-dir) build=$(absolute "$(value_of "$@")"); shift 2 ;;
        --seconds) seconds=$(value_of "$@"); whole_number "$1" "$seconds"; shift 2 ;;
        --runs) runs=$(value_of "$@"); whole_number "$1" "$runs"; shift 2 ;;
        --target) targets+=("$(value_of "$@")"); shift 2 ;;
        *) fail "unknown argument '$1'; see --help" ;;
    esac
done
mapfile -t known < <(cd "$root/tests/fuzz" && printf '%s\n' *_fuzz.cpp | sed 's/_fuzz.cpp$//')
((${#targets[@]})) || targets=("${known[@]}")
for target in "${targets[@]}"; do
    [[ -f $root/tests/fuzz/${target}_fuzz.cpp ]] || fail "no target '$target'; known: ${known[*]}"
done

if [[ $install == yes ]]; then install_packages "${build_packages[@]}" "${fuzz_packages[@]}"; fi
command -v "clang++-$compiler" >/dev/null || fail "clang++-$compiler is missing (apt: ${fuzz_packages[*]})"
launcher=()
if command -v ccache >/dev/null; then launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache); fi
source_dir=$root/tests/fuzz
mkdir -p "$build" 2>/dev/null || fail "$build: cannot be made; see --build-dir"
echo "building in $build"
begin=$SECONDS
(build_tree "$build" all -DCMAKE_C_COMPILER="clang-$compiler" -DCMAKE_CXX_COMPILER="clang++-$compiler" \
    "${launcher[@]}") >"$build/build.log" || {
    tail -n 30 "$build/build.log" >&2
    exit 1
}
echo "built in $((SECONDS - begin)) s"

# HDF5 keeps memory to the end of a process.
export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1
# What a child that crashes leaves behind goes with the folder.
if [[ -d /dev/shm && -w /dev/shm ]]; then TMPDIR=/dev/shm; fi
TMPDIR=$(mktemp -d "${TMPDIR:-/tmp}/expar-fuzz-XXXXXX")
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
# Without it a stack trace has no names.
symbolizer=/usr/lib/llvm-$compiler/bin/llvm-symbolizer
if [[ -x $symbolizer ]]; then export ASAN_SYMBOLIZER_PATH=$symbolizer; fi
limit=(-max_total_time="$(((seconds + ${#targets[@]} - 1) / ${#targets[@]}))")
if [[ -n $runs ]]; then limit=(-runs="$runs"); fi

findings=0
for target in "${targets[@]}"; do
    mkdir -p "$build/reached/$target" "$build/findings"
    log=$build/$target.log
    begin=$SECONDS
    status=0
    "$build/${target}_fuzz" "${limit[@]}" -max_len="$longest_input" -timeout="$slowest_input" \
        -rss_limit_mb="$most_memory" -print_final_stats=1 -artifact_prefix="$build/findings/$target-" \
        "$build/reached/$target" "$root/tests/fuzz/corpus/$target" >"$log" 2>&1 || status=$?
    inputs=$(awk '/^stat::number_of_executed_units:/ { print $2 }' "$log")
    if ((status == 0)); then
        printf '%-12s %9s inputs %5d s  nothing found\n' "$target" "${inputs:-?}" $((SECONDS - begin))
        continue
    fi
    findings=$((findings + 1))
    input=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
    cause=$(grep --max-count 1 --text -E '^finding: |ERROR: |runtime error: ' "$log" || echo "ended with code $status")
    printf '%-12s %9s inputs %5d s  FOUND: %s\n' "$target" "${inputs:-?}" $((SECONDS - begin)) "$cause"
    printf '    the input: %s\n    again: ASAN_OPTIONS=detect_leaks=0 %s %s\n    all of it: %s\n' "${input:-none}" \
        "$build/${target}_fuzz" "${input:-}" "$log"
done
if ((findings)); then
    echo "$findings of ${#targets[@]} targets found something; keep the input in tests/fuzz/corpus once it is mended"
    exit 1
fi
echo "${#targets[@]} targets, nothing found"
