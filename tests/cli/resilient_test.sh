#!/usr/bin/env bash
# What run_resilient.sh starts after which end, with a launcher and a program that only write down how they were called.
#   resilient_test.sh SCRIPT
set -euo pipefail
script=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

fail() {
    echo "$*"
    cat out.txt err.txt 2>/dev/null || true
    exit 1
}

# The launcher's n-th call does what line n of `story` says: shell commands, the last one an exit.
cat >launcher <<'LAUNCHER'
#!/usr/bin/env bash
echo "$*" | sed "s|[^ ]*/expar|expar|" >>calls
eval "$(sed --quiet "$(wc -l <calls)p" story)"
LAUNCHER
cat >expar <<'EXPAR'
#!/usr/bin/env bash
[[ "$*" == "inspect run --end" ]] && echo "rank 1 died in the story"
EXPAR
chmod +x launcher expar
checkpoint='mkdir -p run/checkpoints; echo "ep = 4" >run/config.toml; touch run/checkpoints/step-000010.h5'

# tell CODE STORY-LINE...: a run of the script with `arguments`, which must end with CODE.
arguments=()
tell() {
    local expected=$1 code=0
    shift
    rm -rf run run.failed-* calls
    printf '%s\n' "$@" >story
    "$script" --launcher ./launcher "${arguments[@]}" >out.txt 2>err.txt || code=$?
    [[ $code == "$expected" ]] || fail "expected code $expected, got $code"
}
expect_calls() { [[ $(<calls) == "$1" ]] || fail "expected calls: $1; got: $(<calls)"; }

arguments=(--ranks 4 -- ./expar train --text t --out run --ep 4)
tell 0 "exit 0"
expect_calls "-n 4 expar train --out run --text t --ep 4"

tell 2 "echo 'expar: no such text' >&2; exit 2"
expect_calls "-n 4 expar train --out run --text t --ep 4"
[[ $(<err.txt) == "expar: no such text" ]] || fail "a mistake of the user says more than its line"

tell 0 "$checkpoint; exit 137" "exit 0"
expect_calls "-n 4 expar train --out run --text t --ep 4
-n 4 expar train --resume --out run --text t --ep 4"
grep --quiet "code 137: rank 1 died in the story" out.txt || fail "the end is not told"

arguments=(--ranks "4 3 2" --retries 3 -- ./expar train --text t --out=run --ep=2)
tell 1 "$checkpoint; exit 1" "exit 1" "exit 1" "exit 1"
expect_calls "-n 4 expar train --out run --text t --ep 2
-n 3 expar train --resume --out run --text t --ep 1
-n 2 expar train --resume --out run --text t --ep 2
-n 2 expar train --resume --out run --text t --ep 2"
grep --quiet "gives up after 4 attempts" err.txt || fail "it does not say that it gives up"

# A layout from elsewhere is read from the run; slots that are gone do not come back, and are no retry.
arguments=(--ranks 6 --retries 1 -- ./expar train --config c --out run)
tell 0 "$checkpoint; exit 1" "echo 'There are not enough slots available' >&2; exit 1" "exit 0"
expect_calls "-n 6 expar train --out run --config c
-n 6 expar train --resume --out run --config c --ep 3
-n 5 expar train --resume --out run --config c --ep 1"

tell 0 "mkdir run; exit 1" "exit 0"
expect_calls "-n 6 expar train --out run --config c
-n 6 expar train --out run --config c"
[[ -d run.failed-1 && ! -e run ]] || fail "a run without a checkpoint was not moved aside"

# A newest checkpoint that is refused: once from the one before it; a second refusal ends it.
refusal="echo 'expar: run/checkpoints/step-000010.h5: damaged: a hash; --from-step 8 goes on from the one before' >&2; exit 2"
tell 0 "$checkpoint; exit 1" "$refusal" "exit 0"
expect_calls "-n 6 expar train --out run --config c
-n 6 expar train --resume --out run --config c --ep 3
-n 6 expar train --resume --from-step 8 --out run --config c --ep 3"
grep --quiet "the newest checkpoint is refused: once more, from step 8" out.txt || fail "it does not say where it goes on"
tell 2 "$checkpoint; exit 1" "$refusal" "$refusal"

arguments=(--retries 0 -- ./expar train --out run)
tell 1 "exit 1"

# A signal to the script reaches the launcher as SIGUSR1; nothing is started again.
for signal in INT TERM HUP; do
    rm -rf run calls begun
    echo 'trap "echo usr1 >>calls; exit 0" USR1; touch begun; for ((i = 0; i < 300; ++i)); do sleep 0.1; done; exit 1' >story
    # With job control, so that a background process does not ignore SIGINT.
    set -m
    "$script" --launcher ./launcher -- ./expar train --out run >out.txt 2>err.txt &
    process=$!
    set +m
    until [[ -e begun ]]; do sleep 0.05; done
    kill "-$signal" "$process"
    wait "$process" || fail "$signal: ended with code $?"
    [[ $(tail -n 1 calls) == usr1 ]] || fail "$signal: no SIGUSR1"
    grep --quiet "has saved and left" out.txt || fail "$signal: not said"
done

for wrong in "--ranks x -- ./expar train --out run" "--ranks 2" "-- ./expar eval --out run" "-- ./expar train" \
    "--retries -1 -- ./expar train --out run" "-- ./none train --out run"; do
    # shellcheck disable=SC2086  # several words
    ! "$script" $wrong >out.txt 2>err.txt || fail "'$wrong' is taken"
    [[ $(wc -l <err.txt) == 1 ]] || fail "'$wrong': expected one line"
done
"$script" --help | grep --quiet "^  *--retries N" || fail "no --help"
echo "a failed run goes on"
