#!/usr/bin/env bash
# detoxlens plan: from the study's configurations alone, its errors, and its sizes against those of a small training.
set -u
[ -n "${DTX_WORK-}" ] || exec "$(dirname "$0")/../../script.sh" "$0" "$@"
export DETOXLENS_THREADS=1 # many short launches
bad=0

fail() {
    echo "FAILED: $*"
    bad=1
}

# expect CODE WORD ARG...: exit code, and a word of the message or of the output.
expect() {
    local code=$1 word=$2 rc=0
    shift 2
    "$DETOXLENS" plan "$@" >out 2>err || rc=$?
    if [ "$rc" -ne "$code" ] || ! cat out err | grep -qF -- "$word"; then
        fail "plan $*: exit $rc, expected $code with \"$word\"; $(cat out err)"
    fi
}

configs=$DTX_SOURCE/data/configs
target=(--cores 128 --gflops 9000 --bandwidth 300)
expect 2 "needs the name of one job"
expect 2 "needs the name of one job" report
expect 2 "--cores" finetune --config "$configs/redpajama-3b.json" --cores 0
expect 2 "whole numbers" finetune --config "$configs/redpajama-3b.json" --cores 1.5
expect 2 "--gflops" finetune --config "$configs/redpajama-3b.json" --gflops fast
expect 2 "model.path" attribute
expect 4 "config.json" attribute --set model.path=nowhere
expect 0 "DOES NOT FIT" --config "$configs/falcon-7b.json" finetune "${target[@]}" --memory 1
expect 0 "measured here" --config "$configs/tiny.json" pretrain --set threads=1

# the study's models, nothing but their configuration
for model in redpajama-3b falcon-7b; do
    for job in finetune generate attribute; do
        expect 0 "sbatch --nodes 2" --config "$configs/$model.json" $job --nodes 2 "${target[@]}"
        expect 0 '"hours"' --config "$configs/$model.json" $job --nodes 2 "${target[@]}" --json
        cat out >>objects
    done
done
/usr/bin/python3 - <<'PY' || bad=1
import json
rows = [json.loads(line) for line in open("objects")]
assert len(rows) == 6
rp = {r["job"]: r for r in rows[:3]}
for r in rows:
    assert 0 < r["hours"] < 100 and r["ranks_per_node"] * r["threads"] == 128 and 0 < r["balance"] <= 1, r
    assert r["rank_bytes"]["sum"] > 1e8 and r["node_bytes"]["sum"] > r["rank_bytes"]["sum"], r
    assert abs(r["node_hours"] / r["hours"] - 2) < 1e-9, r
# 16-bit weights of 2,775,864,320 parameters; LoRA of rank 64 on query_key_value: 32 layers of 64 (2560 + 7680)
assert rp["finetune"]["node_bytes"]["weights"] == 2 * 2775864320, rp
assert rp["finetune"]["file_bytes"]["adapter"] == 4 * 32 * 64 * (2560 + 7680), rp
assert rp["finetune"]["steps"] == 1868, rp
# 5,549 texts of 28.05 TF at 45 prompt tokens; their lengths vary
assert 0.95 < rp["attribute"]["flop"] / (5549 * 28.1e12) < 1.1, rp
PY

# the jobs with a classifier, and the study as a whole
judge=(--set "score.path=roberta-base")
expect 0 "sbatch --nodes 1" --config "$configs/redpajama-3b.json" score "${judge[@]}" "${target[@]}"
expect 0 "rollouts" --config "$configs/redpajama-3b.json" ppo "${target[@]}"
expect 0 "node hours" --config "$configs/redpajama-3b.json" pipeline "${judge[@]}" "${target[@]}"
expect 0 '"stages"' --config "$configs/redpajama-3b.json" pipeline "${judge[@]}" "${target[@]}" --json
/usr/bin/python3 - <<'PY' || bad=1
import json
p = json.load(open("out"))
stages = {s["job"]: s for s in p["stages"]}
assert set(stages) == {"finetune", "ppo", "generate", "score", "attribute"}, stages.keys()
assert abs(sum(s["times"] * s["hours"] for s in stages.values()) / p["hours"] - 1) < 1e-9, p["hours"]
assert stages["ppo"]["steps"] == 8312 // 64 and stages["ppo"]["flop"] > stages["finetune"]["flop"], stages["ppo"]
PY

# speeds that were measured on the target
echo '{"bench": "layer", "threads": 2, "achieved": 1.6e11, "large": 8e10, "head": 7e10, "decode": 5e10, "decode_head": 6e10,
"fixed": 1e-11, "bandwidth": 5e10}' >node.json
expect 0 "as node.json tells" --config "$configs/redpajama-3b.json" attribute --bench node.json --cores 2
sed 's/"decode"/"other"/' node.json >other.json
expect 3 "decode is expected" --config "$configs/redpajama-3b.json" attribute --bench other.json
echo '{"bench": "gemm", "threads": 2, "achieved": 1e11}' >gemm.json
expect 3 "bench layer --json" --config "$configs/redpajama-3b.json" attribute --bench gemm.json
expect 2 "one of them" --config "$configs/redpajama-3b.json" attribute --bench node.json --gflops 100

# the hand-out over many ranks
expect 0 "efficiency 1.000" --config "$configs/redpajama-3b.json" attribute "${target[@]}" --simulate 1 --set round_seconds=86400
expect 0 "4096 ranks" --config "$configs/redpajama-3b.json" attribute "${target[@]}" --simulate 4096
expect 2 "--simulate" --config "$configs/redpajama-3b.json" attribute "${target[@]}" --simulate none
expect 2 "finetune is not" --config "$configs/redpajama-3b.json" finetune "${target[@]}" --simulate 4
for job in generate score attribute; do
    expect 0 '"efficiency"' --config "$configs/redpajama-3b.json" $job "${judge[@]}" --bench node.json --cores 2 --simulate 8 --json
    cat out >>simulated
done
/usr/bin/python3 - <<'PY' || bad=1
import json
for line in open("simulated"):
    o = json.loads(line)
    # 8 ranks cannot be quicker than the sum of the units, nor than the longest one
    assert 0 < o["efficiency"] <= 1 and o["seconds"] >= o["longest_unit_seconds"], o
    assert abs(o["units"] * o["unit_seconds"] / (8 * o["seconds"]) / o["efficiency"] - 1) < 1e-6, o
    assert "assumed" in o["handout"] and o["ranks"] == 8, o
PY

# the line for sbatch holds the other options, quoted
expect 0 "finetune --config $configs/redpajama-3b.json --set 'data.dialogues=my file.csv'" \
    --config "$configs/redpajama-3b.json" finetune "${target[@]}" --set 'data.dialogues=my file.csv'

# sizes and steps against a real training; the dialogues' real tokens count
small="--set model.path=m --set pretrain.layers=2 --set pretrain.hidden=32 --set pretrain.vocab=300 --set pretrain.context=64"
lora="--set model.path=m --set lora.r=4 --set finetune.epochs=2 --set finetune.context=64"
data="--set data.dialogues=$DTX_SOURCE/data/quickstart/dialogues.csv"
# shellcheck disable=SC2086
{
    expect 0 '"file_bytes"' pretrain $small --json "${target[@]}"
    cp out model.json
    "$DETOXLENS" pretrain $small --set pretrain.steps=1 --set "data.text=[\"$DTX_SOURCE/data/quickstart/corpus.txt\"]" --run p -q ||
        fail "pretrain"
    expect 0 "samples" finetune $lora $data "${target[@]}" --json
    cp out lora.json
    "$DETOXLENS" finetune $lora $data --variant FT --run f -q || fail "finetune"
    "$DETOXLENS" inspect m -q >/dev/null || fail "inspect"

    # direct preference optimisation: steps and samples as the job has them
    pairs="--set model.path=m --set lora.r=4 --set dpo.context=64 --set dpo.batch=8"
    expect 0 "pairs" dpo $pairs $data "${target[@]}" --json
    cp out dpo.json
    "$DETOXLENS" dpo $pairs $data --variant DPO --run f -q || fail "dpo"

    # predicted against actual: with stored speeds of time and memory, without them (a job this short) of memory alone
    printf 'one text to answer\nanother one\na third\n' >texts.txt
    rows="--set model.path=m --set data.prompts=texts.txt --set generate.max_new_tokens=6"
    "$DETOXLENS" generate $rows --run none --dry-run >out || fail "a dry run of generate"
    grep -q "work units *1 of 3 rows" out || fail "three texts are no batch: $(cat out)"
    for run in told:node.json alone:; do
        for job in generate attribute; do
            "$DETOXLENS" $job $rows --run "${run%%:*}" --set "plan.bench=${run#*:}" 2>$job.log || fail "$job"
            grep -q "forecast: .*took .* s; peak memory of a rank: predicted .* MB, seen" $job.log || fail "$job says nothing of its forecast"
            grep -q "hand-out .* %, collective rounds" $job.log || fail "$job says nothing of the hand-out"
        done
    done
    grep -q "forecast: predicted .* s, took" attribute.log && fail "a time was predicted for too short a job"
    "$DETOXLENS" verify --same told/run.h5 alone/run.h5 >/dev/null || fail "the forecast is part of the results"
    echo '{"bench": "peak"}' >bad.json
    "$DETOXLENS" generate $rows --run bad --set plan.bench=bad.json -q 2>err
    rc=$?
    { [ $rc -eq 3 ] && grep -q "bad.json: threads" err; } || fail "a damaged plan.bench: exit $rc, $(cat err)"
}

# on two ranks at once
if ! "$DTX_SOURCE/tests/mpirun.sh" 2 "$DETOXLENS" plan generate --set model.path=m --set data.prompts=texts.txt --set generate.max_new_tokens=6 --json >out 2>err; then
    fail "plan on two ranks: $(cat err)"
fi
{ grep -q '"ranks_per_node":2' out && grep -q "on 2 ranks at once" out; } || fail "plan on two ranks: $(cat out)"
/usr/bin/python3 - <<'PY' || bad=1
import json, os, h5py
m, f = json.load(open("model.json")), json.load(open("lora.json"))
assert abs(m["file_bytes"]["model"] / os.path.getsize("m/model.safetensors") - 1) < 0.1, m
assert abs(f["file_bytes"]["adapter"] / os.path.getsize("f/adapters/FT/adapter_model.safetensors") - 1) < 0.3, f
assert "assumed" not in f["data"], f
d = json.load(open("dpo.json"))
with h5py.File("f/run.h5") as h:
    assert h["training/finetune-FT/loss"].shape[0] == f["steps"], f
    assert h["training/dpo-DPO/loss"].shape[0] == d["steps"] and "assumed" not in d["data"], d
for name, known in (("told", True), ("alone", False)):
    with h5py.File(name + "/run.h5") as h:
        for g in h["provenance"].values():
            a = dict(g.attrs)
            assert (a["predicted_seconds"] > 0) == known and a["seconds"] > 0, a
            assert 0.5 < a["predicted_peak_memory_bytes"] / a["peak_memory_bytes"] < 2, a
            assert all(0 <= a[k] <= 1 for k in ("handout_share", "rounds_share", "uneven_share")), a
with h5py.File("f/run.h5") as h:
    for g in h["provenance"].values():
        assert g.attrs["peak_memory_bytes"] > 1e7 and g.attrs["predicted_peak_memory_bytes"] > 1e7, dict(g.attrs)
PY
exit $bad
