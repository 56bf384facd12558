#include "src/base/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_WORDS = 16, TEXT = 8192 };

typedef struct {
    int (*work)(const char *text); /* NULL: a program */
    unsigned seconds;
    int n;                         /* words */
    size_t word[MAX_WORDS];        /* where they begin in text; word 0 of a program is its folder */
    char text[TEXT];
} request;

static struct {
    int socket; /* 0: never started */
    pid_t pid;
    bool no_more;
} helper;

/* --- in the helper --- */

static bool whole_read(int fd, void *x, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = read(fd, (char *)x + done, size - done);
        if (n == 0 || (n < 0 && errno != EINTR)) {
            return false;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return true;
}

static bool whole_write(int fd, const void *x, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = send(fd, (const char *)x + done, size - done, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR) {
            return false;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return true;
}

static const int reset[] = {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGALRM, SIGTERM, SIGINT, SIGUSR1, SIGHUP, SIGPIPE, SIGCHLD};

/* In a process of its own. */
static _Noreturn void obey(const request *r, int words)
{
    const struct rlimit no_core = {0, 0};
    char *argv[MAX_WORDS] = {NULL};

    for (size_t i = 0; i < sizeof reset / sizeof *reset; i++) {
        signal(reset[i], SIG_DFL);
    }
    setrlimit(RLIMIT_CORE, &no_core);
    dup2(words, STDERR_FILENO);
    close(words);
    if (r->work != NULL) {
        alarm(r->seconds);
        _exit(r->work(r->text + r->word[0]));
    }
    for (int i = 1; i < r->n; i++) {
        argv[i - 1] = (char *)(size_t)(r->text + r->word[i]);
    }
    if (chdir(r->text + r->word[0]) == 0) {
        execvp(argv[0], argv);
    }
    _exit(errno == ENOENT ? 127 : 126);
}

static void carry_out(const request *r, dtx_helper_result *out)
{
    int fd[2], state = 0;
    size_t n = 0;
    ssize_t got;

    memset(out, 0, sizeof *out);
    out->code = -1;
    if (pipe(fd) != 0) {
        return;
    }
    pid_t child = fork();
    if (child == 0) {
        close(fd[0]);
        obey(r, fd[1]);
    }
    close(fd[1]);
    while (child > 0 && (got = read(fd[0], out->said + n, sizeof out->said - 1 - n)) != 0) {
        if (got < 0 && errno != EINTR) {
            break;
        }
        n += got > 0 ? (size_t)got : 0;
        if (n == sizeof out->said - 1) { /* the end of a long complaint counts */
            memmove(out->said, out->said + n / 2, n - n / 2);
            n -= n / 2;
        }
    }
    out->said[n] = '\0';
    close(fd[0]);
    while (child > 0 && waitpid(child, &state, 0) < 0 && errno == EINTR) {
    }
    if (child > 0 && WIFEXITED(state)) {
        out->code = WEXITSTATUS(state);
    } else if (child > 0 && WIFSIGNALED(state)) {
        out->signal = WTERMSIG(state);
    }
}

static _Noreturn void serve(int fd, pid_t parent)
{
    static const int ignored[] = {SIGTERM, SIGINT, SIGUSR1, SIGHUP, SIGPIPE}; /* a terminal's go to all; it ends with its parent */
    static request r;
    dtx_helper_result result;
    const long files = sysconf(_SC_OPEN_MAX);

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(0);
    }
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++) {
        signal(ignored[i], SIG_IGN);
    }
    signal(SIGCHLD, SIG_DFL);
    for (int k = 3; k < (files > 0 && files < 4096 ? files : 4096); k++) { /* no lock and no pipe of a launcher is held here */
        if (k != fd) {
            close(k);
        }
    }
    const int null = open("/dev/null", O_RDWR);
    for (int k = 0; k < 3; k++) {
        dup2(null, k);
    }
    while (whole_read(fd, &r, sizeof r)) {
        carry_out(&r, &result);
        if (!whole_write(fd, &result, sizeof result)) {
            break;
        }
    }
    _exit(0);
}

/* --- for callers --- */

dtx_status dtx_helper_start(void)
{
    int pair[2];
    const pid_t self = getpid();

    if (helper.socket > 0 || helper.no_more) {
        return helper.socket > 0 ? DTX_OK
                                 : DTX_FAIL(DTX_ERR_CHECK, "the process that starts others was not started before MPI on this rank");
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        return DTX_FAIL(DTX_ERR_MISSING, "cannot start a process: %s", strerror(errno));
    }
    fflush(NULL);
    helper.pid = fork();
    if (helper.pid == 0) {
        close(pair[0]);
        serve(pair[1], self);
    }
    close(pair[1]);
    if (helper.pid < 0) {
        const int why = errno;
        close(pair[0]);
        return DTX_FAIL(DTX_ERR_MISSING, "cannot start a process: %s", strerror(why));
    }
    helper.socket = pair[0];
    return DTX_OK;
}

void dtx_helper_no_more(void)
{
    helper.no_more = true;
}

void dtx_helper_stop(void)
{
    if (helper.socket > 0) {
        close(helper.socket);
        helper.socket = 0;
        while (waitpid(helper.pid, NULL, 0) < 0 && errno == EINTR) {
        }
    }
}

static dtx_status ask(const request *r, dtx_helper_result *out)
{
    DTX_TRY(dtx_helper_start());
    if (!whole_write(helper.socket, r, sizeof *r) || !whole_read(helper.socket, out, sizeof *out)) {
        return DTX_FAIL(DTX_ERR_MISSING, "the process beside this one that starts others (%ld) has ended: was it killed, or is memory short?",
                        (long)helper.pid);
    }
    return out->code >= 0 || out->signal > 0 ? DTX_OK : DTX_FAIL(DTX_ERR_MISSING, "cannot start a process: no room for one more");
}

static dtx_status add_word(request *r, size_t *at, const char *word)
{
    const size_t n = strlen(word) + 1;

    if (r->n == MAX_WORDS || n > TEXT - *at) {
        return DTX_FAIL(DTX_ERR_USAGE, "too long for a command: %.200s", word);
    }
    memcpy(r->text + *at, word, n);
    r->word[r->n++] = *at;
    *at += n;
    return DTX_OK;
}

dtx_status dtx_helper_run(const char *dir, const char *const *argv, dtx_helper_result *out)
{
    request r = {.n = 0};
    size_t at = 0;

    DTX_TRY(add_word(&r, &at, dir));
    for (int i = 0; argv[i] != NULL; i++) {
        DTX_TRY(add_word(&r, &at, argv[i]));
    }
    return ask(&r, out);
}

dtx_status dtx_helper_call(int (*work)(const char *text), const char *text, unsigned seconds, dtx_helper_result *out)
{
    request r = {.work = work, .seconds = seconds};
    size_t at = 0;

    DTX_TRY(add_word(&r, &at, text));
    return ask(&r, out);
}
