/* file.h - files as a whole: read-only maps, and writes that are there completely or not at all. */
#ifndef DTX_FILE_H
#define DTX_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "src/base/status.h"

typedef struct {
    const char *data; /* read-only, shared with every process that maps the file; not NUL-terminated */
    size_t size;
} dtx_file_map;

/* Maps a regular file. An empty file gives data != NULL and size 0. DTX_ERR_MISSING with the system's reason. */
dtx_status dtx_file_map_open(const char *path, dtx_file_map *out);
void dtx_file_map_close(dtx_file_map *map);

bool dtx_file_exists(const char *path);
bool dtx_file_is_dir(const char *path);
/* Locks a whole file for writing, without waiting: 0, or -1 with errno (EAGAIN, EACCES: another has it). An open-file-description
 * lock, which is not lost when some library closes the same file; plain fcntl where there is none. */
int dtx_file_try_lock(int fd);
/* mkdir -p. */
dtx_status dtx_file_mkdirs(const char *path);
/* Joins into out (size bytes); DTX_ERR_USAGE when the result is too long. */
dtx_status dtx_file_join(char *out, size_t size, const char *dir, const char *name);

/* The folder that path stands in, "." where it names none; DTX_ERR_USAGE when it is too long. */
dtx_status dtx_file_folder(char *out, size_t size, const char *path);

/* Writes a whole file: temporary name beside it, fsync, rename, fsync of the folder. A failure (disk full) leaves an
 * older file as it was and removes the temporary one. */
dtx_status dtx_file_write(const char *path, const void *data, size_t size);
/* Copies from_dir/name to to_dir/name in this way. DTX_ERR_MISSING when it is not there. */
dtx_status dtx_file_copy(const char *from_dir, const char *to_dir, const char *name);
/* Name of the temporary file for path, tmp (size bytes): path.tmp.PROCESS. Those of other processes are removed: a file has one
 * writer at a time, so they are what killed ones left. */
dtx_status dtx_file_temporary(char *tmp, size_t size, const char *path);
/* The last two steps alone, for a file that was written under `tmp` by other means (library, many pieces). */
dtx_status dtx_file_publish(const char *tmp, const char *path);

#endif
