/* Configurations as the hub spells them, and configurations that must be refused by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "src/model/families/table.h"
#include "src/base/file.h"
#include "src/base/json.h"
#include "src/base/mem.h"

/* --- the models of the study and their relatives --- */

#define PYTHIA_70M                                                                                                     \
    "{\"architectures\": [\"GPTNeoXForCausalLM\"], \"bos_token_id\": 0, \"eos_token_id\": 0, \"hidden_act\": "         \
    "\"gelu\","                                                                                                        \
    " \"hidden_size\": 512, \"initializer_range\": 0.02, \"intermediate_size\": 2048, \"layer_norm_eps\": 1e-05,"      \
    " \"max_position_embeddings\": 2048, \"model_type\": \"gpt_neox\", \"num_attention_heads\": 8,"                    \
    " \"num_hidden_layers\": 6, \"rotary_emb_base\": 10000, \"rotary_pct\": 0.25, \"tie_word_embeddings\": false,"     \
    " \"torch_dtype\": \"float16\", \"transformers_version\": \"4.24.0\", \"use_cache\": true,"                        \
    " \"use_parallel_residual\": true, \"vocab_size\": 50304}"

#define REDPAJAMA_3B                                                                                                   \
    "{\"_name_or_path\": \"x\", \"architectures\": [\"GPTNeoXForCausalLM\"], \"bos_token_id\": 0,"                     \
    " \"eos_token_id\": 0, \"hidden_act\": \"gelu\", \"hidden_size\": 2560, \"initializer_range\": 0.02,"              \
    " \"intermediate_size\": 10240, \"layer_norm_eps\": 1e-05, \"max_position_embeddings\": 2048,"                     \
    " \"model_type\": \"gpt_neox\", \"num_attention_heads\": 32, \"num_hidden_layers\": 32,"                           \
    " \"rotary_emb_base\": 10000, \"rotary_pct\": 1.0, \"tie_word_embeddings\": false, \"torch_dtype\": \"float16\","  \
    " \"transformers_version\": \"4.28.1\", \"use_cache\": true, \"use_parallel_residual\": false,"                    \
    " \"vocab_size\": 50432}"

#define FALCON_7B                                                                                                      \
    "{\"alibi\": false, \"apply_residual_connection_post_layernorm\": false, \"architectures\": [\"RWForCausalLM\"],"  \
    " \"attention_dropout\": 0.0, \"auto_map\": {\"AutoConfig\": \"configuration_RW.RWConfig\"}, \"bias\": false,"     \
    " \"bos_token_id\": 11, \"eos_token_id\": 11, \"hidden_dropout\": 0.0, \"hidden_size\": 4544,"                     \
    " \"initializer_range\": 0.02, \"layer_norm_epsilon\": 1e-05, \"model_type\": \"RefinedWebModel\","                \
    " \"multi_query\": true, \"n_head\": 71, \"n_layer\": 32, \"parallel_attn\": true,"                                \
    " \"torch_dtype\": \"bfloat16\", \"transformers_version\": \"4.27.4\", \"use_cache\": true, \"vocab_size\": "      \
    "65024}"

#define FALCON_7B_LIBRARY                                                                                              \
    "{\"alibi\": false, \"architectures\": [\"FalconForCausalLM\"], \"bias\": false, \"bos_token_id\": 11,"            \
    " \"eos_token_id\": 11, \"hidden_size\": 4544, \"layer_norm_epsilon\": 1e-05, \"model_type\": \"falcon\","         \
    " \"multi_query\": true, \"new_decoder_architecture\": false, \"num_attention_heads\": 71,"                        \
    " \"num_hidden_layers\": 32, \"num_kv_heads\": 71, \"parallel_attn\": true, \"vocab_size\": 65024}"

#define FALCON_40B                                                                                                     \
    "{\"alibi\": false, \"apply_residual_connection_post_layernorm\": false, \"architectures\": [\"RWForCausalLM\"],"  \
    " \"attention_dropout\": 0.0, \"bias\": false, \"bos_token_id\": 11, \"eos_token_id\": 11, \"hidden_size\": 8192," \
    " \"layer_norm_epsilon\": 1e-05, \"model_type\": \"RefinedWeb\", \"n_head\": 128, \"n_head_kv\": 8,"               \
    " \"n_layer\": 60, \"parallel_attn\": true, \"torch_dtype\": \"bfloat16\", \"vocab_size\": 65024}"

#define FALCON_RW_1B                                                                                                   \
    "{\"alibi\": true, \"apply_residual_connection_post_layernorm\": false, \"architectures\": [\"RWForCausalLM\"],"   \
    " \"bias\": true, \"bos_token_id\": 1, \"eos_token_id\": 2, \"hidden_size\": 2048, \"layer_norm_epsilon\": 1e-05," \
    " \"model_type\": \"RefinedWeb\", \"multi_query\": false, \"n_head\": 32, \"n_layer\": 24,"                        \
    " \"parallel_attn\": false, \"torch_dtype\": \"bfloat16\", \"vocab_size\": 50304}"

#define DYNABENCH_R4                                                                                                   \
    "{\"architectures\": [\"RobertaForSequenceClassification\"], \"attention_probs_dropout_prob\": 0.1,"               \
    " \"bos_token_id\": 0, \"classifier_dropout\": null, \"eos_token_id\": 2, \"hidden_act\": \"gelu\","               \
    " \"hidden_dropout_prob\": 0.1, \"hidden_size\": 768, \"id2label\": {\"0\": \"nothate\", \"1\": \"hate\"},"        \
    " \"initializer_range\": 0.02, \"intermediate_size\": 3072, \"label2id\": {\"hate\": 1, \"nothate\": 0},"          \
    " \"layer_norm_eps\": 1e-05, \"max_position_embeddings\": 514, \"model_type\": \"roberta\","                       \
    " \"num_attention_heads\": 12, \"num_hidden_layers\": 12, \"pad_token_id\": 1,"                                    \
    " \"position_embedding_type\": \"absolute\", \"problem_type\": \"single_label_classification\","                   \
    " \"torch_dtype\": \"float32\", \"type_vocab_size\": 1, \"use_cache\": true, \"vocab_size\": 50265}"

#define UNBIASED_TOXIC                                                                                                 \
    "{\"architectures\": [\"RobertaForSequenceClassification\"], \"gradient_checkpointing\": false,"                   \
    " \"hidden_act\": \"gelu\", \"hidden_size\": 768, \"id2label\": {\"0\": \"toxicity\", \"1\": \"severe_toxicity\"," \
    " \"2\": \"obscene\", \"3\": \"psychiatric_or_mental_illness\"}, \"intermediate_size\": 3072,"                     \
    " \"layer_norm_eps\": 1e-05, \"max_position_embeddings\": 514, \"model_type\": \"roberta\","                       \
    " \"num_attention_heads\": 12, \"num_hidden_layers\": 12, \"output_past\": true, \"pad_token_id\": 1,"             \
    " \"problem_type\": \"multi_label_classification\", \"type_vocab_size\": 1, \"vocab_size\": 50265}"

typedef struct {
    const char *name, *json;
    const char *family;
    int64_t count;
    int64_t n_layers, hidden, n_heads, n_kv, ffn, vocab, max_positions, rotary_dims;
    bool parallel, shared_norm, linear_bias, tied_head;
    dtx_position position;
    int64_t bos, eos, pad;
} known_model;

static const known_model known[] = {
    {"pythia-70m", PYTHIA_70M, "gpt_neox", 70426624,       6, 512, 8, 8, 2048, 50304, 2048, 16, true,
     false,        true,       false,    DTX_POS_ROTARY, 0, 0,   -1},
    {"RedPajama 3B", REDPAJAMA_3B, "gpt_neox", 2775864320,     32, 2560, 32, 32, 10240, 50432, 2048, 80, false,
     false,          true,         false,    DTX_POS_ROTARY, 0,  0,    -1},
    {"Falcon 7B", FALCON_7B, "falcon", 6921720704, 32,   4544,           71, 1,  18176, 65024, 2048,
     64,          true,      true,       false,      true, DTX_POS_ROTARY, 11, 11, -1},
    {"Falcon 7B, library's dialect",
     FALCON_7B_LIBRARY,
     "falcon",
     6921720704,
     32,
     4544,
     71,
     1,
     18176,
     65024,
     2048,
     64,
     true,
     true,
     false,
     true,
     DTX_POS_ROTARY,
     11,
     11,
     -1},
    {"Falcon 40B", FALCON_40B, "falcon", 41303293952, 60,   8192,           128, 8,  32768, 65024, 2048,
     64,           true,       false,      false,       true, DTX_POS_ROTARY, 11,  11, -1},
    {"Falcon RW 1B", FALCON_RW_1B, "falcon", 1311625216,    24, 2048, 32, 32, 8192, 50304, 2048, 0, false,
     false,          true,         true,       DTX_POS_ALIBI, 1,  2,    -1},
    {"RoBERTa DynaBench R4",
     DYNABENCH_R4,
     "roberta",
     124647170,
     12,
     768,
     12,
     12,
     3072,
     50265,
     514,
     0,
     false,
     false,
     true,
     false,
     DTX_POS_LEARNED,
     0,
     2,
     1},
    {"unbiased toxic RoBERTa",
     UNBIASED_TOXIC,
     "roberta",
     124648708,
     12,
     768,
     12,
     12,
     3072,
     50265,
     514,
     0,
     false,
     false,
     true,
     false,
     DTX_POS_LEARNED,
     -1,
     -1,
     1},
};

static dtx_status parse(const char *json, dtx_arch *a)
{
    dtx_error_clear();
    return dtx_arch_parse("config.json", json, strlen(json), a);
}

static void test_known_models(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const known_model *k = &known[i];
        dtx_arch a;
        dtx_param_spec *specs;
        int64_t n = 0, count = 0, sum = 0;
        if (parse(k->json, &a) != DTX_OK) {
            fail_msg("%s: %s", k->name, dtx_error_text());
        }
        assert_string_equal(dtx_family_of(&a)->model_type, k->family);
        assert_int_equal(a.n_layers, k->n_layers);
        assert_int_equal(a.hidden, k->hidden);
        assert_int_equal(a.n_heads, k->n_heads);
        assert_int_equal(a.n_kv, k->n_kv);
        assert_int_equal(a.head_dim, k->hidden / k->n_heads);
        assert_int_equal(a.ffn, k->ffn);
        assert_int_equal(a.vocab, k->vocab);
        assert_int_equal(a.max_positions, k->max_positions);
        assert_int_equal(a.rotary_dims, k->rotary_dims);
        assert_int_equal(a.parallel, k->parallel);
        assert_int_equal(a.shared_norm, k->shared_norm);
        assert_int_equal(a.linear_bias, k->linear_bias);
        assert_int_equal(a.tied_head, k->tied_head);
        assert_int_equal(a.position, k->position);
        assert_int_equal(a.bos_id, k->bos);
        assert_int_equal(a.eos.n > 0 ? a.eos.id[0] : -1, k->eos);
        assert_int_equal(a.pad_id, k->pad);
        assert_int_equal(dtx_arch_count(&a, &count), DTX_OK);
        assert_int_equal(count, k->count);
        assert_int_equal(dtx_arch_params(&a, &specs, &n), DTX_OK);
        for (int64_t p = 0; p < n; p++) {
            sum += specs[p].shape[0] * specs[p].shape[1];
        }
        assert_int_equal(sum, k->count);
        dtx_free(specs);
    }
}

static void test_labels(void **unused)
{
    dtx_arch a;

    (void)unused;
    assert_int_equal(parse(DYNABENCH_R4, &a), DTX_OK);
    assert_int_equal(a.n_labels, 2);
    assert_false(a.multi_label);
    assert_string_equal(a.labels[1], "hate");
    assert_int_equal(parse(UNBIASED_TOXIC, &a), DTX_OK);
    assert_int_equal(a.n_labels, 4);
    assert_true(a.multi_label);
    assert_string_equal(a.labels[3], "psychiatric_or_mental_illness");
}

/* The names as they are on the hub, first and last of each family. */
static void test_names(void **unused)
{
    static const struct {
        const char *json;
        int64_t at;
        const char *name;
        int64_t rows, cols;
    } expected[] = {
        {PYTHIA_70M, 0, "gpt_neox.embed_in.weight", 50304, 512},
        {PYTHIA_70M, 1, "gpt_neox.layers.0.input_layernorm.weight", 512, 1},
        {PYTHIA_70M, 4, "gpt_neox.layers.0.post_attention_layernorm.bias", 512, 1},
        {PYTHIA_70M, 5, "gpt_neox.layers.0.attention.query_key_value.weight", 1536, 512},
        {PYTHIA_70M, 8, "gpt_neox.layers.0.attention.dense.bias", 512, 1},
        {PYTHIA_70M, 9, "gpt_neox.layers.0.mlp.dense_h_to_4h.weight", 2048, 512},
        {PYTHIA_70M, 71, "gpt_neox.layers.5.mlp.dense_4h_to_h.weight", 512, 2048},
        {PYTHIA_70M, 73, "gpt_neox.final_layer_norm.weight", 512, 1},
        {PYTHIA_70M, 75, "embed_out.weight", 50304, 512},
        {FALCON_7B, 0, "transformer.word_embeddings.weight", 65024, 4544},
        {FALCON_7B, 2, "transformer.h.0.input_layernorm.bias", 4544, 1},
        {FALCON_7B, 3, "transformer.h.0.self_attention.query_key_value.weight", 4672, 4544},
        {FALCON_7B, 6, "transformer.h.0.mlp.dense_4h_to_h.weight", 4544, 18176},
        {FALCON_7B, 194, "transformer.ln_f.bias", 4544, 1},
        {FALCON_40B, 1, "transformer.h.0.ln_attn.weight", 8192, 1},
        {FALCON_40B, 3, "transformer.h.0.ln_mlp.weight", 8192, 1},
        {FALCON_40B, 5, "transformer.h.0.self_attention.query_key_value.weight", 9216, 8192},
        {FALCON_RW_1B, 3, "transformer.h.0.post_attention_layernorm.weight", 2048, 1},
        {FALCON_RW_1B, 8, "transformer.h.0.self_attention.dense.bias", 2048, 1},
        {DYNABENCH_R4, 1, "roberta.embeddings.position_embeddings.weight", 514, 768},
        {DYNABENCH_R4, 4, "roberta.embeddings.LayerNorm.bias", 768, 1},
        {DYNABENCH_R4, 9, "roberta.encoder.layer.0.attention.self.value.weight", 768, 768},
        {DYNABENCH_R4, 15, "roberta.encoder.layer.0.intermediate.dense.weight", 3072, 768},
        {DYNABENCH_R4, 200, "classifier.out_proj.bias", 2, 1},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        dtx_arch a;
        dtx_param_spec *specs;
        int64_t n = 0;
        assert_int_equal(parse(expected[i].json, &a), DTX_OK);
        assert_int_equal(dtx_arch_params(&a, &specs, &n), DTX_OK);
        assert_true(expected[i].at < n);
        assert_string_equal(specs[expected[i].at].name, expected[i].name);
        assert_int_equal(specs[expected[i].at].shape[0], expected[i].rows);
        assert_int_equal(specs[expected[i].at].shape[1], expected[i].cols);
        dtx_free(specs);
    }
}

/* --- what changes the computation is recognised --- */

/* `base` with "key": value put in place of the key's member, or added. NULL removes it. */
static void with(const char *base, const char *key, const char *value, char *out, size_t size)
{
    cJSON *root = cJSON_Parse(base);

    assert_non_null(root);
    cJSON_DeleteItemFromObjectCaseSensitive(root, key);
    if (value != NULL) {
        cJSON_AddRawToObject(root, key, value);
    }
    char *text = cJSON_PrintUnformatted(root);
    assert_true(text != NULL && strlen(text) < size);
    strcpy(out, text);
    cJSON_free(text);
    cJSON_Delete(root);
}

static void test_refused(void **unused)
{
    static const struct {
        const char *base, *key, *value;
        const char *named, *allowed; /* both must be in the message, with the file's name */
    } cases[] = {
        {PYTHIA_70M, "model_type", "\"opt\"", "model_type: \"opt\"", "gpt_neox, falcon"},
        {PYTHIA_70M, "model_type", NULL, "model_type", "gpt_neox, falcon"},
        {PYTHIA_70M, "model_type", "7", "model_type", "a string is expected"},
        {PYTHIA_70M, "architectures", "[\"GPTNeoXForSequenceClassification\"]", "architectures", "GPTNeoXForCausalLM"},
        {PYTHIA_70M, "hidden_size", NULL, "hidden_size is missing", "whole number"},
        {PYTHIA_70M, "hidden_size", "\"512\"", "hidden_size", "number is expected"},
        {PYTHIA_70M, "hidden_size", "512.5", "hidden_size", "whole number"},
        {PYTHIA_70M, "hidden_size", "0", "hidden_size", "1"},
        {PYTHIA_70M, "hidden_size", "-512", "hidden_size", "1"},
        {PYTHIA_70M, "hidden_size", "1e300", "hidden_size", "1048576"},
        {PYTHIA_70M, "num_hidden_layers", "1000000", "num_hidden_layers", "4096"},
        {PYTHIA_70M, "num_attention_heads", "7", "num_attention_heads: 7 heads", "hidden_size 512"},
        {PYTHIA_70M, "intermediate_size", NULL, "intermediate_size is missing", "whole number"},
        {PYTHIA_70M, "hidden_act", "\"mish\"", "hidden_act: \"mish\"", "gelu, gelu_new"},
        {PYTHIA_70M, "rotary_pct", "0.27", "rotary_pct 0.27", "even number from 2"}, /* 17 of 64 */
        {PYTHIA_70M, "rotary_pct", "0.01", "rotary_pct 0.01", "even number from 2"},
        {PYTHIA_70M, "rotary_pct", "1.5", "rotary_pct", "1"},
        {PYTHIA_70M, "rope_scaling", "{\"type\": \"linear\", \"factor\": 2.0}", "rope_scaling", "default"},
        {PYTHIA_70M, "rope_scaling", "{\"rope_type\": \"yarn\"}", "rope_scaling", "default"},
        {PYTHIA_70M, "rope_scaling", "2", "rope_scaling: 2", "default"},
        {PYTHIA_70M, "rope_parameters", "{\"rope_type\": \"dynamic\"}", "rope_parameters", "default"},
        {PYTHIA_70M, "attention_bias", "false", "attention_bias: false", "true"},
        {PYTHIA_70M, "quantization_config", "{\"load_in_8bit\": true}", "quantization_config", "F16"},
        {PYTHIA_70M, "is_encoder_decoder", "true", "is_encoder_decoder: true", "false"},
        {PYTHIA_70M, "pruned_heads", "{\"0\": [1]}", "pruned_heads", "none"},
        {PYTHIA_70M, "eos_token_id", "[0, 50304]", "eos_token_id: [0,50304]", "a list of at most 16"},
        {PYTHIA_70M, "eos_token_id", "50304", "eos_token_id: 50304", "50304"},
        {PYTHIA_70M, "bos_token_id", "-1", "bos_token_id: -1", "one id"},
        {PYTHIA_70M, "use_parallel_residual", "1", "use_parallel_residual", "true or false"},
        {FALCON_7B, "num_attention_heads", "64", "num_attention_heads is 64", "n_head is 71"},
        {FALCON_7B, "n_head", NULL, "num_attention_heads is missing", "whole number"},
        {FALCON_7B, "apply_residual_connection_post_layernorm", "true",
         "apply_residual_connection_post_layernorm: true", "false"},
        {FALCON_7B, "bias", "\"no\"", "bias", "true or false"},
        {FALCON_7B, "num_ln_in_parallel_attn", "2", "num_ln_in_parallel_attn: 2", "new_decoder_architecture"},
        {FALCON_7B, "activation", "\"mish\"", "activation: \"mish\"", "gelu"},
        {FALCON_RW_1B, "n_head_kv", "4", "parallel_attn: false", "new_decoder_architecture"},
        {FALCON_40B, "n_head_kv", "7", "n_head_kv: 7", "128 heads"},
        {FALCON_40B, "n_head_kv", "129", "n_head_kv", "128"},
        {FALCON_40B, "parallel_attn", "false", "parallel_attn: false", "new_decoder_architecture"},
        {DYNABENCH_R4, "architectures", "[\"RobertaForMaskedLM\"]", "RobertaForMaskedLM",
         "RobertaForSequenceClassification"},
        {DYNABENCH_R4, "position_embedding_type", "\"relative_key\"", "position_embedding_type: \"relative_key\"",
         "absolute"},
        {DYNABENCH_R4, "problem_type", "\"regression\"", "problem_type: \"regression\"", "multi_label_classification"},
        {DYNABENCH_R4, "is_decoder", "true", "is_decoder: true", "false"},
        {DYNABENCH_R4, "id2label", "{\"0\": \"a\"}", "one label", "at least 2"},
        {DYNABENCH_R4, "id2label", "{\"0\": \"a\", \"2\": \"b\"}", "id2label: entry \"2\"", "from 0 to 1"},
        {DYNABENCH_R4, "id2label", "{\"0\": \"a\", \"1\": 5}", "id2label: entry \"1\"", "label"},
        {DYNABENCH_R4, "id2label", "[]", "id2label", "1 to 64"},
        {DYNABENCH_R4, "num_labels", "3", "num_labels is 3", "2 entries"},
        {DYNABENCH_R4, "max_position_embeddings", "2", "max_position_embeddings 2", "pad_token_id 1"},
    };
    char json[4096];

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dtx_arch a, untouched;
        memset(&a, 0x5A, sizeof a);
        memset(&untouched, 0x5A, sizeof untouched);
        with(cases[i].base, cases[i].key, cases[i].value, json, sizeof json);
        dtx_status st = parse(json, &a);
        const char *text = dtx_error_text();
        if (st != DTX_ERR_INPUT || strstr(text, "config.json") == NULL || strstr(text, cases[i].named) == NULL ||
            strstr(text, cases[i].allowed) == NULL) {
            fail_msg("%s = %s: status %d, message: %s", cases[i].key, cases[i].value ? cases[i].value : "(none)", st,
                     text);
        }
        assert_memory_equal(&a, &untouched, sizeof a);
    }
}

static void test_variants(void **unused)
{
    static const struct {
        const char *base, *key, *value;
    } cases[] = {
        {PYTHIA_70M, "some_new_key", "{\"a\": [1, 2]}"},
        {PYTHIA_70M, "rope_scaling", "null"},
        {PYTHIA_70M, "rope_scaling", "{\"rope_type\": \"default\"}"},
        {PYTHIA_70M, "eos_token_id", "[0]"},
        {PYTHIA_70M, "eos_token_id", "null"},
        {PYTHIA_70M, "hidden_dropout", "0.1"},
        {PYTHIA_70M, "architectures", "null"},
        {FALCON_7B, "num_kv_heads", "71"},
        {FALCON_7B, "max_position_embeddings", "4096"},
        {FALCON_RW_1B, "n_head_kv", "null"},
        {DYNABENCH_R4, "problem_type", "null"},
        {DYNABENCH_R4, "chunk_size_feed_forward", "0"},
    };
    char json[4096];
    dtx_arch a;

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        with(cases[i].base, cases[i].key, cases[i].value, json, sizeof json);
        if (parse(json, &a) != DTX_OK) {
            fail_msg("%s = %s: %s", cases[i].key, cases[i].value, dtx_error_text());
        }
    }
    with(PYTHIA_70M, "rope_parameters",
         "{\"rope_theta\": 5000.0, \"partial_rotary_factor\": 0.5, \"rope_type\": \"default\"}", json, sizeof json);
    assert_int_equal(parse(json, &a), DTX_OK);
    assert_int_equal(a.rotary_dims, 32);
    assert_true(a.rope[0].base == 5000.0);
    with(PYTHIA_70M, "hidden_act", "\"gelu_new\"", json, sizeof json);
    assert_int_equal(parse(json, &a), DTX_OK);
    assert_int_equal(a.activation, DTX_ACT_GELU_TANH);
    with(PYTHIA_70M, "tie_word_embeddings", "true", json, sizeof json);
    assert_int_equal(parse(json, &a), DTX_OK);
    assert_true(a.tied_head);
    with(FALCON_7B, "tie_word_embeddings", "false", json, sizeof json);
    assert_int_equal(parse(json, &a), DTX_OK);
    assert_false(a.tied_head);
    with(FALCON_40B, "num_ln_in_parallel_attn", "1", json, sizeof json);
    assert_int_equal(parse(json, &a), DTX_OK);
    assert_true(a.shared_norm && a.n_kv == 8);
}

/* --- files --- */

static char folder[1024];

static void put(const char *name, const char *text)
{
    char path[1100];

    assert_int_equal(dtx_file_join(path, sizeof path, folder, name), DTX_OK);
    assert_int_equal(dtx_file_write(path, text, strlen(text)), DTX_OK);
}

static void drop(const char *name)
{
    char path[1100];

    assert_int_equal(dtx_file_join(path, sizeof path, folder, name), DTX_OK);
    remove(path);
}

static void test_write_and_read(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        dtx_arch a, b;
        char json[4096];
        assert_int_equal(parse(known[i].json, &a), DTX_OK);
        assert_int_equal(dtx_arch_write(folder, &a, "bfloat16"), DTX_OK);
        if (dtx_arch_read(folder, &b) != DTX_OK) {
            fail_msg("%s: %s", known[i].name, dtx_error_text());
        }
        strcpy(b.model_type, a.model_type); /* written in the library's dialect */
        assert_memory_equal(&a, &b, sizeof a);
        with(known[i].json, "layer_norm_epsilon", "1e-06", json, sizeof json); /* and no digit of an f32 is lost */
        assert_int_equal(parse(json, &a), DTX_OK);
        assert_int_equal(dtx_arch_write(folder, &a, "float32"), DTX_OK);
        assert_int_equal(dtx_arch_read(folder, &b), DTX_OK);
        assert_true(a.norm_eps == b.norm_eps);
    }
    dtx_arch a;
    assert_int_equal(parse(PYTHIA_70M, &a), DTX_OK);
    a.position = DTX_POS_ALIBI;
    assert_int_equal(dtx_arch_write(folder, &a, "float32"), DTX_ERR_USAGE);
    drop("config.json");
}

static void test_folders(void **unused)
{
    dtx_arch a;
    char path[1100];

    (void)unused;
    assert_int_equal(dtx_arch_read(folder, &a), DTX_ERR_MISSING);
    assert_non_null(strstr(dtx_error_text(), "holds no config.json"));
    assert_int_equal(dtx_file_join(path, sizeof path, folder, "nothing"), DTX_OK);
    assert_int_equal(dtx_arch_read(path, &a), DTX_ERR_MISSING);
    assert_non_null(strstr(dtx_error_text(), "no such folder"));
    put("config.json", "{\"model_type\": \"gpt_neox\",");
    assert_int_equal(dtx_arch_read(folder, &a), DTX_ERR_INPUT);
    assert_non_null(strstr(dtx_error_text(), "malformed JSON"));
    put("config.json", "[]");
    assert_int_equal(dtx_arch_read(folder, &a), DTX_ERR_INPUT);
    assert_non_null(strstr(dtx_error_text(), "object"));
    put("config.json", "{\"hidden_size\": 5, \"hidden_size\": 6}");
    assert_int_equal(dtx_arch_read(folder, &a), DTX_ERR_INPUT);
    assert_non_null(strstr(dtx_error_text(), "\"hidden_size\" stands twice"));
    put("other.json", PYTHIA_70M);
    assert_int_equal(dtx_file_join(path, sizeof path, folder, "other.json"), DTX_OK);
    assert_int_equal(dtx_arch_read(path, &a), DTX_OK);
    drop("config.json");
    drop("other.json");
}

/* Weight decay is decided by what a parameter does: matrices and tables decay, whatever a folder calls its norms. */
static void test_roles(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        dtx_arch a;
        dtx_param_spec *s = NULL;
        int64_t n = 0, scales = 0;
        assert_int_equal(parse(known[i].json, &a), DTX_OK);
        assert_int_equal(dtx_arch_params(&a, &s, &n), DTX_OK);
        for (int64_t k = 0; k < n; k++) {
            assert_int_equal(dtx_role_decays(s[k].role), s[k].n_dims == 2);
            assert_int_equal(s[k].role == DTX_ROLE_SHIFT, strstr(s[k].name, ".bias") != NULL);
            scales += s[k].role == DTX_ROLE_SCALE;
        }
        assert_int_equal(scales, 1 + a.n_layers * (a.shared_norm ? 1 : 2));
        dtx_free(s);
    }
}

static void test_generation_config(void **unused)
{
    dtx_arch a;

    (void)unused;
    put("config.json", PYTHIA_70M);
    assert_int_equal(dtx_arch_read(folder, &a), DTX_OK); /* none there */
    assert_int_equal(a.eos.id[0], 0);
    put("generation_config.json", "{\"eos_token_id\": 50278, \"pad_token_id\": 1}");
    assert_int_equal(dtx_arch_read(folder, &a), DTX_OK);
    assert_int_equal(a.eos.id[0], 50278);
    assert_int_equal(a.pad_id, 1);
    put("generation_config.json", "{\"eos_token_id\": [3], \"pad_token_id\": null}");
    assert_int_equal(dtx_arch_read(folder, &a), DTX_OK);
    assert_int_equal(a.eos.id[0], 3);
    put("generation_config.json", "{\"pad_token_id\": 2, \"eos_token_id\": 60000}");
    assert_int_equal(dtx_arch_read(folder, &a), DTX_ERR_INPUT);
    assert_non_null(strstr(dtx_error_text(), "eos_token_id: 60000"));
    assert_int_equal(a.eos.id[0], 3); /* as it was */
    assert_int_equal(a.pad_id, -1);
    drop("generation_config.json");
    drop("config.json");
}

static int make_folder(void **unused)
{
    const char *tmp = getenv("TMPDIR");

    (void)unused;
    snprintf(folder, sizeof folder, "%s/dtx.XXXXXX", tmp != NULL ? tmp : "/tmp");
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **unused)
{
    (void)unused;
    return remove(folder); /* fails when a test left a file behind */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_models), cmocka_unit_test(test_labels),
        cmocka_unit_test(test_names),        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_variants),     cmocka_unit_test(test_write_and_read),
        cmocka_unit_test(test_folders),      cmocka_unit_test(test_roles), cmocka_unit_test(test_generation_config),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
