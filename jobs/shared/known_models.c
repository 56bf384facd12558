#include "jobs/shared/known_models.h"

#include <string.h>

static const dtx_known_model known[] = {
    {"redpajama-3b", "RedPajama-INCITE-Chat-3B-v1",
     "{\"model_type\": \"gpt_neox\", \"hidden_size\": 2560, \"num_hidden_layers\": 32, \"num_attention_heads\": 32,"
     " \"intermediate_size\": 10240, \"vocab_size\": 50432, \"max_position_embeddings\": 2048, \"rotary_pct\": 1.0,"
     " \"rotary_emb_base\": 10000, \"hidden_act\": \"gelu\", \"layer_norm_eps\": 1e-05, \"use_parallel_residual\": false,"
     " \"tie_word_embeddings\": false, \"bos_token_id\": 0, \"eos_token_id\": 0, \"torch_dtype\": \"float16\"}"},
    {"falcon-7b", "falcon-7b-instruct",
     "{\"model_type\": \"falcon\", \"hidden_size\": 4544, \"num_hidden_layers\": 32, \"num_attention_heads\": 71,"
     " \"vocab_size\": 65024, \"multi_query\": true, \"parallel_attn\": true, \"new_decoder_architecture\": false,"
     " \"bias\": false, \"alibi\": false, \"layer_norm_epsilon\": 1e-05, \"bos_token_id\": 11, \"eos_token_id\": 11,"
     " \"torch_dtype\": \"bfloat16\"}"},
    {"pythia-160m", "pythia-160m",
     "{\"model_type\": \"gpt_neox\", \"hidden_size\": 768, \"num_hidden_layers\": 12, \"num_attention_heads\": 12,"
     " \"intermediate_size\": 3072, \"vocab_size\": 50304, \"max_position_embeddings\": 2048, \"rotary_pct\": 0.25,"
     " \"rotary_emb_base\": 10000, \"hidden_act\": \"gelu\", \"layer_norm_eps\": 1e-05, \"use_parallel_residual\": true,"
     " \"tie_word_embeddings\": false, \"bos_token_id\": 0, \"eos_token_id\": 0, \"torch_dtype\": \"float16\"}"},
    {"roberta-base", "roberta-hate-speech-dynabench-r4-target",
     "{\"model_type\": \"roberta\", \"hidden_size\": 768, \"num_hidden_layers\": 12, \"num_attention_heads\": 12,"
     " \"intermediate_size\": 3072, \"vocab_size\": 50265, \"max_position_embeddings\": 514, \"type_vocab_size\": 1,"
     " \"hidden_act\": \"gelu\", \"layer_norm_eps\": 1e-05, \"pad_token_id\": 1, \"bos_token_id\": 0, \"eos_token_id\": 2,"
     " \"id2label\": {\"0\": \"nothate\", \"1\": \"hate\"}, \"torch_dtype\": \"float32\"}"},
};
enum { N_KNOWN = sizeof known / sizeof *known };

const dtx_known_model *dtx_known_model_find(const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;

    for (int i = 0; i < N_KNOWN; i++) {
        if (strcmp(name, known[i].name) == 0 || strcmp(name, known[i].folder) == 0) {
            return &known[i];
        }
    }
    return NULL;
}

const char *dtx_known_model_names(void)
{
    return "redpajama-3b, falcon-7b, pythia-160m, roberta-base";
}

dtx_status dtx_known_model_arch(const dtx_known_model *m, dtx_arch *out)
{
    return dtx_arch_parse(m->folder, m->json, strlen(m->json), out);
}
