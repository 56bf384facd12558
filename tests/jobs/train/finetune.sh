#!/usr/bin/env bash
# finetune: the same adapter on 1, 2, 3 and 5 ranks, after kills and a time limit; held-out loss falls; refusals.
set -eu
[ -n "${DTX_WORK-}" ] || exec "$(dirname "$0")/../../script.sh" "$0" "$@"
# shellcheck source=tests/kills.sh
. "$DTX_SOURCE/tests/kills.sh"
fail() { echo "FAILED: $*" >&2; exit 1; }
cat >tiny.json <<JSON
{"model": {"path": "model"}, "data": {"text": ["$DTX_SOURCE/data/quickstart/corpus.txt"], "dialogues": "talk.csv"},
 "pretrain": {"layers": 2, "hidden": 32, "heads": 2, "vocab": 400, "context": 256, "batch": 6, "steps": 30},
 "lora": {"r": 4, "alpha": 8, "target_modules": ["query_key_value", "dense_h_to_4h"]},
 "finetune": {"epochs": 2, "batch": 4, "accumulate": 2, "lr": 0.03, "warmup_steps": 2, "eval_every": 4, "save_every": 3}}
JSON
head -n 90 "$DTX_SOURCE/data/quickstart/dialogues.csv" >talk.csv
timeout 120 "$MPIRUN" 2 "$DETOXLENS" pretrain --config tiny.json --run base >log 2>&1 || { cat log; fail "no base model"; }
before=$(sha256sum <model/model.safetensors)
tune() { # RANKS RUN [ARG...]
    local n=$1 run=$2
    shift 2
    timeout 120 "$MPIRUN" "$n" "$DETOXLENS" finetune --variant FT --config tiny.json --run "$run" "$@"
}
export -f tune
sum() { (cd "$1/adapters/FT" && cat adapter_config.json adapter_model.safetensors | sha256sum); }

tune 2 none --dry-run >log 2>&1 || { cat log; fail "a dry run"; }
grep -q 'plan: .* trainable parameters' log && [ ! -e none ] || { cat log; fail "a dry run makes a run directory"; }
tune 1 one >one.log 2>&1 || { cat one.log; fail "one rank"; }
grep -q 'peak memory of a rank: predicted' one.log && grep -q 'GFLOP/s=' one.log || { cat one.log; fail "no memory, no speed in the log"; }
for n in 2 3 5; do
    tune "$n" "r$n" >log 2>&1 || { cat log; fail "$n ranks"; }
    [ "$(sum one)" = "$(sum "r$n")" ] || fail "another adapter on $n ranks"
    "$DETOXLENS" verify --same one/run.h5 "r$n/run.h5" >log || { cat log; fail "run.h5 differs on $n ranks"; }
done
tune 1 threads --set threads=2 >log 2>&1 || { cat log; fail "two threads"; }
[ "$(sum one)" = "$(sum threads)" ] || fail "another adapter on two threads"
[ "$before" = "$(sha256sum <model/model.safetensors)" ] || fail "the base model was touched"
/usr/bin/python3 - <<'PY' || fail "held-out loss does not fall"
import h5py, numpy as np
g = h5py.File("one/run.h5")["/training/finetune-FT"]
e = g["eval_loss"][:]
e = e[~np.isnan(e)]
assert len(e) >= 3 and e[-1] < e[0], e
assert g["lr"][0] == 0 and not np.isnan(g["loss"][:]).any()
t = g["timing"]
for name in "tokens_per_s", "gflops", "seconds":
    assert t[name].shape == g["loss"].shape and (t[name][:] > 0).all(), name
predicted, seen = t.attrs["peak_memory_predicted_bytes"], t.attrs["peak_memory_seen_bytes"]
assert seen > 1e7 and 0.8 < predicted / seen < 1.25, (predicted, seen)
PY

kill_often 4 tune 2 kill
tune 3 kill >log 2>&1 || { cat log; fail "after kills"; }
[ "$(sum one)" = "$(sum kill)" ] || fail "another adapter after kills"
"$DETOXLENS" verify --same one/run.h5 kill/run.h5 >log || { cat log; fail "run.h5 differs after kills"; }
rc=0
tune 2 slow --max-hours 0.000001 >log 2>&1 || rc=$?
[ "$rc" = 75 ] || { cat log; fail "time limit gave $rc, not 75"; }
tune 2 slow >log 2>&1 || { cat log; fail "after a time limit"; }
[ "$(sum one)" = "$(sum slow)" ] || fail "another adapter after a time limit"

# a bit that flipped in a checkpoint or an adapter is seen, and named with the file
flip() { /usr/bin/python3 -c 'import sys; b = bytearray(open(sys.argv[1], "rb").read()); b[-9] ^= 4; open(sys.argv[1], "wb").write(b)' "$1"; }
tune 2 flip --max-hours 0.000001 >log 2>&1 && fail "no stop before the end"
flip flip/checkpoints/finetune-FT.safetensors
rc=0
tune 2 flip >log 2>&1 || rc=$?
[ "$rc" = 3 ] && [ "$(grep -c 'error: ' log)" = 1 ] && grep -q 'error: .*checkpoints/finetune-FT.safetensors: damaged.*remove the file' log ||
    { cat log; fail "a flipped bit in a checkpoint gave $rc"; }
cp -r one flipped
flip flipped/adapters/FT/adapter_model.safetensors
rc=0
tune 2 flipped --variant FT2 --init FT >log 2>&1 || rc=$?
[ "$rc" = 3 ] && grep -q 'error: .*adapters/FT/adapter_model.safetensors: damaged' log || { cat log; fail "a flipped bit in an adapter gave $rc"; }

# a training that trains nothing says so, and what to set
tune 2 cold --epochs 1 --warmup_steps 1000 >log 2>&1 || { cat log; fail "a warm-up without end"; }
grep -q 'all [0-9]* steps lie in the warm-up (finetune.warmup_steps = 1000).*set finetune.warmup_steps to about' log || { cat log; fail "no word on a warm-up without end"; }
tune 2 zero --epochs 1 --lr 0 >log 2>&1 || { cat log; fail "no learning rate"; }
grep -q 'finetune.lr is 0: nothing will be trained' log || { cat log; fail "no word on a learning rate of 0"; }
tune 2 rising --epochs 1 --lr 5 --set finetune.clip=0 >log 2>&1 || { cat log; fail "a rate that is too large"; }
grep -q 'the loss has not fallen: .* in the last .*lower it' log || { cat log; fail "no word on a loss that rises"; }
grep -q 'warn.*\(fallen\|warm-up\|nothing will\)' one.log && { cat one.log; fail "a sound training is warned of"; }

# recomputation changes memory, not bits; FT goes on from another variant; fast sums train too
tune 2 recompute --checkpoint_layers true >log 2>&1 || { cat log; fail "recomputation"; }
[ "$(sum one)" = "$(sum recompute)" ] || fail "recomputation changes the adapter"
tune 2 one --variant FT2 --init FT --loss_on assistant --loss_average token >log 2>&1 || { cat log; fail "a second round"; }
[ -s one/adapters/FT2/adapter_model.safetensors ] || fail "no second adapter"
tune 2 fast --set reduce=fast >log 2>&1 || { cat log; fail "fast sums"; }

# entropy-based attention regularisation: the same bits on other ranks and with recomputation; its curve rises with the weight
tune 1 ear --ear_weight 0.5 >log 2>&1 || { cat log; fail "EAR"; }
tune 3 ear3 --ear_weight 0.5 --checkpoint_layers true >log 2>&1 || { cat log; fail "EAR on 3 ranks"; }
tune 2 noear --ear_weight 0.000001 >log 2>&1 || { cat log; fail "EAR of next to no weight"; }
[ "$(sum ear)" = "$(sum ear3)" ] || fail "EAR: another adapter on 3 ranks"
"$DETOXLENS" verify --same ear/run.h5 ear3/run.h5 >log || { cat log; fail "EAR: run.h5 differs"; }
/usr/bin/python3 - <<'PY' || fail "the attention's entropy does not follow its weight"
import h5py
plain, none, ear = (h5py.File(r + "/run.h5")["/training/finetune-FT"] for r in ("one", "noear", "ear"))
assert "attention_entropy" not in plain
a, b = none["attention_entropy"][:], ear["attention_entropy"][:]
assert a[0] == b[0] > 0.5 and (b[4:] > a[4:]).all() and b[-1] > a[-1] + 0.005, (a, b)
assert abs(none["loss"][0] - plain["loss"][0]) < 1e-6
PY

# the trained variant generates
timeout 60 "$MPIRUN" 2 "$DETOXLENS" generate --variant FT --config tiny.json --run one --set data.limit=3 \
    --set "data.prompts=$DTX_SOURCE/data/quickstart/texts.jsonl" --max_new_tokens 5 >log 2>&1 || { cat log; fail "FT does not generate"; }

refuse() { # CODE WORD ARG...
    local want=$1 word=$2 rc=0
    shift 2
    timeout 60 "$MPIRUN" 2 "$DETOXLENS" finetune --variant FT --config tiny.json "$@" >log 2>&1 || rc=$?
    [ "$rc" = "$want" ] || { cat log; fail "exit code $rc instead of $want: $*"; }
    [ "$(grep -c 'error:' log)" = 1 ] || { cat log; fail "not one message: $*"; }
    grep -q -- "$word" log || { cat log; fail "no word on $word: $*"; }
}
refuse 2 'other settings' --run one --set finetune.lr=0.5
refuse 2 'other settings' --run one --ear_weight 0.5
refuse 2 'ear_weight' --run one --ear_weight -1
refuse 4 'nofile' --run n1 --set data.dialogues=nofile.csv
refuse 2 'data.dialogues' --run n2 --set data.dialogues=
refuse 2 'query_key_value' --run n3 --set 'lora.target_modules=["q_proj"]'
printf 'text,turn\na,b\n' >bad.csv
refuse 3 'dialogue_id' --run n4 --set data.dialogues=bad.csv
refuse 4 'adapters/RL' --run n5 --init RL
[ "$(sum one)" = "$(sum kill)" ] || fail "a refusal damaged an adapter"
echo "finetune: all checks passed"
