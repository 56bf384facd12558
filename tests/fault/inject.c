/* A library for LD_PRELOAD that lets one call fail on one rank: the n-th place of the program (a distinct stack of callers) that
 * allocates, reads, writes, opens, syncs or renames. tests/fault/inject.py drives it by the environment:
 *   DTX_FAULT_KIND  alloc | read | write | open | sync | rename     what is counted
 *   DTX_FAULT_AT    n = 1, 2, ...: this place fails the first time it is passed; 0 = none, count
 *   DTX_FAULT_ALL   set: calls are counted, not places
 *   DTX_FAULT_HOW   error (default; DTX_FAULT_ERRNO) | short (half of a read or write is done) | stuck (this call and all after it fail) | kill
 *   DTX_FAULT_RANK  of MPI, default 0
 *   DTX_FAULT_DIR   calls on files under this folder count, no others
 *   DTX_FAULT_LOG   at the end, or when it fails: the count so far, and where, is written here
 * Only the program detoxlens is touched, not what it starts. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MAX_PLACES = 1 << 14, DEPTH = 40 };

static bool active, all_calls, half, stuck, deadly;
static char kind[16], dir[4096], log_path[4096];
static size_t dir_len;
static int fault_errno;
static long at, count;
static bool failing;
static uint64_t place[MAX_PLACES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static __thread bool inside;

static const char *get(const char *name)
{
    const char *value = getenv(name);

    return value != NULL ? value : "";
}

/* By system calls alone: the functions of the library are what is replaced. */
static void note(const char *what, void *const *frame, int n)
{
    char text[8192];
    int len = snprintf(text, sizeof text, "%ld %s\n", count, what);

    for (int i = 2; i < n && len < (int)sizeof text - 300; i++) {
        Dl_info info;
        if (dladdr(frame[i], &info) != 0 && info.dli_fname != NULL) {
            const char *name = strrchr(info.dli_fname, '/');
            len += snprintf(text + len, sizeof text - (size_t)len, "  %s+0x%lx %s\n", name != NULL ? name + 1 : info.dli_fname,
                            (unsigned long)((char *)frame[i] - (char *)info.dli_fbase), info.dli_sname != NULL ? info.dli_sname : "?");
        }
    }
    long fd = syscall(SYS_openat, AT_FDCWD, log_path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (fd >= 0) {
        syscall(SYS_write, (int)fd, text, (size_t)len);
        syscall(SYS_close, (int)fd);
    }
}

__attribute__((constructor)) static void begin(void)
{
    void *frame[4];
    const char *rank = get("OMPI_COMM_WORLD_RANK");

    if (strcmp(program_invocation_short_name, "detoxlens") != 0 || get("DTX_FAULT_KIND")[0] == '\0'
        || atoi(rank) != atoi(get("DTX_FAULT_RANK"))) {
        return;
    }
    snprintf(kind, sizeof kind, "%s", get("DTX_FAULT_KIND"));
    snprintf(dir, sizeof dir, "%s", get("DTX_FAULT_DIR"));
    snprintf(log_path, sizeof log_path, "%s", get("DTX_FAULT_LOG"));
    dir_len = strlen(dir);
    at = atol(get("DTX_FAULT_AT"));
    all_calls = get("DTX_FAULT_ALL")[0] != '\0';
    half = strcmp(get("DTX_FAULT_HOW"), "short") == 0;
    deadly = strcmp(get("DTX_FAULT_HOW"), "kill") == 0;
    stuck = strcmp(get("DTX_FAULT_HOW"), "stuck") == 0;
    fault_errno = get("DTX_FAULT_ERRNO")[0] != '\0' ? atoi(get("DTX_FAULT_ERRNO")) : EIO;
    backtrace(frame, 4); /* loads what it needs now */
    active = true;
}

__attribute__((destructor)) static void end(void)
{
    if (active && at == 0) {
        note("counted", NULL, 0);
    }
}

/* Whether this call is the one. */
static bool hit(const char *what)
{
    void *frame[DEPTH];
    uint64_t h = UINT64_C(1469598103934665603);
    bool yes = false;

    if (!active || inside || strcmp(kind, what) != 0) {
        return false;
    }
    inside = true;
    int n = backtrace(frame, DEPTH);
    for (int i = 2; i < n; i++) {
        h = (h ^ (uint64_t)(uintptr_t)frame[i]) * UINT64_C(1099511628211);
    }
    pthread_mutex_lock(&lock);
    long i = 0;
    while (!all_calls && i < count && i < MAX_PLACES && place[i] != h) {
        i++;
    }
    if (all_calls || i == count) {
        if (count < MAX_PLACES) {
            place[count] = h;
        }
        count++;
        yes = count == at;
        if (yes) {
            failing = true;
            note("failed", frame, n);
            if (deadly) { /* as if the system had ended it here, before the call */
                kill(getpid(), SIGKILL);
            }
        }
    }
    yes = yes || (failing && stuck);
    pthread_mutex_unlock(&lock);
    inside = false;
    return yes;
}

static bool ours(const char *path)
{
    char real[8192];

    if (path[0] != '/') {
        if (getcwd(real, sizeof real) == NULL || strlen(real) + strlen(path) + 2 > sizeof real) {
            return false;
        }
        strcat(strcat(real, "/"), path);
        path = real;
    }
    /* what the launcher and MPI keep in the temporary folder is not the program's */
    return dir_len > 0 && strncmp(path, dir, dir_len) == 0 && strstr(path + dir_len, "/dtx.") == NULL && strstr(path, "/ompi.") == NULL;
}

static bool ours_fd(int fd)
{
    char name[64], path[4096];

    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(name, path, sizeof path - 1);
    path[n > 0 ? n : 0] = '\0';
    return path[0] == '/' && ours(path); /* pipes and the like have no folder */
}

#define REAL(name) static __typeof__(&name) real; if (real == NULL) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

void *aligned_alloc(size_t align, size_t size)
{
    REAL(aligned_alloc);
    return hit("alloc") ? (errno = ENOMEM, NULL) : real(align, size);
}

ssize_t read(int fd, void *x, size_t size)
{
    REAL(read);
    if (active && !inside && ours_fd(fd) && hit("read")) {
        return half ? real(fd, x, (size + 1) / 2) : (errno = fault_errno, -1);
    }
    return real(fd, x, size);
}

ssize_t pread(int fd, void *x, size_t size, off_t from)
{
    REAL(pread);
    if (active && !inside && ours_fd(fd) && hit("read")) {
        return half ? real(fd, x, (size + 1) / 2, from) : (errno = fault_errno, -1);
    }
    return real(fd, x, size, from);
}

ssize_t write(int fd, const void *x, size_t size)
{
    REAL(write);
    if (active && !inside && ours_fd(fd) && hit("write")) {
        return half ? real(fd, x, (size + 1) / 2) : (errno = fault_errno, -1);
    }
    return real(fd, x, size);
}

ssize_t pwrite(int fd, const void *x, size_t size, off_t to)
{
    REAL(pwrite);
    if (active && !inside && ours_fd(fd) && hit("write")) {
        return half ? real(fd, x, (size + 1) / 2, to) : (errno = fault_errno, -1);
    }
    return real(fd, x, size, to);
}

ssize_t pread64(int fd, void *x, size_t size, off_t from)
{
    return pread(fd, x, size, from);
}

ssize_t pwrite64(int fd, const void *x, size_t size, off_t to)
{
    return pwrite(fd, x, size, to);
}

int ftruncate(int fd, off_t size)
{
    REAL(ftruncate);
    return active && !inside && ours_fd(fd) && hit("write") ? (errno = fault_errno, -1) : real(fd, size);
}

int open(const char *path, int flags, ...)
{
    REAL(open);
    va_list ap;

    va_start(ap, flags);
    mode_t mode = flags & O_CREAT ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    return active && !inside && ours(path) && hit("open") ? (errno = fault_errno, -1) : real(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    va_list ap;

    va_start(ap, flags);
    mode_t mode = flags & O_CREAT ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    return open(path, flags, mode);
}

FILE *fopen(const char *path, const char *how)
{
    REAL(fopen);
    return active && !inside && ours(path) && hit("open") ? (errno = fault_errno, NULL) : real(path, how);
}

size_t fwrite(const void *x, size_t size, size_t n, FILE *f)
{
    REAL(fwrite);
    return active && !half && !inside && f != stderr && f != stdout && ours_fd(fileno(f)) && hit("write") ? (errno = fault_errno, 0)
                                                                                                 : real(x, size, n, f);
}

int fsync(int fd)
{
    REAL(fsync);
    return active && !inside && ours_fd(fd) && hit("sync") ? (errno = fault_errno, -1) : real(fd);
}

int fdatasync(int fd)
{
    REAL(fdatasync);
    return active && !inside && ours_fd(fd) && hit("sync") ? (errno = fault_errno, -1) : real(fd);
}

int rename(const char *from, const char *to)
{
    REAL(rename);
    return active && !inside && ours(to) && hit("rename") ? (errno = fault_errno, -1) : real(from, to);
}
