#include "mpi/par/session.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "src/base/file.h"
#include "src/base/status.h"

enum { PATH = 512, TRIES = 20, YOUNG_S = 60 }; /* a folder without a lock that is as young as that may be just being made */

static struct {
    char dir[PATH];
    int lock;        /* held as long as this process lives */
} session = {.lock = -1};

static bool lock_path(char out[PATH], const char *dir)
{
    return snprintf(out, PATH, "%s/lock", dir) < PATH;
}

/* Removes the folder `dir` of this user when nobody lives in it. */
static void remove_deserted(const char *dir)
{
    char path[PATH];
    struct stat sb;

    if (!lock_path(path, dir) || lstat(dir, &sb) != 0 || !S_ISDIR(sb.st_mode) || sb.st_uid != geteuid()) {
        return;
    }
    const int fd = open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0 ? dtx_file_try_lock(fd) == 0 : errno == ENOENT && sb.st_mtime + YOUNG_S < time(NULL)) {
        (void)dtx_file_remove(dir); /* what cannot be removed is the next one's */
    }
    if (fd >= 0) {
        close(fd);
    }
}

static void remove_all_deserted(const char *base, const char *stem)
{
    char path[PATH];
    DIR *d = opendir(base);

    for (const struct dirent *e = d != NULL ? readdir(d) : NULL; e != NULL; e = readdir(d)) {
        if (strncmp(e->d_name, stem, strlen(stem)) == 0 && snprintf(path, sizeof path, "%s/%s", base, e->d_name) < (int)sizeof path) {
            remove_deserted(path);
        }
    }
    if (d != NULL) {
        closedir(d);
    }
}

/* A new folder with its lock held, or false. */
static bool make_folder(const char *base, const char *stem)
{
    char path[PATH];
    struct stat sb;

    for (int i = 0; i < TRIES; i++) {
        unsigned long long number = 0;
        if (getrandom(&number, sizeof number, GRND_NONBLOCK) != (ssize_t)sizeof number) {
            number = (unsigned long long)getpid() * TRIES + (unsigned long long)i;
        }
        if (snprintf(session.dir, sizeof session.dir, "%s/%s%016llx", base, stem, number) >= (int)sizeof session.dir
            || !lock_path(path, session.dir)) {
            return false;
        }
        if (mkdir(session.dir, 0700) != 0) {
            if (errno == EEXIST) {
                continue;
            }
            return false;
        }
        const int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd >= 0 && dtx_file_try_lock(fd) == 0 && fstat(fd, &sb) == 0 && sb.st_nlink > 0) {
            session.lock = fd;
            return true;
        }
        if (fd >= 0) { /* another process took it for deserted, before it was locked; or there are no locks here */
            close(fd);
        }
        (void)dtx_file_remove(session.dir);
    }
    return false;
}

void dtx_session_begin(void)
{
    const char *base = getenv("TMPDIR");
    char stem[40];

    if (session.lock >= 0 || getenv("OMPI_MCA_orte_tmpdir_base") != NULL) {
        return;
    }
    base = base != NULL && base[0] != '\0' ? base : "/tmp";
    snprintf(stem, sizeof stem, "dtx-mpi-%lu-", (unsigned long)geteuid());
    remove_all_deserted(base, stem);
    if (make_folder(base, stem)) {
        setenv("OMPI_MCA_orte_tmpdir_base", session.dir, 1);
        atexit(dtx_session_end);
    }
    dtx_error_clear();
}

void dtx_session_end(void)
{
    if (session.lock >= 0) {
        (void)dtx_file_remove(session.dir);
        close(session.lock);
        session.lock = -1;
        unsetenv("OMPI_MCA_orte_tmpdir_base");
    }
}
