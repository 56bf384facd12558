#include "src/text/jinja/lex.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/utf8.h"

typedef struct {
    dtx_jinja_arena *a;
    const char *name, *s;
    size_t n, at;
    int line;
    bool line_begins; /* the tag before took a line's end */
    bool strip;       /* the tag before ends with a dash */
    dtx_jinja_tokens *out;
    size_t cap;
} lexer;

static dtx_status fail(const lexer *x, int line, const char *what)
{
    return DTX_FAIL(DTX_ERR_INPUT, "%s:%d: %s", x->name, line, what);
}

static dtx_status add(lexer *x, dtx_jinja_token t)
{
    if (x->out->n == x->cap) {
        dtx_jinja_token *bigger = NULL;
        size_t cap = x->cap == 0 ? 64 : 2 * x->cap;
        DTX_TRY(DTX_JINJA_NEW(x->a, bigger, cap));
        if (x->out->n > 0) {
            memcpy(bigger, x->out->v, x->out->n * sizeof *bigger);
        }
        x->out->v = bigger;
        x->cap = cap;
    }
    x->out->v[x->out->n++] = t;
    return DTX_OK;
}

static dtx_status copy(lexer *x, const char *s, size_t n, const char **out)
{
    dtx_jinja_value v;

    DTX_TRY(dtx_jinja_text_new(x->a, s, n, -1, &v));
    *out = v.text->s;
    return DTX_OK;
}

static bool looking_at(const lexer *x, const char *s)
{
    size_t n = strlen(s);

    return x->n - x->at >= n && memcmp(x->s + x->at, s, n) == 0;
}

static void advance(lexer *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        x->line += x->s[x->at + i] == '\n';
    }
    x->at += n;
}

/* --- text between tags --- */

static size_t skip_space(const char *s, size_t n, size_t at)
{
    while (at < n) {
        uint32_t cp;
        size_t len = dtx_utf8_next(s + at, n - at, &cp, NULL);
        if (!dtx_jinja_is_space(cp)) {
            break;
        }
        at += len;
    }
    return at;
}

/* Where the white space begins that s[begin .. end) ends with. */
static size_t before_space(const char *s, size_t begin, size_t end)
{
    size_t keep = begin;

    for (size_t at = begin; at < end;) {
        uint32_t cp;
        at += dtx_utf8_next(s + at, end - at, &cp, NULL);
        keep = dtx_jinja_is_space(cp) ? keep : at;
    }
    return keep;
}

/* The text up to a tag whose mark is followed by `sign`; block: lstrip_blocks applies. */
static dtx_status add_data(lexer *x, size_t begin, size_t end, int line, char sign, bool block)
{
    size_t from = begin, to = end;

    if (x->strip) {
        from = skip_space(x->s, end, begin);
    }
    if (sign == '-') {
        to = before_space(x->s, from, end);
    } else if (block && sign != '+') {
        size_t nl = end;
        while (nl > begin && x->s[nl - 1] != '\n') {
            nl--;
        }
        if ((nl > begin || x->line_begins) && skip_space(x->s, end, nl) == end) { /* only blanks on the line before the tag */
            to = nl;
        }
    }
    if (to <= from) {
        return DTX_OK;
    }
    dtx_jinja_token t = {.kind = TOKEN_DATA, .line = line, .n = to - from};
    DTX_TRY(copy(x, x->s + from, to - from, &t.s));
    return add(x, t);
}

/* After a tag: what its end does to the text that follows. */
static void after_tag(lexer *x, char sign, bool trims)
{
    x->strip = sign == '-';
    x->line_begins = false;
    if (trims && sign != '-' && sign != '+' && x->at < x->n && x->s[x->at] == '\n') {
        advance(x, 1);
        x->line_begins = true;
    }
}

/* --- inside tags --- */

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The escape at s[0] = '\\', s[1] exists. *used bytes; what it means goes to out (up to 4 bytes). */
static dtx_status escape(const lexer *x, const char *s, size_t n, size_t *used, char *out, size_t *n_out)
{
    static const char from[] = "ntrabfv\\'\"", to[] = "\n\t\r\a\b\f\v\\'\"";
    const char *simple = strchr(from, s[1]);
    size_t digits = s[1] == 'x' ? 2 : s[1] == 'u' ? 4 : s[1] == 'U' ? 8 : 0;
    uint32_t cp = 0;

    *used = 2;
    *n_out = 1;
    if (s[1] == '\n') {
        *n_out = 0;
        return DTX_OK;
    }
    if (simple != NULL && s[1] != '\0') {
        out[0] = to[simple - from];
        return DTX_OK;
    }
    if (s[1] >= '0' && s[1] <= '7') {
        for (*used = 1; *used < n && *used < 4 && s[*used] >= '0' && s[*used] <= '7'; (*used)++) {
            cp = cp * 8 + (uint32_t)(s[*used] - '0');
        }
        *n_out = dtx_utf8_put(cp, out);
        return DTX_OK;
    }
    if (digits == 0) {
        if (s[1] == 'N') {
            return fail(x, x->line, "the escape \\N in a string is not supported");
        }
        out[0] = '\\'; /* not an escape: the backslash stays */
        *used = 1;
        return DTX_OK;
    }
    for (size_t i = 2; i < 2 + digits; i++) {
        int d = i < n ? hex_digit(s[i]) : -1;
        if (d < 0 || cp > 0x10FFFF) {
            return fail(x, x->line, "an escape in a string has too few digits, or too large a value");
        }
        cp = cp << 4 | (uint32_t)d;
    }
    if (cp > 0x10FFFF || (cp >= 0xD800 && cp < 0xE000)) {
        return fail(x, x->line, "an escape in a string is no character");
    }
    *used = 2 + digits;
    *n_out = dtx_utf8_put(cp, out);
    return DTX_OK;
}

static dtx_status add_string(lexer *x)
{
    char quote = x->s[x->at];
    const char *s = x->s + x->at + 1;
    size_t n = 0, len = 0, max = x->n - x->at - 1;
    dtx_jinja_token t = {.kind = TOKEN_STRING, .line = x->line};
    char *out = NULL;

    while (n < max && s[n] != quote) {
        n += s[n] == '\\' ? 2 : 1;
    }
    if (n >= max) {
        return fail(x, x->line, "a string has no end");
    }
    DTX_TRY(DTX_JINJA_NEW(x->a, out, 2 * n + 1));
    for (size_t i = 0; i < n;) {
        size_t used = 1, more = 1;
        out[len] = s[i];
        if (s[i] == '\\') {
            DTX_TRY(escape(x, s + i, n - i, &used, out + len, &more));
        }
        i += used;
        len += more;
    }
    t.s = out;
    t.n = len;
    advance(x, n + 2);
    return add(x, t);
}

static dtx_status add_number(lexer *x)
{
    char s[64];
    size_t n = 0, used = 0;
    bool is_float = false;
    dtx_jinja_token t = {.kind = TOKEN_INT, .line = x->line};

    for (; x->at + used < x->n && n + 1 < sizeof s; used++) {
        char c = x->s[x->at + used], next = x->at + used + 1 < x->n ? x->s[x->at + used + 1] : '\0';
        bool point = c == '.' && !is_float && next >= '0' && next <= '9';
        if (c == '_' && n > 0 && next >= '0' && next <= '9') {
            continue;
        }
        if (!(c >= '0' && c <= '9') && !point) {
            break;
        }
        is_float = is_float || point;
        s[n++] = c;
    }
    char next = x->at + used < x->n ? x->s[x->at + used] : '\0';
    if (isalpha((unsigned char)next) || n + 1 == sizeof s || (n > 1 && s[0] == '0' && !is_float)) {
        return fail(x, x->line, "a number of this form (exponent, other base, too many digits) is not supported");
    }
    s[n] = '\0';
    errno = 0;
    t.kind = is_float ? TOKEN_FLOAT : TOKEN_INT;
    if (is_float) {
        t.f = strtod(s, NULL);
    } else {
        t.i = strtoll(s, NULL, 10);
    }
    if (errno != 0) {
        return fail(x, x->line, "a number is too large");
    }
    advance(x, used);
    return add(x, t);
}

static bool is_name(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

static dtx_status add_word(lexer *x)
{
    static const char *const operator[] = {"==", "!=", "<=", ">=", "//", "**", "(", ")", "[", "]", "{", "}", ".", ",", ":",
                                           "|",  "~",  "+",  "-",  "*",  "/",  "%", "<", ">", "=", NULL};
    dtx_jinja_token t = {.kind = TOKEN_NAME, .line = x->line};
    char what[] = "the character \"?\" is not part of an expression";

    while (x->at + t.n < x->n && is_name(x->s[x->at + t.n])) {
        t.n++;
    }
    for (int i = 0; t.n == 0 && operator[i] != NULL; i++) {
        if (looking_at(x, operator[i])) {
            t.kind = TOKEN_OPERATOR;
            t.n = strlen(operator[i]);
        }
    }
    if (t.n == 0) {
        *strchr(what, '?') = x->s[x->at] >= ' ' && x->s[x->at] < 0x7F ? x->s[x->at] : '?';
        return fail(x, x->line, what);
    }
    DTX_TRY(copy(x, x->s + x->at, t.n, &t.s));
    advance(x, t.n);
    return add(x, t);
}

/* The words of a tag up to its end, `close` ("%}", "}}"). */
static dtx_status add_words(lexer *x, const char *close, dtx_jinja_token_kind kind)
{
    int begun = x->line, braces = 0;

    for (;;) {
        advance(x, skip_space(x->s, x->n, x->at) - x->at);
        if (x->at >= x->n) {
            return fail(x, begun, "a tag that begins here has no end");
        }
        char c = x->s[x->at];
        bool sign = (c == '-' || c == '+') && x->at + 3 <= x->n && memcmp(x->s + x->at + 1, close, 2) == 0;
        if (braces == 0 && (sign || looking_at(x, close))) { /* }} may also end two mappings */
            DTX_TRY(add(x, (dtx_jinja_token){.kind = kind, .line = x->line}));
            advance(x, sign ? 3 : 2);
            after_tag(x, sign ? c : '\0', kind == TOKEN_BLOCK_END);
            return DTX_OK;
        }
        braces += c == '{' || c == '(' || c == '[';
        braces -= (c == '}' || c == ')' || c == ']') && braces > 0;
        DTX_TRY(c == '\'' || c == '"'            ? add_string(x)
                : c >= '0' && c <= '9'           ? add_number(x)
                                                 : add_word(x));
    }
}

/* --- tags --- */

/* {% WORD %} at s[at]: the bytes it takes, and the sign at its beginning and end; 0 where something else stands. */
static size_t word_tag(const lexer *x, size_t at, const char *word, char *first, char *last)
{
    size_t i = at + 2, n = strlen(word);

    if (x->n - at < 2 || memcmp(x->s + at, "{%", 2) != 0) {
        return 0;
    }
    *first = i < x->n && (x->s[i] == '-' || x->s[i] == '+') ? x->s[i] : '\0';
    i = skip_space(x->s, x->n, i + (*first != '\0'));
    if (x->n - i < n || memcmp(x->s + i, word, n) != 0) {
        return 0;
    }
    i = skip_space(x->s, x->n, i + n);
    *last = i < x->n && (x->s[i] == '-' || x->s[i] == '+') ? x->s[i] : '\0';
    i += *last != '\0';
    return x->n - i >= 2 && memcmp(x->s + i, "%}", 2) == 0 ? i + 2 - at : 0;
}

/* Everything up to {% endraw %} is text. */
static dtx_status add_raw(lexer *x, size_t tag, char last)
{
    int line = x->line;
    char first, end_sign;

    advance(x, tag);
    after_tag(x, last, true);
    for (size_t i = x->at; i < x->n; i++) {
        size_t end = word_tag(x, i, "endraw", &first, &end_sign);
        if (end > 0) {
            DTX_TRY(add_data(x, x->at, i, line, first, true));
            advance(x, i + end - x->at);
            after_tag(x, end_sign, true);
            return DTX_OK;
        }
    }
    return fail(x, line, "raw has no endraw");
}

static dtx_status skip_comment(lexer *x)
{
    const char *end = memmem(x->s + x->at + 2, x->n - x->at - 2, "#}", 2);

    if (end == NULL) {
        return fail(x, x->line, "a comment has no end");
    }
    char sign = end > x->s + x->at + 2 && (end[-1] == '-' || end[-1] == '+') ? end[-1] : '\0';
    advance(x, (size_t)(end - x->s) + 2 - x->at);
    after_tag(x, sign, true);
    return DTX_OK;
}

/* Line ends become \n, and one at the very end is dropped. */
static dtx_status one_kind_of_lines(dtx_jinja_arena *a, const char *s, size_t n, char **out, size_t *out_n)
{
    size_t len = 0;

    DTX_TRY(DTX_JINJA_NEW(a, *out, n + 1));
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '\r') {
            i += i + 1 < n && s[i + 1] == '\n';
            (*out)[len++] = '\n';
        } else {
            (*out)[len++] = s[i];
        }
    }
    *out_n = len - (len > 0 && (*out)[len - 1] == '\n');
    return DTX_OK;
}

dtx_status dtx_jinja_lex(dtx_jinja_arena *a, const char *name, const char *text, size_t n, dtx_jinja_tokens *out)
{
    lexer x = {.a = a, .name = name, .line = 1, .line_begins = true, .out = out};
    char *s = NULL;

    *out = (dtx_jinja_tokens){0};
    DTX_TRY(one_kind_of_lines(a, text, n, &s, &x.n));
    x.s = s;
    while (x.at < x.n) {
        size_t begin = x.at, i = begin, tag;
        int line = x.line;
        char first = '\0', last = '\0';
        while (i < x.n && !(x.s[i] == '{' && i + 1 < x.n && memchr("{%#", x.s[i + 1], 3) != NULL)) {
            i++;
        }
        if (i == x.n) {
            DTX_TRY(add_data(&x, begin, i, line, '\0', false));
            break;
        }
        char kind = x.s[i + 1], sign = i + 2 < x.n && (x.s[i + 2] == '-' || x.s[i + 2] == '+') ? x.s[i + 2] : '\0';
        DTX_TRY(add_data(&x, begin, i, line, sign, kind != '{'));
        advance(&x, i - begin);
        x.strip = false;
        if (kind == '#') {
            DTX_TRY(skip_comment(&x));
        } else if ((tag = word_tag(&x, x.at, "raw", &first, &last)) > 0) {
            DTX_TRY(add_raw(&x, tag, last));
        } else {
            DTX_TRY(add(&x, (dtx_jinja_token){.kind = kind == '%' ? TOKEN_BLOCK_BEGIN : TOKEN_PRINT_BEGIN, .line = x.line}));
            advance(&x, sign != '\0' ? 3 : 2);
            DTX_TRY(add_words(&x, kind == '%' ? "%}" : "}}", kind == '%' ? TOKEN_BLOCK_END : TOKEN_PRINT_END));
        }
    }
    return add(&x, (dtx_jinja_token){.kind = TOKEN_END, .line = x.line});
}
