/* file.h - files as a whole: read-only maps, and writes that are there completely or not at all. All files are opened here: an
 * input that is a pipe or a device never blocks, a name that somebody planted is not followed. */
#ifndef DTX_FILE_H
#define DTX_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "src/base/status.h"

typedef struct {
    const char *data; /* read-only, shared with every process that maps the file; not NUL-terminated */
    size_t size;
} dtx_file_map;

/* Opens an input file for reading: a regular file, links are followed. Pipes, sockets and devices are refused without waiting
 * for them. DTX_ERR_MISSING with the reason. *size (may be NULL) is its size. The caller closes *fd. */
dtx_status dtx_file_open(const char *path, int *fd, size_t *size);
/* Opens a file that grows or is locked (log, lock, cache), made when it is not there. `flags`: O_RDWR or O_WRONLY, with O_APPEND,
 * and O_NOFOLLOW where the name is ours and not the user's; it is a regular file in any case. errno stays set on failure. */
dtx_status dtx_file_open_kept(const char *path, int flags, int *fd);

/* Maps an input file, opened as above. An empty file gives data != NULL and size 0. DTX_ERR_MISSING with the system's reason. */
dtx_status dtx_file_map_open(const char *path, dtx_file_map *out);
void dtx_file_map_close(dtx_file_map *map);

bool dtx_file_exists(const char *path);
bool dtx_file_is_dir(const char *path);
/* Locks a whole file for writing, without waiting: 0, or -1 with errno (EAGAIN, EACCES: another has it). An open-file-description
 * lock, which is not lost when some library closes the same file; plain fcntl where there is none. */
int dtx_file_try_lock(int fd);
/* The same for reading: as many as like, while nobody has it for writing. */
int dtx_file_try_share(int fd);
/* mkdir -p. */
dtx_status dtx_file_mkdirs(const char *path);
/* Joins into out (size bytes); DTX_ERR_USAGE when the result is too long. */
dtx_status dtx_file_join(char *out, size_t size, const char *dir, const char *name);

/* The folder that path stands in, "." where it names none; DTX_ERR_USAGE when it is too long. */
dtx_status dtx_file_folder(char *out, size_t size, const char *path);

/* A file that appears under its name when it is complete:
 *     dtx_file_new f;
 *     DTX_TRY(dtx_file_begin(&f, path));
 *     ... write to f.fd, or by a library to f.tmp ...
 *     st = st == DTX_OK ? dtx_file_commit(&f) : st;
 *     dtx_file_abandon(&f);
 * f.tmp = path.tmp.NUMBER beside it, of this launch alone: any number of processes may write one file at the same time, and the
 * last commit counts. It is locked as long as its process lives; begin removes those of path that nobody holds any more. */
typedef struct {
    char path[4096], tmp[4096];
    int fd;           /* for reading and writing, empty at first; -1: none */
    FILE *stream;     /* of dtx_file_stream */
} dtx_file_new;

/* DTX_ERR_MISSING when it cannot be made: no folder, no permission, no room. On failure nothing has to be abandoned. */
dtx_status dtx_file_begin(dtx_file_new *f, const char *path);
/* A stream that writes to it, closed by commit and abandon, which see its errors; NULL and DTX_ERR_MISSING without memory. */
dtx_status dtx_file_stream(dtx_file_new *f, FILE **out);
/* Appends, however many pieces the system makes of it. */
dtx_status dtx_file_add(dtx_file_new *f, const void *data, size_t size);
/* fsync, rename, fsync of the folder. A failure (disk full) leaves an older file as it was and removes the temporary one. */
dtx_status dtx_file_commit(dtx_file_new *f);
/* Removes the temporary file; nothing after a commit, or a begin that failed. */
void dtx_file_abandon(dtx_file_new *f);

/* Writes a whole file in this way. */
dtx_status dtx_file_write(const char *path, const void *data, size_t size);
/* Copies from_dir/name to to_dir/name in this way. DTX_ERR_MISSING when it is not there. */
dtx_status dtx_file_copy(const char *from_dir, const char *to_dir, const char *name);
/* The last two steps alone (fsync, rename), for a file that was written under a name of its own, kept between launches (a
 * download), in a folder that this process has locked. On failure `tmp` is removed. */
dtx_status dtx_file_publish(const char *tmp, const char *path);

/* Removes a file, a link itself, or a folder with all that is in it; links in it are not followed. What is not there is fine. */
dtx_status dtx_file_remove(const char *path);

#endif
