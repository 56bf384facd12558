#!/usr/bin/env bash
# export --merged: weights against numpy, the folder generates what base + adapter generate, refusals, a full disk, a kill.
set -eu
[ -n "${DTX_WORK-}" ] || exec "$(dirname "$0")/../../script.sh" "$0" "$@"
fail() { echo "FAILED: $*" >&2; exit 1; }
"$DTX_BUILD/tests/make_model" neox base "$DTX_SOURCE/data/quickstart/corpus.txt"
printf '{"eos_token_id": 0, "transformers_version": "4.30.0"}\n' >base/generation_config.json
printf 'The river is open.\nMy neighbour said\nPeople like tea because\n' >prompts.txt
/usr/bin/python3 - <<'PY'
import json, os, struct
import numpy as np

def save(path, tensors):
    header, body = {}, b""
    for name, x in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(x.shape), "data_offsets": [len(body), len(body) + x.nbytes]}
        body += x.tobytes()
    text = json.dumps(header).encode()
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + body)

rng = np.random.default_rng(7)
for run, bad in (("run", False), ("wild", True)):
    folder = run + "/adapters/FT"
    os.makedirs(folder)
    json.dump({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "lora_dropout": 0.0, "bias": "none",
               "target_modules": ["query_key_value", "dense_4h_to_h"]}, open(folder + "/adapter_config.json", "w"))
    t = {}
    for layer in range(2):
        for module, n_out, n_in in (("attention.query_key_value", 144, 48), ("mlp.dense_4h_to_h", 48, 96)):
            at = "base_model.model.gpt_neox.layers.%d.%s.lora_" % (layer, module)
            t[at + "A.weight"] = rng.normal(0, 0.3, (4, n_in)).astype(np.float32)
            t[at + "B.weight"] = rng.normal(0, 0.3, (n_out, 4)).astype(np.float32)
    if bad:
        t[at + "B.weight"][0, 0] = np.inf
    save(folder + "/adapter_model.safetensors", t)
PY
export_ft() { timeout 60 "$DETOXLENS" export --merged --variant FT --run run --set model.path=base "$@"; }

before=$(cat base/* run/adapters/FT/* | sha256sum)
export_ft merged >log 2>&1 || { cat log; fail "no merged folder"; }
grep -q '4 of them merged with FT' log || { cat log; fail "not four matrices"; }
for f in config.json generation_config.json tokenizer.json tokenizer_config.json; do
    cmp "base/$f" "merged/$f" || fail "$f is not the base's"
done
[ "$before" = "$(cat base/* run/adapters/FT/* | sha256sum)" ] || fail "base or adapter were touched"
/usr/bin/python3 - <<'PY'
import json, struct
import numpy as np

def load(path):
    raw = open(path, "rb").read()
    n = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:8 + n])
    meta = header.pop("__metadata__", {})
    return meta, {k: np.frombuffer(raw[8 + n:][v["data_offsets"][0]:v["data_offsets"][1]], np.float32).reshape(v["shape"])
                  for k, v in header.items()}

_, base = load("base/model.safetensors")
_, pair = load("run/adapters/FT/adapter_model.safetensors")
meta, merged = load("merged/model.safetensors")
assert meta["format"] == "pt" and len(meta["base_weights"]) == 64 and len(meta["adapter"]) == 64, meta
assert list(base) == list(merged)
changed = 0
for name, w in base.items():
    at = "base_model.model." + name[:-len(".weight")] + ".lora_"
    if at + "A.weight" in pair:
        want = w.astype(np.float64) + 2.0 * pair[at + "B.weight"].astype(np.float64) @ pair[at + "A.weight"]
        error = np.abs(want - merged[name]).max()
        assert error < 1e-6 and np.abs(want - w).max() > 0.05, (name, error)
        changed += 1
    else:
        assert (w == merged[name]).all(), name
assert changed == 4
PY

# the folder is a model like any other: greedy completions are those of base + adapter
answer() { timeout 60 "$DETOXLENS" generate --set data.prompts=prompts.txt --max_new_tokens 8 --do_sample false "$@" >log 2>&1 || { cat log; fail "generate $*"; }; }
answer --run run --variant FT --set model.path=base
answer --run again --set model.path=merged
answer --run plain --set model.path=base
/usr/bin/python3 - <<'PY'
import h5py
ft, merged, base = (h5py.File(r + "/run.h5")["variants"][v]["completions/tokens"][:]
                    for r, v in (("run", "FT"), ("again", "IT"), ("plain", "IT")))
assert (ft == merged).all() and (ft != base).any()
PY

# f32 is said in config.json; the base alone can be exported too; --redo replaces; --dry-run writes nothing
export_ft --dtype f32 wide >log 2>&1 || { cat log; fail "f32"; }
grep -q '"torch_dtype":.*"float32"' wide/config.json || fail "config.json does not say float32"
cmp merged/model.safetensors wide/model.safetensors || fail "f32 weights differ"
export_ft --redo --variant IT wide >log 2>&1 || { cat log; fail "base alone"; }
export_ft --dry-run planned >log 2>&1 || { cat log; fail "dry run"; }
[ ! -e planned ] || fail "--dry-run writes"

refuse() { # CODE WORD ARG...
    local want=$1 word=$2 rc=0
    shift 2
    timeout 60 "$DETOXLENS" export "$@" >log 2>&1 || rc=$?
    [ "$rc" = "$want" ] || { cat log; fail "exit code $rc instead of $want: $*"; }
    [ "$(grep -c 'error:' log)" = 1 ] || { cat log; fail "not one message: $*"; }
    grep -q -- "$word" log || { cat log; fail "no word on $word: $*"; }
}
sum=$(cat merged/* | sha256sum)
common="--merged --variant FT --run run --set model.path=base"
refuse 2 'export --merged OUT_DIR' --variant FT --run run --set model.path=base out
refuse 2 'export --merged OUT_DIR' $common
refuse 2 'model.path' --merged --variant FT --run run out
refuse 2 'auto or f32' $common --dtype bf16 out
refuse 2 '--redo' $common merged
refuse 2 'cannot replace its base' $common --redo ./base
refuse 2 'adapter_config.json' $common run/adapters/FT
refuse 2 'not a folder' $common prompts.txt
refuse 4 'adapters/RL' --merged --variant RL --run run --set model.path=base out
refuse 4 'nothere' --merged --variant FT --run run --set model.path=nothere out
refuse 5 'layers.1.mlp.dense_4h_to_h' --merged --variant FT --run wild --set model.path=base bad
[ ! -e bad/config.json ] && [ -z "$(ls bad)" ] || fail "a failed export leaves files"
[ "$sum" = "$(cat merged/* | sha256sum)" ] && [ "$before" = "$(cat base/* run/adapters/FT/* | sha256sum)" ] || fail "a refusal touched a folder"

# no room: exit 4, nothing left; then the same command succeeds, past what a killed export left
rc=0
(trap '' XFSZ; ulimit -f 64; export_ft full >log 2>&1) || rc=$?
[ "$rc" = 4 ] || { cat log; fail "a full disk gave $rc, not 4"; }
[ -z "$(ls full)" ] || fail "a full disk leaves $(ls full)"
: >full/model.safetensors.tmp.1
export_ft full >log 2>&1 || { cat log; fail "after a full disk"; }
[ ! -e full/model.safetensors.tmp.1 ] || fail "left-overs stay"
cmp merged/model.safetensors full/model.safetensors || fail "another file after a full disk"
echo "export: all checks passed"
