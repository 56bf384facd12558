#!/usr/bin/env bash
# Bad model folders, given to generate on two ranks: each has its exit code and exactly one message that names the file and
# the thing, and the run directory that is there stays as it is, byte for byte.
set -eu
[ -n "${DTX_WORK-}" ] || exec "$(dirname "$0")/../../script.sh" "$0" "$@"

fail()
{
    echo "FAILED: $*" >&2
    exit 1
}

# A small model, sharded in two, and a run that it made.
for i in $(seq 60); do
    echo "The neighbour number $i said that the market on the river is open, and that people who like bread go there early."
    echo
done >corpus.txt
printf '%s\n' "People who like tea are" "They said that the river" "My neighbour" >prompts.txt
"$DTX_BUILD/tests/make_model" neox model corpus.txt

# edit NAME PYTHON: a copy of the model whose parts `config` (a dictionary), `tensors` {name: [dtype, shape, bytes]} and
# `shards` [[name, ...], ...] (none: one file) the Python text has changed
edit()
{
    rm -rf "$1"
    cp -r model "$1"
    /usr/bin/python3 - "$1" "$2" <<'PY'
import json, struct, sys

folder, program = sys.argv[1:]
raw = open(folder + "/model.safetensors", "rb").read()
n = struct.unpack("<Q", raw[:8])[0]
header = json.loads(raw[8:8 + n])
header.pop("__metadata__", None)
data = raw[8 + n:]
tensors = {k: [v["dtype"], v["shape"], data[v["data_offsets"][0]:v["data_offsets"][1]]] for k, v in header.items()}
config = json.load(open(folder + "/config.json"))
shards = None
exec(program)
json.dump(config, open(folder + "/config.json", "w"))


def save(path, names):
    out, body = {}, b""
    for k in names:
        dtype, shape, x = tensors[k]
        out[k] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(x)]}
        body += x
    text = json.dumps(out).encode()
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + body)


if shards is None:
    save(folder + "/model.safetensors", tensors)
else:
    import os
    os.remove(folder + "/model.safetensors")
    where = {}
    for i, names in enumerate(shards):
        save("%s/s%d.safetensors" % (folder, i), names)
        where.update({k: "s%d.safetensors" % i for k in names})
    json.dump({"weight_map": where}, open(folder + "/model.safetensors.index.json", "w"))
PY
}
half='k = list(tensors); shards = [k[:9], k[9:]]'
edit sharded "$half"
mkdir two
mv sharded two/model # the run keeps a folder's last name
# generate MODEL RUN: as the program is used, on two ranks
generate()
{
    "$MPIRUN" 2 "$DETOXLENS" generate --run "$2" --set model.path="$1" --set data.prompts=prompts.txt \
        --set generate.max_new_tokens=5
}
generate model run >log.txt 2>&1 || { cat log.txt; fail "the good model is refused"; }
generate two/model run2 >log.txt 2>&1 || { cat log.txt; fail "the sharded model is refused"; }
"$DETOXLENS" verify --same run run2 >log.txt 2>&1 || { cat log.txt; fail "shards change the result"; }
sum=$(sha256sum <run/run.h5)

# refused CODE MODEL TEXT...
n=0
refused()
{
    code=$1 model=$2 rc=0
    shift 2
    generate "$model" run >out.txt 2>err.txt || rc=$?
    [ "$rc" -eq "$code" ] || { cat err.txt >&2; fail "$model: exit $rc, expected $code"; }
    [ "$(grep -c 'error:' err.txt)" -eq 1 ] || { cat err.txt >&2; fail "$model: exactly one message is expected"; }
    for text in "$model" "$@"; do
        grep 'error:' err.txt | grep -qF -- "$text" || { cat err.txt >&2; fail "$model: \"$text\" is not in the message"; }
    done
    [ "$sum" = "$(sha256sum <run/run.h5)" ] || fail "$model: run.h5 was touched"
    n=$((n + 1))
}

# --- folders ---
mkdir empty
refused 4 absent "no such folder"
refused 4 empty "config.json"
edit no_weights ''
rm no_weights/model.safetensors
refused 4 no_weights "holds no weights"
edit no_tokenizer ''
rm no_tokenizer/tokenizer.json
refused 4 no_tokenizer "tokenizer.json"

# --- configuration ---
edit mamba 'config["model_type"] = "mamba"'
refused 3 mamba "config.json" 'model_type: "mamba"' "gpt_neox"
edit scaled 'config["rope_scaling"] = {"type": "linear", "factor": 2.0}'
refused 3 scaled "config.json" "rope_scaling"
edit heads 'config["num_attention_heads"] = 5'
refused 3 heads "config.json" "num_attention_heads" "hidden_size 48"
edit malformed ''
head -c 100 model/config.json >malformed/config.json
refused 3 malformed "config.json" "malformed JSON"
edit twice_key ''
sed -i 's/{/{"vocab_size": 3,/' twice_key/config.json
refused 3 twice_key "config.json" "vocab_size" "twice"

# --- tensors ---
edit wide 'config["intermediate_size"] = 95'
refused 3 wide "model.safetensors" "mlp.dense_h_to_4h.weight"
edit missing 'del tensors["gpt_neox.layers.1.attention.dense.bias"]'
refused 3 missing "gpt_neox.layers.1.attention.dense.bias"
edit stranger 'tensors["gpt_neox.layers.7.attention.dense.bias"] = ["F32", [1], bytes(4)]'
refused 3 stranger "gpt_neox.layers.7.attention.dense.bias"
edit integers 't = tensors["embed_out.weight"]; t[0] = "I32"'
refused 3 integers "embed_out.weight" "I32"
edit overlong 't = tensors["embed_out.weight"]; t[1] = [t[1][0] + 1, t[1][1]]'
refused 3 overlong "model.safetensors" "embed_out.weight"

# --- shards ---
edit cut_shard "$half"
truncate -s -1 cut_shard/s1.safetensors
refused 3 cut_shard "s1.safetensors" "truncated"
edit lost_shard "$half"
rm lost_shard/s1.safetensors
refused 4 lost_shard "index.json" "s1.safetensors"
edit shared_tensor 'k = list(tensors); shards = [k[:9], k[8:]]'
refused 3 shared_tensor "s1.safetensors" "s0.safetensors" "twice"
edit bad_index "$half"
sed -i 's/"s0.safetensors"/"..\/s0.safetensors"/' bad_index/model.safetensors.index.json
refused 3 bad_index "index.json" "same folder"
edit half_index "$half"
truncate -s 200 half_index/model.safetensors.index.json
refused 3 half_index "index.json" "malformed JSON"

# --- torch files ---
edit old_torch ''
mv old_torch/model.safetensors old_torch/pytorch_model.bin
refused 3 old_torch "pytorch_model.bin" "not a zip archive"
edit evil ''
rm evil/model.safetensors
/usr/bin/python3 - <<'PY'
import os, pickle, zipfile


class Evil:
    def __reduce__(self):
        return os.system, ("touch executed",)


with zipfile.ZipFile("evil/pytorch_model.bin", "w") as z:
    z.writestr("m/data.pkl", pickle.dumps({"a": Evil()}, protocol=2))
PY
refused 3 evil "pytorch_model.bin" "system" "refused"
[ ! -e executed ] || fail "the pickle was executed"

# --- tokenizer and vocabulary ---
edit small_vocab '
config["vocab_size"] = 270
for name in ("gpt_neox.embed_in.weight", "embed_out.weight"):
    t = tensors[name]; t[1][0] = 270; t[2] = t[2][:270 * 48 * 4]'
rc=0
generate small_vocab run >out.txt 2>err.txt || rc=$?
[ "$rc" -eq 3 ] || { cat err.txt >&2; fail "small_vocab: exit $rc, expected 3"; }
[ "$(grep -c 'error:' err.txt)" -eq 1 ] || { cat err.txt >&2; fail "small_vocab: exactly one message is expected"; }
grep 'error:' err.txt | grep -q "vocabulary" || { cat err.txt >&2; fail "small_vocab: the vocabulary is not named"; }
edit bad_tokenizer ''
truncate -s 1000 bad_tokenizer/tokenizer.json
refused 3 bad_tokenizer "tokenizer.json"

# --- an encoder cannot generate; another model cannot continue this run ---
cp -r "$DTX_SOURCE/tests/golden/roberta-tiny" roberta
refused 3 roberta "encoder"
edit other_model 'tensors["embed_out.weight"][2] = bytes(len(tensors["embed_out.weight"][2]))'
rc=0
generate other_model run >out.txt 2>err.txt || rc=$?
[ "$rc" -eq 2 ] || { cat err.txt >&2; fail "another model on this run: exit $rc, expected 2"; }
"$DETOXLENS" verify --same run run2 >log.txt 2>&1 || { cat log.txt; fail "another model changed the run"; }
echo "bad models: $n refused, each with one message"
