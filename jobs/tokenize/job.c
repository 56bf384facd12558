/* job.c - detoxlens tokenize: ids of texts and conversations, and texts of ids, line by line from standard input. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/program/job.h"
#include "src/base/json.h"
#include "src/base/mem.h"
#include "src/text/chat.h"
#include "src/text/tokenizer.h"

static const char name[] = "standard input";

typedef struct {
    dtx_tokenizer *t;
    dtx_chat *chat;
    const struct tm *now; /* for chat templates, NULL = no date */
    bool messages, special, pair, decode, skip_special, clean_up, stream, json;
    int64_t max_length; /* 0 = no limit */
} options;

static dtx_status parse_options(const dtx_job *job, options *o)
{
    const char *max_length = dtx_job_flag(job, "max-length");
    char *end = NULL;

    o->messages = dtx_job_flag(job, "messages") != NULL;
    o->special = dtx_job_flag(job, "special") != NULL;
    o->pair = dtx_job_flag(job, "pair") != NULL;
    o->decode = dtx_job_flag(job, "decode") != NULL;
    o->skip_special = dtx_job_flag(job, "skip-special") != NULL;
    o->clean_up = dtx_job_flag(job, "clean-up") != NULL;
    o->stream = dtx_job_flag(job, "stream") != NULL;
    o->json = job->json;
    if (max_length != NULL) {
        errno = 0;
        o->max_length = strtoll(max_length, &end, 10);
        if (errno != 0 || end == max_length || *end != '\0' || o->max_length < 1) {
            return DTX_FAIL(DTX_ERR_USAGE, "--max-length %s: a whole number of at least 1 is expected", max_length);
        }
    }
    if (o->messages && (!o->json || o->decode || o->special || o->pair || max_length != NULL)) {
        return DTX_FAIL(DTX_ERR_USAGE, "--messages goes with --json and --template alone: it prints objects, and the template says which special "
                                       "tokens there are");
    }
    if (!o->messages && dtx_job_flag(job, "template") != NULL) {
        return DTX_FAIL(DTX_ERR_USAGE, "--template needs --messages");
    }
    if (o->decode && (o->special || o->pair || max_length != NULL)) {
        return DTX_FAIL(DTX_ERR_USAGE,
                        "--decode turns ids into text; --special, --pair and --max-length are for encoding");
    }
    if (!o->decode && (o->skip_special || o->clean_up || o->stream)) {
        return DTX_FAIL(DTX_ERR_USAGE, "--skip-special, --clean-up and --stream need --decode");
    }
    if (o->stream && o->clean_up) {
        return DTX_FAIL(DTX_ERR_USAGE, "--clean-up looks at whole texts; --stream prints their parts");
    }
    return DTX_OK;
}

/* --- encoding --- */

static dtx_status text_member(const cJSON *item, const char *field, int64_t line, char **text, size_t *len)
{
    if (!cJSON_IsString(item)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: line %" PRId64 ": %s must be a string, as in {\"text\": \"...\"}", name,
                        line, field);
    }
    return dtx_json_text(item, text, len);
}

/* The two texts of {"text": A, "pair": B}, {"text": [A, B]} or {"a": A, "b": B}. */
static void pair_members(const cJSON *root, const cJSON **a, const cJSON **b)
{
    *a = dtx_json_get(root, "text");
    *b = dtx_json_get(root, "pair");
    if (cJSON_IsArray(*a) && cJSON_GetArraySize(*a) == 2 && *b == NULL) {
        *b = (*a)->child->next;
        *a = (*a)->child;
    } else if (*a == NULL && *b == NULL) {
        *a = dtx_json_get(root, "a");
        *b = dtx_json_get(root, "b");
    }
}

static void print_ids(const dtx_ids *ids, bool json)
{
    if (json) {
        putchar('[');
    }
    for (size_t i = 0; i < ids->n; i++) {
        printf("%s%" PRId32, i == 0 ? "" : json ? "," : " ", ids->id[i]);
    }
    if (json) {
        putchar(']');
    }
}

static dtx_status encode_line(const options *o, const char *s, size_t n, int64_t line)
{
    const cJSON *item_a = NULL, *item_b = NULL;
    char *a = NULL, *b = NULL;
    size_t n_a = 0, n_b = 0;
    cJSON *root = NULL;
    dtx_ids ids = {0};
    dtx_status st = DTX_OK;

    DTX_GO(dtx_json_parse(s, n, name, line, &root));
    if (!cJSON_IsObject(root)) {
        st = DTX_FAIL(DTX_ERR_INPUT, "%s: line %" PRId64 ": an object is expected, as in {\"text\": \"...\"}", name,
                      line);
        goto done;
    }
    if (o->pair) {
        pair_members(root, &item_a, &item_b);
        DTX_GO(text_member(item_a, "text", line, &a, &n_a));
        DTX_GO(text_member(item_b, "pair", line, &b, &n_b));
        st = dtx_tokenizer_encode_pair(o->t, a, n_a, b, n_b, o->special, o->max_length, &ids);
    } else {
        DTX_GO(text_member(dtx_json_get(root, "text"), "text", line, &a, &n_a));
        st = dtx_tokenizer_encode_max(o->t, a, n_a, o->special, o->max_length, &ids);
    }
    if (st != DTX_OK) {
        dtx_error_context(st, "%s: line %" PRId64, name, line);
        goto done;
    }
    print_ids(&ids, o->json);
    putchar('\n');
done:
    cJSON_Delete(root);
    dtx_free(a);
    dtx_free(b);
    dtx_ids_free(&ids);
    return st;
}

/* --- printing --- */

/* A JSON string. */
static void print_string(const char *s, size_t n)
{
    putchar('"');
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c == '"' || c == '\\') {
            printf("\\%c", c);
        } else if (c < 0x20 || c == 0x7F) {
            printf("\\u%04x", c);
        } else {
            putchar(c);
        }
    }
    putchar('"');
}

/* --- conversations --- */

/* [[[begin, end], ...], ...]: where each message's text stands; null when that is not known of all. */
static void print_spans(const dtx_chat_text *x, int n_messages)
{
    size_t k = 0;

    if (x->lost) {
        fputs("null", stdout);
        return;
    }
    putchar('[');
    for (int m = 0; m < n_messages; m++) {
        fputs(m > 0 ? ", [" : "[", stdout);
        for (bool first = true; k < x->n_spans && x->span[k].message == m; k++, first = false) {
            printf("%s[%zu, %zu]", first ? "" : ", ", x->span[k].begin, x->span[k].end);
        }
        putchar(']');
    }
    putchar(']');
}

static dtx_status render_line(const options *o, const char *s, size_t n, int64_t line)
{
    cJSON *root = NULL;
    dtx_chat_text x = {0};
    bool prompt = false;
    dtx_chat_input in = {.now = o->now};
    dtx_status st = dtx_json_parse(s, n, name, line, &root);

    if (st == DTX_OK && !cJSON_IsObject(root)) {
        st = DTX_FAIL(DTX_ERR_INPUT, "%s: line %" PRId64 ": an object is expected, as in {\"messages\": [...]}", name, line);
    }
    if (st == DTX_OK) {
        st = dtx_json_bool(root, name, "add_generation_prompt", &prompt);
    }
    if (st == DTX_OK) {
        in.messages = dtx_json_get(root, "messages");
        in.variables = dtx_json_get(root, "variables");
        in.add_generation_prompt = prompt;
        st = dtx_chat_render(o->chat, &in, &x, NULL);
    }
    if (st == DTX_ERR_INPUT) { /* an answer like others */
        fputs("{\"error\": ", stdout);
        print_string(dtx_error_text(), strlen(dtx_error_text()));
        fputs("}\n", stdout);
        st = DTX_OK;
    } else if (st == DTX_OK) {
        fputs("{\"text\": ", stdout);
        print_string(x.text, x.n);
        fputs(", \"ids\": ", stdout);
        if (o->t != NULL) {
            print_ids(&x.ids, true);
        } else {
            fputs("null", stdout);
        }
        fputs(", \"spans\": ", stdout);
        print_spans(&x, cJSON_GetArraySize(in.messages));
        fputs("}\n", stdout);
    }
    dtx_chat_text_free(&x);
    cJSON_Delete(root);
    return st;
}

/* The template, and the tokenizer unless the folder has none: then there are no ids. */
static dtx_status open_chat(const dtx_job *job, const char *dir, options *o)
{
    static struct tm date;
    const char *file = dtx_job_flag(job, "template"), *now = job->config.model.tmpl.date;

    if (now[0] != '\0') {
        DTX_TRY(dtx_chat_date(now, &date));
        o->now = &date;
    }
    dtx_status st = dtx_tokenizer_open(dir, &o->t);
    if (st != DTX_OK && st != DTX_ERR_MISSING) {
        return st;
    }
    DTX_TRY(dtx_chat_open(dir, file, o->t, &o->chat));
    if (o->chat == NULL) {
        return st != DTX_OK ? dtx_tokenizer_open(dir, &o->t)
                            : DTX_FAIL(DTX_ERR_USAGE, "%s: there is no chat template in it; give one with --template FILE", dir);
    }
    return DTX_OK;
}

/* --- decoding --- */

/* Ids with blanks or commas between; brackets around them are allowed, so that what --json wrote can be read back. */
static dtx_status parse_ids(const char *s, size_t n, int64_t line, dtx_ids *ids)
{
    const char *end = s + n;

    while (s < end) {
        char *stop = NULL;
        if (strchr(" \t\r\n,[]", *s) != NULL && *s != '\0') {
            s++;
            continue;
        }
        errno = 0;
        long long id = strtoll(s, &stop, 10);
        if (stop == s || errno != 0 || id < INT32_MIN || id > INT32_MAX ||
            (stop < end && strchr(" \t\r\n,]", *stop) == NULL)) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: line %" PRId64 ": \"%.*s\" is not an id", name, line,
                            (int)strcspn(s, " \t\r\n,]"), s);
        }
        DTX_TRY(DTX_GROW(ids->id, ids->cap, ids->n + 1));
        ids->id[ids->n++] = (int32_t)id;
        s = stop;
    }
    return DTX_OK;
}

/* The parts that a stream gives, one an id (null: none yet), and what is left at the end, if anything. */
static dtx_status print_stream(const options *o, const dtx_ids *ids)
{
    dtx_text_stream stream;
    dtx_status st = DTX_OK;

    dtx_text_stream_begin(&stream, o->t, o->skip_special);
    fputs(", \"stream\": [", stdout);
    for (size_t i = 0; i <= ids->n; i++) {
        char *part = NULL;
        size_t n = 0;
        DTX_GO(i < ids->n ? dtx_text_stream_add(&stream, ids->id[i], &part, &n) : dtx_text_stream_end(&stream, &part, &n));
        if (i < ids->n || part != NULL) {
            fputs(i > 0 ? ", " : "", stdout);
            if (part != NULL) {
                print_string(part, n);
            } else {
                fputs("null", stdout);
            }
        }
        dtx_free(part);
    }
    putchar(']');
done:
    dtx_text_stream_free(&stream);
    return st;
}

static dtx_status decode_line(const options *o, const char *s, size_t n, int64_t line)
{
    dtx_ids ids = {0};
    char *text = NULL;
    size_t len;
    dtx_status st = DTX_OK;

    DTX_GO(parse_ids(s, n, line, &ids));
    DTX_GO(dtx_tokenizer_decode(o->t, ids.id, ids.n, o->skip_special, o->clean_up, &text, &len));
    fputs("{\"text\": ", stdout);
    print_string(text, len);
    if (o->stream) {
        DTX_GO(print_stream(o, &ids));
    }
    fputs("}\n", stdout);
done:
    dtx_free(text);
    dtx_ids_free(&ids);
    return st;
}

static dtx_status run(dtx_job *job)
{
    const char *dir = dtx_job_flag(job, "tokenizer");
    options o = {0};
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    dtx_status st = DTX_OK;

    if (dir == NULL) {
        return DTX_FAIL(DTX_ERR_USAGE,
                        "tokenize needs --tokenizer DIR, a folder with tokenizer.json or vocab.json + merges.txt");
    }
    DTX_TRY(parse_options(job, &o));
    DTX_GO(o.messages ? open_chat(job, dir, &o) : dtx_tokenizer_open(dir, &o.t));
    errno = 0;
    for (int64_t at = 1; (n = getline(&line, &cap, stdin)) >= 0; at++) {
        DTX_GO((o.messages ? render_line : o.decode ? decode_line : encode_line)(&o, line, (size_t)n, at));
        if (ferror(stdout)) {
            break; /* nobody reads any more, or the disk is full: reported when the job ends */
        }
    }
    if (ferror(stdin)) {
        st = DTX_FAIL(DTX_ERR_MISSING, "%s: %s", name, strerror(errno));
    }
done:
    free(line);
    dtx_chat_close(o.chat);
    dtx_tokenizer_close(o.t);
    return st;
}

static const dtx_job_option own_options[] = {
    {"tokenizer", "DIR", NULL, "folder with tokenizer.json, or vocab.json and merges.txt; or a GGUF file"},
    {"messages", NULL, NULL, "with --json: lines hold conversations, for the model's chat template"},
    {"template", "FILE", NULL, "with --messages: this chat template instead of the folder's"},
    {"special", NULL, NULL, "add the tokens that the tokenizer puts around a text"},
    {"pair", NULL, NULL, "lines hold two texts"},
    {"max-length", "N", NULL, "cut to N ids, special ones counted; pairs: the longer text first"},
    {"decode", NULL, NULL, "lines hold ids; print {\"text\": ...}"},
    {"stream", NULL, NULL, "with --decode: also \"stream\", the parts of the text as they come id by id"},
    {"skip-special", NULL, NULL, "with --decode: leave out special tokens"},
    {"clean-up", NULL, NULL, "with --decode: remove blanks before punctuation, as transformers does by default"},
    {0},
};

const dtx_job_def dtx_job_tokenize = {
    .name = "tokenize",
    .summary = "ids of texts, texts of ids",
    .help =
        "Reads JSONL, {\"text\": \"...\"}, from standard input and prints one line of blank-separated ids for each "
        "text\n"
        "(an empty line where there are none); with --json a list. With --pair a line is {\"text\": A, \"pair\": B},\n"
        "{\"text\": [A, B]} or {\"a\": A, \"b\": B}. With --decode a line is ids, and {\"text\": \"...\"} is printed. "
        "A line that\n"
        "cannot be read, or a text that is not UTF-8, ends the job with exit code 3 and the line's number.\n"
        "\n"
        "With --messages a line is {\"messages\": [{\"role\": .., \"content\": ..}, ..], \"add_generation_prompt\": true,\n"
        "\"variables\": {..}}; the last two may be left out (false, none). Printed are the rendered text, its ids (control\n"
        "tokens inside a message stay text), and for each message the ranges of bytes where its own text stands, or {\"error\"}\n"
        "where the template refuses a conversation. model.template.date is what strftime_now tells.\n"
        "\n"
        "  echo '{\"text\": \"Hello world\"}' | detoxlens tokenize --tokenizer DIR\n"
        "  echo '12092 1533' | detoxlens tokenize --tokenizer DIR --decode\n",
    .bit = DTX_JOB_TOKENIZE,
    .options = own_options,
    .run = run,
};
