#include "jobs/program/limits.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define BUFFER ((size_t)160 << 20) /* 128 MiB for a thread, and some for what comes with it */

/* Bytes of address space that the limit leaves; SIZE_MAX without a limit. */
static size_t room(size_t *limit)
{
    struct rlimit r;
    char text[64] = "";
    const int fd = getrlimit(RLIMIT_AS, &r) == 0 && r.rlim_cur != RLIM_INFINITY ? open("/proc/self/statm", O_RDONLY | O_CLOEXEC) : -1;
    const ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;
    size_t used = 0;

    if (fd >= 0) {
        close(fd);
    }
    if (n <= 0) {
        return SIZE_MAX;
    }
    for (const char *p = text; *p >= '0' && *p <= '9'; p++) { /* pages */
        used = used * 10 + (size_t)(*p - '0');
    }
    used *= (size_t)sysconf(_SC_PAGESIZE);
    *limit = (size_t)r.rlim_cur;
    return used < r.rlim_cur ? (size_t)r.rlim_cur - used : 0;
}

#define TOO_LITTLE "the limit on address space (ulimit -v) is %zu MB and leaves %zu MB, but %s: raise the limit or take it away " \
                   "(ulimit -v unlimited; in a batch system ask for more memory)"

dtx_status dtx_limits_check(int threads, bool blas)
{
    pthread_attr_t usual;
    size_t limit = 0, left = room(&limit), stack = (size_t)8 << 20;
    char what[128];

    if (left == SIZE_MAX) {
        return DTX_OK;
    }
    if (pthread_getattr_default_np(&usual) == 0) {
        (void)pthread_attr_getstacksize(&usual, &stack);
        pthread_attr_destroy(&usual);
    }
    const size_t each = stack + (blas ? BUFFER : 0), need = each * (size_t)(threads > 0 ? threads : 1);
    if (left >= need) {
        return DTX_OK;
    }
    snprintf(what, sizeof what, "%d threads%s need %zu MB more", threads, blas ? " with OpenBLAS" : "", need >> 20);
    return DTX_FAIL(DTX_ERR_MISSING, TOO_LITTLE ", or use fewer threads%s", limit >> 20, left >> 20, what,
                    blas ? " or another compute.gemm" : "");
}

/* Sanitizers prepare themselves at the same time, and no limit on address space lets them live. */
#if !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__

static const char *value_of(char **environment, const char *name)
{
    const size_t n = strlen(name);

    for (; *environment != NULL; environment++) {
        if (strncmp(*environment, name, n) == 0 && (*environment)[n] == '=') {
            return *environment + n + 1;
        }
    }
    return NULL;
}

/* Runs before any library's own beginning, OpenBLAS's too: nothing but system calls and strings is at hand. Under a limit the
 * program starts itself again with OMP_NUM_THREADS=1, the only variable by which this OpenBLAS asks for fewer buffers; how many
 * threads the program itself uses is its own setting (threads). */
static void before_libraries(int argc, char **argv, char **environment)
{
    enum { MORE = 4096 };
    static char *changed[MORE];
    static char one[] = "OMP_NUM_THREADS=1";
    size_t limit = 0, left = room(&limit), n = 0;
    const char *threads = value_of(environment, "OMP_NUM_THREADS"), *local = value_of(environment, "OMPI_COMM_WORLD_LOCAL_RANK");

    (void)argc;
    if (left == SIZE_MAX) {
        return;
    }
    if (left < BUFFER) {
        char text[512];
        local = local != NULL ? local : value_of(environment, "SLURM_LOCALID");
        if (local == NULL || strcmp(local, "0") == 0) { /* one word from each node */
            const int len = snprintf(text, sizeof text, "detoxlens: error: " TOO_LITTLE "\n", limit >> 20, left >> 20,
                                     "OpenBLAS needs 160 MB more at its start");
            (void)!write(STDERR_FILENO, text, (size_t)len);
        }
        _exit(DTX_ERR_MISSING);
    }
    if (threads != NULL && strcmp(threads, "1") == 0) {
        return;
    }
    for (char **e = environment; *e != NULL && n + 2 < MORE; e++) {
        if (strncmp(*e, "OMP_NUM_THREADS=", 16) != 0) {
            changed[n++] = *e;
        }
    }
    changed[n++] = one;
    changed[n] = NULL;
    execve("/proc/self/exe", argv, changed);
}

__attribute__((section(".preinit_array"), used)) static void (*const first)(int, char **, char **) = before_libraries;

#endif
