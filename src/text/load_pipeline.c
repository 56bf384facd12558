#include "src/text/load_parts.h"

#include <string.h>

#include "src/base/mem.h"
#include "src/text/alphabet.h"
#include "src/text/read.h"

/* --- normalizers --- */

static dtx_status load_bert(const char *path, const cJSON *c, dtx_normalize_step *p)
{
    const cJSON *accents = dtx_json_get(c, "strip_accents");

    p->kind = DTX_NORMALIZE_BERT;
    p->clean_text = p->ideographs = p->lower_case = true;
    DTX_TRY(dtx_json_bool(c, path, "clean_text", &p->clean_text));
    DTX_TRY(dtx_json_bool(c, path, "handle_chinese_chars", &p->ideographs));
    DTX_TRY(dtx_json_bool(c, path, "lowercase", &p->lower_case));
    p->strip_accents = accents != NULL ? cJSON_IsTrue(accents) : p->lower_case; /* null follows lowercase */
    return DTX_OK;
}

static dtx_status load_replace(const char *path, const cJSON *c, dtx_normalize_step *p)
{
    const cJSON *string = dtx_json_get(c, "pattern.String"), *regex = dtx_json_get(c, "pattern.Regex");

    DTX_TRY(dtx_read_short(path, "normalizer Replace", "content", dtx_json_get(c, "content"), 0, p->text, sizeof p->text));
    if (string != NULL) {
        p->kind = DTX_NORMALIZE_REPLACE;
        return dtx_read_short(path, "normalizer Replace", "pattern.String", string, 1, p->from, sizeof p->from);
    }
    p->kind = DTX_NORMALIZE_PATTERN;
    if (!cJSON_IsString(regex)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: normalizer Replace: \"pattern\" must hold a \"String\" or a \"Regex\"", path);
    }
    return dtx_regex_compile(regex->valuestring, path, "normalizer Replace", &p->regex);
}

static dtx_status load_step(const char *path, const char *type, const cJSON *c, dtx_normalize_step *p)
{
    const cJSON *map = dtx_json_get(c, "precompiled_charsmap");

    if (strcmp(type, "NFC") == 0) {
        p->kind = DTX_NORMALIZE_NFC;
        return DTX_OK;
    }
    if (strcmp(type, "Prepend") == 0) {
        p->kind = DTX_NORMALIZE_PREPEND;
        return dtx_read_short(path, "normalizer Prepend", "prepend", dtx_json_get(c, "prepend"), 0, p->text, sizeof p->text);
    }
    if (strcmp(type, "Replace") == 0) {
        return load_replace(path, c, p);
    }
    if (strcmp(type, "Strip") == 0) {
        p->kind = DTX_NORMALIZE_STRIP;
        p->left = dtx_read_is_set(c, "strip_left");
        p->right = dtx_read_is_set(c, "strip_right");
        return DTX_OK;
    }
    if (strcmp(type, "Precompiled") == 0) {
        p->kind = DTX_NORMALIZE_CHARSMAP;
        if (!cJSON_IsString(map)) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: normalizer Precompiled: \"precompiled_charsmap\" must be a string", path);
        }
        return dtx_charsmap_open(map->valuestring, path, &p->map);
    }
    return strcmp(type, "BertNormalizer") == 0 ? load_bert(path, c, p) : dtx_read_unsupported(path, "normalizer", type);
}

dtx_status dtx_load_normalizer(dtx_tokenizer *t, const char *path, const cJSON *c)
{
    dtx_normalizer *z = &t->normalizer;
    const char *type;

    DTX_TRY(dtx_read_type(path, "normalizer", c, &type));
    if (strcmp(type, "Sequence") == 0) {
        const cJSON *list = dtx_json_get(c, "normalizers");
        for (const cJSON *part = cJSON_IsArray(list) ? list->child : NULL; part != NULL; part = part->next) {
            DTX_TRY(dtx_load_normalizer(t, path, part));
        }
        return DTX_OK;
    }
    if (type[0] == '\0') {
        return DTX_OK;
    }
    if (z->n == DTX_NORMALIZE_MAX) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: more than %d normalizers", path, DTX_NORMALIZE_MAX);
    }
    return load_step(path, type, c, &z->step[z->n++]); /* a step that fails half-way is freed with the others */
}

/* --- pre-tokenizers --- */

dtx_status dtx_load_stage(dtx_tokenizer *t, const char *path, dtx_stage stage)
{
    if (t->n_stages == DTX_TOK_MAX_STAGES) {
        dtx_regex_free(&stage.regex);
        return DTX_FAIL(DTX_ERR_INPUT, "%s: more than %d pre-tokenizers", path, DTX_TOK_MAX_STAGES);
    }
    t->stage[t->n_stages++] = stage;
    return DTX_OK;
}

static dtx_status add_regex(dtx_tokenizer *t, const char *path, const char *pattern, dtx_stage stage)
{
    unsigned char first[256];

    stage.kind = DTX_STAGE_REGEX;
    DTX_TRY(dtx_regex_compile(pattern, path, "pre_tokenizer Split", &stage.regex));
    for (unsigned b = 0; b < 256 && stage.mapped; b++) { /* the search sees the bytes' characters */
        uint32_t cp = dtx_tok_byte_char(b);
        first[b] = stage.regex.first[cp >= 0x80 ? 0xC0 | cp >> 6 : cp];
    }
    if (stage.mapped) {
        memcpy(stage.regex.first, first, sizeof first);
    }
    return dtx_load_stage(t, path, stage);
}

static dtx_status load_split(dtx_tokenizer *t, const char *path, const cJSON *c, bool mapped)
{
    static const char *const name[] = {"Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous", NULL};
    const cJSON *behavior = dtx_json_get(c, "behavior"), *regex = dtx_json_get(c, "pattern.Regex");
    const char *how = cJSON_IsString(behavior) ? behavior->valuestring : "Isolated";
    dtx_stage stage = {.kind = DTX_STAGE_STRING, .mapped = mapped, .invert = dtx_read_is_set(c, "invert")};
    int i = 0;

    while (name[i] != NULL && strcmp(name[i], how) != 0) {
        i++;
    }
    if (name[i] == NULL) {
        return dtx_read_unsupported(path, "pre_tokenizer Split behavior", how);
    }
    stage.behavior = (dtx_split_behavior)i;
    if (cJSON_IsString(regex)) {
        return add_regex(t, path, regex->valuestring, stage);
    }
    if (mapped) {
        return dtx_read_unsupported(path, "pre_tokenizer Split after ByteLevel", "String");
    }
    DTX_TRY(dtx_read_short(path, "pre_tokenizer Split", "pattern.String", dtx_json_get(c, "pattern.String"), 1, stage.mark,
                           sizeof stage.mark));
    return dtx_load_stage(t, path, stage);
}

static dtx_status load_metaspace(dtx_tokenizer *t, const char *path, const cJSON *c)
{
    static const char *const name[] = {"never", "first", "always", NULL};
    const cJSON *scheme = dtx_json_get(c, "prepend_scheme"), *prefix = dtx_json_get(c, "add_prefix_space");
    dtx_stage stage = {.kind = DTX_STAGE_METASPACE, .split = true, .prepend = DTX_PREPEND_ALWAYS};
    int i = 0;

    DTX_TRY(dtx_read_short(path, "pre_tokenizer Metaspace", "replacement", dtx_json_get(c, "replacement"), 1, stage.mark, 5));
    DTX_TRY(dtx_json_bool(c, path, "split", &stage.split));
    if (scheme == NULL) { /* files before 2024 */
        stage.prepend = cJSON_IsFalse(prefix) ? DTX_PREPEND_NEVER : DTX_PREPEND_ALWAYS;
        return dtx_load_stage(t, path, stage);
    }
    while (name[i] != NULL && !(cJSON_IsString(scheme) && strcmp(name[i], scheme->valuestring) == 0)) {
        i++;
    }
    if (name[i] == NULL) {
        return dtx_read_unsupported(path, "pre_tokenizer Metaspace prepend_scheme", cJSON_IsString(scheme) ? scheme->valuestring : "");
    }
    stage.prepend = (dtx_prepend)i;
    return dtx_load_stage(t, path, stage);
}

static dtx_status load_byte_level(dtx_tokenizer *t, const char *path, const cJSON *c, bool *mapped)
{
    bool prefix = false, regex = true; /* where the file does not say */

    DTX_TRY(dtx_json_bool(c, path, "add_prefix_space", &prefix));
    DTX_TRY(dtx_json_bool(c, path, "use_regex", &regex));
    if (prefix) {
        DTX_TRY(dtx_load_stage(t, path, (dtx_stage){.kind = DTX_STAGE_PREFIX_SPACE}));
    }
    *mapped = true;
    return regex ? dtx_load_stage(t, path, (dtx_stage){.kind = DTX_STAGE_GPT2}) : DTX_OK;
}

static dtx_status load_punctuation(dtx_tokenizer *t, const char *path, const cJSON *c)
{
    const cJSON *behavior = dtx_json_get(c, "behavior");
    const char *how = cJSON_IsString(behavior) ? behavior->valuestring : "Isolated";
    bool isolated = strcmp(how, "Isolated") == 0;

    if (!isolated && strcmp(how, "Contiguous") != 0) {
        return dtx_read_unsupported(path, "pre_tokenizer Punctuation behavior", how);
    }
    return dtx_load_stage(t, path, (dtx_stage){.kind = DTX_STAGE_PUNCTUATION, .individual = isolated});
}

dtx_status dtx_load_pre_tokenizer(dtx_tokenizer *t, const char *path, const cJSON *c, bool *mapped)
{
    const char *type;

    DTX_TRY(dtx_read_type(path, "pre_tokenizer", c, &type));
    if (strcmp(type, "Sequence") == 0) {
        const cJSON *list = dtx_json_get(c, "pretokenizers");
        for (const cJSON *part = cJSON_IsArray(list) ? list->child : NULL; part != NULL; part = part->next) {
            DTX_TRY(dtx_load_pre_tokenizer(t, path, part, mapped));
        }
        return DTX_OK;
    }
    if (type[0] == '\0') {
        return DTX_OK;
    }
    if (strcmp(type, "Digits") == 0) {
        return dtx_load_stage(t, path,
                              (dtx_stage){.kind = DTX_STAGE_DIGITS,
                                          .mapped = *mapped,
                                          .individual = dtx_read_is_set(c, "individual_digits")});
    }
    if (strcmp(type, "Split") == 0) {
        return load_split(t, path, c, *mapped);
    }
    if (*mapped) { /* the others would see the byte alphabet */
        return dtx_read_unsupported(path, "pre_tokenizer after ByteLevel", type);
    }
    if (strcmp(type, "ByteLevel") == 0) {
        return load_byte_level(t, path, c, mapped);
    }
    if (strcmp(type, "Punctuation") == 0) {
        return load_punctuation(t, path, c);
    }
    if (strcmp(type, "Metaspace") == 0) {
        return load_metaspace(t, path, c);
    }
    return strcmp(type, "WhitespaceSplit") == 0    ? dtx_load_stage(t, path, (dtx_stage){.kind = DTX_STAGE_WHITESPACE})
           : strcmp(type, "BertPreTokenizer") == 0 ? dtx_load_stage(t, path, (dtx_stage){.kind = DTX_STAGE_BERT})
                                                   : dtx_read_unsupported(path, "pre_tokenizer", type);
}

/* --- decoders --- */

static dtx_status load_strip(const char *path, const cJSON *c, dtx_decode_step *d)
{
    d->kind = DTX_DECODE_STRIP;
    DTX_TRY(dtx_read_short(path, "decoder Strip", "content", dtx_json_get(c, "content"), 1, d->from, 5));
    DTX_TRY(dtx_json_int(c, path, "start", 0, INT32_MAX, &d->start));
    return dtx_json_int(c, path, "stop", 0, INT32_MAX, &d->stop);
}

static dtx_status load_decode_step(const char *path, const char *type, const cJSON *c, dtx_decode_step *d)
{
    const cJSON *scheme = dtx_json_get(c, "prepend_scheme");

    if (strcmp(type, "ByteLevel") == 0) {
        d->kind = DTX_DECODE_BYTES;
    } else if (strcmp(type, "ByteFallback") == 0) {
        d->kind = DTX_DECODE_BYTE_FALLBACK;
    } else if (strcmp(type, "Fuse") == 0) {
        d->kind = DTX_DECODE_FUSE;
    } else if (strcmp(type, "Strip") == 0) {
        return load_strip(path, c, d);
    } else if (strcmp(type, "Replace") == 0) {
        d->kind = DTX_DECODE_REPLACE;
        DTX_TRY(dtx_read_short(path, "decoder Replace", "pattern.String", dtx_json_get(c, "pattern.String"), 1, d->from, sizeof d->from));
        return dtx_read_short(path, "decoder Replace", "content", dtx_json_get(c, "content"), 0, d->text, strlen(d->from) + 1);
    } else if (strcmp(type, "Metaspace") == 0) {
        d->kind = DTX_DECODE_METASPACE;
        d->drop_first = scheme != NULL ? !(cJSON_IsString(scheme) && strcmp(scheme->valuestring, "never") == 0)
                                       : !cJSON_IsFalse(dtx_json_get(c, "add_prefix_space"));
        return dtx_read_short(path, "decoder Metaspace", "replacement", dtx_json_get(c, "replacement"), 1, d->from, 5);
    } else if (strcmp(type, "WordPiece") == 0) {
        d->kind = DTX_DECODE_WORDPIECE;
        d->clean_up = true;
        DTX_TRY(dtx_json_bool(c, path, "cleanup", &d->clean_up));
        return dtx_read_short(path, "decoder WordPiece", "prefix", dtx_json_get(c, "prefix"), 1, d->from, sizeof d->from);
    } else {
        return dtx_read_unsupported(path, "decoder", type[0] != '\0' ? type : "null");
    }
    return DTX_OK;
}

dtx_status dtx_load_decoder(dtx_tokenizer *t, const char *path, const cJSON *c)
{
    dtx_decoder *d = &t->decoder;
    const char *type;

    DTX_TRY(dtx_read_type(path, "decoder", c, &type));
    if (strcmp(type, "Sequence") == 0) {
        const cJSON *list = dtx_json_get(c, "decoders");
        for (const cJSON *part = cJSON_IsArray(list) ? list->child : NULL; part != NULL; part = part->next) {
            DTX_TRY(dtx_load_decoder(t, path, part));
        }
        return DTX_OK;
    }
    if (d->n == DTX_DECODER_MAX) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: more than %d decoders", path, DTX_DECODER_MAX);
    }
    DTX_TRY(load_decode_step(path, type, c, &d->step[d->n]));
    if (d->n > 0 && (d->step[d->n].kind == DTX_DECODE_BYTES || d->step[0].kind == DTX_DECODE_BYTES)) {
        return dtx_read_unsupported(path, "decoder", "ByteLevel with others");
    }
    d->n++;
    return DTX_OK;
}

/* --- post-processors --- */

static dtx_status add_item(const char *path, int32_t *item, int *n, int32_t id)
{
    if (*n == DTX_TOK_MAX_TEMPLATE) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: post_processor: more than %d items in a template", path,
                        DTX_TOK_MAX_TEMPLATE);
    }
    item[(*n)++] = id;
    return DTX_OK;
}

/* One item of TemplateProcessing: {"Sequence": {"id": "A"}} or {"SpecialToken": {"id": NAME}}. */
static dtx_status template_item(const dtx_tokenizer *t, const char *path, const cJSON *c, const cJSON *special,
                                int32_t *item, int *n)
{
    const cJSON *sequence = dtx_json_get(c, "Sequence.id"), *name = dtx_json_get(c, "SpecialToken.id");
    const cJSON *ids = NULL;

    if (cJSON_IsString(sequence) && strcmp(sequence->valuestring, "A") == 0) {
        return add_item(path, item, n, DTX_TOK_A);
    }
    if (cJSON_IsString(sequence) && strcmp(sequence->valuestring, "B") == 0) {
        return add_item(path, item, n, DTX_TOK_B);
    }
    for (const cJSON *s = cJSON_IsObject(special) && cJSON_IsString(name) ? special->child : NULL; s != NULL;
         s = s->next) {
        if (strcmp(s->string, name->valuestring) == 0) {
            ids = dtx_json_get(s, "ids");
        }
    }
    if (!cJSON_IsArray(ids)) {
        return DTX_FAIL(DTX_ERR_INPUT,
                        "%s: post_processor: a template item is neither a sequence nor a known special token", path);
    }
    for (const cJSON *s = ids->child; s != NULL; s = s->next) {
        int64_t id = -1;
        DTX_TRY(dtx_read_id(path, "a special token of post_processor", s, &id));
        if (dtx_tokenizer_piece(t, (int32_t)id) == NULL) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: post_processor: id %lld is not in the vocabulary", path, (long long)id);
        }
        DTX_TRY(add_item(path, item, n, (int32_t)id));
    }
    return DTX_OK;
}

static dtx_status load_template(const dtx_tokenizer *t, const char *path, const cJSON *processor, const char *key,
                                int32_t *item, int *n)
{
    const cJSON *list = dtx_json_get(processor, key), *special = dtx_json_get(processor, "special_tokens");
    int texts[2] = {0, 0};

    *n = 0;
    for (const cJSON *c = cJSON_IsArray(list) ? list->child : NULL; c != NULL; c = c->next) {
        DTX_TRY(template_item(t, path, c, special, item, n));
    }
    for (int i = 0; i < *n; i++) {
        texts[0] += item[i] == DTX_TOK_A;
        texts[1] += item[i] == DTX_TOK_B;
    }
    if (texts[0] != 1 || texts[1] != (strcmp(key, "pair") == 0)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: post_processor: template \"%s\" must hold each of its texts once", path,
                        key);
    }
    return DTX_OK;
}

void dtx_load_roberta(dtx_tokenizer *t, int32_t cls, int32_t sep)
{
    const int32_t single[] = {cls, DTX_TOK_A, sep}, pair[] = {cls, DTX_TOK_A, sep, sep, DTX_TOK_B, sep};

    memcpy(t->single, single, sizeof single);
    memcpy(t->pair, pair, sizeof pair);
    t->n_single = 3;
    t->n_pair = 6;
}

/* ["</s>", 2] */
static dtx_status roberta_token(const dtx_tokenizer *t, const char *path, const cJSON *c, int64_t *id)
{
    if (!cJSON_IsArray(c) || !cJSON_IsString(c->child) || c->child->next == NULL) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: post_processor: cls and sep must be [token, id]", path);
    }
    DTX_TRY(dtx_read_id(path, c->child->valuestring, c->child->next, id));
    if (dtx_tokenizer_piece(t, (int32_t)*id) == NULL) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: post_processor: id %lld is not in the vocabulary", path, (long long)*id);
    }
    return DTX_OK;
}

dtx_status dtx_load_post_processor(dtx_tokenizer *t, const char *path, const cJSON *c)
{
    const char *type;

    DTX_TRY(dtx_read_type(path, "post_processor", c, &type));
    if (type[0] == '\0' || strcmp(type, "ByteLevel") == 0) { /* ByteLevel here moves offsets only */
        return DTX_OK;
    }
    if (strcmp(type, "Sequence") == 0) {
        const cJSON *list = dtx_json_get(c, "processors");
        for (const cJSON *part = cJSON_IsArray(list) ? list->child : NULL; part != NULL; part = part->next) {
            DTX_TRY(dtx_load_post_processor(t, path, part));
        }
        return DTX_OK;
    }
    if (t->n_single > 1) {
        return dtx_read_unsupported(path, "post_processor", "Sequence with two templates");
    }
    if (strcmp(type, "RobertaProcessing") == 0 || strcmp(type, "BertProcessing") == 0) {
        int64_t cls = -1, sep = -1;
        DTX_TRY(roberta_token(t, path, dtx_json_get(c, "cls"), &cls));
        DTX_TRY(roberta_token(t, path, dtx_json_get(c, "sep"), &sep));
        dtx_load_roberta(t, (int32_t)cls, (int32_t)sep);
        if (strcmp(type, "BertProcessing") == 0) { /* one separator less: [CLS] A [SEP] B [SEP] */
            t->pair[3] = DTX_TOK_B;
            t->pair[4] = (int32_t)sep;
            t->n_pair = 5;
        }
        return DTX_OK;
    }
    if (strcmp(type, "TemplateProcessing") == 0) {
        DTX_TRY(load_template(t, path, c, "single", t->single, &t->n_single));
        return load_template(t, path, c, "pair", t->pair, &t->n_pair);
    }
    return dtx_read_unsupported(path, "post_processor", type);
}
