#include <string.h>

#include "src/base/mem.h"
#include "src/text/load_parts.h"
#include "src/text/read.h"

dtx_status dtx_tok_new(dtx_tokenizer **t)
{
    DTX_TRY(DTX_NEW(*t, 1));
    (*t)->single[0] = (*t)->pair[0] = DTX_TOK_A;
    (*t)->pair[1] = DTX_TOK_B;
    (*t)->n_single = 1;
    (*t)->n_pair = 2;
    (*t)->last_added = -1;
    return DTX_OK;
}

/* --- tokenizer.json --- */

enum { NORMALIZER, PRE_TOKENIZER, POST_PROCESSOR, DECODER, MODEL, ADDED, PARTS };

static dtx_status find_parts(const char *path, const cJSON *root, const cJSON *part[PARTS])
{
    static const char *const name[] = {"normalizer", "pre_tokenizer", "post_processor", "decoder", "model", "added_tokens"};

    if (!cJSON_IsObject(root)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: must hold an object", path);
    }
    for (const cJSON *c = root->child; c != NULL; c = c->next) {
        int i = 0;
        while (i < PARTS && strcmp(name[i], c->string) != 0) {
            i++;
        }
        if (i < PARTS) {
            part[i] = c;
        } else if (strcmp(c->string, "version") != 0 && strcmp(c->string, "truncation") != 0 &&
                   strcmp(c->string, "padding") != 0) { /* those two are set anew for each call */
            return dtx_read_unsupported(path, "component", c->string);
        }
    }
    return DTX_OK;
}

/* The model's symbols are bytes where ByteLevel cuts, and the decoder must know. */
static dtx_status choose_symbols(dtx_tokenizer *t, const char *path, const cJSON *pre_tokenizer)
{
    bool mapped = false, bytes = t->decoder.n > 0 && t->decoder.step[0].kind == DTX_DECODE_BYTES;

    DTX_TRY(dtx_load_pre_tokenizer(t, path, pre_tokenizer, &mapped));
    if (mapped != bytes) {
        return dtx_read_unsupported(path, mapped ? "decoder without ByteLevel, but pre_tokenizer" : "pre_tokenizer without ByteLevel, but decoder",
                                    "ByteLevel");
    }
    t->kind = mapped ? DTX_MODEL_BYTES : DTX_MODEL_CHARS;
    return DTX_OK;
}

dtx_status dtx_tok_load_json(dtx_tokenizer *t, dtx_tok_file json, dtx_tok_file config, dtx_tok_file added, dtx_tok_file map)
{
    const cJSON *part[PARTS] = {NULL};
    cJSON *root = NULL;
    dtx_status st = DTX_OK;

    DTX_GO(dtx_json_parse(json.data, json.n, json.name, 0, &root));
    DTX_GO(find_parts(json.name, root, part));
    DTX_GO(dtx_load_normalizer(t, json.name, part[NORMALIZER]));
    DTX_GO(dtx_load_decoder(t, json.name, part[DECODER]));
    DTX_GO(choose_symbols(t, json.name, part[PRE_TOKENIZER]));
    DTX_GO(dtx_load_model(t, json.name, part[MODEL]));
    DTX_GO(dtx_load_added(t, json.name, part[ADDED]));
    DTX_GO(dtx_load_config(t, config, added, map));
    DTX_GO(dtx_tok_added_ready(t));
    DTX_GO(dtx_load_post_processor(t, json.name, part[POST_PROCESSOR]));
done:
    cJSON_Delete(root);
    return st;
}

/* --- vocab.json + merges.txt --- */

/* They say nothing about special tokens: a vocabulary with <s> and </s> is RoBERTa's, else GPT-2's. */
dtx_status dtx_tok_load_files(dtx_tokenizer *t, dtx_tok_file vocab, dtx_tok_file merges)
{
    static const char *const special[] = {"<s>", "<pad>", "</s>", "<unk>", "<mask>"};
    static const char end_of_text[] = "<|endoftext|>";
    cJSON *root = NULL;
    dtx_status st = DTX_OK;

    t->kind = DTX_MODEL_BYTES;
    t->decoder = (dtx_decoder){.step[0].kind = DTX_DECODE_BYTES, .n = 1};
    DTX_GO(dtx_json_parse(vocab.data, vocab.n, vocab.name, 0, &root));
    DTX_GO(dtx_load_vocab(t, vocab.name, root));
    DTX_GO(dtx_load_merges_txt(t, merges.name, merges.data, merges.n));
    DTX_GO(dtx_tok_merges_ready(t, false));
    DTX_GO(dtx_load_stage(t, vocab.name, (dtx_stage){.kind = DTX_STAGE_GPT2}));
    int32_t cls = dtx_tokenizer_id(t, "<s>"), sep = dtx_tokenizer_id(t, "</s>");
    if (cls >= 0 && sep >= 0) {
        dtx_load_roberta(t, cls, sep);
        for (size_t i = 0; i < sizeof special / sizeof special[0]; i++) {
            if (dtx_tokenizer_id(t, special[i]) >= 0) {
                DTX_GO(dtx_tok_add_added(t, vocab.name, special[i], strlen(special[i]),
                                         (dtx_added_flags){.special = true, .lstrip = strcmp(special[i], "<mask>") == 0}));
            }
        }
    } else if (dtx_tokenizer_id(t, end_of_text) >= 0) {
        DTX_GO(dtx_tok_add_added(t, vocab.name, end_of_text, strlen(end_of_text), (dtx_added_flags){.special = true}));
    }
    st = dtx_tok_added_ready(t);
done:
    cJSON_Delete(root);
    return st;
}
