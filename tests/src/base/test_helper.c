/* The process that starts others: programs and functions of this one, what they say, how they end, and that nothing is forked once it
 * is forbidden. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <unistd.h>

#include <cmocka.h>

#include "src/base/helper.h"

static int says(const char *text)
{
    dprintf(STDERR_FILENO, "heard: %s", text);
    return 3;
}

static int crashes(const char *text)
{
    (void)text;
    raise(SIGSEGV);
    return 0;
}

static int sleeps(const char *text)
{
    while (text != NULL) {
        pause();
    }
    return 0;
}

static int is_alone(const char *text)
{
    return getppid() == (pid_t)atol(text) ? 1 : 0; /* the helper's child, not ours */
}

static void runs_functions(void **state)
{
    dtx_helper_result r;
    char self[24];

    (void)state;
    assert_int_equal(dtx_helper_call(says, "a\nb", 10, &r), DTX_OK);
    assert_int_equal(r.code, 3);
    assert_string_equal(r.said, "heard: a\nb");
    assert_int_equal(dtx_helper_call(crashes, "", 10, &r), DTX_OK);
    assert_int_equal(r.signal, SIGSEGV);
    assert_int_equal(dtx_helper_call(sleeps, "", 1, &r), DTX_OK);
    assert_int_equal(r.signal, SIGALRM);
    snprintf(self, sizeof self, "%ld", (long)getpid());
    assert_int_equal(dtx_helper_call(is_alone, self, 10, &r), DTX_OK);
    assert_int_equal(r.code, 0);
}

static void runs_programs(void **state)
{
    dtx_helper_result r;
    const char *const fine[] = {"sh", "-c", "pwd >&2; exit 7", NULL}, *const none[] = {"no-such-program-here", NULL};
    const char *const much[] = {"sh", "-c", "i=0; while [ $i -lt 3000 ]; do echo line $i >&2; i=$((i+1)); done; echo last >&2", NULL};

    (void)state;
    assert_int_equal(dtx_helper_run("/", fine, &r), DTX_OK);
    assert_int_equal(r.code, 7);
    assert_string_equal(r.said, "/\n");
    assert_int_equal(dtx_helper_run("/", none, &r), DTX_OK);
    assert_int_equal(r.code, 127);
    assert_int_equal(dtx_helper_run("/", much, &r), DTX_OK);
    assert_int_equal(r.code, 0);
    assert_string_equal(r.said + strlen(r.said) - 5, "last\n");
}

static void nothing_is_forked_when_forbidden(void **state)
{
    dtx_helper_result r;

    (void)state;
    dtx_helper_no_more();
    assert_int_equal(dtx_helper_call(says, "x", 10, &r), DTX_OK); /* it is there already */
    dtx_helper_stop();
    assert_int_equal(dtx_helper_call(says, "x", 10, &r), DTX_ERR_CHECK);
    assert_non_null(strstr(dtx_error_text(), "before MPI"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(runs_functions), cmocka_unit_test(runs_programs),
                                       cmocka_unit_test(nothing_is_forked_when_forbidden)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
