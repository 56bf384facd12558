#include <stdio.h>
#include <string.h>

#include "src/model/families/table.h"

/* id2label {"0": "nothate", "1": "hate"}: every number below the count once. */
static dtx_status read_labels(const dtx_cfg *s, dtx_arch *a)
{
    const cJSON *labels = dtx_json_get(s->root, "id2label"), *item;

    a->n_labels = 2;
    DTX_TRY(dtx_json_int(s->root, s->path, "num_labels", 1, DTX_MAX_LABELS, &a->n_labels));
    if (labels != NULL) {
        int n = cJSON_GetArraySize(labels);
        if (!cJSON_IsObject(labels) || n < 1 || n > DTX_MAX_LABELS) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: id2label: an object of 1 to %d labels is expected, found %d", s->path,
                            DTX_MAX_LABELS, n);
        }
        if (dtx_json_get(s->root, "num_labels") != NULL && a->n_labels != n) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: num_labels is %lld, but id2label has %d entries", s->path,
                            (long long)a->n_labels, n);
        }
        a->n_labels = n;
    }
    for (int64_t i = 0; i < a->n_labels; i++) {
        snprintf(a->labels[i], sizeof a->labels[i], "LABEL_%lld", (long long)i);
    }
    cJSON_ArrayForEach(item, labels)
    {
        char number[24];
        int64_t i = 0;
        while (i < a->n_labels &&
               (snprintf(number, sizeof number, "%lld", (long long)i), strcmp(item->string, number) != 0)) {
            i++;
        }
        if (i == a->n_labels || !cJSON_IsString(item) || strlen(item->valuestring) >= sizeof a->labels[i]) {
            return DTX_FAIL(
                DTX_ERR_INPUT,
                "%s: id2label: entry \"%.40s\": a key from 0 to %lld and a label of at most %zu bytes are expected",
                s->path, item->string, (long long)a->n_labels - 1, sizeof a->labels[0] - 1);
        }
        strcpy(a->labels[i], item->valuestring);
    }
    return DTX_OK;
}

static dtx_status read_roberta(const dtx_cfg *s, dtx_arch *a)
{
    char positions[32] = "absolute", problem[64] = "single_label_classification";

    a->post_norm = a->linear_bias = true;
    a->position = DTX_POS_LEARNED;
    a->pad_id = 1;
    DTX_TRY(dtx_cfg_need_bool(s, "is_decoder", false));
    DTX_TRY(dtx_cfg_sizes(s, NULL, NULL, a));
    DTX_TRY(dtx_cfg_need_int(s, "intermediate_size", NULL, DTX_CFG_MAX_FFN, &a->ffn));
    DTX_TRY(dtx_cfg_need_int(s, "max_position_embeddings", NULL, DTX_CFG_MAX_VOCAB, &a->max_positions));
    DTX_TRY(dtx_cfg_need_int(s, "type_vocab_size", NULL, DTX_CFG_MAX_VOCAB, &a->type_vocab));
    DTX_TRY(dtx_cfg_activation(s, "hidden_act", &a->activation));
    DTX_TRY(dtx_cfg_eps(s, "layer_norm_eps", 1e-12, a));
    DTX_TRY(dtx_json_str(s->root, s->path, "position_embedding_type", sizeof positions, positions));
    if (strcmp(positions, "absolute") != 0) {
        return dtx_cfg_unsupported(s, "position_embedding_type", "absolute");
    }
    DTX_TRY(dtx_json_str(s->root, s->path, "problem_type", sizeof problem, problem));
    a->multi_label = strcmp(problem, "multi_label_classification") == 0;
    if (!a->multi_label && strcmp(problem, "single_label_classification") != 0) {
        return dtx_cfg_unsupported(s, "problem_type", "single_label_classification, multi_label_classification, null");
    }
    DTX_TRY(read_labels(s, a));
    if (a->n_labels == 1 && !a->multi_label) {
        return DTX_FAIL(DTX_ERR_INPUT,
                        "%s: one label without problem_type multi_label_classification is a regression; at least 2 "
                        "labels are supported",
                        s->path);
    }
    DTX_TRY(dtx_cfg_tokens(s, a));
    if (a->max_positions <= a->pad_id + 1) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: max_position_embeddings %lld leaves no position after pad_token_id %lld",
                        s->path, (long long)a->max_positions, (long long)a->pad_id);
    }
    return DTX_OK;
}

static dtx_status write_roberta(cJSON *o, const dtx_arch *a)
{
    cJSON *ids = cJSON_CreateObject(), *labels = cJSON_CreateObject();

    cJSON_AddItemToObject(o, "id2label", ids);
    cJSON_AddItemToObject(o, "label2id", labels);
    for (int64_t i = 0; i < a->n_labels; i++) {
        char number[24];
        snprintf(number, sizeof number, "%lld", (long long)i);
        dtx_cfg_add_text(ids, number, a->labels[i]);
        dtx_cfg_add_number(labels, a->labels[i], (double)i);
    }
    dtx_cfg_add_sizes(o, a);
    dtx_cfg_add_number(o, "intermediate_size", (double)a->ffn);
    dtx_cfg_add_number(o, "type_vocab_size", (double)a->type_vocab);
    dtx_cfg_add_text(o, "hidden_act", dtx_cfg_activation_name(a->activation));
    dtx_cfg_add_f32(o, "layer_norm_eps", a->norm_eps);
    dtx_cfg_add_text(o, "position_embedding_type", "absolute");
    dtx_cfg_add_text(o, "problem_type", a->multi_label ? "multi_label_classification" : "single_label_classification");
    return DTX_OK;
}

static const dtx_part_name *names(const dtx_arch *a)
{
    static const dtx_part_name list[] = {{DTX_PART_WORDS, "roberta.embeddings.word_embeddings"},
                                         {DTX_PART_POSITIONS, "roberta.embeddings.position_embeddings"},
                                         {DTX_PART_TYPES, "roberta.embeddings.token_type_embeddings"},
                                         {DTX_PART_EMBED_NORM, "roberta.embeddings.LayerNorm"},
                                         {DTX_MOD_Q, "roberta.encoder.layer.#.attention.self.query"},
                                         {DTX_MOD_K, "roberta.encoder.layer.#.attention.self.key"},
                                         {DTX_MOD_V, "roberta.encoder.layer.#.attention.self.value"},
                                         {DTX_MOD_OUT, "roberta.encoder.layer.#.attention.output.dense"},
                                         {DTX_PART_NORM1, "roberta.encoder.layer.#.attention.output.LayerNorm"},
                                         {DTX_MOD_UP, "roberta.encoder.layer.#.intermediate.dense"},
                                         {DTX_MOD_DOWN, "roberta.encoder.layer.#.output.dense"},
                                         {DTX_PART_NORM2, "roberta.encoder.layer.#.output.LayerNorm"},
                                         {DTX_PART_CLS_DENSE, "classifier.dense"},
                                         {DTX_PART_CLS_OUT, "classifier.out_proj"},
                                         {-1, NULL}};

    (void)a;
    return list;
}

static void fresh(dtx_arch *a)
{
    a->post_norm = a->linear_bias = true;
    a->n_kv = a->n_heads;
    a->position = DTX_POS_LEARNED;
    a->type_vocab = 1;
}

/* Hugging Face's library drops the pooler of a sequence classifier too. */
static const char *const ignored[] = {"*.embeddings.position_ids", "roberta.pooler.*", NULL};

static const char *const targets[] = {"query", "value", NULL};

const dtx_family dtx_family_roberta = {.model_type = "roberta",
                                       .title = "RoBERTa classifier",
                                       .known = "classifiers of toxicity and hate",
                                       .classes = {"RobertaForSequenceClassification"},
                                       .code = 2,
                                       .encoder = true,
                                       .read = read_roberta,
                                       .write = write_roberta,
                                       .names = names,
                                       .ignored = ignored,
    .targets = targets,
                                       .fresh = fresh};
