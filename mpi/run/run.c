#include "mpi/run/run.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mpi/h5/impl.h"
#include "src/base/file.h"
#include "src/base/log.h"
#include "src/base/mem.h"

/* A launcher that was killed takes a moment to take its ranks with it; the next launch waits that long for the lock. */
enum { LOCK_TRIES = 50, LOCK_PAUSE_US = 100000, COPY_PIECE = 1 << 23 };

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
    hid_t file = -1, fapl = dtx_h5_serial_access(), fcpl = H5Pcreate(H5P_FILE_CREATE);
    dtx_status st = DTX_OK;

    snprintf(tmp, sizeof tmp, "%s.edit", path);
    H5Pset_obj_track_times(fcpl, false);
    file = H5Fcreate(tmp, H5F_ACC_TRUNC, fcpl, fapl);
    if (file < 0) {
        st = DTX_H5_FAIL(DTX_ERR_MISSING, "%s: cannot create", tmp);
        goto done;
    }
    DTX_GO(dtx_h5_attr_int(file, "/", "schema_version", DTX_SCHEMA_VERSION));
    DTX_GO(dtx_h5_attr_str(file, "/", "Conventions", "CF-1.8"));
    DTX_GO(dtx_h5_make_groups(file, dtx_h5_places[DTX_H5_LAUNCHES].path, true));
    if (H5Fflush(file, H5F_SCOPE_GLOBAL) < 0) {
        st = DTX_H5_FAIL(DTX_ERR_MISSING, "%s: cannot write", tmp);
        goto done;
    }
    herr_t closed = H5Fclose(file);
    file = -1;
    if (closed < 0) {
        st = DTX_H5_FAIL(DTX_ERR_MISSING, "%s: cannot write", tmp);
        goto done;
    }
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
    snprintf(path, sizeof path, "%s.edit", run->path); /* of a launch that was killed */
    unlink(path);
    if (!dtx_file_exists(run->path)) {
        DTX_TRY(make_empty(run->path));
    }
    if (access(run->path, R_OK | W_OK) != 0) {
        return DTX_FAIL(DTX_ERR_MISSING, "%s: cannot read and write: %s", run->path, strerror(errno));
    }
    DTX_TRY(dtx_h5_open_serial(run->path, &file));
    dtx_status st = dtx_h5_check_schema(file, run->path);
    H5Fclose(file);
    return st;
}

/* Collective. */
static dtx_status open_parallel(dtx_run *run)
{
    hid_t fapl = H5Pcreate(H5P_FILE_ACCESS);
    dtx_status st = DTX_OK;

    if (fapl < 0 || H5Pset_fapl_mpio(fapl, run->par->comm, MPI_INFO_NULL) < 0
        || H5Pset_fclose_degree(fapl, H5F_CLOSE_STRONG) < 0) {
        st = DTX_H5_FAIL(DTX_ERR_CHECK, "cannot set up parallel access");
    }
    st = dtx_par_agree(run->par, st);
    if (st == DTX_OK) {
        run->file = H5Fopen(run->path, H5F_ACC_RDWR, fapl);
        if (run->file < 0) {
            st = DTX_H5_FAIL(DTX_ERR_INPUT, "%s: cannot open on all ranks", run->path);
        }
        st = dtx_par_agree(run->par, st);
    }
    if (fapl >= 0) {
        H5Pclose(fapl);
    }
    return st;
}

/* Collective. */
static dtx_status close_parallel(dtx_run *run)
{
    dtx_status st = DTX_OK;

    if (run->file >= 0 && H5Fclose(run->file) < 0) {
        st = DTX_H5_FAIL(DTX_ERR_MISSING, "%s: cannot write what is left", run->path);
    }
    run->file = -1;
    return dtx_par_agree(run->par, st);
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
    run->file = -1;
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
    if (st == DTX_OK) {
        st = open_parallel(run);
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
    if (run->file >= 0 && close_parallel(run) != DTX_OK && run->par->rank == 0) {
        dtx_log(DTX_LOG_ERROR, "run", "%s", dtx_error_text());
    }
    if (run->lock_fd >= 0) {
        close(run->lock_fd);
    }
    dtx_free(run);
}

/* --- structural edits --- */

static dtx_status copy_by_hand(int from, int to, const char *path)
{
    dtx_status st = DTX_OK;
    char *buf = NULL;

    DTX_GO(DTX_NEW_RAW(buf, COPY_PIECE));
    for (;;) {
        ssize_t n = read(from, buf, COPY_PIECE);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            st = n < 0 ? DTX_FAIL(DTX_ERR_MISSING, "%s: cannot read for a copy: %s", path, strerror(errno)) : DTX_OK;
            break;
        }
        for (ssize_t done = 0; done < n;) {
            ssize_t w = write(to, buf + done, (size_t)(n - done));
            if (w < 0 && errno != EINTR) {
                st = DTX_FAIL(DTX_ERR_MISSING, "%s: cannot write a copy beside it: %s", path, strerror(errno));
                goto done;
            }
            done += w > 0 ? w : 0;
        }
    }
done:
    dtx_free(buf);
    return st;
}

/* A clone that shares blocks where the file system can do that, a copy inside the kernel elsewhere, by hand at last. */
static dtx_status copy_file(const char *path, const char *copy)
{
    struct stat sb;
    dtx_status st = DTX_OK;
    int from = open(path, O_RDONLY | O_CLOEXEC), to = open(copy, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

    if (from < 0 || to < 0 || fstat(from, &sb) != 0) {
        st = DTX_FAIL(DTX_ERR_MISSING, "%s: cannot make a copy beside it: %s", path, strerror(errno));
        goto done;
    }
    if (ioctl(to, FICLONE, from) == 0) {
        goto done;
    }
    for (off_t left = sb.st_size; left > 0;) {
        ssize_t n = copy_file_range(from, NULL, to, NULL, (size_t)left, 0);
        if (n > 0) {
            left -= n;
        } else if (n < 0 && (errno == ENOSPC || errno == EDQUOT || errno == EIO || errno == EFBIG)) {
            st = DTX_FAIL(DTX_ERR_MISSING, "%s: a copy of %.1f MB beside it is needed to change its structure: %s", path,
                          (double)sb.st_size / 1e6, strerror(errno));
            goto done;
        } else if (n == 0 || errno != EINTR) { /* not between these file systems: both offsets stand where it stopped */
            DTX_GO(copy_by_hand(from, to, path));
            break;
        }
    }
done:
    if (from >= 0) {
        close(from);
    }
    if (to >= 0) {
        close(to);
    }
    return st;
}

/* Rank 0. */
static dtx_status edit_copy(const dtx_run *run, dtx_run_editor editor, void *user)
{
    char copy[1200];
    hid_t file = -1, fapl = dtx_h5_serial_access();
    dtx_status st;

    snprintf(copy, sizeof copy, "%s.edit", run->path);
    DTX_GO(copy_file(run->path, copy));
    file = H5Fopen(copy, H5F_ACC_RDWR, fapl);
    if (file < 0) {
        st = DTX_H5_FAIL(DTX_ERR_INPUT, "%s: cannot open", copy);
        goto done;
    }
    DTX_GO(editor(file, user));
    if (H5Fflush(file, H5F_SCOPE_GLOBAL) < 0) {
        st = DTX_H5_FAIL(DTX_ERR_MISSING, "%s: cannot write", copy);
        goto done;
    }
    herr_t closed = H5Fclose(file);
    file = -1;
    if (closed < 0) {
        st = DTX_H5_FAIL(DTX_ERR_MISSING, "%s: cannot write", copy);
        goto done;
    }
    DTX_GO(dtx_file_publish(copy, run->path));
done:
    dtx_h5_abandon(file);
    if (st != DTX_OK) {
        unlink(copy);
    }
    H5Pclose(fapl);
    return st;
}

/* Rank 0. */
static dtx_status read_serial(const dtx_run *run, dtx_run_editor reader, void *user)
{
    hid_t file = -1;

    DTX_TRY(dtx_h5_open_serial(run->path, &file));
    dtx_status st = reader(file, user);
    H5Fclose(file);
    return st;
}

typedef dtx_status (*serial_work)(const dtx_run *run, dtx_run_editor fn, void *user);

/* Collective. Closes, lets rank 0 work, opens again. */
static dtx_status while_closed(dtx_run *run, serial_work work, dtx_run_editor fn, void *user)
{
    dtx_status st = close_parallel(run);

    if (st == DTX_OK) {
        st = dtx_par_agree(run->par, run->par->rank == 0 ? work(run, fn, user) : DTX_OK);
    }
    /* open again in any case: what failed was the copy */
    char why[2048];
    snprintf(why, sizeof why, "%s", dtx_error_text());
    dtx_status opened = open_parallel(run);
    if (st != DTX_OK) {
        dtx_error_set(why);
        return st;
    }
    return opened;
}

dtx_status dtx_run_edit(dtx_run *run, dtx_run_editor editor, void *user)
{
    return while_closed(run, edit_copy, editor, user);
}

dtx_status dtx_run_inspect(dtx_run *run, dtx_run_editor reader, void *user)
{
    return while_closed(run, read_serial, reader, user);
}
