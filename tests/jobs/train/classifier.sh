#!/usr/bin/env bash
# pretrain --task classifier: learns a rule that words decide, holds groups out together, the same bytes on 1, 2, 3 and 5
# ranks and after a stop; with the real dialogues, learns to tell hate speech from counter-speech.
set -eu
[ -n "${DTX_WORK-}" ] || exec "$(dirname "$0")/../../script.sh" "$0" "$@"
# shellcheck source=tests/kills.sh
. "$DTX_SOURCE/tests/kills.sh"
fail() { echo "FAILED: $*" >&2; exit 1; }
# our own sentences: praise names a good thing, complaint a bad one; each group repeats its sentence in other words
/usr/bin/python3 - >talk.csv <<'PY'
import random
random.seed(3)
good, bad = ["warm", "kind", "bright", "sweet", "calm"], ["cold", "rude", "dim", "sour", "loud"]
thing, where = ["kettle", "garden", "train", "song", "soup", "street"], ["here", "at home", "in town", "again", "today"]
print("text,kind,group")
for g in range(150):
    t, w = random.choice(thing), random.choice(where)
    for kind, words in (("praise", good), ("complaint", bad)):
        for _ in range(2):
            print(f'"The {t} is {random.choice(words)} {w}, and so it goes.",{kind},g{g}')
PY
cat >judge.json <<JSON
{"data": {"text": ["talk.csv:text"]},
 "pretrain": {"task": "classifier", "label": "kind", "group": "group", "layers": 2, "hidden": 32, "heads": 2, "vocab": 400,
              "context": 32, "batch": 12, "steps": 60, "eval_every": 20, "save_every": 25, "warmup_steps": 5, "lr": 0.003,
              "holdout": 0.2, "average": 0.8}}
JSON
train() { # RANKS RUN [ARG...]
    local n=$1 run=$2
    shift 2
    timeout 120 "$MPIRUN" "$n" "$DETOXLENS" pretrain --config judge.json --run "$run" --set "model.path=$run/model" "$@"
}
sum() { (cd "$1/model" && cat config.json model.safetensors tokenizer.json | sha256sum); }
train 1 one >one.log 2>&1 || { cat one.log; fail "one rank"; }
grep -q '600 texts of 150 groups with 2 labels, 120 held out' one.log || { cat one.log; fail "texts are counted wrongly"; }
accuracy=$(sed -n 's/.*step 60: held-out accuracy \([0-9.]*\).*/\1/p' one.log)
awk "BEGIN { exit !($accuracy >= 0.95) }" || { cat one.log; fail "held-out accuracy $accuracy"; }
grep -q '"0":[[:space:]]*"complaint"' one/model/config.json || { cat one/model/config.json; fail "labels are not named"; }
"$DETOXLENS" inspect one/model >log 2>&1 || { cat log; fail "the folder cannot be read"; }
for n in 2 3 5; do
    train "$n" "r$n" >log 2>&1 || { cat log; fail "$n ranks"; }
    [ "$(sum one)" = "$(sum "r$n")" ] || fail "other bytes on $n ranks"
    "$DETOXLENS" verify --same one/run.h5 "r$n/run.h5" >log || { cat log; fail "run.h5 differs on $n ranks"; }
done
rc=0
train 2 slow --max-hours 0.000001 >log 2>&1 || rc=$?
[ "$rc" = 75 ] || { cat log; fail "time limit gave $rc, not 75"; }
train 2 slow >log 2>&1 || { cat log; fail "after a time limit"; }
[ "$(sum one)" = "$(sum slow)" ] || fail "other bytes after a time limit"

# from a teacher: the same on any ranks, after a time limit and after a kill
t=(--set pretrain.teacher=ngrams --set pretrain.mask=0.2)
train 1 taught "${t[@]}" >taught.log 2>&1 || { cat taught.log; fail "with a teacher"; }
accuracy=$(sed -n 's/.*teacher: [0-9]* n-grams of tokens; held-out accuracy \([0-9.]*\).*/\1/p' taught.log)
awk "BEGIN { exit !($accuracy >= 0.98) }" || { cat taught.log; fail "the teacher's held-out accuracy $accuracy"; }
accuracy=$(sed -n 's/.*step 60: held-out accuracy \([0-9.]*\).*/\1/p' taught.log)
awk "BEGIN { exit !($accuracy >= 0.95) }" || { cat taught.log; fail "held-out accuracy $accuracy with a teacher"; }
[ "$(sum one)" != "$(sum taught)" ] || fail "the teacher changed nothing"
for n in 2 3; do
    train "$n" "taught$n" "${t[@]}" >log 2>&1 || { cat log; fail "$n ranks with a teacher"; }
    [ "$(sum taught)" = "$(sum "taught$n")" ] || fail "other bytes on $n ranks with a teacher"
done
rc=0
train 2 halves "${t[@]}" --max-hours 0.000001 >log 2>&1 || rc=$?
[ "$rc" = 75 ] || { cat log; fail "time limit gave $rc, not 75"; }
taught_again() { timeout 120 "$MPIRUN" 3 "$DETOXLENS" pretrain --config judge.json --run halves --set model.path=halves/model --set pretrain.teacher=ngrams --set pretrain.mask=0.2; }
export -f taught_again
kill_often 2 taught_again
taught_again >log 2>&1 || { cat log; fail "with a teacher after kills"; }
[ "$(sum taught)" = "$(sum halves)" ] || fail "other bytes with a teacher after kills"

refuse() { # CODE WORD ARG...
    local want=$1 word=$2 rc=0
    shift 2
    timeout 60 "$MPIRUN" 2 "$DETOXLENS" pretrain --config judge.json "$@" >log 2>&1 || rc=$?
    [ "$rc" = "$want" ] || { cat log; fail "exit code $rc instead of $want: $*"; }
    grep -q -- "$word" log || { cat log; fail "no word on $word: $*"; }
}
refuse 2 'label' --run n1 --set model.path=n1/model --set pretrain.label=
refuse 3 'nocolumn' --run n2 --set model.path=n2/model --set pretrain.label=nocolumn
refuse 3 'different values' --run n3 --set model.path=n3/model --set pretrain.label=text
refuse 2 'falcon' --run n4 --set model.path=n4/model --set pretrain.arch=falcon
refuse 2 'teacher' --run n6 --set model.path=n6/model --set pretrain.teacher=ngrams --set pretrain.task=lm
refuse 2 'other settings' --run one --set model.path=one/model --set pretrain.teacher=ngrams
refuse 2 'roberta' --run n5 --set model.path=n5/model --set pretrain.arch=roberta --set pretrain.task=lm

if [ -e "$DTX_SHARED/data/dialoconan/DIALOCONAN.csv" ]; then
    timeout 200 "$MPIRUN" 2 "$DETOXLENS" pretrain --task classifier --label type --group dialogue_id --run real \
        --set model.path=real/model --set "data.text=[\"$DTX_SHARED/data/dialoconan/DIALOCONAN.csv:text\"]" --layers 2 --hidden 64 \
        --heads 4 --vocab 4096 --context 96 --batch 32 --steps 400 --eval_every 400 --holdout 0.1 --mask 0.1 >log 2>&1 || { cat log; fail "real text"; }
    accuracy=$(sed -n 's/.*held-out accuracy \([0-9.]*\).*/\1/p' log)
    awk "BEGIN { exit !($accuracy >= 0.85) }" || { cat log; fail "real text: held-out accuracy $accuracy"; }
fi
echo "classifier: all checks passed"
