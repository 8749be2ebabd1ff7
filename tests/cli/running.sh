# shellcheck shell=bash disable=SC2034
# A run of `expar train` that goes on until something happens to it. Sourced, with the arguments EXPAR MPIRUN.
expar=$1 mpirun=$2
folder=$(mktemp -d)
run=
rank_process=()
mpirun_flags=()
# The ranks, too: one that is stopped outlives its launcher.
trap '[[ -z $run ]] || kill -KILL "$run" "${rank_process[@]}" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder" || exit
for ((i = 0; i < 400; ++i)); do echo "line $i of a text that can be learned a little"; done >text.txt
options=(--text text.txt --layers 2 --hidden 32 --heads 2 --intermediate 16 --experts 6 --sequence 32 --batch 6
    --threads 1 --log-every 1000)

fail() {
    echo "$*"
    exit 1
}

# ranks_below PROCESS: the processes of the program that a launcher has started: its children with Open MPI, those of a
# proxy with MPICH.
ranks_below() {
    local process
    for process in $(pgrep --parent "$1"); do
        if [[ /proc/$process/exe -ef $expar ]]; then echo "$process"; else ranks_below "$process"; fi
    done
}

# start_run RANKS FLAG...: in the folder `run`; returns after some steps, with the processes in `rank_process`. It has steps
# for many seconds, of which a test uses the first: it must not go on for ever where nobody ends it.
start_run() {
    local ranks=$1 i process rank
    shift
    rm -rf run
    "$mpirun" "${mpirun_flags[@]}" -n "$ranks" "$expar" train "${options[@]}" --steps 20000 --out run "$@" >out.txt 2>err.txt &
    run=$!
    for ((i = 0; i < 600; ++i)); do
        [[ ! -s run/metrics.jsonl ]] || break
        kill -0 "$run" 2>/dev/null || fail "the run did not start: $(<err.txt)"
        sleep 0.1
    done
    sleep 0.3
    rank_process=()
    for process in $(ranks_below "$run"); do
        rank=$(tr '\0' '\n' <"/proc/$process/environ" | sed --quiet --regexp-extended 's/^(OMPI_COMM_WORLD|PMI)_RANK=//p')
        rank_process[rank]=$process
    done
    ((${#rank_process[@]} == ranks)) || fail "found ${#rank_process[@]} processes of $ranks ranks"
}

# end_run: waits for the launcher; its exit code in `code`.
end_run() {
    code=0
    wait "$run" || code=$?
    run=
}

# is_gone PROCESS: or a zombie, which nobody has waited for yet.
is_gone() {
    local state
    state=$(sed --quiet 's/^State:[[:space:]]*//p' "/proc/$1/status" 2>/dev/null) || return 0
    [[ -z $state || $state == [ZX]* ]]
}

# expect_no_process: all ranks of the run are gone, at once or soon.
expect_no_process() {
    local process i
    for process in "${rank_process[@]}"; do
        for ((i = 0; i < 100; ++i)); do
            ! is_gone "$process" || continue 2
            sleep 0.1
        done
        fail "process $process is left"
    done
}
