#define PCRE2_CODE_UNIT_WIDTH 8
#include "src/model/adapter_match.h"

#include <pcre2.h>
#include <stdio.h>
#include <string.h>

#include "src/base/mem.h"

enum { MATCH_LIMIT = 1000000, LONGEST = 2048 };

struct dtx_name_pattern {
    pcre2_code *code;
    pcre2_match_data *data;
    pcre2_match_context *context;
    char text[LONGEST];
};

dtx_status dtx_name_pattern_new(const char *expression, bool tail, dtx_name_pattern **out)
{
    dtx_name_pattern *p = NULL;
    char whole[LONGEST + 16];
    int code = 0;
    PCRE2_SIZE at = 0;
    dtx_status st = DTX_OK;

    if (strlen(expression) >= LONGEST) {
        return DTX_FAIL(DTX_ERR_INPUT, "the regular expression \"%.40s...\" has %zu bytes, %d are possible", expression, strlen(expression),
                        LONGEST - 1);
    }
    DTX_GO(DTX_NEW(p, 1));
    snprintf(p->text, sizeof p->text, "%s", expression);
    snprintf(whole, sizeof whole, tail ? "(?:.*\\.)?(?:%s)" : "(?:%s)", expression);
    p->code = pcre2_compile((PCRE2_SPTR)whole, PCRE2_ZERO_TERMINATED, PCRE2_ANCHORED | PCRE2_ENDANCHORED, &code, &at, NULL);
    if (p->code == NULL) {
        PCRE2_UCHAR why[128];
        pcre2_get_error_message(code, why, sizeof why);
        DTX_GO(DTX_FAIL(DTX_ERR_INPUT, "the regular expression \"%.200s\" cannot be used: %s", expression, (const char *)why));
    }
    p->data = pcre2_match_data_create(1, NULL);
    p->context = pcre2_match_context_create(NULL);
    DTX_GO(dtx_mem_check(p->data, 1, 1, "a regular expression"));
    DTX_GO(dtx_mem_check(p->context, 1, 1, "a regular expression"));
    pcre2_set_match_limit(p->context, MATCH_LIMIT);
    *out = p;
    return DTX_OK;
done:
    dtx_name_pattern_del(p);
    return st;
}

dtx_status dtx_name_pattern_match(const dtx_name_pattern *p, const char *name, bool *matches)
{
    const int n = pcre2_match(p->code, (PCRE2_SPTR)name, strlen(name), 0, 0, p->data, p->context);

    *matches = n >= 0;
    return n >= 0 || n == PCRE2_ERROR_NOMATCH
               ? DTX_OK
               : DTX_FAIL(DTX_ERR_INPUT, "the regular expression \"%.200s\" takes too long on \"%s\"", p->text, name);
}

void dtx_name_pattern_del(dtx_name_pattern *p)
{
    if (p != NULL) {
        pcre2_code_free(p->code);
        pcre2_match_data_free(p->data);
        pcre2_match_context_free(p->context);
        dtx_free(p);
    }
}

bool dtx_name_is(const char *name, const char *target)
{
    const size_t n = strlen(name), t = strlen(target);

    return t > 0 && (strcmp(name, target) == 0 || (t < n && name[n - t - 1] == '.' && strcmp(name + n - t, target) == 0));
}
