/* memory_file.h - bytes as a file with a name, for readers that take a path. */
#ifndef DTX_MEMORY_FILE_H
#define DTX_MEMORY_FILE_H

#include <stddef.h>

/* The name of a file that holds these bytes until the next call. Aborts when the system gives none. */
const char *dtx_memory_file(const void *data, size_t size);

#endif
