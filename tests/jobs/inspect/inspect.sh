#!/usr/bin/env bash
# inspect: model folders with and without weights, adapters, weights files, runs; text and JSON; wrong paths.
set -eu
[ -n "${DTX_WORK-}" ] || exec "$(dirname "$0")/../../script.sh" "$0" "$@"

fail()
{
    echo "FAILED: $*" >&2
    exit 1
}

# has FILE TEXT...: every text is in the file
has()
{
    file=$1
    shift
    for text in "$@"; do
        grep -qF -- "$text" "$file" || { cat "$file" >&2; fail "\"$text\" is not in what inspect printed"; }
    done
}

# value FILE EXPRESSION EXPECTED: a member of the JSON output
value()
{
    got=$(/usr/bin/python3 -c 'import json, sys; print(eval("j" + sys.argv[2], {"j": json.load(open(sys.argv[1]))}))' "$1" "$2")
    [ "$got" = "$3" ] || fail "$2 is $got, expected $3"
}

# refused CODE TEXT ARG...: exit code, one message that holds the text, nothing on standard output
refused()
{
    code=$1 text=$2 rc=0
    shift 2
    "$DETOXLENS" inspect "$@" >out.txt 2>err.txt || rc=$?
    [ "$rc" -eq "$code" ] || { cat err.txt >&2; fail "inspect $*: exit $rc, expected $code"; }
    has err.txt "$text"
    [ "$(grep -c 'error:' err.txt)" -eq 1 ] || { cat err.txt >&2; fail "inspect $*: one message is expected"; }
    [ ! -s out.txt ] || fail "inspect $*: printed facts and failed"
}

# --- from the configuration alone ---
mkdir redpajama falcon
cat >redpajama/config.json <<'EOF'
{"architectures": ["GPTNeoXForCausalLM"], "bos_token_id": 0, "eos_token_id": 0, "hidden_act": "gelu", "hidden_size": 2560,
 "intermediate_size": 10240, "layer_norm_eps": 1e-05, "max_position_embeddings": 2048, "model_type": "gpt_neox",
 "num_attention_heads": 32, "num_hidden_layers": 32, "rotary_emb_base": 10000, "rotary_pct": 1.0,
 "tie_word_embeddings": false, "torch_dtype": "float16", "use_cache": true, "use_parallel_residual": false,
 "vocab_size": 50432}
EOF
cat >falcon/config.json <<'EOF'
{"alibi": false, "apply_residual_connection_post_layernorm": false, "architectures": ["RWForCausalLM"], "bias": false,
 "bos_token_id": 11, "eos_token_id": 11, "hidden_size": 4544, "layer_norm_epsilon": 1e-05, "model_type": "RefinedWebModel",
 "multi_query": true, "n_head": 71, "n_layer": 32, "parallel_attn": true, "torch_dtype": "bfloat16", "vocab_size": 65024}
EOF
"$DETOXLENS" inspect redpajama >out.txt
has out.txt "GPT-NeoX" "2,775,864,320" "sequential residual" "float16, as config.json says" \
    "5,551,728,640 bytes (5.552 GB)" "655,360 bytes"
"$DETOXLENS" inspect redpajama --json >out.json
value out.json '["model"]["parameters"]' 2775864320
value out.json '["weights"]["present"]' False
value out.json '["memory"]["weights"]' 5551728640
value out.json '["memory"]["kv_position"]' 655360
value out.json '["shape"]["pad"]' None
"$DETOXLENS" inspect falcon >out.txt
has out.txt "Falcon" "6,921,720,704" "parallel residual, one norm for both branches" "13,843,441,408 bytes"

# --- wrong paths and wrong content ---
mkdir empty broken
refused 4 "no such file" nothing
refused 4 "nothing to inspect" empty
refused 2 "one path" redpajama falcon
refused 2 "one path"
echo '{"model_type": "mamba"}' >broken/config.json
refused 3 'model_type: "mamba"' broken
echo '{"model_type": ' >broken/config.json
refused 3 "malformed JSON" broken
cp redpajama/config.json broken
head -c 100 /dev/zero >broken/model.safetensors
refused 3 "model.safetensors" broken
echo "no HDF5" >broken/run.h5
refused 3 "not a readable HDF5 file" broken/run.h5
rm broken/*
echo '{"peft_type": "LORA", "r": 8}' >broken/adapter_config.json
refused 3 "lora_alpha" broken

# --- folders with weights ---
golden=$DTX_SOURCE/tests/golden
"$DETOXLENS" inspect "$golden/falcon40b-tiny" --sha256 --json >out.json
value out.json '["weights"]["fits"]' True
value out.json '["weights"]["dtype"]' BF16
value out.json '["weights"]["files"]' 1
value out.json '["shape"]["kv_heads"]' 2
value out.json '["weights"]["sha256"].__len__()' 64
"$DETOXLENS" inspect "$golden/neox-tiny-seq/adapter" --json >out.json
value out.json '["adapter"]["r"]' 8
value out.json '["adapter"]["alpha"]' 4
value out.json '["adapter"]["base"]' neox-tiny-seq
value out.json '["adapter"]["modules"]' 3
"$DETOXLENS" inspect "$golden/roberta-tiny" >out.txt
has out.txt "RoBERTa classifier" "nothate" "softmax over labels"
"$DETOXLENS" inspect "$golden/neox-tiny-seq/expected/ppo.safetensors" >out.txt
has out.txt "kl_coef_after" "F64"
# a tensor of another shape than the configuration says
cp "$golden"/neox-tiny-seq/{config.json,pytorch_model.bin} broken
rm broken/adapter_config.json
sed -i 's/"intermediate_size": 256/"intermediate_size": 255/' broken/config.json
refused 3 "mlp.dense_h_to_4h" broken
echo "inspect: all as expected"
