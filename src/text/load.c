#include <string.h>

#include "src/base/json.h"
#include "src/base/mem.h"
#include "src/text/alphabet.h"
#include "src/text/impl.h"

/* --- small readers over cJSON; objects here can have 65,000 members: they are walked, never searched by key --- */

static dtx_status unsupported(const char *path, const char *part, const char *what)
{
    return DTX_FAIL(
        DTX_ERR_INPUT,
        "%s: %s \"%.80s\" is not supported; detoxlens reads byte-level BPE as GPT-NeoX, Falcon and RoBERTa use it",
        path, part, what);
}

/* The component's "type"; "" for null. */
static dtx_status type_of(const char *path, const char *part, const cJSON *c, const char **type)
{
    *type = "";
    if (c == NULL || cJSON_IsNull(c)) {
        return DTX_OK;
    }
    const cJSON *name = cJSON_IsObject(c) ? dtx_json_get(c, "type") : NULL;
    if (!cJSON_IsString(name)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: %s must be null or an object with a \"type\"", path, part);
    }
    *type = name->valuestring;
    return DTX_OK;
}

static dtx_status as_id(const char *path, const char *what, const cJSON *c, int64_t *id)
{
    if (!cJSON_IsNumber(c) || c->valuedouble < 0 || c->valuedouble >= DTX_TOK_MAX_ID ||
        c->valuedouble != (double)(int64_t)c->valuedouble) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: the id of %.60s must be a whole number from 0 to %d", path, what,
                        DTX_TOK_MAX_ID - 1);
    }
    *id = (int64_t)c->valuedouble;
    return DTX_OK;
}

static bool is_set(const cJSON *c, const char *key)
{
    const cJSON *v = dtx_json_get(c, key);

    return v != NULL && !cJSON_IsFalse(v) && !(cJSON_IsString(v) && v->valuestring[0] == '\0') &&
           !(cJSON_IsNumber(v) && v->valuedouble == 0);
}

/* A string of json.h as bytes with a length: 0xFF stands for NUL there. */
static dtx_status text_of(const char *path, const cJSON *c, char **text, size_t *len)
{
    if (!cJSON_IsString(c)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: a token or merge must be a string", path);
    }
    return dtx_json_text(c, text, len);
}

/* --- vocabulary and merges --- */

static dtx_status load_vocab(dtx_tokenizer *t, const char *path, const cJSON *vocab)
{
    if (!cJSON_IsObject(vocab) || vocab->child == NULL) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: the vocabulary must be an object of tokens and ids, and not empty", path);
    }
    for (cJSON *c = vocab->child; c != NULL; c = c->next) {
        int64_t id = -1;
        size_t n = strlen(c->string);
        DTX_TRY(as_id(path, c->string, c, &id));
        for (char *p = c->string; (p = strchr(p, '\xFF')) != NULL; p++) {
            *p = '\0';
        }
        DTX_TRY(dtx_tok_add(t, path, id, c->string, n));
    }
    return DTX_OK;
}

/* "left right", exactly one blank. */
static dtx_status add_merge_line(dtx_tokenizer *t, const char *path, int32_t rank, const char *line, size_t n)
{
    const char *blank = memchr(line, ' ', n);
    size_t left = blank ? (size_t)(blank - line) : 0;

    if (blank == NULL || left == 0 || left + 1 == n || memchr(blank + 1, ' ', n - left - 1) != NULL) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: merge %d \"%.*s\" must be two tokens with one blank between", path, rank,
                        (int)(n < 60 ? n : 60), line);
    }
    return dtx_tok_add_merge(t, path, rank, line, left, blank + 1, n - left - 1);
}

static dtx_status load_merges(dtx_tokenizer *t, const char *path, const cJSON *merges)
{
    int32_t rank = 0;

    for (const cJSON *c = merges->child; c != NULL; c = c->next, rank++) {
        if (cJSON_IsString(c)) {
            DTX_TRY(add_merge_line(t, path, rank, c->valuestring, strlen(c->valuestring)));
            continue;
        }
        const cJSON *left = cJSON_IsArray(c) ? c->child : NULL, *right = left ? left->next : NULL;
        if (!cJSON_IsString(left) || !cJSON_IsString(right) || right->next != NULL) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: merge %d must be \"left right\" or [\"left\", \"right\"]", path, rank);
        }
        DTX_TRY(dtx_tok_add_merge(t, path, rank, left->valuestring, strlen(left->valuestring), right->valuestring,
                                  strlen(right->valuestring)));
    }
    return DTX_OK;
}

static dtx_status load_model(dtx_tokenizer *t, const char *path, const cJSON *model)
{
    static const char *const known[] = {"type",
                                        "dropout",
                                        "unk_token",
                                        "continuing_subword_prefix",
                                        "end_of_word_suffix",
                                        "fuse_unk",
                                        "byte_fallback",
                                        "ignore_merges",
                                        "vocab",
                                        "merges"};
    static const char *const off[] = {"dropout", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
                                      "byte_fallback"};
    const cJSON *type = dtx_json_get(model, "type"), *unk = dtx_json_get(model, "unk_token");
    const cJSON *merges = dtx_json_get(model, "merges");
    int32_t unknown = -1;

    if (!cJSON_IsObject(model)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: there is no object \"model\"", path);
    }
    if (type != NULL && (!cJSON_IsString(type) || strcmp(type->valuestring, "BPE") != 0)) {
        return unsupported(path, "model", cJSON_IsString(type) ? type->valuestring : "type");
    }
    for (const cJSON *c = model->child; c != NULL; c = c->next) {
        size_t i = 0;
        while (i < sizeof known / sizeof known[0] && strcmp(known[i], c->string) != 0) {
            i++;
        }
        if (i == sizeof known / sizeof known[0]) {
            return unsupported(path, "model setting", c->string);
        }
    }
    for (size_t i = 0; i < sizeof off / sizeof off[0]; i++) {
        if (is_set(model, off[i])) {
            return unsupported(path, "model setting", off[i]);
        }
    }
    if (!cJSON_IsArray(merges)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: model.merges must be a list", path);
    }
    DTX_TRY(load_vocab(t, path, dtx_json_get(model, "vocab")));
    if (unk != NULL) {
        if (!cJSON_IsString(unk) || (unknown = dtx_tokenizer_id(t, unk->valuestring)) < 0) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: model.unk_token is not in the vocabulary", path);
        }
    }
    DTX_TRY(dtx_tok_bytes_ready(t, (size_t)cJSON_GetArraySize(merges), unknown));
    DTX_TRY(load_merges(t, path, merges));
    return dtx_tok_merges_ready(t, is_set(model, "ignore_merges"));
}

/* --- added tokens --- */

static dtx_status add_added(dtx_tokenizer *t, const char *path, int64_t id, const char *content, size_t len,
                            bool special, bool normalized, bool lstrip, bool rstrip)
{
    char *changed = NULL;
    size_t n = len;
    dtx_status st;

    if (len == 0) { /* the reference ignores it, as it would match everywhere */
        return DTX_OK;
    }
    DTX_TRY(dtx_tok_add(t, path, id, content, len));
    t->tok[id].special = special;
    DTX_TRY(DTX_GROW(t->added, t->cap_added, t->n_added + 1));
    t->added[t->n_added] = (dtx_added){.id = (int32_t)id, .lstrip = lstrip, .rstrip = rstrip};
    if (normalized && t->nfc) {
        DTX_TRY(dtx_tok_nfc(content, len, &changed, &n));
    }
    st = dtx_trie_add(normalized ? &t->normalized : &t->raw, changed ? changed : content, n, (int32_t)t->n_added++);
    dtx_free(changed);
    return st;
}

static dtx_status load_added(dtx_tokenizer *t, const char *path, const cJSON *list)
{
    if (list != NULL && !cJSON_IsNull(list) && !cJSON_IsArray(list)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: added_tokens must be a list", path);
    }
    for (const cJSON *c = list ? list->child : NULL; c != NULL; c = c->next) {
        int64_t id = -1;
        char *content;
        size_t len;
        if (!cJSON_IsObject(c)) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: added_tokens must hold objects", path);
        }
        if (is_set(c, "single_word")) {
            return unsupported(path, "added token setting", "single_word");
        }
        DTX_TRY(as_id(path, "an added token", dtx_json_get(c, "id"), &id));
        DTX_TRY(text_of(path, dtx_json_get(c, "content"), &content, &len));
        dtx_status st = add_added(t, path, id, content, len, is_set(c, "special"), is_set(c, "normalized"),
                                  is_set(c, "lstrip"), is_set(c, "rstrip"));
        dtx_free(content);
        DTX_TRY(st);
    }
    return DTX_OK;
}

/* --- pre-tokenizers --- */

static dtx_status add_stage(dtx_tokenizer *t, const char *path, dtx_stage stage)
{
    if (t->n_stages == DTX_TOK_MAX_STAGES) {
        pcre2_code_free(stage.regex);
        return DTX_FAIL(DTX_ERR_INPUT, "%s: more than %d pre-tokenizers", path, DTX_TOK_MAX_STAGES);
    }
    t->stage[t->n_stages++] = stage;
    return DTX_OK;
}

/* The reference's regex engine (Oniguruma) and PCRE2 agree on what splitting patterns are made of, but not on \w and \b
 * (are superscripts and circled numbers part of words?), \h, \R, \X and others: only escapes of one meaning are taken. */
static bool same_meaning(const char *pattern)
{
    for (const char *p = pattern; *p != '\0'; p++) {
        if (*p == '\\') {
            p++;
            if (*p == '\0' || (((*p | 0x20) >= 'a' && (*p | 0x20) <= 'z') && strchr("sSdDpPrntfvx", *p) == NULL)) {
                return false;
            }
        }
    }
    return true;
}

static dtx_status add_regex(dtx_tokenizer *t, const char *path, const char *pattern, bool mapped)
{
    dtx_stage stage = {.kind = DTX_STAGE_REGEX, .mapped = mapped};
    int error;
    PCRE2_SIZE at;
    const uint8_t *first = NULL;
    uint32_t kind = 0;

    if (!same_meaning(pattern)) {
        return unsupported(path, "an escape in pre_tokenizer Split pattern", pattern);
    }
    /* line anchors as in the reference's regex engine, whose default syntax is Ruby's */
    stage.regex = pcre2_compile((PCRE2_SPTR)pattern, strlen(pattern),
                                PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &at, NULL);
    if (stage.regex == NULL) {
        PCRE2_UCHAR why[200] = "";
        pcre2_get_error_message(error, why, sizeof why);
        return DTX_FAIL(DTX_ERR_INPUT, "%s: pre-tokenizer Split: pattern \"%.80s\": %s at %zu", path, pattern,
                        (const char *)why, (size_t)at);
    }
    pcre2_jit_compile(stage.regex, PCRE2_JIT_COMPLETE); /* only speed depends on it */
    /* a piece that has no byte a match could begin with needs no search at all */
    pcre2_pattern_info(stage.regex, PCRE2_INFO_FIRSTCODETYPE, &kind);
    pcre2_pattern_info(stage.regex, PCRE2_INFO_FIRSTBITMAP, (void *)&first);
    for (int b = 0; b < 256; b++) {
        int alphabet_first =
            mapped && dtx_tok_byte_char((unsigned)b) >= 0x80 ? (int)(0xC0 | dtx_tok_byte_char((unsigned)b) >> 6) : b;
        stage.first[b] = kind != 0 || first == NULL || (first[alphabet_first / 8] >> alphabet_first % 8 & 1);
    }
    return add_stage(t, path, stage);
}

static dtx_status load_pre_tokenizer(dtx_tokenizer *t, const char *path, const cJSON *c, bool *mapped)
{
    const char *type;
    const cJSON *behavior = dtx_json_get(c, "behavior"), *regex = dtx_json_get(c, "pattern.Regex");
    const char *how = cJSON_IsString(behavior) ? behavior->valuestring : "Isolated";

    DTX_TRY(type_of(path, "pre_tokenizer", c, &type));
    if (strcmp(type, "Sequence") == 0) {
        const cJSON *list = dtx_json_get(c, "pretokenizers");
        for (const cJSON *part = cJSON_IsArray(list) ? list->child : NULL; part != NULL; part = part->next) {
            DTX_TRY(load_pre_tokenizer(t, path, part, mapped));
        }
        return DTX_OK;
    }
    if (strcmp(type, "ByteLevel") == 0 && !*mapped) {
        const cJSON *use = dtx_json_get(c, "use_regex");
        if (is_set(c, "add_prefix_space")) {
            return unsupported(path, "pre_tokenizer setting", "add_prefix_space");
        }
        *mapped = true;
        return cJSON_IsFalse(use) ? DTX_OK : add_stage(t, path, (dtx_stage){.kind = DTX_STAGE_GPT2});
    }
    if (strcmp(type, "Punctuation") == 0 && !*mapped) {
        if (strcmp(how, "Contiguous") != 0 && strcmp(how, "Isolated") != 0) {
            return unsupported(path, "pre_tokenizer Punctuation behavior", how);
        }
        return add_stage(t, path,
                         (dtx_stage){.kind = DTX_STAGE_PUNCTUATION, .individual = strcmp(how, "Isolated") == 0});
    }
    if (strcmp(type, "Digits") == 0) {
        return add_stage(
            t, path,
            (dtx_stage){.kind = DTX_STAGE_DIGITS, .mapped = *mapped, .individual = is_set(c, "individual_digits")});
    }
    if (strcmp(type, "Split") == 0 && cJSON_IsString(regex)) {
        if (strcmp(how, "Isolated") != 0) {
            return unsupported(path, "pre_tokenizer Split behavior", how);
        }
        if (is_set(c, "invert")) {
            return unsupported(path, "pre_tokenizer Split setting", "invert");
        }
        return add_regex(t, path, regex->valuestring, *mapped);
    }
    return unsupported(path, "pre_tokenizer", type[0] != '\0' ? type : "null");
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
        DTX_TRY(as_id(path, "a special token of post_processor", s, &id));
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

static void set_roberta(dtx_tokenizer *t, int32_t cls, int32_t sep)
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
    DTX_TRY(as_id(path, c->child->valuestring, c->child->next, id));
    if (dtx_tokenizer_piece(t, (int32_t)*id) == NULL) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: post_processor: id %lld is not in the vocabulary", path, (long long)*id);
    }
    return DTX_OK;
}

static dtx_status load_post_processor(dtx_tokenizer *t, const char *path, const cJSON *c)
{
    const char *type;

    DTX_TRY(type_of(path, "post_processor", c, &type));
    if (type[0] == '\0' || strcmp(type, "ByteLevel") == 0) { /* ByteLevel here moves offsets only */
        return DTX_OK;
    }
    if (strcmp(type, "Sequence") == 0) {
        const cJSON *list = dtx_json_get(c, "processors");
        for (const cJSON *part = cJSON_IsArray(list) ? list->child : NULL; part != NULL; part = part->next) {
            DTX_TRY(load_post_processor(t, path, part));
        }
        return DTX_OK;
    }
    if (t->n_single > 1) {
        return unsupported(path, "post_processor", "Sequence with two templates");
    }
    if (strcmp(type, "RobertaProcessing") == 0) {
        int64_t cls = -1, sep = -1;
        DTX_TRY(roberta_token(t, path, dtx_json_get(c, "cls"), &cls));
        DTX_TRY(roberta_token(t, path, dtx_json_get(c, "sep"), &sep));
        set_roberta(t, (int32_t)cls, (int32_t)sep);
        return DTX_OK;
    }
    if (strcmp(type, "TemplateProcessing") == 0) {
        DTX_TRY(load_template(t, path, c, "single", t->single, &t->n_single));
        return load_template(t, path, c, "pair", t->pair, &t->n_pair);
    }
    return unsupported(path, "post_processor", type);
}

/* --- the two forms --- */

dtx_status dtx_tok_load_json(dtx_tokenizer *t, const char *path, const char *json, size_t n_json)
{
    static const char *const part_name[] = {"normalizer", "pre_tokenizer", "post_processor",
                                            "decoder",    "model",         "added_tokens"};
    enum { NORMALIZER, PRE_TOKENIZER, POST_PROCESSOR, DECODER, MODEL, ADDED, PARTS };
    const cJSON *part[PARTS] = {NULL};
    const char *type;
    bool mapped = false;
    cJSON *root = NULL;
    dtx_status st = DTX_OK;

    DTX_GO(dtx_json_parse(json, n_json, path, 0, &root));
    if (!cJSON_IsObject(root)) {
        st = DTX_FAIL(DTX_ERR_INPUT, "%s: must hold an object", path);
        goto done;
    }
    for (const cJSON *c = root->child; c != NULL; c = c->next) {
        int i = 0;
        while (i < PARTS && strcmp(part_name[i], c->string) != 0) {
            i++;
        }
        if (i < PARTS) {
            part[i] = c;
        } else if (strcmp(c->string, "version") != 0 && strcmp(c->string, "truncation") != 0 &&
                   strcmp(c->string, "padding") != 0) { /* those two are set anew for each call */
            st = unsupported(path, "component", c->string);
            goto done;
        }
    }
    DTX_GO(type_of(path, "normalizer", part[NORMALIZER], &type));
    if (type[0] != '\0' && strcmp(type, "NFC") != 0) {
        st = unsupported(path, "normalizer", type);
        goto done;
    }
    t->nfc = type[0] != '\0';
    DTX_GO(type_of(path, "decoder", part[DECODER], &type));
    if (strcmp(type, "ByteLevel") != 0) {
        st = unsupported(path, "decoder", type[0] != '\0' ? type : "null");
        goto done;
    }
    DTX_GO(load_pre_tokenizer(t, path, part[PRE_TOKENIZER], &mapped));
    if (!mapped) {
        st = unsupported(path, "pre_tokenizer", "without ByteLevel");
        goto done;
    }
    DTX_GO(load_model(t, path, part[MODEL]));
    DTX_GO(load_added(t, path, part[ADDED]));
    DTX_GO(load_post_processor(t, path, part[POST_PROCESSOR]));
done:
    cJSON_Delete(root);
    return st;
}

static dtx_status load_merges_txt(dtx_tokenizer *t, const char *path, const char *text, size_t size)
{
    size_t n_lines = 0;
    int32_t rank = 0;

    for (size_t i = 0; i < size; i++) {
        n_lines += text[i] == '\n';
    }
    DTX_TRY(dtx_tok_bytes_ready(t, n_lines + 1, -1));
    for (size_t i = 0; i < size;) {
        const char *line = text + i, *end = memchr(line, '\n', size - i);
        size_t n = end ? (size_t)(end - line) : size - i;
        bool comment =
            i == 0 && n >= 8 && memcmp(line, "#version", 8) == 0; /* later lines that begin with # are merges */
        i += n + 1;
        n -= n > 0 && line[n - 1] == '\r';
        if (n > 0 && !comment) {
            DTX_TRY(add_merge_line(t, path, rank++, line, n));
        }
    }
    return DTX_OK;
}

/* vocab.json + merges.txt say nothing about special tokens: a vocabulary with <s> and </s> is RoBERTa's, else GPT-2's.
 */
dtx_status dtx_tok_load_files(dtx_tokenizer *t, const char *vocab, const char *json, size_t n_json, const char *merges,
                              const char *text, size_t n_text)
{
    static const char *const special[] = {"<s>", "<pad>", "</s>", "<unk>", "<mask>"};
    cJSON *root = NULL;
    dtx_status st = DTX_OK;

    DTX_GO(dtx_json_parse(json, n_json, vocab, 0, &root));
    DTX_GO(load_vocab(t, vocab, root));
    DTX_GO(load_merges_txt(t, merges, text, n_text));
    DTX_GO(dtx_tok_merges_ready(t, false));
    DTX_GO(add_stage(t, vocab, (dtx_stage){.kind = DTX_STAGE_GPT2}));
    int32_t cls = dtx_tokenizer_id(t, "<s>"), sep = dtx_tokenizer_id(t, "</s>"),
            eos = dtx_tokenizer_id(t, "<|endoftext|>");
    if (cls >= 0 && sep >= 0) {
        set_roberta(t, cls, sep);
        for (size_t i = 0; i < sizeof special / sizeof special[0]; i++) {
            int32_t id = dtx_tokenizer_id(t, special[i]);
            if (id >= 0) {
                DTX_GO(add_added(t, vocab, id, special[i], strlen(special[i]), true, false,
                                 strcmp(special[i], "<mask>") == 0, false));
            }
        }
    } else if (eos >= 0) {
        DTX_GO(add_added(t, vocab, eos, "<|endoftext|>", strlen("<|endoftext|>"), true, false, false, false));
    }
done:
    cJSON_Delete(root);
    return st;
}
