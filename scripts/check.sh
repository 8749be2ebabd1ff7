#!/usr/bin/env bash
# The long checks, which CI does not run each time: whether R ranks compute what one does for every R, and whether an
# implementation that is not ours agrees.
#
#   scripts/check.sh [--build-dir DIR] [--out DIR] [CHECK...]
#
#   format     clang-format and shellcheck have nothing to say
#   tidy       nor has clang-tidy; run only when it is named
#   verify     `expar verify` at 1 to 8 ranks
#   golden     fresh files of `transformers`' layers, with shapes of their own, against ours at 1 to 4 ranks
#   training   PyTorch and expar train side by side (scripts/reference/compare_training.py)
#   slurm      a run that Slurm stops and starts again is the run left alone (scripts/check_slurm.sh); only when named
#   faults     no crash loses a run (scripts/faults_checkpoint.sh --kills 200), a quarter of an hour; only when named
#   speed      every row of scripts/benchmark_training.sh can be measured (--quick), some minutes; only when named
#   memory     what a run says it will need is what it uses (scripts/check_memory.sh), some minutes; only when named
#   fuzz       damaged files crash no reader (scripts/fuzz.sh --runs 1000000), builds in DIR-fuzz; hours, only when named
#
# Without CHECK: format, verify, golden and training. DIR must hold a build (scripts/test.sh makes one in build, the
# default). Results go to --out (default: runs/check-<date>-<time>). golden, training and speed make a Python
# environment in the build folder.
# Expect half an hour on 2 cores. Every check runs; the last lines say which failed.
# shellcheck disable=SC2317  # the checks are called by name
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib/common.sh
source "$root/scripts/lib/common.sh"

# --- what one may want to change ----------------------------------------------------------------------------------------
verify_ranks=(1 2 3 4 5 6 7 8)
golden_ranks=(1 2 3 4)
golden_shapes=(
    "--model mixtral --hidden 48 --intermediate 80 --experts 6 --top-k 3 --tokens 37 --seed 5"
    "--model olmoe --hidden 32 --intermediate 24 --experts 16 --top-k 8 --tokens 41 --seed 6"
    "--model qwen2_moe --hidden 40 --intermediate 56 --experts 5 --top-k 2 --tokens 29 --seed 7"
    "--model switch --hidden 64 --intermediate 96 --experts 7 --top-k 1 --tokens 53 --seed 8"
)
training_options=(--steps 50 --layouts "1x1,2x2")

build=$root/build
out=$root/runs/check-$(date +%Y%m%d-%H%M%S)
checks=()
while (($#)); do
    case $1 in
        --help | -h) show_help; exit 0 ;;
        --build-dir) build=$(absolute "$(value_of "$@")"); shift 2 ;;
        --out) out=$(absolute "$(value_of "$@")"); shift 2 ;;
        format | tidy | verify | golden | training | slurm | faults | speed | memory | fuzz) checks+=("$1"); shift ;;
        *) fail "unknown argument '$1'; see --help" ;;
    esac
done
((${#checks[@]})) || checks=(format verify golden training)

cxx_files() { find "$root"/{include,src,kernels,tests} \( -name '*.hpp' -o -name '*.cpp' \) -print0; }

check_format() {
    cxx_files | xargs -0 clang-format --dry-run --Werror
    shellcheck --external-sources "$root"/scripts/*.sh "$root/scripts/lib/common.sh" "$root/slurm/train.sbatch" \
        "$root"/tests/*/*.sh "$root/.ci/run"
}

check_tidy() { cxx_files | grep --null-data '/src/.*cpp$' | xargs -0 clang-tidy --quiet -p "$build"; }

check_verify() {
    local ranks
    for ranks in "${verify_ranks[@]}"; do
        mpi_run "$ranks" verify --json "$out/verify-$ranks.json"
    done
}

check_golden() {
    local shape ranks number=0
    for shape in "${golden_shapes[@]}"; do
        number=$((number + 1))
        # shellcheck disable=SC2086  # a shape is several words
        python3 "$root/scripts/reference/make_golden.py" --build-dir "$build" $shape --out "$out/golden-$number.h5"
        for ranks in "${golden_ranks[@]}"; do
            mpi_run "$ranks" verify --golden "$out/golden-$number.h5"
        done
    done
}

check_training() {
    python3 "$root/scripts/reference/compare_training.py" --build-dir "$build" "${training_options[@]}" \
        --json "$out/training.json"
}

check_slurm() { "$root/scripts/check_slurm.sh" --build-dir "$build" --out "$out/slurm"; }

check_faults() { "$root/scripts/faults_checkpoint.sh" --kills 200 --build-dir "$build" --out "$out/faults"; }

check_speed() { "$root/scripts/benchmark_training.sh" --quick --build-dir "$build" --json "$out/speed.json"; }

check_memory() { "$root/scripts/check_memory.sh" --build-dir "$build"; }

check_fuzz() { "$root/scripts/fuzz.sh" --runs 1000000 --build-dir "$build-fuzz"; }

# mpi_run RANKS ARGUMENT...: expar on so many ranks, with an environment that fits them.
mpi_run() (
    mpi_environment "$1"
    mpirun -n "$1" "$build/expar" "${@:2}"
)

for check in "${checks[@]}"; do
    case $check in
        verify | golden | training | slurm | faults | speed | memory)
            [[ -x $build/expar ]] || fail "$build/expar: not built; scripts/test.sh builds it" ;;
    esac
done
mkdir -p "$out"
verdicts=()
failed=0
for check in "${checks[@]}"; do
    echo "== $check"
    # A shell of its own, so that the first error ends this check and no other.
    set +e
    (set -e; "check_$check") 2>&1 | tee "$out/$check.log"
    status=${PIPESTATUS[0]}
    set -e
    if ((status == 0)); then verdicts+=("$check: passed"); else verdicts+=("$check: FAILED, see $out/$check.log"); failed=1; fi
done
printf '%s\n' "${verdicts[@]}"
exit "$failed"
