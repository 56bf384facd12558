#include "src/base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/mem.h"

dtx_status dtx_file_map_open(const char *path, dtx_file_map *out)
{
    struct stat sb;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        return DTX_FAIL(DTX_ERR_MISSING, "%s: cannot open: %s", path, strerror(errno));
    }
    if (fstat(fd, &sb) != 0 || !S_ISREG(sb.st_mode)) {
        close(fd);
        return DTX_FAIL(DTX_ERR_MISSING, "%s: not a regular file", path);
    }
    if (sb.st_size == 0) {
        close(fd);
        out->data = "";
        out->size = 0;
        return DTX_OK;
    }
    void *p = mmap(NULL, (size_t)sb.st_size, PROT_READ, MAP_SHARED, fd, 0);
    int why = errno;
    close(fd);
    if (p == MAP_FAILED) {
        return DTX_FAIL(DTX_ERR_MISSING, "%s: cannot map %lld bytes: %s", path, (long long)sb.st_size, strerror(why));
    }
    out->data = p;
    out->size = (size_t)sb.st_size;
    return DTX_OK;
}

void dtx_file_map_close(dtx_file_map *map)
{
    if (map != NULL && map->data != NULL && map->size > 0) {
        munmap((void *)(uintptr_t)map->data, map->size);
    }
    if (map != NULL) {
        map->data = NULL;
        map->size = 0;
    }
}

bool dtx_file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

bool dtx_file_is_dir(const char *path)
{
    struct stat sb;

    return stat(path, &sb) == 0 && S_ISDIR(sb.st_mode);
}

int dtx_file_try_lock(int fd)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    if (fcntl(fd, F_OFD_SETLK, &whole) == 0) {
        return 0;
    }
    return errno == EINVAL ? fcntl(fd, F_SETLK, &whole) : -1;
}

dtx_status dtx_file_mkdirs(const char *path)
{
    char part[4096];
    size_t n = strlen(path);

    if (n == 0 || n >= sizeof part) {
        return DTX_FAIL(DTX_ERR_USAGE, "folder name is empty or longer than %zu bytes", sizeof part - 1);
    }
    memcpy(part, path, n + 1);
    for (size_t i = 1; i <= n; i++) {
        if (part[i] == '/' || part[i] == '\0') {
            char c = part[i];
            part[i] = '\0';
            if (mkdir(part, 0777) != 0 && errno != EEXIST) {
                return DTX_FAIL(DTX_ERR_MISSING, "%s: cannot make the folder: %s", part, strerror(errno));
            }
            part[i] = c;
        }
    }
    if (!dtx_file_is_dir(path)) {
        return DTX_FAIL(DTX_ERR_MISSING, "%s: is there, but not a folder", path);
    }
    return DTX_OK;
}

dtx_status dtx_file_join(char *out, size_t size, const char *dir, const char *name)
{
    int n = snprintf(out, size, "%s/%s", dir, name);

    if (n < 0 || (size_t)n >= size) {
        return DTX_FAIL(DTX_ERR_USAGE, "path too long: %s/%s", dir, name);
    }
    return DTX_OK;
}

dtx_status dtx_file_folder(char *out, size_t size, const char *path)
{
    const char *slash = strrchr(path, '/');
    const int length = slash == NULL || slash == path ? 1 : (int)(slash - path);

    if (snprintf(out, size, "%.*s", length, slash != NULL ? path : ".") >= (int)size) {
        return DTX_FAIL(DTX_ERR_USAGE, "path too long: %s", path);
    }
    return DTX_OK;
}

static void sync_folder_of(const char *path)
{
    char dir[4096];

    if (dtx_file_folder(dir, sizeof dir, path) != DTX_OK) {
        return;
    }
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd); /* some file systems refuse it on folders; the rename itself is atomic all the same */
        close(fd);
    }
}

/* name.tmp.PROCESS of other processes. Whether one is still there cannot be asked: it may have run on another node. */
static void remove_leftovers(const char *dir, const char *name)
{
    const size_t n = strlen(name);
    char path[4096];
    DIR *d = opendir(dir);

    for (const struct dirent *e = d != NULL ? readdir(d) : NULL; e != NULL; e = readdir(d)) {
        long process = 0;
        int end = 0;
        if (strncmp(e->d_name, name, n) == 0 && sscanf(e->d_name + n, ".tmp.%ld%n", &process, &end) == 1 && end > 0
            && e->d_name[n + (size_t)end] == '\0' && process != (long)getpid()
            && snprintf(path, sizeof path, "%s/%s", dir, e->d_name) < (int)sizeof path) {
            unlink(path);
        }
    }
    if (d != NULL) {
        closedir(d);
    }
}

dtx_status dtx_file_temporary(char *tmp, size_t size, const char *path)
{
    const char *slash = strrchr(path, '/');

    DTX_TRY(dtx_file_folder(tmp, size, path));
    remove_leftovers(tmp, slash != NULL ? slash + 1 : path);
    if (snprintf(tmp, size, "%s.tmp.%ld", path, (long)getpid()) >= (int)size) {
        return DTX_FAIL(DTX_ERR_USAGE, "path too long: %s", path);
    }
    return DTX_OK;
}

dtx_status dtx_file_publish(const char *tmp, const char *path)
{
    int fd = open(tmp, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fsync(fd) != 0) {
        dtx_status st = DTX_FAIL(DTX_ERR_MISSING, "%s: cannot write to disk: %s", tmp, strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        unlink(tmp);
        return st;
    }
    close(fd);
    if (rename(tmp, path) != 0) {
        dtx_status st = DTX_FAIL(DTX_ERR_MISSING, "%s: cannot rename to %s: %s", tmp, path, strerror(errno));
        unlink(tmp);
        return st;
    }
    sync_folder_of(path);
    return DTX_OK;
}

dtx_status dtx_file_write(const char *path, const void *data, size_t size)
{
    char tmp[4096];

    DTX_TRY(dtx_file_temporary(tmp, sizeof tmp, path));
    int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) {
        return DTX_FAIL(DTX_ERR_MISSING, "%s: cannot create: %s", tmp, strerror(errno));
    }
    for (size_t done = 0; done < size;) {
        ssize_t w = write(fd, (const char *)data + done, size - done);
        if (w < 0 && errno == EINTR) {
            continue;
        }
        if (w <= 0) {
            dtx_status st = DTX_FAIL(DTX_ERR_MISSING, "%s: cannot write %zu bytes: %s", tmp, size - done, strerror(errno));
            close(fd);
            unlink(tmp);
            return st;
        }
        done += (size_t)w;
    }
    if (close(fd) != 0) {
        dtx_status st = DTX_FAIL(DTX_ERR_MISSING, "%s: cannot write: %s", tmp, strerror(errno));
        unlink(tmp);
        return st;
    }
    return dtx_file_publish(tmp, path);
}

dtx_status dtx_file_copy(const char *from_dir, const char *to_dir, const char *name)
{
    char from[4096], to[4096];
    dtx_file_map map;

    DTX_TRY(dtx_file_join(from, sizeof from, from_dir, name));
    DTX_TRY(dtx_file_join(to, sizeof to, to_dir, name));
    DTX_TRY(dtx_file_map_open(from, &map));
    dtx_status st = dtx_file_write(to, map.data, map.size);
    dtx_file_map_close(&map);
    return st;
}
