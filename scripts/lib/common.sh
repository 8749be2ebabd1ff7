# shellcheck shell=bash disable=SC2034,SC2154
# Shared by the scripts of this folder: sourced, not run. Needs `set -euo pipefail` and `root`, the source tree.

packages_without_mpi=(
    build-essential cmake ninja-build pkg-config libcli11-dev nlohmann-json3-dev libtomlplusplus-dev libxxhash-dev
    zlib1g-dev libgtest-dev python3 python3-venv xz-utils gzip
)
build_packages=("${packages_without_mpi[@]}" openmpi-bin libopenmpi-dev libhdf5-openmpi-dev)
mpich_packages=("${packages_without_mpi[@]}" mpich libmpich-dev libhdf5-mpich-dev)
fuzz_packages=(clang-16 libclang-rt-16-dev llvm-16)
text_packages=(
    bible-kjv bible-kjv-text debian-reference-en debian-reference-de debian-reference-fr debian-reference-es
    libc6-dev linux-libc-dev
)
slurm_packages=(munge slurmctld slurmd slurm-client slurm-wlm-basic-plugins)

# fail MESSAGE...: one line on stderr, and the end.
fail() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# show_help: prints the comment at the top of the script that runs.
show_help() {
    awk 'NR > 1 { if (!/^#/ || /^# shellcheck/) exit; sub(/^# ?/, ""); print }' "$0"
}

# value_of FLAG VALUE...: the value of a flag, or one line when the command line ends without it.
value_of() {
    (($# >= 2)) || fail "$1 needs a value; see --help"
    printf '%s' "$2"
}

# whole_number FLAG VALUE: an error unless VALUE is a whole number above 0.
whole_number() {
    [[ $2 =~ ^[1-9][0-9]*$ ]] || fail "$1 needs a whole number above 0, got '$2'"
}

# absolute PATH: PATH from the root; it need not exist.
absolute() {
    case $1 in
        /*) printf '%s' "$1" ;;
        *) printf '%s/%s' "$PWD" "$1" ;;
    esac
}

# install_packages PACKAGE...: installs with apt-get those of them that are missing, with sudo when not root.
install_packages() {
    command -v apt-get >/dev/null ||
        fail "no apt-get here: install the packages of README's table by your own means, then give --no-install"
    local package missing=() as_root=()
    for package in "$@"; do
        [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] ||
            missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    if ((EUID != 0)); then
        command -v sudo >/dev/null || fail "missing: ${missing[*]}; not root and no sudo, see --no-install"
        as_root=(sudo)
    fi
    echo "installing: ${missing[*]}"
    "${as_root[@]}" apt-get update --quiet --quiet || fail "apt-get update failed"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --quiet --quiet --no-install-recommends "${missing[@]}" >/dev/null ||
        fail "apt-get install failed for: ${missing[*]}"
}

# cores: physical cores this process may use, which Open MPI counts as slots; hardware threads where that is unknown.
cores() {
    local usable physical
    usable=$(nproc)
    physical=$(lscpu --parse=core,socket 2>/dev/null | grep -v '^#' | sort -u | wc -l) || physical=0
    if ((physical > 0 && physical < usable)); then echo "$physical"; else echo "$usable"; fi
}

# mpi_environment RANKS: exports what Open MPI wants in a root shell, and where ranks outnumber cores; others ignore it.
mpi_environment() {
    local available
    available=$(cores)
    if ((EUID == 0)); then
        export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
        export PRTE_ALLOW_RUN_AS_ROOT=1 PRTE_ALLOW_RUN_AS_ROOT_CONFIRM=1
    fi
    if (($1 > available)); then
        export OMPI_MCA_rmaps_base_oversubscribe=1                  # Open MPI 4
        export PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe  # Open MPI 5
    fi
    # One rank must not take the cores of another.
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(((available + $1 - 1) / $1))}
}

# build_tree BUILD_DIR TARGET CMAKE_ARGUMENT...: configures and builds, with as many compilers as there are cores. Builds
# $source_dir where that is set, otherwise all of it.
build_tree() {
    local build=$1 target=$2 generator=()
    shift 2
    command -v cmake >/dev/null || fail "cmake is missing (apt, dnf, spack, conda: cmake)"
    if command -v ninja >/dev/null && [[ ! -f $build/CMakeCache.txt ]]; then generator=(-G Ninja); fi
    mkdir -p "$build" 2>/dev/null || fail "$build: cannot be made; see --build-dir"
    [[ -w $build ]] || fail "$build: cannot be written; see --build-dir"
    cmake -S "${source_dir:-$root}" -B "$build" "${generator[@]}" "$@" >"$build/configure.log" 2>&1 || {
        cat "$build/configure.log" >&2
        fail "configuring failed; all of it is in $build/configure.log"
    }
    cmake --build "$build" --target "$target" --parallel "$(nproc)" || fail "the build in $build failed"
}

# text_flag FLAG ARGUMENT...: takes the first of a command line's words that every script which trains on text has. Sets
# `taken`, how many words it was, and one of `ranks`, `install`, `build`, `out` and `texts`.
text_flag() {
    case $1 in
        --help | -h) show_help; exit 0 ;;
        --ranks) ranks=$(value_of "$@"); whole_number "$1" "$ranks"; taken=2 ;;
        --no-install) install=no; taken=1 ;;
        --build-dir) build=$(absolute "$(value_of "$@")"); taken=2 ;;
        --out) out=$(absolute "$(value_of "$@")"); taken=2 ;;
        --text)
            taken=1
            while ((taken < $#)) && [[ ${*:taken + 1:1} != --* ]]; do
                taken=$((taken + 1))
                texts+=("$(absolute "${*:taken:1}")")
                [[ -r ${texts[-1]} ]] || fail "${texts[-1]}: no such file, or not readable"
            done
            ((taken > 1)) || fail "--text needs at least one file" ;;
        *) fail "unknown argument '$1'; see --help" ;;
    esac
}

# build_and_prepare RANKS: with what text_flag has set, installs what is missing, builds the program, sets `expar`, its
# path, prepares text in $out/text, and has the environment fit so many ranks.
build_and_prepare() {
    local program configuration=(-DCMAKE_BUILD_TYPE=Release)
    local prepare=(python3 "$root/scripts/prepare_text.py" --out "$out/text")
    if [[ $install == yes ]]; then
        install_packages "${build_packages[@]}" "${text_packages[@]}"
    fi
    for program in mpirun python3; do
        command -v "$program" >/dev/null || fail "$program is missing; without --no-install this script installs it"
    done
    mkdir -p "$out" 2>/dev/null || fail "$out: cannot be made; see --out"
    [[ -w $out ]] || fail "$out: cannot be written; see --out"
    mpi_environment "$1"

    echo "== build in $build"
    # The tests of a build made by test.sh stay; a new build needs none, nor GoogleTest.
    [[ -f $build/CMakeCache.txt ]] || configuration+=(-DEXPAR_TESTS=OFF)
    build_tree "$build" expar_cli "${configuration[@]}"
    expar=$build/expar

    echo "== text in $out/text"
    if ((${#texts[@]})); then prepare+=(--text "${texts[@]}"); fi
    "${prepare[@]}"
}
