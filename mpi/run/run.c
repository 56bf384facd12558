#include "mpi/run/run.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mpi/h5/edit.h"
#include "mpi/h5/impl.h"
#include "src/base/file.h"
#include "src/base/log.h"
#include "src/base/mem.h"

/* A launcher that was killed takes a moment to take its ranks with it; the next launch waits that long for the lock. */
enum { LOCK_TRIES = 50, LOCK_PAUSE_US = 100000 };

/* --- the lock --- */

dtx_status dtx_run_lock(const dtx_par *par, const char *dir, bool to_read, int *out)
{
    char path[1100], text[512];
    const char *job = getenv("SLURM_JOB_ID"), *name = getenv("SLURM_JOB_NAME");

    DTX_TRY(dtx_file_join(path, sizeof path, dir, "lock"));
    int fd = -1;
    dtx_status st = dtx_file_open_kept(path, O_RDWR | O_NOFOLLOW, &fd);
    if (st != DTX_OK && to_read && (errno == EACCES || errno == EROFS || errno == EPERM)) {
        dtx_log(DTX_LOG_WARN, "run", "%s: cannot be written, so nothing tells whether a job fills this run directory now", path);
        *out = -1;
        return DTX_OK;
    }
    DTX_TRY(st);
    for (int i = 0; dtx_file_try_lock(fd) != 0; i++) {
        if (errno != EAGAIN && errno != EACCES && errno != EINTR) { /* some file systems are mounted without locks */
            dtx_log(DTX_LOG_WARN, "run", "%s: cannot lock (%s): nothing keeps a second job off this run directory", path,
                    strerror(errno));
            break;
        }
        if (i == LOCK_TRIES) {
            ssize_t n = pread(fd, text, sizeof text - 1, 0);
            text[n > 0 ? n : 0] = '\0';
            text[strcspn(text, "\n")] = '\0';
            close(fd);
            return DTX_FAIL(DTX_ERR_USAGE, "%s is in use by another job (%s); wait until it has ended, or use another run "
                            "directory", dir, text[0] != '\0' ? text : "unknown holder");
        }
        usleep(LOCK_PAUSE_US);
    }
    /* Who holds it, for the message above. What an earlier holder left is stale and harmless. */
    int n = snprintf(text, sizeof text, "host %s, process %ld, Slurm job %s%s%s\n", par->host, (long)getpid(),
                     job != NULL ? job : "none", name != NULL ? " " : "", name != NULL ? name : "");
    n = n < (int)sizeof text ? n : (int)sizeof text - 1;
    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)n, 0) != n) {
        dtx_log(DTX_LOG_WARN, "run", "%s: cannot write: %s", path, strerror(errno));
    }
    *out = fd;
    return DTX_OK;
}

/* --- opening --- */

static dtx_status make_empty(const char *path)
{
    char tmp[1200];
    hid_t file = -1, fapl = dtx_h5_access(NULL), fcpl = H5Pcreate(H5P_FILE_CREATE);
    dtx_status st = DTX_OK;

    snprintf(tmp, sizeof tmp, "%s.new", path);
    dtx_h5_device_begin();
    H5Pset_obj_track_times(fcpl, false);
    file = H5Fcreate(tmp, H5F_ACC_TRUNC, fcpl, fapl);
    if (file < 0) {
        st = DTX_H5_FAIL(DTX_ERR_MISSING, "%s: cannot create", tmp);
        goto done;
    }
    DTX_GO(dtx_h5_attr_int(file, "/", "schema_version", DTX_SCHEMA_VERSION));
    DTX_GO(dtx_h5_attr_str(file, "/", "Conventions", "CF-1.8"));
    DTX_GO(dtx_h5_make_groups(file, dtx_h5_places[DTX_H5_LAUNCHES].path, true));
    st = dtx_h5_finish(file, tmp);
    file = -1;
    DTX_GO(st);
    DTX_GO(dtx_file_publish(tmp, path));
done:
    dtx_h5_abandon(file);
    if (st != DTX_OK) {
        unlink(tmp);
    }
    H5Pclose(fcpl);
    H5Pclose(fapl);
    return st;
}

/* Rank 0: everything that does not need the other ranks. */
static dtx_status prepare(dtx_run *run, bool make)
{
    static const char *const folders[] = {"log", "checkpoints", "report"};
    char path[1200];
    hid_t file = -1;

    if (!make && !dtx_file_exists(run->path)) {
        return DTX_FAIL(DTX_ERR_MISSING, "%s is not there: detoxlens generate or import makes it; is --run %s the right run directory?",
                        run->path, run->dir);
    }
    DTX_TRY(dtx_file_mkdirs(run->dir));
    DTX_TRY(dtx_run_lock(run->par, run->dir, false, &run->lock_fd));
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        DTX_TRY(dtx_file_join(path, sizeof path, run->dir, folders[i]));
        DTX_TRY(dtx_file_mkdirs(path));
    }
    snprintf(path, sizeof path, "%s.new", run->path); /* of a launch that was killed; .edit: of one of an older version */
    unlink(path);
    snprintf(path, sizeof path, "%s.edit", run->path);
    unlink(path);
    DTX_TRY(dtx_h5_recover(run->path));
    if (!dtx_file_exists(run->path)) {
        DTX_TRY(make_empty(run->path));
    }
    if (access(run->path, R_OK | W_OK) != 0) {
        return DTX_FAIL(DTX_ERR_MISSING, "%s: cannot read and write: %s", run->path, strerror(errno));
    }
    DTX_TRY(dtx_h5_open_serial(run->path, &file));
    dtx_status st = dtx_h5_device_check(dtx_h5_check_schema(file, run->path), run->path);
    dtx_h5_close(file);
    return st;
}

static dtx_status open_run(const dtx_par *par, const char *dir, bool make, dtx_run **out)
{
    dtx_run *run = NULL;
    dtx_status st;

    dtx_h5_quiet();
    st = dtx_par_agree(par, DTX_NEW(run, 1));
    if (st != DTX_OK) {
        dtx_free(run);
        return st;
    }
    run->par = par;
    run->fd = -1;
    run->lock_fd = -1;
    run->launch = -1;
    if (strlen(dir) == 0 || strlen(dir) >= sizeof run->dir) {
        st = DTX_FAIL(DTX_ERR_USAGE, "the run directory's name is empty or longer than %zu bytes", sizeof run->dir - 1);
    } else {
        snprintf(run->dir, sizeof run->dir, "%s", dir);
        snprintf(run->path, sizeof run->path, "%s/run.h5", dir);
        st = par->rank == 0 ? prepare(run, make) : DTX_OK;
    }
    st = dtx_par_agree(par, st);
    if (st == DTX_OK) { /* for writing alone: a network file system's client then has no old page to fill up what it sends */
        run->fd = open(run->path, O_WRONLY | O_CLOEXEC);
        st = run->fd >= 0 ? DTX_OK : DTX_FAIL(DTX_ERR_MISSING, "%s: cannot open for writing: %s", run->path, strerror(errno));
        st = dtx_par_agree(par, st);
    }
    if (st != DTX_OK) {
        dtx_run_close(run);
        return st;
    }
    *out = run;
    return DTX_OK;
}

dtx_status dtx_run_open(const dtx_par *par, const char *dir, dtx_run **out)
{
    return open_run(par, dir, true, out);
}

dtx_status dtx_run_open_existing(const dtx_par *par, const char *dir, dtx_run **out)
{
    return open_run(par, dir, false, out);
}

void dtx_run_close(dtx_run *run)
{
    if (run == NULL) {
        return;
    }
    if (run->fd >= 0) {
        close(run->fd);
    }
    dtx_free(run->places);
    if (run->lock_fd >= 0) {
        close(run->lock_fd);
    }
    dtx_free(run);
}

/* --- structural edits --- */

dtx_status dtx_run_edit(dtx_run *run, dtx_run_editor editor, void *user)
{
    DTX_TRY(dtx_run_flush(run)); /* what other ranks wrote is there for rank 0 */
    run->n_places = 0;
    return DTX_ROOT(run->par, dtx_h5_edit(run->path, editor, user));
}

/* Rank 0. */
static dtx_status read_serial(const dtx_run *run, dtx_run_editor reader, void *user)
{
    hid_t file = -1;

    DTX_TRY(dtx_h5_open_known(run->path, &file));
    dtx_status st = dtx_h5_device_check(reader(file, user), run->path);
    dtx_h5_close(file);
    return st;
}

dtx_status dtx_run_inspect(dtx_run *run, dtx_run_editor reader, void *user)
{
    DTX_TRY(dtx_run_flush(run));
    return DTX_ROOT(run->par, read_serial(run, reader, user));
}
