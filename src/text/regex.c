#include "src/text/regex.h"

#include <stdint.h>
#include <string.h>

#include "src/base/mem.h"

/* White_Space. PCRE2's own \s also holds U+180E. */
static const char space[] = "\\x{9}-\\x{D}\\x{20}\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}";

static dtx_status refuse(const char *name, const char *part, const char *pattern, size_t at, const char *what)
{
    return DTX_FAIL(DTX_ERR_INPUT, "%s: %s pattern \"%.80s\": %s at %zu is not supported, as the reference reads it in another way", name,
                    part, pattern, what, at);
}

/* Rewrites a pattern; *out has room for all of it (each \s becomes up to sizeof space + 3 bytes). */
static dtx_status rewrite(const char *pattern, const char *name, const char *part, char *out)
{
    bool set = false;       /* inside [ ] */
    bool interval = false;  /* the character before was the } of {n,m} */

    for (const char *p = pattern; *p != '\0'; p++) {
        bool after_interval = interval;
        interval = false;
        if (*p == '\\') {
            char c = *++p;
            if (c == '\0' || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z' && strchr("sSdDpPrntfvx", c) == NULL) ||
                (c >= '0' && c <= '9') || (c == 'S' && set)) {
                return refuse(name, part, pattern, (size_t)(p - pattern), "this escape");
            }
            if (c == 's' || c == 'S') {
                out = stpcpy(out, set ? "" : c == 's' ? "[" : "[^");
                out = stpcpy(stpcpy(out, space), set ? "" : "]");
                continue;
            }
            *out++ = '\\';
            *out++ = c;
            if ((c == 'p' || c == 'P' || c == 'x') && p[1] == '{') { /* its braces are no interval */
                do {
                    *out++ = *++p;
                } while (*p != '}' && p[1] != '\0');
            }
            continue;
        }
        if (set && *p == '[') {
            return refuse(name, part, pattern, (size_t)(p - pattern), "a set inside a set");
        }
        if (set && *p == '&' && p[1] == '&') {
            return refuse(name, part, pattern, (size_t)(p - pattern), "&&");
        }
        if (after_interval && *p == '+') {
            return refuse(name, part, pattern, (size_t)(p - pattern), "+ after an interval");
        }
        if (!set && *p == '[') {
            set = true;
            *out++ = *p;
            if (p[1] == '^') {
                *out++ = *++p;
            }
            if (p[1] == ']') {
                return refuse(name, part, pattern, (size_t)(p - pattern), "] at the beginning of a set");
            }
            continue;
        }
        set = set && *p != ']';
        interval = !set && *p == '}';
        *out++ = *p;
    }
    *out = '\0';
    return DTX_OK;
}

dtx_status dtx_regex_compile(const char *pattern, const char *name, const char *part, dtx_regex *out)
{
    int error;
    PCRE2_SIZE at;
    const uint8_t *first = NULL;
    uint32_t kind = 0;
    char *own = NULL;
    dtx_status st = DTX_OK;

    DTX_TRY(DTX_NEW_RAW(own, strlen(pattern) * (sizeof space + 3) + 1));
    DTX_GO(rewrite(pattern, name, part, own));
    out->code = pcre2_compile((PCRE2_SPTR)own, strlen(own), PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &at,
                              NULL);
    if (out->code == NULL) {
        PCRE2_UCHAR why[200] = "";
        pcre2_get_error_message(error, why, sizeof why);
        st = DTX_FAIL(DTX_ERR_INPUT, "%s: %s: pattern \"%.80s\": %s at %zu", name, part, pattern, (const char *)why, (size_t)at);
        goto done;
    }
    pcre2_jit_compile(out->code, PCRE2_JIT_COMPLETE); /* only speed depends on it */
    /* a piece that has no byte a match could begin with needs no search at all */
    pcre2_pattern_info(out->code, PCRE2_INFO_FIRSTCODETYPE, &kind);
    pcre2_pattern_info(out->code, PCRE2_INFO_FIRSTBITMAP, (void *)&first);
    for (int b = 0; b < 256; b++) {
        out->first[b] = kind != 0 || first == NULL || (first[b / 8] >> b % 8 & 1);
    }
done:
    dtx_free(own);
    return st;
}

void dtx_regex_free(dtx_regex *re)
{
    pcre2_code_free(re->code);
    re->code = NULL;
}

/* Compiled patterns have a small stack; where it does not suffice the interpreter, which uses the heap, takes over. */
dtx_status dtx_regex_next(const dtx_regex *re, pcre2_match_data **match, const char *s, size_t n, size_t from, bool *found, size_t *begin,
                          size_t *end)
{
    const uint32_t how = PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY;

    if (*match == NULL && (*match = pcre2_match_data_create(1, NULL)) == NULL) {
        return DTX_FAIL(DTX_ERR_MISSING, "out of memory for a regular expression");
    }
    int rc = pcre2_match(re->code, (PCRE2_SPTR)s, n, from, how, *match, NULL);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {
        rc = pcre2_match(re->code, (PCRE2_SPTR)s, n, from, how | PCRE2_NO_JIT, *match, NULL);
    }
    if (rc < 0 && rc != PCRE2_ERROR_NOMATCH) {
        return DTX_FAIL(DTX_ERR_INPUT, "a pattern of the tokenizer fails on this text (PCRE2 error %d)", rc);
    }
    *found = rc >= 0;
    if (*found) {
        *begin = pcre2_get_ovector_pointer(*match)[0];
        *end = pcre2_get_ovector_pointer(*match)[1];
    }
    return DTX_OK;
}
