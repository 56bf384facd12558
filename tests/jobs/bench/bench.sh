#!/usr/bin/env bash
# detoxlens bench: one object of JSON with plausible numbers, and its errors. Speeds themselves are not judged here.
set -u
[ -n "${DTX_WORK-}" ] || exec "$(dirname "$0")/../../script.sh" "$0" "$@"
bad=0

# expect CODE WORD ARG...: exit code, and a word of the message.
expect() {
    local code=$1 word=$2 rc=0
    shift 2
    "$DETOXLENS" bench "$@" >out 2>err || rc=$?
    if [ "$rc" -ne "$code" ] || { [ "$code" -ne 0 ] && ! grep -qF -- "$word" err; }; then
        echo "FAILED: bench $*: exit $rc, expected $code with \"$word\"; $(cat err)"
        bad=1
    fi
}

expect 2 "needs one name"
expect 2 "not known" nothing
expect 2 "--repeat" peak --repeat 0
expect 2 "--batch" generate --batch 0
expect 2 "--layers" prefill --layers 33
expect 2 "model.path" tokenize --repeat 1
mkdir v
echo '{"a": 0, "b": 1, "ab": 2, "Ġ": 3, "<s>": 4, "</s>": 5}' >v/vocab.json
printf '#version: 0.2\na b\n' >v/merges.txt
printf 'ab ab a\nb a ab\n' >texts.txt
expect 0 "" peak --json --repeat 1 --set threads=1
cat out >objects
expect 0 "" tokenize --json --repeat 1 --set model.path=v --set data.prompts=texts.txt
cat out >>objects
for name in "generate --layers 1" "generate --layers 1 --batch 3" "prefill --layers 1" score; do
    # shellcheck disable=SC2086 # a name and its options
    expect 0 "" $name --json --repeat 1
    cat out >>objects
done
/usr/bin/python3 - <<'END' || bad=1
import json
for line in open("objects"):
    o = json.loads(line)
    assert o["achieved"] > 0 and o["limit"] > 0 and o["unit"] in ("flop/s", "byte/s", "ids/s"), o
    assert abs(o["achieved"] / o["limit"] - o["share"]) < 0.01 * o["share"] + 1e-3, o
assert len(open("objects").readlines()) == 6
END

# on two ranks: started alone they start themselves again
expect 0 "" allreduce --json --repeat 1 -q
cat out >two
expect 0 "" hdf5 --json --repeat 1 -q
cat out >>two
expect 4 "cannot make a folder" hdf5 --dir nowhere -q
expect 0 "" read --json --repeat 1
cat out >>two
/usr/bin/python3 - <<'END' || bad=1
import glob, json
rows = [json.loads(line) for line in open("two")]
assert [r["bench"] for r in rows] == ["allreduce", "hdf5", "read"], rows
assert all(r["share"] > 0 and r["unit"] == "byte/s" for r in rows) and rows[0]["ranks"] == 2, rows
assert not glob.glob("detoxlens-bench.*")
END

# scaling over sub-communicators: one object with the table
expect 2 "strong or weak" attribute --scaling both -q
expect 2 "not prefill" prefill --scaling weak -q
mkdir shape
echo '{"model_type": "gpt_neox", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64,
"vocab_size": 64, "max_position_embeddings": 128, "rotary_pct": 1.0, "hidden_act": "gelu", "bos_token_id": 0, "eos_token_id": 0}' \
    >shape/config.json
for case in "attribute strong" "train strong" "generate weak"; do
    expect 0 "" "${case% *}" --scaling "${case#* }" --set model.path=shape --json --repeat 1 -q --set threads=1
    cat out >>scaling
done
/usr/bin/python3 - <<'END' || bad=1
import json
rows = [json.loads(line) for line in open("scaling")]
assert [r["scaling"] for r in rows] == ["strong", "strong", "weak"], rows
for r in rows:
    assert r["of_ranks"] == [1, 2] and len(r["seconds"]) == 2 and min(r["seconds"]) > 0 and r["efficiency"][0] == 1, r
    assert abs(r["efficiency"][1] - r["share"]) < 1e-3, r
END

# a random model of a known shape: opened, and it answers
expect 2 "redpajama-3b" --make-model gpt-5 big
expect 2 "needs one folder" --make-model pythia-160m
expect 4 "holds neither" --make-model pythia-160m big --tokenizer .
expect 0 "" --make-model pythia-160m big
expect 2 "there already" --make-model pythia-160m big
"$DETOXLENS" inspect big --json >facts || bad=1
grep -q '162322944' facts || { echo "FAILED: not 162,322,944 parameters"; bad=1; }
"$DETOXLENS" generate --run r --set model.path=big --set data.prompts=texts.txt --set generate.max_new_tokens=5 -q || bad=1
rm -r big
exit $bad
