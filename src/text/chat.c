#include "src/text/chat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/file.h"
#include "src/base/json.h"
#include "src/base/mem.h"
#include "src/base/utf8.h"
#include "src/text/impl.h"
#include "src/text/jinja/jinja.h"
#include "src/text/unicode.h"
#include "src/weights/gguf.h"

enum { MARKS = 0xFDD0, MARK_PAIRS = 16 }; /* U+FDD0 to U+FDEF are characters of no text */

struct dtx_chat {
    dtx_jinja *template;
    char *text; /* the template's */
    size_t n;
    cJSON *tokens; /* names of special tokens -> strings */
    const dtx_tokenizer *tokenizer;
    dtx_trie control; /* control tokens -> ids */
};

/* --- opening --- */

static const char *const token_names[] = {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token", NULL};

/* A member that is a token: a string, or an object with its content. */
static const cJSON *token_of(const cJSON *object, const char *name)
{
    const cJSON *c = dtx_json_get(object, name);

    return cJSON_IsObject(c) ? dtx_json_get(c, "content") : c;
}

static dtx_status take_tokens(dtx_chat *c, const cJSON *config, const cJSON *map)
{
    if ((c->tokens = cJSON_CreateObject()) == NULL) {
        return DTX_FAIL(DTX_ERR_MISSING, "out of memory for the special tokens");
    }
    for (int i = 0; token_names[i] != NULL; i++) {
        const cJSON *token = token_of(config, token_names[i]);
        token = token != NULL ? token : token_of(map, token_names[i]);
        if (cJSON_IsString(token) && cJSON_AddStringToObject(c->tokens, token_names[i], token->valuestring) == NULL) {
            return DTX_FAIL(DTX_ERR_MISSING, "out of memory for the special tokens");
        }
    }
    return DTX_OK;
}

/* The template in tokenizer_config.json; NULL where there is none. */
static dtx_status template_member(const cJSON *config, const char *path, const cJSON **out)
{
    const cJSON *c = dtx_json_get(config, "chat_template");

    *out = c;
    if (cJSON_IsArray(c)) {
        const cJSON *list = c;
        *out = NULL;
        for (c = list->child; c != NULL && *out == NULL; c = c->next) {
            const cJSON *name = cJSON_IsObject(c) ? dtx_json_get(c, "name") : NULL;
            *out = cJSON_IsString(name) && strcmp(name->valuestring, "default") == 0 ? dtx_json_get(c, "template") : NULL;
        }
        if (*out == NULL) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: none of the chat templates is named \"default\"", path);
        }
    }
    return *out == NULL || cJSON_IsString(*out) ? DTX_OK
                                                : DTX_FAIL(DTX_ERR_INPUT, "%s: chat_template must be a text or a list of named ones", path);
}

static dtx_status take_file(dtx_chat *c, const char *path)
{
    dtx_file_map map;

    DTX_TRY(dtx_file_map_open(path, &map));
    dtx_status st = DTX_NEW_RAW(c->text, map.size + 1);
    if (st == DTX_OK) {
        memcpy(c->text, map.data, map.size);
        c->text[map.size] = '\0';
        c->n = map.size;
        st = dtx_utf8_check(path, c->text, c->n);
    }
    dtx_file_map_close(&map);
    return st;
}

/* Runs of line ends and blanks are tokens of some vocabularies, and stand in each template; they control nothing. */
static bool is_blank(const char *s, size_t n)
{
    for (size_t i = 0, len; i < n; i += len) {
        uint32_t cp;
        len = dtx_utf8_next(s + i, n - i, &cp, NULL);
        if (!dtx_tok_is_space(cp)) {
            return false;
        }
    }
    return true;
}

/* Is an added token that is not special part of the template's language, as <think> can be? */
static bool is_in_template(const dtx_chat *c, const char *s, size_t n)
{
    return !is_blank(s, n) && memmem(c->text, c->n, s, n) != NULL;
}

/* Which strings in a message are control tokens. */
static dtx_status find_control(dtx_chat *c)
{
    const dtx_tokenizer *t = c->tokenizer;

    for (size_t id = 0; t != NULL && id < t->n_tok; id++) {
        const dtx_tok *k = &t->tok[id];
        if (k->piece_len > 0 && (k->special || (k->added && is_in_template(c, t->text + k->piece, k->piece_len)))) {
            DTX_TRY(dtx_trie_add(&c->control, t->text + k->piece, k->piece_len, (int32_t)id));
        }
    }
    return DTX_OK;
}

static dtx_status read_json(const char *dir, const char *name, char *path, size_t size, cJSON **out)
{
    DTX_TRY(dtx_file_join(path, size, dir, name));
    return dtx_file_exists(path) ? dtx_json_read(path, out) : DTX_OK;
}

/* The keys of a GGUF file as tokenizer_config.json would have them: the template, and the strings of named tokens. */
static dtx_status read_gguf(const char *path, const dtx_tokenizer *t, cJSON **out)
{
    static const char *const keys[] = {"bos", "eos", "unknown", "seperator", "padding", "cls", "mask"}; /* in token_names' order */
    const char *template = NULL;
    dtx_gguf *g = NULL;
    dtx_status st = DTX_OK;

    DTX_TRY(dtx_gguf_open(path, &g));
    DTX_GO(dtx_gguf_string(g, "tokenizer.chat_template", false, &template));
    if ((*out = cJSON_CreateObject()) == NULL || (template != NULL && cJSON_AddStringToObject(*out, "chat_template", template) == NULL)) {
        st = DTX_FAIL(DTX_ERR_MISSING, "out of memory for the chat template");
        goto done;
    }
    for (int i = 0; token_names[i] != NULL && t != NULL; i++) {
        char key[64];
        int64_t id = -1;
        snprintf(key, sizeof key, "tokenizer.ggml.%s_token_id", keys[i]);
        DTX_GO(dtx_gguf_int(g, key, false, &id));
        const char *piece = id >= 0 && id <= INT32_MAX ? dtx_tokenizer_piece(t, (int32_t)id) : NULL;
        if (piece != NULL && cJSON_AddStringToObject(*out, token_names[i], piece) == NULL) {
            st = DTX_FAIL(DTX_ERR_MISSING, "out of memory for the special tokens");
            goto done;
        }
    }
done:
    dtx_gguf_close(g);
    return st;
}

dtx_status dtx_chat_open(const char *dir, const char *file, const dtx_tokenizer *t, dtx_chat **out)
{
    char config_path[4096], map_path[4096], own_path[4096];
    cJSON *config = NULL, *map = NULL;
    const cJSON *member = NULL;
    const char *name = file;
    dtx_chat *c = NULL;
    dtx_status st = DTX_OK;

    *out = NULL;
    DTX_TRY(DTX_NEW(c, 1));
    c->tokenizer = t;
    if (dtx_gguf_is_path(dir)) {
        snprintf(config_path, sizeof config_path, "%s", dir); /* for messages */
        DTX_GO(read_gguf(dir, t, &config));
        own_path[0] = '\0';
    } else {
        DTX_GO(read_json(dir, "tokenizer_config.json", config_path, sizeof config_path, &config));
        DTX_GO(read_json(dir, "special_tokens_map.json", map_path, sizeof map_path, &map));
        DTX_GO(dtx_file_join(own_path, sizeof own_path, dir, "chat_template.jinja"));
    }
    DTX_GO(template_member(config, config_path, &member));
    if (file == NULL && own_path[0] != '\0' && dtx_file_exists(own_path)) {
        name = own_path;
    }
    if (name != NULL) {
        DTX_GO(take_file(c, name));
    } else if (member != NULL) {
        name = config_path;
        DTX_GO(dtx_json_text(member, &c->text, &c->n));
    } else {
        goto done;
    }
    DTX_GO(dtx_jinja_parse(name, c->text, c->n, &c->template));
    DTX_GO(take_tokens(c, config, map));
    DTX_GO(find_control(c));
    *out = c;
    c = NULL;
done:
    cJSON_Delete(config);
    cJSON_Delete(map);
    dtx_chat_close(c);
    return st;
}

void dtx_chat_close(dtx_chat *c)
{
    if (c != NULL) {
        dtx_jinja_del(c->template);
        dtx_trie_free(&c->control);
        cJSON_Delete(c->tokens);
        dtx_free(c->text);
        dtx_free(c);
    }
}

/* --- the variables of a template --- */

/* The texts that are followed: strings of the variables, and which message each is of. */
typedef struct {
    const cJSON *item;
    int32_t message;
} followed;

typedef struct {
    followed *v;
    size_t n, cap;
} follow_list;

static dtx_status follow(follow_list *f, const cJSON *item, int32_t message)
{
    if (!cJSON_IsString(item)) {
        return DTX_OK;
    }
    DTX_TRY(DTX_GROW(f->v, f->cap, f->n + 1));
    f->v[f->n++] = (followed){.item = item, .message = message};
    return DTX_OK;
}

static int by_item(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t)((const followed *)a)->item, y = (uintptr_t)((const followed *)b)->item;

    return x < y ? -1 : x > y;
}

static int32_t source_of(const void *arg, const cJSON *item)
{
    const follow_list *f = arg;
    const followed key = {.item = item}, *hit = f->n > 0 ? bsearch(&key, f->v, f->n, sizeof *f->v, by_item) : NULL;

    return hit != NULL ? (int32_t)(hit - f->v) : -1;
}

/* The content of each message, or the texts of its parts. */
static dtx_status follow_all(const cJSON *messages, follow_list *f)
{
    int32_t i = 0;

    for (const cJSON *m = messages->child; m != NULL; m = m->next, i++) {
        const cJSON *content = dtx_json_get(m, "content");
        DTX_TRY(follow(f, content, i));
        for (const cJSON *part = cJSON_IsArray(content) ? content->child : NULL; part != NULL; part = part->next) {
            DTX_TRY(follow(f, cJSON_IsObject(part) ? dtx_json_get(part, "text") : part, i));
        }
    }
    if (f->n > 1) {
        qsort(f->v, f->n, sizeof *f->v, by_item);
    }
    return DTX_OK;
}

static void drop_nulls(cJSON *message)
{
    for (cJSON *c = message->child, *next; c != NULL; c = next) {
        next = c->next;
        if (cJSON_IsNull(c)) {
            cJSON_Delete(cJSON_DetachItemViaPointer(message, c));
        }
    }
}

static dtx_status check_messages(const cJSON *messages)
{
    int i = 0;

    if (!cJSON_IsArray(messages)) {
        return DTX_FAIL(DTX_ERR_INPUT, "messages must be a list of objects with \"role\" and \"content\"");
    }
    for (const cJSON *m = messages->child; m != NULL; m = m->next, i++) {
        if (!cJSON_IsObject(m)) {
            return DTX_FAIL(DTX_ERR_INPUT, "message %d must be an object with \"role\" and \"content\"", i);
        }
    }
    return DTX_OK;
}

/* A copy of `item` as member `name`, instead of one that is there. */
static dtx_status put_member(cJSON *object, const char *name, cJSON *item)
{
    if (item == NULL) {
        return DTX_FAIL(DTX_ERR_MISSING, "out of memory for the template's variables");
    }
    cJSON_DeleteItemFromObjectCaseSensitive(object, name);
    if (!cJSON_AddItemToObject(object, name, item)) {
        cJSON_Delete(item);
        return DTX_FAIL(DTX_ERR_MISSING, "out of memory for the template's variables");
    }
    return DTX_OK;
}

static dtx_status make_variables(const dtx_chat *c, const dtx_chat_input *in, cJSON **out)
{
    cJSON *root = cJSON_Duplicate(c->tokens, true), *messages;
    dtx_status st = DTX_OK;

    if (root == NULL) {
        return DTX_FAIL(DTX_ERR_MISSING, "out of memory for the template's variables");
    }
    messages = cJSON_Duplicate(in->messages, true);
    DTX_GO(put_member(root, "messages", messages));
    for (cJSON *m = messages->child; m != NULL; m = m->next) {
        drop_nulls(m);
    }
    DTX_GO(put_member(root, "tools", cJSON_CreateNull()));
    DTX_GO(put_member(root, "documents", cJSON_CreateNull()));
    DTX_GO(put_member(root, "add_generation_prompt", cJSON_CreateBool(in->add_generation_prompt)));
    for (const cJSON *v = in->variables != NULL ? in->variables->child : NULL; v != NULL; v = v->next) {
        DTX_GO(put_member(root, v->string, cJSON_Duplicate(v, true)));
    }
    *out = root;
    return DTX_OK;
done:
    cJSON_Delete(root);
    return st;
}

/* --- the spans of the messages --- */

static int by_message(const void *a, const void *b)
{
    const dtx_chat_span *x = a, *y = b;

    return x->message != y->message ? (x->message < y->message ? -1 : 1) : x->begin != y->begin ? (x->begin < y->begin ? -1 : 1) : 0;
}

/* An empty span counts only where its text is not shown elsewhere, and once. */
static bool is_shown_elsewhere(const dtx_jinja_result *r, size_t i)
{
    for (size_t k = 0; k < r->n_spans; k++) {
        if (r->span[k].source == r->span[i].source && (r->span[k].end > r->span[k].begin || k < i)) {
            return true;
        }
    }
    return false;
}

static dtx_status take_spans(const dtx_jinja_result *r, const follow_list *f, dtx_chat_text *out)
{
    DTX_TRY(DTX_NEW_RAW(out->span, r->n_spans));
    for (size_t i = 0; i < r->n_spans; i++) {
        const dtx_jinja_span *s = &r->span[i];
        if (s->end > s->begin || !is_shown_elsewhere(r, i)) {
            out->span[out->n_spans++] = (dtx_chat_span){.begin = s->begin, .end = s->end, .message = f->v[s->source].message};
        }
    }
    if (out->n_spans > 1) {
        qsort(out->span, out->n_spans, sizeof *out->span, by_message);
    }
    return DTX_OK;
}

/* --- ids --- */

/* Marks around control tokens: two characters that no text here holds. */
typedef struct {
    char open[4], close[4];
} marks;

static bool holds(const cJSON *c, const char *mark)
{
    if (cJSON_IsString(c) && strstr(c->valuestring, mark) != NULL) {
        return true;
    }
    for (const cJSON *item = cJSON_IsArray(c) || cJSON_IsObject(c) ? c->child : NULL; item != NULL; item = item->next) {
        if (holds(item, mark)) {
            return true;
        }
    }
    return false;
}

static dtx_status choose_marks(const dtx_chat *c, const cJSON *variables, marks *m)
{
    memset(m, 0, sizeof *m);
    for (uint32_t i = 0; i < MARK_PAIRS; i++) {
        dtx_utf8_put(MARKS + 2 * i, m->open);
        dtx_utf8_put(MARKS + 2 * i + 1, m->close);
        if (!holds(variables, m->open) && !holds(variables, m->close) && strstr(c->text, m->open) == NULL && strstr(c->text, m->close) == NULL) {
            return DTX_OK;
        }
    }
    return DTX_FAIL(DTX_ERR_INPUT, "the messages hold all of the characters U+FDD0 to U+FDEF, which no text should");
}

/* Marks the control tokens in all strings of the messages. *any says whether there are some. */
static dtx_status mark_strings(const dtx_chat *c, cJSON *item, const marks *m, bool *any)
{
    size_t n = cJSON_IsString(item) ? strlen(item->valuestring) : 0, from = 0, at, end;
    int32_t id;
    char *s = NULL;
    size_t len = 0, cap = 0;
    dtx_status st = DTX_OK;

    for (cJSON *part = cJSON_IsArray(item) || cJSON_IsObject(item) ? item->child : NULL; part != NULL; part = part->next) {
        DTX_TRY(mark_strings(c, part, m, any));
    }
    while (n > 0 && dtx_trie_find(&c->control, item->valuestring, n, from, &at, &end, &id)) {
        DTX_GO(DTX_GROW(s, cap, len + (end - from) + 8));
        memcpy(s + len, item->valuestring + from, at - from);
        len += at - from;
        len += (size_t)sprintf(s + len, "%s%.*s%s", m->open, (int)(end - at), item->valuestring + at, m->close);
        from = end;
    }
    if (from > 0) {
        DTX_GO(DTX_GROW(s, cap, len + n - from + 1));
        memcpy(s + len, item->valuestring + from, n - from);
        s[len + n - from] = '\0';
        *any = true;
        if (cJSON_SetValuestring(item, s) == NULL) {
            st = DTX_FAIL(DTX_ERR_MISSING, "out of memory for a message");
        }
    }
done:
    dtx_free(s);
    return st;
}

/* What lies between marks is encoded on its own; between an opening and its closing one it is plain text. */
static dtx_status encode_marked(const dtx_tokenizer *t, const char *s, size_t n, const marks *m, dtx_ids *out)
{
    size_t from = 0;
    bool plain = false, begun = false; /* begun: something was encoded before */

    while (from <= n) {
        const char *open = memmem(s + from, n - from, m->open, 3), *close = memmem(s + from, n - from, m->close, 3);
        const char *hit = open == NULL || (close != NULL && close < open) ? close : open;
        size_t end = hit != NULL ? (size_t)(hit - s) : n;
        bool is_plain = plain && hit != NULL && hit == close; /* an opening mark alone only cuts */
        if (end > from) {
            DTX_TRY(dtx_tokenizer_encode_stretch(t, s + from, end - from, is_plain, begun, out));
            begun = true;
        }
        plain = hit != NULL && hit == open;
        from = hit != NULL ? end + 3 : n + 1;
    }
    return DTX_OK;
}

static dtx_status encode(const dtx_chat *c, const dtx_chat_input *in, cJSON *variables, dtx_chat_text *out)
{
    cJSON *messages = cJSON_GetObjectItemCaseSensitive(variables, "messages");
    dtx_jinja_result r = {0};
    bool any = false;
    marks m;
    dtx_status st = DTX_OK;

    DTX_TRY(choose_marks(c, variables, &m));
    DTX_TRY(mark_strings(c, messages, &m, &any));
    if (!any) {
        return dtx_tokenizer_encode_stretch(c->tokenizer, out->text, out->n, false, false, &out->ids);
    }
    DTX_GO(dtx_jinja_render(c->template, &(dtx_jinja_input){.variables = variables, .now = in->now}, &r, NULL));
    st = encode_marked(c->tokenizer, r.text, r.n, &m, &out->ids);
done:
    dtx_jinja_result_free(&r);
    return st;
}

/* --- rendering --- */

void dtx_chat_text_free(dtx_chat_text *x)
{
    dtx_free(x->text);
    dtx_free(x->span);
    dtx_ids_free(&x->ids);
    memset(x, 0, sizeof *x);
}

dtx_status dtx_chat_render(const dtx_chat *c, const dtx_chat_input *in, dtx_chat_text *out, bool *raised)
{
    cJSON *variables = NULL;
    follow_list f = {0};
    dtx_jinja_result r = {0};
    dtx_status st = DTX_OK;

    memset(out, 0, sizeof *out);
    if (raised != NULL) {
        *raised = false;
    }
    DTX_TRY(check_messages(in->messages));
    if (in->variables != NULL && !cJSON_IsObject(in->variables)) {
        return DTX_FAIL(DTX_ERR_INPUT, "variables must be an object");
    }
    DTX_GO(make_variables(c, in, &variables));
    DTX_GO(check_messages(cJSON_GetObjectItemCaseSensitive(variables, "messages"))); /* the variables may bring others */
    DTX_GO(follow_all(cJSON_GetObjectItemCaseSensitive(variables, "messages"), &f));
    DTX_GO(dtx_jinja_render(c->template, &(dtx_jinja_input){.variables = variables, .source = source_of, .arg = &f, .now = in->now}, &r, raised));
    DTX_GO(take_spans(&r, &f, out));
    out->text = r.text;
    out->n = r.n;
    out->lost = r.lost;
    r.text = NULL;
    if (c->tokenizer != NULL) {
        DTX_GO(encode(c, in, variables, out));
    }
done:
    dtx_jinja_result_free(&r);
    dtx_free(f.v);
    cJSON_Delete(variables);
    if (st != DTX_OK) {
        dtx_chat_text_free(out);
    }
    return st;
}

dtx_status dtx_chat_date(const char *text, struct tm *out)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int year, month, day, hour = 0, minute = 0, second = 0, used = 0, count;

    count = sscanf(text, "%4d-%2d-%2d%n %2d:%2d:%2d%n", &year, &month, &day, &used, &hour, &minute, &second, &used);
    bool leap = count >= 3 && ((year % 4 == 0 && year % 100 != 0) || year % 400 == 0);
    if ((count != 3 && count != 6) || (size_t)used != strlen(text) || year < 1 || month < 1 || month > 12 || day < 1 ||
        day > days[month - 1] + (month == 2 && leap) || hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 59) {
        return DTX_FAIL(DTX_ERR_USAGE, "\"%.40s\" is no date: YYYY-MM-DD or YYYY-MM-DD HH:MM:SS", text);
    }
    *out = (struct tm){.tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day, .tm_hour = hour, .tm_min = minute, .tm_sec = second, .tm_isdst = -1};
    int before = 0;
    for (int m = 0; m < month - 1; m++) {
        before += days[m] + (m == 1 && leap);
    }
    out->tm_yday = before + day - 1;
    int y = year - 1; /* days since 1 January of the year 1, a Monday */
    out->tm_wday = (int)((1 + (int64_t)y * 365 + y / 4 - y / 100 + y / 400 + out->tm_yday) % 7);
    return DTX_OK;
}
