#include "src/base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "src/base/mem.h"

/* Why a file of this mode is no input. */
static const char *kind_of(mode_t mode)
{
    return S_ISDIR(mode) ? "a folder" : S_ISFIFO(mode) ? "a pipe" : S_ISSOCK(mode) ? "a socket"
         : S_ISCHR(mode) || S_ISBLK(mode) ? "a device" : "of an unknown kind";
}

/* Opens without waiting (a pipe without a writer, a modem), and refuses what is no regular file. errno tells why. */
static dtx_status open_regular(const char *path, int flags, int *out, struct stat *sb)
{
    const int fd = open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0666);

    *out = -1;
    if (fd < 0 && errno == ENXIO) { /* a pipe that nobody reads, a socket, a device that is not there */
        dtx_status st = DTX_FAIL(DTX_ERR_MISSING, "%s: not a regular file, but a pipe, a socket or a device", path);
        errno = ENXIO;
        return st;
    }
    if (fd < 0) {
        const int why = errno;
        dtx_status st = DTX_FAIL(DTX_ERR_MISSING, why == ELOOP && (flags & O_NOFOLLOW) != 0
                                 ? "%s: cannot open: a symbolic link is not followed here (%s)" : "%s: cannot open: %s", path, strerror(why));
        errno = why;
        return st;
    }
    if (fstat(fd, sb) != 0 || !S_ISREG(sb->st_mode)) {
        close(fd);
        dtx_status st = DTX_FAIL(DTX_ERR_MISSING, "%s: not a regular file, but %s", path, kind_of(sb->st_mode));
        errno = EINVAL;
        return st;
    }
    *out = fd;
    return DTX_OK;
}

dtx_status dtx_file_open(const char *path, int *fd, size_t *size)
{
    struct stat sb = {0};

    DTX_TRY(open_regular(path, O_RDONLY, fd, &sb));
    if (size != NULL) {
        *size = (size_t)sb.st_size;
    }
    return DTX_OK;
}

dtx_status dtx_file_open_kept(const char *path, int flags, int *fd)
{
    struct stat sb = {0};

    return open_regular(path, flags | O_CREAT, fd, &sb);
}

dtx_status dtx_file_map_open(const char *path, dtx_file_map *out)
{
    size_t size;
    int fd;

    DTX_TRY(dtx_file_open(path, &fd, &size));
    if (size == 0) {
        close(fd);
        out->data = "";
        out->size = 0;
        return DTX_OK;
    }
    void *p = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    int why = errno;
    close(fd);
    if (p == MAP_FAILED) {
        return DTX_FAIL(DTX_ERR_MISSING, "%s: cannot map %zu bytes: %s", path, size, strerror(why));
    }
    out->data = p;
    out->size = size;
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

static int try_lock(int fd, short type)
{
    struct flock whole = {.l_type = type, .l_whence = SEEK_SET};

    if (fcntl(fd, F_OFD_SETLK, &whole) == 0) {
        return 0;
    }
    return errno == EINVAL ? fcntl(fd, F_SETLK, &whole) : -1;
}

int dtx_file_try_lock(int fd)
{
    return try_lock(fd, F_WRLCK);
}

int dtx_file_try_share(int fd)
{
    return try_lock(fd, F_RDLCK);
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

/* --- new files --- */

/* Is `name` = stem.tmp.NUMBER? */
static bool is_temporary(const char *name, const char *stem)
{
    const size_t n = strlen(stem);

    if (strncmp(name, stem, n) != 0 || strncmp(name + n, ".tmp.", 5) != 0) {
        return false;
    }
    const char *number = name + n + 5;
    return number[0] != '\0' && number[strspn(number, "0123456789abcdef")] == '\0';
}

/* Removes the temporary files of dir/stem whose process is gone: the system has dropped its lock, on whichever node it ran. */
static void remove_leftovers(const char *dir, const char *stem)
{
    DIR *d = opendir(dir);

    for (const struct dirent *e = d != NULL ? readdir(d) : NULL; e != NULL; e = readdir(d)) {
        struct stat mine, there;
        if (!is_temporary(e->d_name, stem)) {
            continue;
        }
        const int fd = openat(dirfd(d), e->d_name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd >= 0 && fstat(fd, &mine) == 0 && S_ISREG(mine.st_mode) && dtx_file_try_lock(fd) == 0
            && fstatat(dirfd(d), e->d_name, &there, AT_SYMLINK_NOFOLLOW) == 0 && there.st_ino == mine.st_ino && there.st_dev == mine.st_dev) {
            unlinkat(dirfd(d), e->d_name, 0);
        }
        if (fd >= 0) {
            close(fd);
        }
    }
    if (d != NULL) {
        closedir(d);
    }
}

/* A number that no other process has, on no node. */
static uint64_t launch_number(void)
{
    uint64_t x = 0;

    if (getrandom(&x, sizeof x, GRND_NONBLOCK) != (ssize_t)sizeof x) { /* shortly after the start of the machine */
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        x ^= (uint64_t)now.tv_nsec << 32 ^ (uint64_t)now.tv_sec << 16 ^ (uint64_t)getpid();
    }
    return x;
}

dtx_status dtx_file_begin(dtx_file_new *f, const char *path)
{
    enum { TRIES = 100 };
    const char *slash = strrchr(path, '/');
    struct stat sb;

    f->fd = -1;
    f->stream = NULL;
    DTX_TRY(dtx_file_folder(f->tmp, sizeof f->tmp, path));
    remove_leftovers(f->tmp, slash != NULL ? slash + 1 : path);
    for (int i = 0; i < TRIES; i++) {
        if (snprintf(f->tmp, sizeof f->tmp, "%s.tmp.%016llx", path, (unsigned long long)launch_number()) >= (int)sizeof f->tmp) {
            return DTX_FAIL(DTX_ERR_USAGE, "path too long: %s", path);
        }
        const int fd = open(f->tmp, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
        if (fd < 0 && errno == EEXIST) {
            continue;
        }
        if (fd < 0) {
            return DTX_FAIL(DTX_ERR_MISSING, "%s: cannot create: %s", f->tmp, strerror(errno));
        }
        /* Before the lock is there another process may take the file for a leftover: then the next name. File systems without
         * locks have no such process. */
        const bool taken = dtx_file_try_lock(fd) != 0 && (errno == EAGAIN || errno == EACCES);
        if (!taken && fstat(fd, &sb) == 0 && sb.st_nlink > 0) {
            f->fd = fd;
            memcpy(f->path, path, strlen(path) + 1);
            return DTX_OK;
        }
        close(fd);
    }
    return DTX_FAIL(DTX_ERR_MISSING, "%s: no name beside it is free for a temporary file", path);
}

dtx_status dtx_file_stream(dtx_file_new *f, FILE **out)
{
    const int copy = fcntl(f->fd, F_DUPFD_CLOEXEC, 0);

    f->stream = copy >= 0 ? fdopen(copy, "w") : NULL;
    *out = f->stream;
    if (f->stream == NULL) {
        dtx_status st = DTX_FAIL(DTX_ERR_MISSING, "%s: cannot write: %s", f->tmp, strerror(errno));
        if (copy >= 0) {
            close(copy);
        }
        return st;
    }
    return DTX_OK;
}

dtx_status dtx_file_add(dtx_file_new *f, const void *data, size_t size)
{
    for (size_t done = 0; done < size;) {
        const ssize_t w = write(f->fd, (const char *)data + done, size - done);
        if (w > 0) {
            done += (size_t)w;
        } else if (w == 0 || errno != EINTR) {
            return DTX_FAIL(DTX_ERR_MISSING, "%s: cannot write %zu bytes: %s", f->path, size - done, w == 0 ? "nothing is taken" : strerror(errno));
        }
    }
    return DTX_OK;
}

static dtx_status close_stream(dtx_file_new *f)
{
    FILE *stream = f->stream;

    f->stream = NULL;
    if (stream == NULL) {
        return DTX_OK;
    }
    errno = 0;
    const bool bad = fflush(stream) != 0 || ferror(stream) != 0;
    const int why = errno;
    if ((fclose(stream) != 0 && !bad) || bad) {
        return DTX_FAIL(DTX_ERR_MISSING, "%s: cannot write: %s", f->path, bad && why != 0 ? strerror(why) : errno != 0 ? strerror(errno) : "no room?");
    }
    return DTX_OK;
}

static dtx_status put_in_place(int fd, const char *tmp, const char *path)
{
    if (fsync(fd) != 0) {
        return DTX_FAIL(DTX_ERR_MISSING, "%s: cannot write to disk: %s", path, strerror(errno));
    }
    if (rename(tmp, path) != 0) {
        return DTX_FAIL(DTX_ERR_MISSING, "%s: cannot rename to %s: %s", tmp, path, strerror(errno));
    }
    sync_folder_of(path);
    return DTX_OK;
}

dtx_status dtx_file_commit(dtx_file_new *f)
{
    dtx_status st = close_stream(f);

    st = st == DTX_OK ? put_in_place(f->fd, f->tmp, f->path) : st;
    if (st != DTX_OK) {
        unlink(f->tmp);
    }
    close(f->fd); /* the lock goes last: under no name can the file be taken for a leftover */
    f->fd = -1;
    return st;
}

void dtx_file_abandon(dtx_file_new *f)
{
    if (f->stream != NULL) {
        fclose(f->stream);
        f->stream = NULL;
    }
    if (f->fd >= 0) {
        unlink(f->tmp);
        close(f->fd);
        f->fd = -1;
    }
}

dtx_status dtx_file_publish(const char *tmp, const char *path)
{
    int fd;
    dtx_status st = dtx_file_open(tmp, &fd, NULL);

    DTX_TRY(st);
    st = put_in_place(fd, tmp, path);
    close(fd);
    if (st != DTX_OK) {
        unlink(tmp);
    }
    return st;
}

dtx_status dtx_file_write(const char *path, const void *data, size_t size)
{
    dtx_file_new f;
    dtx_status st;

    DTX_TRY(dtx_file_begin(&f, path));
    DTX_GO(dtx_file_add(&f, data, size));
    st = dtx_file_commit(&f);
done:
    dtx_file_abandon(&f);
    return st;
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

/* --- removing --- */

static dtx_status remove_at(int dir, const char *name, const char *shown)
{
    int fd;
    DIR *d;
    dtx_status st = DTX_OK;

    if (unlinkat(dir, name, 0) == 0 || errno == ENOENT) {
        return DTX_OK;
    }
    fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    d = fd >= 0 ? fdopendir(fd) : NULL;
    if (d == NULL) {
        st = DTX_FAIL(DTX_ERR_MISSING, "%s: cannot remove %s: %s", shown, name, strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        return st;
    }
    for (const struct dirent *e = readdir(d); e != NULL && st == DTX_OK; e = readdir(d)) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) {
            st = remove_at(fd, e->d_name, shown);
        }
    }
    closedir(d);
    if (st == DTX_OK && unlinkat(dir, name, AT_REMOVEDIR) != 0 && errno != ENOENT) {
        st = DTX_FAIL(DTX_ERR_MISSING, "%s: cannot remove %s: %s", shown, name, strerror(errno));
    }
    return st;
}

dtx_status dtx_file_remove(const char *path)
{
    return remove_at(AT_FDCWD, path, path);
}
