#!/usr/bin/env bash
# ppo: the same bytes on 1, 2, 3 and 5 ranks, after kills and stops; rollouts and curves as an analyst reads them; a policy
# that really collapses (large rate, warped sampling, k1) is taken back, given up and not published.
set -eu
[ -n "${DTX_WORK-}" ] || exec "$(dirname "$0")/../../script.sh" "$0" "$@"
# shellcheck source=tests/kills.sh
. "$DTX_SOURCE/tests/kills.sh"
fail() { echo "FAILED: $*" >&2; exit 1; }
data=$DTX_SOURCE/data/quickstart
cat >cfg.json <<JSON
{"threads": 1, "model": {"path": "model"}, "data": {"text": ["$data/chat.txt"], "dialogues": "$data/dialogues.csv"},
 "pretrain": {"layers": 2, "hidden": 48, "heads": 4, "vocab": 600, "context": 96, "steps": 150, "batch": 12, "eval_every": 150,
              "lr": 0.003},
 "generate": {"max_new_tokens": 16, "batch": 4}, "lora": {"r": 4, "alpha": 8},
 "ppo": {"steps": 10, "batch": 8, "mini_batch": 4, "accumulate": 2, "epochs": 2, "lr": 0.002, "context": 96, "save_every": 3},
 "reward": {"path": "judge"}}
JSON
job() { # RANKS ARG...
    local n=$1
    shift
    timeout 150 "$MPIRUN" "$n" "$DETOXLENS" "$@" --config cfg.json
}
job 2 pretrain --run base >log 2>&1 || { cat log; fail "the base model"; }
timeout 100 "$MPIRUN" 2 "$DETOXLENS" pretrain --task classifier --label type --group dialogue_id --run jrun --set model.path=judge \
    --set "data.text=[\"$data/dialogues.csv:text\"]" --layers 1 --hidden 32 --heads 2 --vocab 500 --context 64 --steps 100 \
    --batch 16 --holdout 0.2 --set threads=1 >log 2>&1 || { cat log; fail "the judge"; }
ppo() { # RANKS RUN ARG...
    local n=$1 run=$2
    shift 2
    job "$n" ppo --variant RL --run "$run" "$@"
}
same() { # A B
    cmp "$1/adapters/RL/adapter_model.safetensors" "$2/adapters/RL/adapter_model.safetensors" || fail "$2: other adapter"
    cmp "$1/adapters/RL/value_head.safetensors" "$2/adapters/RL/value_head.safetensors" || fail "$2: other value head"
    "$DETOXLENS" verify --same "$1/run.h5" "$2/run.h5" >log || { cat log; fail "$2: run.h5 differs"; }
}

ppo 1 one >one.log 2>&1 || { cat one.log; fail "one rank"; }
for n in 2 3 5; do
    ppo "$n" "r$n" >log 2>&1 || { cat log; fail "$n ranks"; }
    same one "r$n"
done
# batches of another size in generation, threads: not the bits
ppo 2 batch --set generate.batch=3 --set threads=2 >log 2>&1 || { cat log; fail "other batch"; }
cmp one/adapters/RL/adapter_model.safetensors batch/adapters/RL/adapter_model.safetensors || fail "generate.batch changed the adapter"

# that library's accidents: dropout moves the rollouts' log-probabilities, the same way on any number of ranks
for n in 1 3; do
    ppo "$n" "trl$n" --steps 2 --compat trl-0.4 --set lora.dropout=0.1 >log 2>&1 || { cat log; fail "compat on $n ranks"; }
done
same trl1 trl3
/usr/bin/python3 -c 'import h5py
t = h5py.File("trl1/run.h5")["training/ppo-RL"]
assert t["ppo/policy/ratio"][0] != 1 and t["ppo/policy/approxkl"][0] > 0, t["ppo/policy/approxkl"][:]' || fail "compat has no dropout"

# killed at random times, then continued by the same command
export -f job ppo
kill_often 4 ppo 2 kill
ppo 2 kill >log 2>&1 || { cat log; fail "after kills"; }
same one kill
# a time limit stops with 75 until all is done
rc=75 tries=0
while [ "$rc" = 75 ] && [ "$tries" -lt 60 ]; do
    rc=0 tries=$((tries + 1))
    ppo 2 slow --max-hours 0.0002 >log 2>&1 || rc=$?
done
[ "$rc" = 0 ] || { cat log; fail "time limits end with $rc after $tries"; }
same one slow
ppo 2 one >log 2>&1 || { cat log; fail "again"; }
grep -q 'nothing to do' log || { cat log; fail "trained again"; }

# a stopped training whose checkpoint is gone begins anew, with other settings if need be
rc=0
ppo 2 gone --max-hours 0.0000001 >log 2>&1 || rc=$?
[ "$rc" = 75 ] || { cat log; fail "a time limit ends with $rc"; }
rm gone/checkpoints/ppo-RL*
ppo 2 gone --steps 2 >log 2>&1 || { cat log; fail "without its checkpoint"; }
grep -q 'whose checkpoint is gone' log || { cat log; fail "old rollouts are taken over"; }
ppo 2 brief --steps 2 >log 2>&1 || { cat log; fail "two steps"; }
same brief gone

/usr/bin/python3 - <<'PY' || fail "the file does not hold what it should"
import h5py, numpy as np
f = h5py.File("one/run.h5")
r, t = f["rollouts/RL"], f["training/ppo-RL"]
n, b = 10, 8
length, tokens, score, kl = (r[k][:] for k in ("length", "tokens", "score", "kl"))
assert tokens.shape == (n * b, 16) and (length >= 1).all() and set(r["finish"][:]) <= {1, 2}
for name in ("logprob", "ref_logprob", "behaviour_logprob", "value"):
    x = r[name][:]
    assert (np.isfinite(x).sum(1) == length).all(), name
    assert name == "value" or np.nanmax(x) <= 1e-5, name
assert ((tokens >= 0).sum(1) == length).all()
lp, ref = r["logprob"][:], r["ref_logprob"][:]
assert np.allclose(np.nansum(lp - ref, 1), kl, atol=1e-4)
assert np.allclose(t["objective/kl"][:], kl.reshape(n, b).mean(1), atol=1e-4)
assert np.allclose(t["env/reward_mean"][:], score.reshape(n, b).mean(1), atol=1e-6)
assert np.allclose(t["env/reward_std"][:], score.reshape(n, b).std(1, ddof=1), atol=1e-5)
assert np.array_equal(t["env/reward_dist"][:], score.reshape(n, b))
assert np.allclose(t["objective/entropy"][:], -np.nansum(lp, 1).reshape(n, b).mean(1), atol=1e-3)
assert np.allclose(t["tokens/responses_len_mean"][:], length.reshape(n, b).mean(1), atol=1e-5)
assert t["objective/kl"][0] == 0 and t["objective/kl_coef"][0] == np.float32(0.2) and (np.abs(t["objective/kl"][1:]) > 0).all()
coef = 0.2  # the controller, over the whole training
for k in range(n):
    assert abs(t["objective/kl_coef"][k] - coef) < 1e-6
    coef *= 1 + np.clip(t["objective/kl"][k] / 6 - 1, -0.2, 0.2) * b / 10000
e = 1 - t["ppo/val/error"][:] / t["ppo/returns/var"][:]
assert np.allclose(e, t["ppo/val/var_explained"][:], rtol=1e-4)
for name in ("ppo/mean_scores", "ppo/std_scores", "ppo/mean_non_score_reward", "ppo/loss/policy", "ppo/loss/value", "ppo/loss/total",
             "ppo/policy/entropy", "ppo/policy/approxkl", "ppo/policy/policykl", "ppo/policy/clipfrac", "ppo/policy/advantages",
             "ppo/policy/advantages_mean", "ppo/policy/ratio", "ppo/returns/mean", "ppo/val/vpred", "ppo/val/clipfrac", "ppo/val/mean",
             "ppo/val/var", "ppo/learning_rate", "objective/logprobs", "objective/ref_logprobs", "tokens/queries_len_mean",
             "tokens/queries_len_std", "tokens/responses_len_std", "timing/time/ppo/total", "timing/time/ppo/forward_pass",
             "timing/time/ppo/compute_rewards", "timing/time/ppo/optimize_step", "timing/time/ppo/calc_stats"):
    assert np.isfinite(t[name][:]).all() and t[name].shape == (n,), name
offset, text = r["text_offset"][:], bytes(r["text_bytes"][:])
assert offset[0] == 0 and offset[-1] == len(text) and text.decode()
seen = r["prompt"][:]
assert len(set(seen)) == n * b, "a prompt came twice within one pass"
try:
    import xarray
    for g in ("/rollouts/RL", "/training/ppo-RL/objective", "/training/ppo-RL/env", "/training/ppo-RL/ppo/policy"):
        xarray.open_dataset("one/run.h5", engine="h5netcdf", group=g).load()
except ImportError:
    pass
PY

# the study's trap: samples from a warped distribution, k1, a large rate. KL goes far below zero
collapse=(--steps 40 --batch 16 --mini_batch 4 --epochs 4 --save_every 2 --kl_coef 2 --lr 0.02 --guard_kl_min -3)
warped=(--set generate.temperature=0.3 --set generate.top_k=3 --set generate.max_new_tokens=32 --set generate.batch=8)
rc=0
ppo 2 lost "${collapse[@]}" "${warped[@]}" >log 2>&1 || rc=$?
[ "$rc" = 5 ] || { cat log; fail "a collapse ends with $rc, not 5"; }
[ "$(grep -c 'warning: ppo: collapse at step' log)" = 2 ] || { cat log; fail "not two rollbacks"; }
[ "$(grep -c 'error:' log)" = 1 ] || { cat log; fail "not one message"; }
[ ! -e lost/adapters/RL ] || fail "a collapsed adapter was published"
[ -e lost/log/ppo-RL-collapse-1.json ] && [ -e lost/log/ppo-RL-collapse-3.json ] || fail "no diagnosis"
grep -q 'objective/kl .* is below -3' lost/log/ppo-RL-collapse-1.json || fail "the diagnosis does not name the reason"
rc=0
ppo 3 lost "${collapse[@]}" "${warped[@]}" >log 2>&1 || rc=$?
[ "$rc" = 5 ] || { cat log; fail "the same command ends with $rc, not 5"; }
# a reward that falls and stays down is one, when nothing else looks wrong
rc=0
ppo 2 fallen "${collapse[@]}" "${warped[@]}" --set ppo.guard_kl_min=-1000000 --set ppo.guard_kl_max=1000000 --set ppo.guard_entropy=0 \
    --set ppo.max_rollbacks=0 >log 2>&1 || rc=$?
[ "$rc" = 5 ] && [ ! -e fallen/adapters/RL ] || { cat log; fail "a reward that falls ends with $rc"; }
grep -q 'fall of env/reward_mean' fallen/log/ppo-RL-collapse-1.json || fail "the diagnosis does not name the reward"
# values that follow nothing are one too
rc=0
ppo 2 wild --set ppo.lr=10 --set ppo.max_rollbacks=0 --set lora.alpha=65536 >log 2>&1 || rc=$?
[ "$rc" = 5 ] && [ ! -e wild/adapters/RL ] || { cat log; fail "wild values end with $rc"; }
grep -q 'ppo/val/error' wild/log/ppo-RL-collapse-1.json || fail "the diagnosis does not name the values"
# with enough returns it goes on from a healthy state, the same on any number of ranks
for n in 1 3; do
    ppo "$n" "back$n" --set ppo.lr=10 --set ppo.max_rollbacks=40 --set lora.alpha=65536 >log 2>&1 || { cat log; fail "no way back"; }
    grep -q 'collapse at step' log || { cat log; fail "nothing collapsed"; }
done
same back1 back3
# the same sampling with a small rate holds
ppo 2 small "${collapse[@]}" "${warped[@]}" --set ppo.lr=0.0005 >log 2>&1 || { cat log; fail "a small rate collapses too"; }
grep -q ' 0 rollbacks' log || { cat log; fail "a small rate was taken back"; }

# other settings of the same kind work
ppo 2 trl --steps 2 --set ppo.compat=trl-0.4 --set ppo.kl_estimator=full >log 2>&1 || { cat log; fail "compat"; }
ppo 2 two --steps 2 --set 'reward.models=["3*judge", "judge#CN"]' --set reward.kind=logit >log 2>&1 || { cat log; fail "two judges"; }

refuse() { # CODE WORD ARG...
    local want=$1 word=$2 rc=0
    shift 2
    timeout 60 "$MPIRUN" 2 "$DETOXLENS" ppo --config cfg.json "$@" >log 2>&1 || rc=$?
    [ "$rc" = "$want" ] || { cat log; fail "exit code $rc instead of $want: $*"; }
    [ "$(grep -c 'error:' log)" = 1 ] || { cat log; fail "not one message: $*"; }
    grep -q -- "$word" log || { cat log; fail "no word on $word: $*"; }
}
refuse 2 'other settings' --variant RL --run one --set ppo.lr=0.5
refuse 2 '--variant RL' --run n1
refuse 2 'reward.path' --variant RL --run n2 --set reward.path=
refuse 4 'nowhere' --variant RL --run n3 --set reward.path=nowhere
refuse 3 'classifier' --variant RL --run n4 --set reward.path=model
refuse 2 'which label' --variant RL --run n5 --set reward.path='judge#ugly'
refuse 2 'ppo.mini_batch' --variant RL --run n6 --set ppo.mini_batch=3
refuse 2 'ppo.batch' --variant RL --run n7 --set ppo.batch=1000
refuse 2 'ppo.context' --variant RL --run n8 --set ppo.context=16
echo "ppo: all checks passed"
