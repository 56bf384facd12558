#!/usr/bin/env bash
# pretrain: the same bytes on 1, 2, 3 and 5 ranks and 1 and 2 threads, after stops and kills, and honest refusals.
set -eu
[ -n "${DTX_WORK-}" ] || exec "$(dirname "$0")/../../script.sh" "$0" "$@"
# shellcheck source=tests/kills.sh
. "$DTX_SOURCE/tests/kills.sh"
fail() { echo "FAILED: $*" >&2; exit 1; }
cat >tiny.json <<JSON
{"data": {"text": ["$DTX_SOURCE/data/quickstart/corpus.txt"]},
 "pretrain": {"layers": 2, "hidden": 32, "heads": 2, "vocab": 400, "context": 32, "batch": 6, "steps": 24, "eval_every": 8,
              "save_every": 5, "warmup_steps": 4}}
JSON
train() { # RANKS RUN [ARG...]
    local n=$1 run=$2
    shift 2
    timeout 120 "$MPIRUN" "$n" "$DETOXLENS" pretrain --config tiny.json --run "$run" --set "model.path=$run/model" "$@"
}
export -f train
sum() { (cd "$1/model" && cat config.json model.safetensors tokenizer.json | sha256sum); }

train 1 one >one.log 2>&1 || { cat one.log; fail "one rank"; }
grep -q 'held-out' one.log || fail "no held-out loss in the log"
grep -q 'peak memory of a rank: predicted' one.log || fail "no peak memory in the log"
for n in 2 3 5; do
    train "$n" "r$n" >log 2>&1 || { cat log; fail "$n ranks"; }
    [ "$(sum one)" = "$(sum "r$n")" ] || fail "other bytes on $n ranks"
    "$DETOXLENS" verify --same one/run.h5 "r$n/run.h5" >log || { cat log; fail "run.h5 differs on $n ranks"; }
done
train 1 threads --set threads=2 >log 2>&1 || { cat log; fail "two threads"; }
[ "$(sum one)" = "$(sum threads)" ] || fail "other bytes on two threads"

# killed at random times, then continued by the same command
kill_often 4 train 2 kill
train 2 kill >log 2>&1 || { cat log; fail "after kills"; }
[ "$(sum one)" = "$(sum kill)" ] || fail "other bytes after kills"
"$DETOXLENS" verify --same one/run.h5 kill/run.h5 >log || { cat log; fail "run.h5 differs after kills"; }

# a time limit stops with 75, the same command goes on
rc=0
train 2 slow --max-hours 0.000001 >log 2>&1 || rc=$?
[ "$rc" = 75 ] || { cat log; fail "time limit gave $rc, not 75"; }
train 2 slow >log 2>&1 || { cat log; fail "after a time limit"; }
[ "$(sum one)" = "$(sum slow)" ] || fail "other bytes after a time limit"

# again: nothing to do; other settings, a foreign model, missing text: refused
train 2 one >log 2>&1 || { cat log; fail "again"; }
grep -q 'nothing to do' log || { cat log; fail "trained again"; }
refuse() { # CODE WORD ARG...
    local want=$1 word=$2 rc=0
    shift 2
    timeout 60 "$MPIRUN" 2 "$DETOXLENS" pretrain "$@" >log 2>&1 || rc=$?
    [ "$rc" = "$want" ] || { cat log; fail "exit code $rc instead of $want: $*"; }
    [ "$(grep -c 'error:' log)" = 1 ] || { cat log; fail "not one message: $*"; }
    grep -q -- "$word" log || { cat log; fail "no word on $word: $*"; }
}
refuse 2 'other settings' --config tiny.json --run one --set model.path=one/model --set pretrain.lr=0.5
refuse 2 'already holds' --config tiny.json --run new --set model.path=one/model
refuse 4 'nofile' --run n1 --set model.path=n1/model --set 'data.text=["nofile.txt"]'
refuse 2 'data.text' --run n2 --set model.path=n2/model
refuse 2 'heads' --config tiny.json --run n3 --set model.path=n3/model --set pretrain.heads=5
printf 'caf\xe9\n' >latin.txt
refuse 3 'UTF-8' --run n4 --set model.path=n4/model --set 'data.text=["latin.txt"]'
# a decay of 10 per step multiplies the weights by -9 each time: the overflow must be found, not trained on
refuse 5 'pretrain.lr' --config tiny.json --run n5 --set model.path=n5/model --set pretrain.lr=10 --set pretrain.weight_decay=1 \
    --set pretrain.warmup_steps=0 --set pretrain.schedule=constant --set pretrain.steps=200
[ ! -e n5/model/model.safetensors ] || fail "a diverged model was published"
[ "$(sum one)" = "$(sum kill)" ] || fail "a refusal damaged a model"
echo "pretrain: all checks passed"
