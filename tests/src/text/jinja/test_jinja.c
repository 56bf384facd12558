/* The template interpreter: what each construct gives, what is refused with its name and line, bounds, and where given texts stand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "src/base/json.h"
#include "src/base/mem.h"
#include "src/text/jinja/jinja.h"

static const char variables[] =
    "{\"x\": 3, \"f\": 1.5, \"s\": \"  ab c\\n\", \"e\": \"\", \"l\": [1, 2, 3], \"n\": null, \"d\": {\"k\": \"v\", \"q\": 1.5}, \"big\": 1e20, "
    "\"messages\": [{\"role\": \"system\", \"content\": \" S \"}, {\"role\": \"user\", \"content\": \"u1\"}, {\"role\": \"user\", "
    "\"content\": \"<a>b</a>c\", \"t\": {\"name\": \"\\u00e9\\u0000\"}}]}";

static int32_t second_content(const void *arg, const cJSON *item)
{
    (void)arg;
    return strcmp(item->valuestring, "u1") == 0 ? 1 : strcmp(item->valuestring, "<a>b</a>c") == 0 ? 2 : strcmp(item->valuestring, " S ") == 0 ? 0 : -1;
}

static dtx_status render(const char *template, dtx_jinja_result *r, bool *raised)
{
    static const struct tm now = {.tm_year = 126, .tm_mon = 1, .tm_mday = 3, .tm_hour = 4, .tm_min = 5, .tm_wday = 2, .tm_yday = 33};
    cJSON *json = NULL;
    dtx_jinja *t = NULL;
    dtx_status st = DTX_OK;

    memset(r, 0, sizeof *r);
    DTX_GO(dtx_json_parse(variables, sizeof variables - 1, "variables", 0, &json));
    DTX_GO(dtx_jinja_parse("t.jinja", template, strlen(template), &t));
    st = dtx_jinja_render(t, &(dtx_jinja_input){.variables = json, .source = second_content, .now = &now}, r, raised);
done:
    dtx_jinja_del(t);
    cJSON_Delete(json);
    return st;
}

static void gives(const char *template, const char *text)
{
    dtx_jinja_result r;

    if (render(template, &r, NULL) != DTX_OK) {
        fail_msg("%s: %s", template, dtx_error_text());
    }
    if (strcmp(r.text, text) != 0) {
        fail_msg("%s gives \"%s\", not \"%s\"", template, r.text, text);
    }
    dtx_jinja_result_free(&r);
}

static void refuses(const char *template, const char *why)
{
    dtx_jinja_result r;

    assert_int_equal(render(template, &r, NULL), DTX_ERR_INPUT);
    if (strstr(dtx_error_text(), why) == NULL) {
        fail_msg("%s: \"%s\" is not in: %s", template, why, dtx_error_text());
    }
    assert_null(r.text);
}

static void white_space(void **state)
{
    (void)state;
    gives("a\n", "a");
    gives("a\r\n\r\n", "a\n");
    gives("  {% if x %}\n  in\n  {% endif %}\nout", "  in\nout");
    gives("a {% if x -%}  b  {%- endif %} c", "a b c");
    gives(" {%+ if x %}y{% endif +%}\nz", " y\nz");
    gives("a\n  {#- c -#}\n  b", "ab");
    gives("  {# c #}\nb", "b");
    gives("{{ x }}\n {{- x -}} \n4", "334");
    gives("{% raw %}{{ x }}{% endraw %}\n{% raw -%} {% if {%- endraw %}", "{{ x }}{% if");
    gives("{{ '%}' }}{{ {'a': {'b': 1}}['a']['b'] }}", "%}1");
}

static void statements(void **state)
{
    (void)state;
    gives("{% if e %}a{% elif l %}b{% else %}c{% endif %}", "b");
    gives("{% for i in l if i != 2 %}{{ loop.index }}{{ i }}{{ ',' if not loop.last }}{% endfor %}", "11,23");
    gives("{% for i in [] %}x{% else %}none{% endfor %}", "none");
    gives("{% for i in l %}{% if i == 2 %}{% continue %}{% endif %}{{ i }}{% if i == 3 %}{% break %}{% endif %}{% endfor %}", "13");
    gives("{% set y = 1 %}{% for i in l %}{% set y = y + i %}{{ y }}{% endfor %}{{ y }}", "2341");
    gives("{% set ns = namespace(y=1) %}{% for i in l %}{% set ns.y = ns.y + i %}{% endfor %}{{ ns.y }}", "7");
    gives("{%- set a, b = 1, 2 -%}{{ a }}{{ b }}{% set c %}<{{ a }}>{% endset %}{{ c * 2 }}", "12<1><1>");
    gives("{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for k in d %}{{ k }}{% endfor %}", "k=v;q=1.5;kq");
    gives("{% for m in messages[::-1] %}{{ loop.revindex0 }}{{ m.role[0] }}{% endfor %}", "2u1u0s");
    gives("{% for i in l %}{% for j in l %}{{ loop.index0 }}{% endfor %}{{ loop.index0 }}{% endfor %}", "012001210122");
    gives("{% generation %}a{{ x }}{% endgeneration %}b", "a3b");
    gives("{% for c in 'a\xC3\xA9' %}{{ c }}.{% endfor %}", "a.\xC3\xA9.");
}

static void expressions(void **state)
{
    (void)state;
    gives("{{ 7 // 2 }} {{ 7 / 2 }} {{ -7 % 3 }} {{ -7 // 2 }} {{ 2 ** 3 }} {{ 1 + 2 * 3 }}", "3 3.5 2 -4 8 7");
    gives("{{ 'a' ~ x ~ none }}{{ 'a' + 'b' * 2 }}{{ [1] + [2] }}", "a3Noneabb[1, 2]");
    gives("{{ 1 < 2 < 3 }}{{ 'b' in s }}{{ 'k' in d }}{{ 5 not in l }}{{ not x == 3 }}{{ 'a' < 'b' }}", "TrueTrueTrueTrueFalseTrue");
    gives("{{ e or 'z' }}{{ x and 'both' }}{{ 'y' if x == 4 }}|{{ n }}{{ true }}", "zboth|NoneTrue");
    gives("{{ 'abc'[0] }}{{ 'abc'[-1] }}{{ 'abc'[1:] }}{{ 'abc'[:-1] }}{{ 'abc'[::-1] }}{{ l[5:] }}{{ l[-2:] }}{{ l[::2] }}", "acbcabcba[][2, 3][1, 3]");
    gives("{{ d.missing }}|{{ d['k'] }}{{ d.get('z', 'def') }}{{ nothing }}|{{ l[9] }}|{{ l.0 }}", "|vdef||1");
    gives("{{ nothing is defined }}{{ n is none }}{{ e is string }}{{ d is mapping }}{{ x is iterable }}{{ x is not defined }}{{ false is false }}",
          "FalseTrueTrueTrueFalseFalseTrue");
    gives("{{ {'a': 1} == {'a': 1.0} }}{{ messages[1] == messages[1] }}{{ messages[1] == messages[2] }}", "TrueTrueFalse");
    gives("{{ '\\n' }}|{{ \"\\t\\\"\" }}|{{ '\\u00e9\\x41\\101' 'b' }}|{{ '\\q' }}", "\n|\t\"|\xC3\xA9" "AAb|\\q");
    gives("{{ (1, 'a') }}{{ (1,) }}{{ () }}{{ 1_000 }}{{ 1, 2 }}", "(1, 'a')(1,)()1000(1, 2)");
    gives("{{ f }}{{ 2.0 }}{{ 1 / 3 }}{{ big }}{{ 10.0 ** 15 }}{{ 1.0 / 100000 }}", "1.52.00.33333333333333331e+201000000000000000.01e-05");
}

static void filters_and_methods(void **state)
{
    (void)state;
    gives("{{ s | trim }}|{{ s.strip() }}|{{ s.lstrip() }}|{{ s.rstrip() }}|{{ 'xxaxx'.strip('x') }}", "ab c|ab c|ab c\n|  ab c|a");
    gives("{{ '\\u3000\\u001c\\u200ba\\u0085' | trim | length }}", "2"); /* Python's white space: not U+200B */
    gives("{{ s | length }}{{ l | count }}{{ nothing | length }}", "730");
    gives("{{ d | tojson }}{{ [none, true, '<\\'\\n\\u0001'] | tojson }}", "{\"k\": \"v\", \"q\": 1.5}[null, true, \"<'\\n\\u0001\"]");
    gives("{{ {'a': [1], 'b': {}} | tojson(indent=2) }}", "{\n  \"a\": [\n    1\n  ],\n  \"b\": {}\n}");
    gives("{{ ['a\\'', 'b\"\\'', '\\n\\u200b'] }}", "[\"a'\", 'b\"\\'', '\\n\\u200b']");
    gives("{{ l | join(', ') }}{{ messages | map(attribute='role') | join('/') }}", "1, 2, 3system/user/user");
    gives("{{ messages | selectattr('role', 'equalto', 'user') | list | length }}{{ [0, 1] | select | list }}{{ l | reject('eq', 2) | list }}",
          "2[1][1, 3]");
    gives("{{ messages | selectattr('t', 'defined') | map(attribute='t.name') | join | length }}{{ 'yes' if [] | select }}", "2yes");
    gives("{{ s.split() }}{{ 'a,b,c'.split(',', 1) }}{{ ' a b c '.split(none, 1) }}", "['ab', 'c']['a', 'b,c']['a', 'b c']");
    gives("{{ 'abab'.replace('a', 'x', 1) }}{{ x | string + 'k' }}{{ 'a-b' | replace('-', '') }}", "xbab3kab");
    gives("{{ s.startswith('  a') }}{{ s.endswith('\n') }}", "TrueTrue");
    gives("{{ '\xC3\xA9 \xC3\x9F' | upper }}{{ 'ABC' | lower }}{{ 'ab cd' | title }}", "\xC3\x89 SSabcAb Cd");
    gives("{{ strftime_now('%d %b %Y') }}{{ strftime_now is defined }}", "03 Feb 2026True");
}

static void what_is_not_in_the_subset_is_named(void **state)
{
    (void)state;
    refuses("a\n{% macro m() %}{% endmacro %}", "t.jinja:2: the statement \"macro\"");
    refuses("{% include 'x' %}", "\"include\"");
    refuses("\n\n{{ x | safe }}", "t.jinja:3: the filter \"safe\"");
    refuses("{{ x is odd }}", "the test \"odd\"");
    refuses("{{ l | select('odd') }}", "the test \"odd\"");
    refuses("{{ l | map('upper') }}", "map without attribute");
    refuses("{{ s.encode() }}", "the method \"encode\"");
    refuses("{{ range(3) }}", "the function \"range\"");
    refuses("{% for i in l %}{{ loop.previtem }}{% endfor %}", "\"loop.previtem\"");
    refuses("{% for i in l recursive %}{% endfor %}", "\"recursive\"");
    refuses("{{ x(*l) }}", "the function \"x\"");
    refuses("{{ dict(**d) }}", "the argument \"**\"");
    refuses("{{ '\\N{BULLET}' }}", "\\N");
    refuses("{{ 1e3 }}", "number");
    refuses("{% if x %}", "has no elif");
    refuses("{% if x %}{% endfor %}", "\"endfor\"");
    refuses("{{ x", "has no end");
    refuses("{{ 'x }}", "t.jinja:1: a string has no end");
    refuses("{# x", "comment");
    refuses("{% raw %}", "endraw");
    refuses("{{ ; }}", "the character \";\"");
    refuses("{{ x y }}", "}} is expected, not y");
    refuses("{% break %}", "outside a loop");
    refuses("{{ \xC3\xA9 }}", "is not part of an expression");
}

static void failures_say_where(void **state)
{
    dtx_jinja_result r;
    bool raised = false;

    (void)state;
    refuses("{{ nothing.attr }}", "t.jinja:1: 'nothing' is undefined");
    refuses("a\n{{ 'a' + 1 }}", "t.jinja:2: + between str and int");
    refuses("{{ messages + 'a' }}", "+ between list and str");
    refuses("{{ 'a' in none }}", "in between str and NoneType");
    refuses("{{ 1 // 0 }}", "division by zero");
    refuses("{{ 9223372036854775807 + 1 }}", "too large");
    refuses("{{ d.k.strip.x }}{{ l.items() }}", "is undefined");
    refuses("{{ l | select | length }}", "generator has no length");
    refuses("{% set x.y = 1 %}", "no namespace");
    refuses("{% for a, b in l %}{% endfor %}", "no items");
    refuses("{{ {'a': namespace()} }}", "cannot be printed");
    refuses("{{ nothing | tojson }}", "cannot be written as JSON");
    assert_int_equal(render("{{ raise_exception('stop ' ~ x) }}", &r, &raised), DTX_ERR_INPUT);
    assert_true(raised);
    assert_string_equal(dtx_error_text(), "stop 3");
}

static void bounds(void **state)
{
    char *deep = malloc(200000);
    size_t n;

    (void)state;
    refuses("{% set ns = namespace(s='0123456789') %}{% for i in 'a' * 60 %}{% set ns.s = ns.s + ns.s %}{% endfor %}", "MB");
    refuses("{% set l = 'a' * 3000 %}{% for i in l %}{% for j in l %}{% for k in l %}{% endfor %}{% endfor %}{% endfor %}", "t.jinja:1");
    refuses("{% set ns = namespace(s=[]) %}{% for i in 'a' * 99 %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}", "parts");
    refuses("{% set ns = namespace(s=[]) %}{% for i in 'a' * 99 %}{% set ns.s = [ns.s] %}{% endfor %}", "deep");
    refuses("{{ 'a' * 99999999999 }}", "t.jinja:1");
    refuses("{{ '' * 9223372036854775807 }}", "steps");
    strcpy(deep, "{{ ");
    memset(deep + 3, '(', 5000);
    deep[5003] = '1';
    memset(deep + 5004, ')', 5000);
    strcpy(deep + 10004, " }}");
    refuses(deep, "deep");
    strcpy(deep, "{{ x");
    n = 4;
    for (int i = 0; i < 20000; i++) {
        memcpy(deep + n, " + x", 5);
        n += 4;
    }
    strcpy(deep + n, " }}");
    refuses(deep, "deep");
    free(deep);
}

/* Spans as "source:begin-end" with blanks between. */
static void spans(const char *template, const char *want, bool lost)
{
    dtx_jinja_result r;
    char got[512] = "", *at = got;

    if (render(template, &r, NULL) != DTX_OK) {
        fail_msg("%s: %s", template, dtx_error_text());
    }
    for (size_t i = 0; i < r.n_spans; i++) {
        at += sprintf(at, "%s%d:%zu-%zu", i ? " " : "", r.span[i].source, r.span[i].begin, r.span[i].end);
    }
    if (strcmp(got, want) != 0 || r.lost != lost) {
        fail_msg("%s: spans \"%s\"%s, not \"%s\"", template, got, r.lost ? ", lost" : "", want);
    }
    dtx_jinja_result_free(&r);
}

static void given_texts_are_followed(void **state)
{
    (void)state;
    spans("<{{ messages[1].content }}>{{ messages[0].content | trim }}", "1:1-3 0:4-5", false);
    spans("{% for m in messages %}[{{ m.content + '!' }}]{% endfor %}", "0:1-4 1:7-9 2:12-21", false);
    spans("{{ messages[2].content.split('</a>')[-1] }}{{ messages[2].content.split('</a>')[0].replace('<a>', '') }}", "2:0-2", false);
    spans("{{ messages[2].content[:3] }}.{{ messages[2].content[3:4] | upper }}", "2:0-3 2:4-5", false);
    spans("-{{ messages[0].content[:0] }}-{{ '' + messages[0].content.strip(' S') + '' }}", "0:1-1 0:2-2", false);
    spans("{{ [messages[1].content, 'a'] | join('+') }}{{ messages[1].role }}", "1:0-2", false);
    spans("{{ messages[1] }}", "", true);
    spans("{{ messages[1] | tojson }}{{ messages[1].content }}", "1:33-35", true);
    spans("{{ messages | length }}{{ 'u1' }}", "", false);
    spans("{% set c %}({{ messages[1].content }}){% endset %}{{ c }}{{ c[1:2] }}", "1:1-3 1:4-5", false);
}

static void out_of_memory_is_an_error_everywhere(void **state)
{
    size_t before = dtx_mem_used();
    int failed = 0;

    (void)state;
    for (int64_t k = 1;; k++) {
        dtx_jinja_result r;
        dtx_mem_fail_at(k);
        dtx_status st = render("{% for m in messages %}{{ m | tojson }}{{ 'a' * 9000 }}{% endfor %}", &r, NULL);
        dtx_mem_fail_at(0);
        dtx_jinja_result_free(&r);
        assert_int_equal(dtx_mem_used(), before);
        if (st == DTX_OK) {
            break;
        }
        assert_true(st == DTX_ERR_MISSING || st == DTX_ERR_INPUT); /* the parser of JSON cannot tell */
        failed++;
    }
    assert_true(failed > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(white_space),
        cmocka_unit_test(statements),
        cmocka_unit_test(expressions),
        cmocka_unit_test(filters_and_methods),
        cmocka_unit_test(what_is_not_in_the_subset_is_named),
        cmocka_unit_test(failures_say_where),
        cmocka_unit_test(bounds),
        cmocka_unit_test(given_texts_are_followed),
        cmocka_unit_test(out_of_memory_is_an_error_everywhere),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
