/* Chat templates and their variables: the template, NUL, a JSON object. What is rendered must be UTF-8, its spans in order and inside. */
#include <string.h>

#include "src/base/json.h"
#include "src/base/mem.h"
#include "src/base/utf8.h"
#include "src/text/jinja/jinja.h"
#include "tests/fuzz/fuzz.h"

dtx_status dtx_fuzz_status;

static const char *const seeds[] = {
    "{{- bos_token }}{%- if messages[0]['role'] == 'system' %}{%- set s = messages[0].content | trim %}{%- set messages = messages[1:] %}"
    "{%- endif %}{% for m in messages %}{{ '<|' + m['role'] + '|>\\n' + m.content.strip('\\n') ~ \"x\" }}{% if loop.last and not x %}a{% endif %}\n"
    "{%- endfor %}",
    "{% set ns = namespace(i=0, l=[]) %}{% for k, v in d.items() if k != 'z' %}{% set ns.i = ns.i + 1 %}{% set ns.l = ns.l + [v] %}{{ v | tojson(indent=2) }}"
    "{% else %}none{% endfor %}{{ ns.i % 2 ** 3 // 1 }}{{ ns.l[::-1] }}{{ (1, 'a')[0] }}",
    "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}{{ messages | map(attribute='content') | join(', ') | replace('a', 'bb') }}"
    "{{ s.split('b', 1)[-1][:-1] | upper }}{{ s[::-2] | title }}{% raw %}{{ {% endraw %}{# c #}\n  {%- generation %}{{ strftime_now('%d %b') }}{% endgeneration %}",
    "{% if not x is defined or x is none and d is mapping %}{{ raise_exception('no ' ~ x) }}{% elif 'k' in d and s not in [1, 2.5, none] %}"
    "{% for i in s %}{% if loop.index0 == 2 %}{% break %}{% endif %}{% continue %}{% endfor %}{{ -x if x < 3 <= 4 else +x }}{% endif %}"
    "{% set t %}<{{ d }}>{% endset %}{{ t.startswith('<') }}{{ '\\u00e9\\n' 'a' }}",
};
static const char json[] = "{\"bos_token\": \"<s>\", \"x\": 2, \"s\": \"ab\\u0000cb \\u00e9\", \"d\": {\"k\": [1, \"v\"], \"q\": {\"z\": null}}, \"messages\": "
                           "[{\"role\": \"system\", \"content\": \" S \"}, {\"role\": \"user\", \"content\": \"\\n u\\u3000\"}]}";

const char *const dtx_fuzz_words[] = {"{% for i in ", "{% endfor %}", "{% if ", "{% endif %}", "{% set ", "{{ ", " }}", " %}", "{%- ", " -%}", "messages",
                                      "loop.", "namespace()", "| trim", "| tojson", "| list", "| join", ".split(", "[::-1]", "[1:", "not ", " in ",
                                      " is ", "~", "**", "'a'", "(", ")", "[", "]", "{", "}", "ns.", "99999999999999999999", "-1", "'a' * 5", NULL};

size_t dtx_fuzz_seed(int i, uint8_t *out, size_t cap)
{
    size_t n = i < (int)(sizeof seeds / sizeof *seeds) ? strlen(seeds[i]) + 1 : 0;

    if (n == 0 || n + sizeof json - 1 > cap) {
        return 0;
    }
    memcpy(out, seeds[i], n);
    memcpy(out + n, json, sizeof json - 1);
    return n + sizeof json - 1;
}

static void require(bool ok)
{
    if (!ok) {
        __builtin_trap();
    }
}

static int32_t every_second(const void *arg, const cJSON *item)
{
    (void)arg;
    return (int32_t)(strlen(item->valuestring) % 2) - 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct tm now = {.tm_year = 126, .tm_mday = 3};
    const char *s = (const char *)data, *end = size > 0 ? memchr(s, '\0', size) : NULL;
    size_t n = end != NULL ? (size_t)(end - s) : size, at = 0;
    cJSON *root = NULL;
    dtx_jinja *t = NULL;
    dtx_jinja_result r = {0};
    dtx_status st = DTX_OK;

    if (dtx_utf8_valid(s, n) < n) {
        st = DTX_FAIL(DTX_ERR_INPUT, "not UTF-8");
        goto done;
    }
    DTX_GO(end == NULL ? dtx_json_parse("{}", 2, "variables", 0, &root) : dtx_json_parse(end + 1, size - n - 1, "variables", 0, &root));
    DTX_GO(dtx_jinja_parse("t", s, n, &t));
    DTX_GO(dtx_jinja_render(t, &(dtx_jinja_input){.variables = root, .source = every_second, .now = &now}, &r, NULL));
    require(r.text[r.n] == '\0' && dtx_utf8_valid(r.text, r.n) == r.n);
    for (size_t i = 0; i < r.n_spans; i++) {
        require(r.span[i].begin >= at && r.span[i].begin <= r.span[i].end && r.span[i].end <= r.n && r.span[i].source == 0);
        at = r.span[i].end;
    }
done:
    dtx_jinja_result_free(&r);
    dtx_jinja_del(t);
    cJSON_Delete(root);
    dtx_fuzz_status = st;
    return 0;
}
