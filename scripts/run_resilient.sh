#!/usr/bin/env bash
# Trains, and goes on from the last checkpoint when the run fails: a rank died, a node was lost, a rank hung.
#
#   scripts/run_resilient.sh [--retries N] [--ranks LIST] [--launcher WORDS] -- EXPAR train --out RUN FLAG...
#   scripts/run_resilient.sh --retries 5 --ranks "4 4 3 2" -- build/expar train --text FILE --out run --checkpoint-every 50
#
#   --retries N       start again at most N times (default: 3)
#   --ranks LIST      ranks of the first attempt, of the second, ...; the last number stays (default: one per core)
#   --launcher WORDS  what comes before `-n RANKS` (default: mpirun)
#
# After a failure it prints one line, which rank died, where, and who waited for it, and resumes; the first checkpoint is
# written before the first step when --checkpoint-every is given, and without one the run starts again from its begin,
# the old folder moved to RUN.failed-1. Where the launcher has fewer slots than ranks, it takes one rank less. EP is the
# largest divisor of the ranks that is not above --ep. A mistake of the user (code 2) ends it; where the newest checkpoint
# is refused and the one before is named, it goes on from that one. Ctrl-C, SIGTERM and SIGHUP become SIGUSR1: the run saves
# and leaves; the second ends it at once. Ends with 0 when the run did, with 1 when it gives up.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib/common.sh
source "$root/scripts/lib/common.sh"

# Command line.
retries=3
ranks_list=("$(cores)")
launcher=(mpirun)
while (($#)); do
    case $1 in
        --help | -h) show_help; exit 0 ;;
        --retries) retries=$(value_of "$@"); [[ $retries == 0 ]] || whole_number "$1" "$retries"; shift 2 ;;
        --ranks)
            read -r -a ranks_list <<<"$(value_of "$@")"
            ((${#ranks_list[@]})) || fail "--ranks needs a whole number above 0, or several, got '$2'"
            for number in "${ranks_list[@]}"; do whole_number "$1" "$number"; done
            shift 2 ;;
        --launcher) read -r -a launcher <<<"$(value_of "$@")"; shift 2 ;;
        --) shift; break ;;
        *) fail "unknown argument '$1'; see --help" ;;
    esac
done
[[ ${2:-} == train ]] || fail "expected '-- EXPAR train --out RUN FLAG...'; see --help"
expar=$1
shift 2
command -v "$expar" >/dev/null || fail "$expar: no such program"
command -v "${launcher[0]:-}" >/dev/null || fail "${launcher[*]:---launcher}: no such launcher"

run='' expert_parallel='' resume=no from_step='' flags=()
while (($#)); do
    case $1 in
        --out) run=$(value_of "$@"); shift 2 ;;
        --out=*) run=${1#*=}; shift ;;
        --ep) expert_parallel=$(value_of "$@"); shift 2 ;;
        --ep=*) expert_parallel=${1#*=}; shift ;;
        --resume) resume=yes; shift ;;
        --from-step) from_step=$(value_of "$@"); shift 2 ;;   # of the first attempt alone
        --from-step=*) from_step=${1#*=}; shift ;;
        *) flags+=("$1"); shift ;;
    esac
done
[[ -n $run ]] || fail "expected --out RUN among the flags of train: that is where a run goes on"

# One attempt.
errors=$(mktemp)
trap 'rm -f "$errors"' EXIT
say() { printf 'run_resilient: %s\n' "$*"; }

# largest_divisor RANKS WANTED: the largest divisor of RANKS that is at most WANTED; 0 stands for all.
largest_divisor() {
    local divisor=$2
    ((divisor > 0 && divisor < $1)) || divisor=$1
    while (($1 % divisor)); do divisor=$((divisor - 1)); done
    echo "$divisor"
}

has_checkpoint() { compgen -G "$run/checkpoints/step-*.h5" >/dev/null; }

launched='' starting=no stop_wanted=no stopping=no
stop() {
    if [[ $starting == yes && -z $launched ]]; then stop_wanted=yes; return; fi
    if [[ -z $launched ]]; then exit 130; fi
    if [[ $stopping == no ]]; then
        stopping=yes
        say "asked to stop: the run saves and leaves; once more ends it at once" || true   # the terminal may be gone
        kill -USR1 "$launched" 2>/dev/null || true
    else
        kill -TERM "$launched" 2>/dev/null || true
    fi
}
trap stop INT TERM HUP

# attempt RANKS: runs to the end; the exit code in `code`, standard error in $errors, too. A process group of its own:
# Ctrl-C reaches this script alone.
attempt() {
    local ranks=$1 ep=() again=() tee
    [[ -n ${SLURM_JOB_ID:-} ]] || mpi_environment "$ranks"
    if [[ -n $expert_parallel ]]; then ep=(--ep "$(largest_divisor "$ranks" "$expert_parallel")"); fi
    if [[ $resume == yes ]]; then again=(--resume); fi
    if [[ -n $from_step ]]; then again+=(--from-step "$from_step"); fi
    exec {error_pipe}> >(trap '' HUP; exec tee --ignore-interrupts "$errors" >&2)
    tee=$!
    starting=yes
    set -m
    "${launcher[@]}" -n "$ranks" "$expar" train "${again[@]}" --out "$run" "${flags[@]}" "${ep[@]}" \
        </dev/null 2>&"$error_pipe" {error_pipe}>&- &
    launched=$!
    set +m
    starting=no
    if [[ $stop_wanted == yes ]]; then stop; fi   # a signal came before the process was known
    exec {error_pipe}>&-
    # A signal ends `wait`, not the run.
    while kill -0 "$launched" 2>/dev/null; do wait "$launched" || true; done
    code=0
    wait "$launched" || code=$?
    launched=''
    wait "$tee" || true
}

# Attempts.
retry=0 most_ranks=${ranks_list[0]}
for number in "${ranks_list[@]}"; do ((number <= most_ranks)) || most_ranks=$number; done
while true; do
    place=$((retry < ${#ranks_list[@]} ? retry : ${#ranks_list[@]} - 1))
    ranks=${ranks_list[place]}
    ((ranks <= most_ranks)) || ranks=$most_ranks
    say "attempt $((retry + 1)) of at most $((retries + 1)): $ranks ranks$([[ $resume == no ]] || echo ", resumed")"
    attempt "$ranks"
    if ((code == 0)); then
        say "$([[ $stopping == no ]] && echo "the run has ended" || echo "the run has saved and left")"
        exit 0
    fi
    if ((code == 2)); then
        before=$(sed --quiet 's/.*; --from-step \([0-9]*\) goes on from the one before.*/\1/p' "$errors" | head -n 1)
        if [[ -z $before || -n $from_step || $stopping == yes ]]; then exit 2; fi
        from_step=$before
        say "the newest checkpoint is refused: once more, from step $from_step"
        continue
    fi
    if [[ $stopping == yes ]]; then fail "the run ended with code $code when it was to stop"; fi

    if grep --quiet --ignore-case "not enough slots" "$errors" && ((ranks > 1)); then
        most_ranks=$((ranks - 1))
        say "no slots for $ranks ranks"
        continue
    fi
    from_step=''
    say "code $code: $("$expar" inspect "$run" --end 2>/dev/null || echo "nothing is known of the end")"
    ((retry < retries)) || fail "gives up after $((retry + 1)) attempts"
    retry=$((retry + 1))

    if has_checkpoint; then
        resume=yes
        # The layout that the run was given by other means than a flag.
        [[ -n $expert_parallel ]] || expert_parallel=$(sed --quiet 's/^ep *= *\([0-9]*\).*/\1/p' "$run/config.toml" | head -n 1)
    elif [[ -e $run ]]; then
        resume=no
        mv "$run" "$run.failed-$retry" || fail "$run: cannot be moved to $run.failed-$retry"
        say "no checkpoint: from the begin; $run is now $run.failed-$retry"
    fi
done
