/* HDF5's library can crash on a damaged file (1.10.8: 7 of 400 files with a few metadata bytes changed, in this program as
 * in h5dump). So a child process walks the structure first: when that one dies, the file is refused, not the program. */
#include <errno.h>
#include <fcntl.h>
#include <hdf5_hl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mpi/h5/impl.h"

enum { PROBE_SECONDS = 120, MAX_ATTRIBUTE = 1 << 26, MAX_SCALES = 4096, DAMAGED = 3 };

static bool read_attribute(hid_t attr)
{
    hid_t type = H5Aget_type(attr), space = H5Aget_space(attr);
    hssize_t n = space >= 0 ? H5Sget_simple_extent_npoints(space) : -1;
    size_t size = type >= 0 ? H5Tget_size(type) : 0;
    bool ok = n >= 0 && size > 0 && (size_t)n <= MAX_ATTRIBUTE / size;

    if (ok && n > 0) {
        void *x = calloc((size_t)n, size); /* of the child: not counted */
        ok = x != NULL && H5Aread(attr, type, x) >= 0;
        for (hssize_t i = 0; ok && i < n && H5Tget_class(type) == H5T_VLEN; i++) { /* an axis's scales: copying billions takes minutes */
            ok = ((const hvl_t *)x)[i].len <= MAX_SCALES;
        }
        if (ok && H5Tdetect_class(type, H5T_VLEN) > 0) {
            ok = H5Dvlen_reclaim(type, space, H5P_DEFAULT, x) >= 0;
        }
        free(x);
    }
    H5Sclose(space);
    H5Tclose(type);
    return ok;
}

static herr_t visit_attribute(hid_t obj, const char *name, const H5A_info_t *info, void *user)
{
    hid_t attr = H5Aopen(obj, name, H5P_DEFAULT);
    bool ok = attr >= 0 && H5Aexists(obj, name) > 0 && read_attribute(attr);

    (void)info;
    (void)user;
    if (attr >= 0) {
        H5Aclose(attr);
    }
    return ok ? 0 : -1;
}

static herr_t visit_object(hid_t root, const char *name, const H5O_info_t *info, void *user)
{
    hid_t obj = H5Oopen(root, name, H5P_DEFAULT);
    char text[256];
    bool ok = obj >= 0 && H5Aiterate2(obj, H5_INDEX_NAME, H5_ITER_INC, NULL, visit_attribute, NULL) >= 0;

    (void)user;
    for (hsize_t i = 0; ok && i < info->num_attrs; i++) {
        ok = H5Aget_name_by_idx(obj, ".", H5_INDEX_NAME, H5_ITER_INC, i, text, sizeof text, H5P_DEFAULT) >= 0;
    }
    if (ok && info->type == H5O_TYPE_DATASET) {
        hid_t type = H5Dget_type(obj), space = H5Dget_space(obj), plist = H5Dget_create_plist(obj);
        ok = type >= 0 && space >= 0 && plist >= 0 && H5Sget_simple_extent_ndims(space) >= 0 && H5DSis_scale(obj) >= 0;
        H5Dget_storage_size(obj);
        H5Pclose(plist);
        H5Sclose(space);
        H5Tclose(type);
    }
    if (obj >= 0) {
        H5Oclose(obj);
    }
    return ok ? 0 : -1;
}

/* In the child: never returns. */
static _Noreturn void walk(const char *path)
{
    static const int fatal[] = {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGALRM, SIGTERM, SIGINT, SIGUSR1};
    const struct rlimit no_core = {0, 0};
    int null = open("/dev/null", O_WRONLY);

    for (size_t i = 0; i < sizeof fatal / sizeof fatal[0]; i++) { /* MPI's handlers would print a trace */
        signal(fatal[i], SIG_DFL);
    }
    setrlimit(RLIMIT_CORE, &no_core);
    dup2(null, STDERR_FILENO);
    alarm(PROBE_SECONDS);
    hid_t file = -1;
    if (dtx_h5_open_known(path, &file) != DTX_OK) {
        file = -1;
    }
    bool ok = file >= 0 && H5Ovisit(file, H5_INDEX_NAME, H5_ITER_INC, visit_object, NULL) >= 0 && H5Fclose(file) >= 0;
    _exit(ok ? 0 : DAMAGED);
}

dtx_status dtx_h5_probe(const char *path)
{
    int status = 0;
    pid_t child = fork();

    if (child < 0) {
        return DTX_FAIL(DTX_ERR_MISSING, "cannot start a process that checks %s: %s", path, strerror(errno));
    }
    if (child == 0) {
        walk(path);
    }
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR) {
            return DTX_OK; /* somebody else collects children here: go on without the check */
        }
    }
    if (WIFSIGNALED(status)) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: damaged: reading its structure %s", path,
                        WTERMSIG(status) == SIGALRM ? "does not come to an end" : "crashes the HDF5 library");
    }
    if (WEXITSTATUS(status) != 0) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: damaged: the HDF5 library cannot read all of its structure", path);
    }
    return DTX_OK;
}
