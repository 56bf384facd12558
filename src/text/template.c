#include "src/text/template.h"

#include <string.h>

#include "src/base/mem.h"
#include "src/base/utf8.h"

/* What stands at t: a placeholder's length and kind, or 0. */
static size_t placeholder(const char *t, char *kind)
{
    static const struct {
        const char *name;
        char kind;
    } known[] = {{"{user}", 'u'}, {"{bot}", 'b'}, {"{text}", 't'}};

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        size_t n = strlen(known[i].name);
        if (strncmp(t, known[i].name, n) == 0) {
            *kind = known[i].kind;
            return n;
        }
    }
    return 0;
}

/* The parts before and after {text}, with {user} and {bot} filled in; buf[2] have room. */
enum { PART_MAX = 256 + 64 * 64 };

static dtx_status split_template(const dtx_template *t, char part[2][PART_MAX], size_t len[2])
{
    int side = 0;

    len[0] = len[1] = 0;
    for (const char *s = t->text; *s != '\0';) {
        char kind = 0;
        size_t n = placeholder(s, &kind);
        if (kind == 't' && n > 0) {
            if (side == 1) {
                return DTX_FAIL(DTX_ERR_USAGE, "model.template.text: {text} stands twice in \"%s\"", t->text);
            }
            side = 1;
        } else {
            const char *from = n == 0 ? s : kind == 'u' ? t->user : t->bot;
            size_t m = n == 0 ? 1 : strlen(from);
            if (len[side] + m > PART_MAX) {
                return DTX_FAIL(DTX_ERR_USAGE, "model.template.text: longer than %d bytes when filled in", PART_MAX);
            }
            memcpy(part[side] + len[side], from, m);
            len[side] += m;
        }
        s += n == 0 ? 1 : n;
    }
    if (side == 0) {
        return DTX_FAIL(DTX_ERR_USAGE, "model.template.text: \"%s\" has no {text}", t->text);
    }
    return DTX_OK;
}

dtx_status dtx_template_apply(const dtx_template *t, const char *text, size_t text_len, char **out, size_t *out_len,
                              size_t *prefix, size_t *suffix)
{
    char part[2][PART_MAX], *s;
    size_t len[2];

    DTX_TRY(split_template(t, part, len));
    DTX_TRY(DTX_NEW_RAW(s, len[0] + text_len + len[1] + 1));
    memcpy(s, part[0], len[0]);
    if (text_len > 0) {
        memcpy(s + len[0], text, text_len);
    }
    memcpy(s + len[0] + text_len, part[1], len[1]);
    s[len[0] + text_len + len[1]] = '\0';
    *out = s;
    *out_len = len[0] + text_len + len[1];
    *prefix = len[0];
    *suffix = len[1];
    return DTX_OK;
}

int64_t dtx_template_max_tokens(const dtx_template *t)
{
    char part[2][PART_MAX];
    size_t len[2];
    int64_t n = 128;

    if (split_template(t, part, len) != DTX_OK) {
        return n;
    }
    for (int side = 0; side < 2; side++) {
        for (size_t i = 0; i < len[side];) {
            uint32_t cp;
            i += dtx_utf8_next(part[side] + i, len[side] - i, &cp, NULL);
            n++;
        }
    }
    return n;
}
