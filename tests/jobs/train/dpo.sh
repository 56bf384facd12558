#!/usr/bin/env bash
# dpo: the same adapter on 1, 2, 3 and 5 ranks, after kills and a time limit; the held-out margin grows; refusals.
set -eu
[ -n "${DTX_WORK-}" ] || exec "$(dirname "$0")/../../script.sh" "$0" "$@"
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

# rejected answers that the reference gives: made once, the same on any number of ranks and after kills and stops, and judged
timeout 300 "$MPIRUN" 2 "$DETOXLENS" pretrain --task classifier --label type --group dialogue_id --run jrun --set model.path=judge \
    --set "data.text=[\"$DTX_SOURCE/data/quickstart/dialogues.csv:text\"]" --layers 1 --hidden 32 --heads 2 --vocab 500 --context 64 \
    --steps 60 --batch 16 >log 2>&1 || { cat log; fail "no judge"; }
sampled() { # RANKS RUN [ARG...]
    local n=$1 run=$2
    shift 2
    dpo "$n" "$run" --rejected sampled --min_toxicity "$least" --epochs 2 --set reward.path=judge --set generate.max_new_tokens=8 "$@"
}
export -f sampled
export least=0
sampled 1 s1 >log 2>&1 || { cat log; fail "sampled answers on one rank"; }
grep -q 'rejected answers are to be sampled' log || { cat log; fail "no answer was sampled"; }
all=$(sum s1)
least=$(/usr/bin/python3 -c 'import h5py, numpy; print(numpy.median(h5py.File("s1/run.h5")["/rejected/DPO/toxicity"]))')
sampled 1 s1 --redo >log 2>&1 || { cat log; fail "the toxic ones of them"; }
! grep -q 'rejected answers are to be sampled' log || { cat log; fail "the answers were made twice"; }
[ "$all" != "$(sum s1)" ] || fail "dpo.min_toxicity changed nothing"
sampled 3 s3 --set generate.batch=3 >log 2>&1 || { cat log; fail "sampled answers on three ranks"; }
[ "$(sum s1)" = "$(sum s3)" ] || fail "another adapter from sampled answers on three ranks"
[ "$(sum s1)" != "$(sum one)" ] || fail "sampled answers changed nothing"
"$DETOXLENS" verify --same s1/run.h5 s3/run.h5 >log || { cat log; fail "run.h5 differs with sampled answers on three ranks"; }
rc=0
sampled 2 s2 --max-hours 0.000001 >log 2>&1 || rc=$?
[ "$rc" = 75 ] || { cat log; fail "a time limit while answers are sampled gave $rc, not 75"; }
kill_often 3 sampled 2 s2
sampled 2 s2 >log 2>&1 || { cat log; fail "sampled answers after kills"; }
[ "$(sum s1)" = "$(sum s2)" ] || fail "another adapter from sampled answers after kills"
"$DETOXLENS" verify --same s1/run.h5 s2/run.h5 >log || { cat log; fail "run.h5 differs with sampled answers after kills"; }
/usr/bin/python3 - <<'PY' || fail "the sampled answers are not what they should be"
import h5py, numpy as np, os
f = h5py.File("s1/run.h5")
g = f["/rejected/DPO"]
tokens, length, finish, toxic = (g[k][:] for k in ("tokens", "length", "finish", "toxicity"))
n = len(length)
assert tokens.shape == (n, 8) and ((tokens >= 0).sum(1) == length).all() and set(finish) <= {1, 2} and (length >= 4).all()
assert (length[finish == 2] == 8).all() and ((toxic >= 0) & (toxic <= 1)).all() and toxic.std() > 0
offset, text = g["text_offset"][:], bytes(g["text_bytes"][:])
assert offset[0] == 0 and offset[-1] == len(text) and len(offset) == n + 1 and text.decode(errors="strict")
kept = (toxic >= float(os.environ["least"])).sum()
assert 2 < kept < n, (kept, n)
steps = len(f["/training/dpo-DPO/loss"])
assert steps == 2 * int(np.ceil((kept - round(0.1 * kept)) / 6)), (steps, kept)
assert abs(f["/training/dpo-DPO/loss"][0] - np.log(2)) < 1e-6
PY

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
refuse 2 'min_toxicity' --run n4 --rejected sampled --min_toxicity 0.5
refuse 2 'max_new_tokens' --run n5 --rejected sampled --context 64
refuse 2 'a new variant' --run n0 --variant IT
refuse 4 'nofile' --run n1 --set data.dialogues=nofile.csv
refuse 2 'data.dialogues' --run n2 --set data.dialogues=
refuse 4 'adapters/RL' --run n3 --init RL
[ "$(sum one)" = "$(sum kill)" ] || fail "a refusal damaged an adapter"
echo "dpo: all checks passed"
