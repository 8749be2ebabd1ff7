#!/usr/bin/env bash
# A run that was interrupted goes on as the run that was not, and what it cannot go on from is said in one line.
#   resume_test.sh EXPAR MPIRUN SAME_BATCHES
set -euo pipefail
expar=$1 mpirun=$2 same_batches=$3
folder=$(mktemp -d)
launcher=
trap '[[ -z $launcher ]] || kill "$launcher" 2>/dev/null || true; rm -rf "$folder" "$folder.out" "$folder.err"' EXIT
cd "$folder"

fail() {
    echo "$*"
    exit 1
}
expect_equal() { [[ $1 == "$2" ]] || fail "${3:-}: expected '$2', got '$1'"; }
on() { "$mpirun" -n "$1" "$expar" train --threads 1 "${@:2}"; }
# numbers_of RUN: what every step found, without how long it took.
numbers_of() { grep -oE '"(step|loss|learning_rate|gradient_norm|dropped)":[^,}]*' "$1/metrics.jsonl"; }
# contents_of CHECKPOINT: hash and name of every tensor and moment.
contents_of() { awk '$4 ~ /^(value|moment)/ { print $1, $4 }' "$1.digest" | sort; }
# state_of FOLDER: every file with its content and when it was written.
state_of() { find "$1" -type f -printf '%p %s %T@\n' | sort; }

for ((i = 0; i < 400; ++i)); do echo "line $i of a text that can be learned a little"; done >text.txt
small=(--text text.txt --layers 2 --hidden 16 --heads 2 --intermediate 8 --experts 5 --sequence 24 --batch 3
    --warmup-steps 2 --capacity-factor 1.2 --router-noise 0.1)

# The same layout: bit for bit, each batch once.
for layout in 1:1 2:1 3:3 4:2; do
    ranks=${layout%:*} ep=${layout#*:}
    on "$ranks" "${small[@]}" --ep "$ep" --steps 9 --record-batches --out whole >whole.log
    on "$ranks" "${small[@]}" --ep "$ep" --steps 4 --schedule-steps 9 --record-batches --out part >part.log
    on "$ranks" --resume --out part --steps 9 --record-batches >resumed.log
    diff <(numbers_of whole) <(numbers_of part) || fail "$layout: the resumed run found other numbers"
    diff <(contents_of whole/checkpoints/step-000009.h5) <(contents_of part/checkpoints/step-000009.h5) >/dev/null ||
        fail "$layout: the resumed run ended with another model"
    "$same_batches" whole/batches.h5 part/batches.h5 part/batches-from-000005.h5 || fail "$layout: other batches"
    for key in steps tokens; do
        expect_equal "$(grep "\"$key\":" part/summary.json)" "$(grep "\"$key\":" whole/summary.json)" "$layout"
    done
    grep -q ', from step 4$' resumed.log || fail "$(<resumed.log)"
    diff whole/config.toml part/config.toml || fail "$layout: another configuration"
    rm -r part
    [[ $layout == 4:2 ]] || rm -r whole
done

# Another layout and number of ranks; a checkpoint that is not the newest; only the newest ones are kept.
on 2 "${small[@]}" --ep 2 --steps 9 --checkpoint-every 2 --out other >other.log
cp -r other damaged
on 3 --resume --out other --ep 3 --from-step 4 --keep 2 >other.log
expect_equal "$(cd other/checkpoints && echo *.h5 *.h5.set-aside)" "step-000008.h5 step-000009.h5\
 step-000006.h5.set-aside step-000008.h5.set-aside step-000009.h5.set-aside" "kept"
numbers_of whole | grep step >whole.steps
diff whole.steps <(numbers_of other | grep step) || fail "steps are left out or there twice"
paste -d ' ' <(numbers_of whole | grep '"loss') <(numbers_of other | grep '"loss') | tr ':' ' ' |
    awk '{ d = $2 - $4; if (d * d > 1e-12) exit 1 }' || fail "another layout finds other losses"

# A longer run keeps its schedule.
on 2 "${small[@]}" --ep 2 --steps 12 --schedule-steps 9 --out long >long.log
on 2 --resume --out other --ep 2 --steps 12 >other.log
diff <(numbers_of long | grep rate) <(numbers_of other | grep rate) || fail "the schedule changed"

# A signal: the step is ended, saved, and the line that is printed goes on.
"$mpirun" -n 3 "$expar" train --threads 1 "${small[@]}" --steps 20000 --out stopped >stopped.log &
launcher=$!
until [[ -s stopped/metrics.jsonl ]]; do sleep 0.1; kill -0 "$launcher" || fail "$(<stopped.log)"; done
kill -USR1 "$launcher"
wait "$launcher" || fail "a signal to mpirun ends with code $?"
launcher=
command=$(sed -n 's/^saved step [0-9]*; go on with: //p' stopped.log)
done_steps=$(sed -n 's/^saved step \([0-9]*\);.*/\1/p' stopped.log)
expect_equal "$command" "mpirun -n 3 $expar train --resume --out stopped" "the line that says how to go on"
grep -q '"stopped_by": "SIGUSR1"' stopped/summary.json || fail "$(<stopped/summary.json)"
expect_equal "$(wc -l <stopped/metrics.jsonl)" "$done_steps" "lines of metrics"
on 3 --resume --out stopped --steps $((done_steps + 2)) >stopped.log
grep -q '"stopped_by": null' stopped/summary.json || fail "$(<stopped/summary.json)"
expect_equal "$(wc -l <stopped/metrics.jsonl)" $((done_steps + 2)) "lines of metrics"

# A run that is at its end.
before=$(state_of whole)
on 2 --resume --out whole/ --ep 2 >end.log
expect_equal "$(<end.log)" "whole: step 9 is done, and --steps 9 asks for no more" "a run at its end"
expect_equal "$(state_of whole)" "$before" "a run at its end"

# refuses PATTERN ARGUMENT...: one line, code 2, and nothing is changed.
refuses() {
    local pattern=$1 code=0 before
    shift
    before=$(state_of .)
    on 2 "$@" >"$folder.out" 2>"$folder.err" || code=$?
    expect_equal "$code $(wc -l <"$folder.err")" "2 1" "code and lines of $* ($(<"$folder.err"))"
    grep -qE -- "$pattern" "$folder.err" || fail "$*: expected '$pattern', got $(<"$folder.err")"
    expect_equal "$(state_of .)" "$before" "files after $*"
}
mkdir empty
sed 's/4/5/' text.txt >other.txt
refuses "expected --out" --resume
refuses "none: no such run" --resume --out none
refuses "empty: holds no checkpoint, so there is nothing to go on from" --resume --out empty
refuses "whole: exists already.*--resume" "${small[@]}" --out whole
refuses "from-step: expected together with --resume" "${small[@]}" --from-step 4
refuses "whole: holds no checkpoint of step 5; there are those of: 9" --resume --out whole --from-step 5
refuses "hidden: 32, but this run has 16, which a resume does not change" --resume --out whole --hidden 32
refuses "schedule-steps: 12, but this run has 9" --resume --out whole --steps 12 --schedule-steps 12
refuses "ep is 3, expected a divisor of the 2 ranks" --resume --out whole --ep 3 --steps 12
refuses "text: .* are not the .* that this run was trained on" --resume --out whole --ep 2 --steps 12 --text other.txt
mv text.txt moved.txt
refuses "text.txt: cannot be read.*--text says where it is now" --resume --out whole --ep 2 --steps 12
on 2 --resume --out whole --ep 2 --steps 10 --text moved.txt >moved.log
mv moved.txt text.txt

checkpoints=damaged/checkpoints
printf 'x' | dd of=$checkpoints/step-000009.h5 bs=1 seek=9000 conv=notrunc status=none
refuses "step-000009.h5: damaged: .*; --from-step 8 goes on from the one before" --resume --out damaged
rm $checkpoints/step-000009.h5.digest
refuses "step-000009.h5: no digest.*; --from-step 8 goes on from the one before" --resume --out damaged
rm $checkpoints/step-00000[0-8].h5*
refuses "step-000009.h5: no digest.*; there is none before it" --resume --out damaged
echo "a resumed run is the run that was not interrupted"
