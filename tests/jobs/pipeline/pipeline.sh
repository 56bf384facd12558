#!/usr/bin/env bash
# pipeline: the bytes of the jobs run one by one, on 1 and 3 ranks, after kills, stops and time limits; what is complete is left
# alone; what has no settings is left out and said so; a training that fails numerically ends its variant alone.
set -eu
[ -n "${DTX_WORK-}" ] || exec "$(dirname "$0")/../../script.sh" "$0" "$@"
kills=${1:-6}
fail() { echo "FAILED: $*" >&2; exit 1; }
data=$DTX_SOURCE/data/quickstart
"$DTX_BUILD/tests/make_model" neox model "$data/corpus.txt"
"$DTX_BUILD/tests/make_model" roberta judge "$data/corpus.txt"
cat >cfg.json <<JSON
{"threads": 1, "model": {"path": "model"}, "data": {"prompts": "$data/texts.jsonl", "limit": 12, "dialogues": "$data/short-dialogues.csv"},
 "generate": {"max_new_tokens": 10, "batch": 4}, "lora": {"r": 2, "alpha": 4}, "round_seconds": 0.05, "attribute": {"check": 2},
 "finetune": {"epochs": 1, "batch": 2, "accumulate": 1, "context": 96, "save_every": 4},
 "ppo": {"steps": 3, "batch": 4, "mini_batch": 2, "accumulate": 1, "epochs": 1, "context": 128, "save_every": 1},
 "reward": {"path": "judge#hate"}, "score": {"path": "judge", "name": "toy"}}
JSON
job() { # RUN JOB ARG...
    local run=$1 job=$2
    shift 2
    "$DETOXLENS" "$job" --config cfg.json --run "$run" --quiet "$@" >log 2>&1 || { rc=$?; cat log; fail "$job into $run: exit $rc"; }
}
pipeline() { # RANKS RUN ARG...: its exit code is the function's
    local n=$1 run=$2
    shift 2
    timeout 300 "$MPIRUN" "$n" "$DETOXLENS" pipeline --config cfg.json --run "$run" "$@" >log 2>&1
}
same() {
    "$DETOXLENS" verify --same "$1" "$2" >same.txt || { cat same.txt; fail "$1 and $2 differ"; }
    for v in FT RL; do diff -r "$1/adapters/$v" "$2/adapters/$v" || fail "adapter of $v in $2"; done
}
has() { grep -q -- "$1" log || { cat log; fail "no word on: $1"; }; }
refuse() { # CODE WORD ARG...
    local want=$1 word=$2 rc=0
    shift 2
    pipeline 2 bad "$@" || rc=$?
    [ "$rc" = "$want" ] || { cat log; fail "exit code $rc instead of $want: $*"; }
    [ "$(grep -c 'error:' log)" = 1 ] || { cat log; fail "not one message: $*"; }
    has "$word"
    [ ! -e bad ] || fail "$* left something"
}

job seq generate
job seq score
job seq attribute
job seq finetune --variant FT
for j in generate score attribute; do job seq $j --variant FT; done
job seq ppo --variant RL
for j in generate score attribute; do job seq $j --variant RL; done
job seq report

echo "1 and 3 ranks; again; --dry-run"
pipeline 1 dry --dry-run || { cat log; fail "dry run"; }
has 'ppo RL  *nothing  *all of it'
[ ! -e dry ] || fail "--dry-run made something"
for n in 1 3; do
    pipeline $n r$n --json || { cat log; fail "$n ranks"; }
    same seq r$n
    [ "$(grep -c '"state":"done"' log)" = 12 ] || { cat log; fail "not 12 stages done"; }
    has 'generate FT  *done .* 12 of 12 rows, 12 now'
done
for f in pipeline.log generate.log generate.jsonl score.log attribute.log finetune.log finetune.jsonl ppo.log; do
    [ -s r3/log/$f ] || fail "no log $f"
done
grep -q 'attribute: .*is complete' r3/log/attribute.log || fail "attribute's lines are not in its log"
! grep -q 'finetune: done' r3/log/pipeline.log || fail "finetune's lines are in the pipeline's log"
diff <(cd seq/report && ls) <(cd r3/report && ls) || fail "other reports"
cp r3/run.h5 before.h5
pipeline 2 r3 || { cat log; fail "again"; }
cmp r3/run.h5 before.h5 || fail "nothing to do changed the file"
[ "$(grep -c 'pipeline: .* complete  ' log)" = 11 ] || { cat log; fail "not 11 stages complete"; }
pipeline 1 r3 --dry-run || { cat log; fail "dry run"; }
has 'finetune FT  *complete  *nothing'
has 'attribute RL  *complete, 12 rows  *nothing'
cmp r3/run.h5 before.h5 || fail "--dry-run changed the file"

echo "kills"
t=$(date +%s%N)
pipeline 2 timed || { cat log; fail "two ranks"; }
t=$((($(date +%s%N) - t) / 1000000))
same seq timed
descendants() { for p in $(pgrep -P "$1"); do descendants "$p"; echo "$p"; done; }
RANDOM=7 struck=0
for i in $(seq "$kills"); do
    pipeline 2 hit &
    launch=$! # $! becomes the process substitution's below
    pause=$((t / 10 + RANDOM % (t * 9 / 10)))
    sleep "$((pause / 1000)).$(printf '%03d' $((pause % 1000)))"
    mapfile -t all < <(descendants $launch)
    [ $((i % 2)) = 0 ] || mapfile -t all < <(for p in "${all[@]}"; do ! grep -qs '^detoxlens' "/proc/$p/comm" || echo "$p"; done | head -1)
    [ ${#all[@]} = 0 ] || kill -9 "${all[@]}" 2>/dev/null || true
    rc=0
    wait $launch 2>/dev/null || rc=$?
    [ "$rc" = 0 ] || struck=$((struck + 1))
    [ ! -e hit/run.h5 ] || h5dump -H hit/run.h5 >/dev/null || fail "run.h5 cannot be read after a kill"
    if [ $((i % 3)) = 0 ]; then
        pipeline 3 hit || { cat log; fail "after kills"; }
        same seq hit
        rm -rf hit
    fi
done
echo "$struck kills"

echo "stops: a time limit, a signal"
rc=75 stops=0 limit=$((t / 3)) # of the time that all of it took; grows, as each launch looks at what is complete first
while [ "$rc" = 75 ] && [ "$stops" -lt 80 ]; do
    rc=0 stops=$((stops + 1)) limit=$((limit * 9 / 8))
    pipeline 2 slow --max-hours "$(awk "BEGIN {print $limit / 3600000}")" || rc=$?
    [ "$rc" = 0 ] || has 'pipeline: .* stopped\|not reached'
done
[ "$rc" = 0 ] || { cat log; fail "time limits end with $rc after $stops"; }
same seq slow
echo "$stops launches of $((t / 3)) to $limit ms"
rc=75 tries=0
while [ "$rc" = 75 ] || [ "$rc" = 138 ]; do
    tries=$((tries + 1)) rc=0
    [ "$tries" -lt 40 ] || fail "signals never end"
    pipeline 2 usr1 &
    launch=$!
    sleep "0.$((3 + RANDOM % 6))"
    # from the third launch on it may end
    [ $tries -gt 3 ] || for p in $(descendants $launch); do ! grep -qs '^detoxlens' "/proc/$p/comm" || kill -USR1 "$p" 2>/dev/null || true; done
    wait $launch || rc=$?
done
[ "$rc" = 0 ] || { cat log; fail "after signals: $rc"; }
same seq usr1

echo "what has no settings is left out"
pipeline 2 some --set reward.path= --set score.path= || { cat log; fail "without reward and score"; }
has 'ppo RL  *left out  *reward.path is not set'
has 'attribute RL  *left out  *RL has no adapter, as reward.path is not set'
has 'score FT  *left out  *score.path is not set'
[ -s some/report/index.html ] || fail "no report"
pipeline 2 some || { cat log; fail "with them later"; }
same seq some
pipeline 1 given --set 'pipeline.variants=["IT","X"]' --set variants.X.adapter=seq/adapters/FT --set data.dialogues= || { cat log; fail "a given adapter"; }
has 'generate X  *done'
! grep -q 'stage .* finetune' given/log/pipeline.log || fail "something was trained"

echo "a training that collapses ends its variant alone"
rc=0
pipeline 2 lost --set ppo.lr=10 --set ppo.max_rollbacks=0 --set lora.alpha=65536 --set finetune.lr=0.00001 --set ppo.guard_value_error=0 \
    --set ppo.patience=1 || rc=$?
[ "$rc" = 5 ] || { cat log; fail "a collapse ends with $rc"; }
has 'ppo RL  *failed'
has 'generate RL  *left out  *ppo of RL failed'
has 'report  *done'
[ "$(grep -c 'error:' log)" = 1 ] || { cat log; fail "not one message"; }

echo "a model from scratch"
small=(--set pipeline.pretrain=true --set model.path=scratch/model --set "data.text=[\"$data/corpus.txt\"]" --set pretrain.layers=1
    --set pretrain.hidden=16 --set pretrain.heads=2 --set pretrain.vocab=300 --set pretrain.context=160 --set pretrain.steps=3
    --set 'pipeline.variants=["IT"]' --set model.template.text='{user} {text} {bot}')
pipeline 2 scratch "${small[@]}" --set generate.max_new_tokens=4 --set data.limit=2 --set score.path= || { cat log; fail "from scratch"; }
has 'pretrain IT  *done .* 3 of 3 steps'

echo "another training"
pipeline 2 dpo --set 'pipeline.variants=["IT","DPO"]' --set dpo.epochs=1 --set dpo.batch=16 --set score.path= || { cat log; fail "dpo"; }
has 'dpo DPO  *done'
has 'attribute DPO  *done'

echo "refusals"
refuse 2 'model.path is not set' --set model.path=
refuse 2 'data.prompts is not set' --set data.prompts=
refuse 2 'detoxlens JOB --variant V --redo' --redo
refuse 2 '--rows' --rows 0:3
refuse 2 'pipeline.variants' --variant FT
refuse 2 'nothing says where XX comes from' --set 'pipeline.variants=["IT","XX"]'
refuse 2 'is not NAME=JOB' --set 'pipeline.train=["FT=report"]'
refuse 2 'named twice' --set 'pipeline.variants=["IT","IT"]'
refuse 4 'model.path: nowhere' --set model.path=nowhere
refuse 4 'data.dialogues: nowhere' --set data.dialogues=nowhere
refuse 4 'reward.path: nowhere' --set reward.path=nowhere#hate
refuse 4 'score.path: nowhere' --set score.path=nowhere
rc=0
pipeline 2 r3 --set seed=7 || rc=$?
[ "$rc" = 2 ] || { cat log; fail "another seed ends with $rc"; }
has 'generate IT, stage 1 of 12: .*generation.seed is 42 there and 7 now'
cmp r3/run.h5 before.h5 || fail "a refusal changed the file"
echo "pipeline: all checks passed"
