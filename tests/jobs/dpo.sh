#!/usr/bin/env bash
# dpo: the same adapter on 1, 2, 3 and 5 ranks, after kills and a time limit; the held-out margin grows; refusals.
set -eu
# shellcheck source=tests/kills.sh
. "$DTX_SOURCE/tests/kills.sh"
fail() { echo "FAILED: $*" >&2; exit 1; }
cat >tiny.json <<JSON
{"model": {"path": "model"}, "data": {"text": ["$DTX_SOURCE/data/quickstart/corpus.txt"], "dialogues": "talk.csv"},
 "pretrain": {"layers": 2, "hidden": 32, "heads": 2, "vocab": 400, "context": 256, "batch": 6, "steps": 30},
 "lora": {"r": 4, "alpha": 8, "target_modules": ["query_key_value", "dense_h_to_4h"]},
 "dpo": {"epochs": 4, "beta": 1, "batch": 6, "lr": 0.03, "warmup_steps": 2, "eval_every": 4, "save_every": 3}}
JSON
head -n 90 "$DTX_SOURCE/data/quickstart/dialogues.csv" >talk.csv
timeout 300 "$MPIRUN" 2 "$DETOXLENS" pretrain --config tiny.json --run base >log 2>&1 || { cat log; fail "no base model"; }
before=$(sha256sum <model/model.safetensors)
dpo() { # RANKS RUN [ARG...]
    local n=$1 run=$2
    shift 2
    timeout 300 "$MPIRUN" "$n" "$DETOXLENS" dpo --variant DPO --config tiny.json --run "$run" "$@"
}
export -f dpo
sum() { (cd "$1/adapters/${2:-DPO}" && cat adapter_config.json adapter_model.safetensors | sha256sum); }

dpo 1 one >one.log 2>&1 || { cat one.log; fail "one rank"; }
grep -q 'peak memory of a rank: predicted' one.log || { cat one.log; fail "no memory in the log"; }
grep -q 'rewards/margins=' one.log || { cat one.log; fail "no margin in the log"; }
for n in 2 3 5; do
    dpo "$n" "r$n" >log 2>&1 || { cat log; fail "$n ranks"; }
    [ "$(sum one)" = "$(sum "r$n")" ] || fail "another adapter on $n ranks"
    "$DETOXLENS" verify --same one/run.h5 "r$n/run.h5" >log || { cat log; fail "run.h5 differs on $n ranks"; }
done
dpo 1 threads --set threads=2 --checkpoint_layers true >log 2>&1 || { cat log; fail "two threads, recomputation"; }
[ "$(sum one)" = "$(sum threads)" ] || fail "another adapter on two threads or with recomputation"
[ "$before" = "$(sha256sum <model/model.safetensors)" ] || fail "the base model was touched"
/usr/bin/python3 - <<'PY' || fail "the curves do not hold what they should"
import h5py, numpy as np
g = h5py.File("one/run.h5")["/training/dpo-DPO"]
loss, chosen, rejected, margin = (g[k][:] for k in ("loss", "rewards/chosen", "rewards/rejected", "rewards/margins"))
assert abs(loss[0] - np.log(2)) < 1e-6 and chosen[0] == rejected[0] == 0, "the first step is the reference itself"
assert np.allclose(chosen - rejected, margin, atol=1e-5) and not np.isnan(loss).any()
assert ((g["rewards/accuracies"][:] >= 0) & (g["rewards/accuracies"][:] <= 1)).all()
assert (g["logps/chosen"][:] < 0).all() and (g["logps/rejected"][:] < 0).all()
held = g["eval_rewards/margins"][:]
held = held[~np.isnan(held)]
assert len(held) >= 3 and held[-1] > held[0], held
e = g["eval_loss"][:]
e = e[~np.isnan(e)]
assert e[-1] < e[0] and loss[-1] < 0.6 and margin[-1] > 0.3, (e, loss, margin)
predicted, seen = (g["timing"].attrs[f"peak_memory_{k}_bytes"] for k in ("predicted", "seen"))
assert seen > 1e7 and 0.8 < predicted / seen < 1.25, (predicted, seen)
PY

kill_often 4 dpo 2 kill
dpo 3 kill >log 2>&1 || { cat log; fail "after kills"; }
[ "$(sum one)" = "$(sum kill)" ] || fail "another adapter after kills"
"$DETOXLENS" verify --same one/run.h5 kill/run.h5 >log || { cat log; fail "run.h5 differs after kills"; }
rc=0
dpo 2 slow --max-hours 0.000001 >log 2>&1 || rc=$?
[ "$rc" = 75 ] || { cat log; fail "time limit gave $rc, not 75"; }
dpo 2 slow >log 2>&1 || { cat log; fail "after a time limit"; }
[ "$(sum one)" = "$(sum slow)" ] || fail "another adapter after a time limit"
dpo 2 one >log 2>&1 || { cat log; fail "again"; }
grep -q 'nothing to do' log || { cat log; fail "trained again"; }

# from another variant, which is the reference then; the trained variant generates
dpo 2 one --variant DPO2 --init DPO >log 2>&1 || { cat log; fail "a second round"; }
[ "$(sum one)" != "$(sum one DPO2)" ] || fail "the second round changed nothing"
/usr/bin/python3 -c 'import h5py; assert h5py.File("one/run.h5")["/training/dpo-DPO2/rewards/chosen"][0] == 0' ||
    fail "the reference of a second round is not the first one's adapter"
timeout 300 "$MPIRUN" 2 "$DETOXLENS" generate --variant DPO --config tiny.json --run one --set data.limit=3 \
    --set "data.prompts=$DTX_SOURCE/data/quickstart/texts.jsonl" --max_new_tokens 5 >log 2>&1 || { cat log; fail "DPO does not generate"; }

refuse() { # CODE WORD ARG...
    local want=$1 word=$2 rc=0
    shift 2
    timeout 300 "$MPIRUN" 2 "$DETOXLENS" dpo --variant DPO --config tiny.json "$@" >log 2>&1 || rc=$?
    [ "$rc" = "$want" ] || { cat log; fail "exit code $rc instead of $want: $*"; }
    [ "$(grep -c 'error:' log)" = 1 ] || { cat log; fail "not one message: $*"; }
    grep -q -- "$word" log || { cat log; fail "no word on $word: $*"; }
}
refuse 2 'other settings' --run one --beta 0.6
refuse 2 'dpo.beta' --run one --beta 0
refuse 2 'a new variant' --run n0 --variant IT
refuse 4 'nofile' --run n1 --set data.dialogues=nofile.csv
refuse 2 'data.dialogues' --run n2 --set data.dialogues=
refuse 4 'adapters/RL' --run n3 --init RL
[ "$(sum one)" = "$(sum kill)" ] || fail "a refusal damaged an adapter"
echo "dpo: all checks passed"
