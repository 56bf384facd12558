/* hub.h - what a Hugging Face hub says of a repository: readers of its replies (JSON), and which of the files detoxlens reads.
 * No network, no file system. Names in a listing become paths below one folder; a listing with a name that could lead out of
 * it is refused as a whole. */
#ifndef DTX_HUB_H
#define DTX_HUB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/status.h"

/* GET /api/{models,datasets}/OWNER/NAME/revision/REVISION */
typedef struct {
    char commit[65];        /* hexadecimal digits */
    char licence[128];      /* "apache-2.0"; "" = not stated. Printable ASCII, as all texts here */
    char licence_link[512]; /* "" = none */
    bool gated;             /* terms have to be accepted on the hub's page first */
} dtx_hub_info;

/* `name` (a URL) is for messages. DTX_ERR_INPUT for anything that does not look as it should. */
dtx_status dtx_hub_read_info(const char *text, size_t size, const char *name, dtx_hub_info *out);

typedef struct {
    char *path;             /* "config.json", "data/train.jsonl" */
    int64_t size;           /* bytes; -1 = not known */
    char sha256[65];        /* of large files (LFS), "" = not told */
    char git_blob[41];      /* git's name of the others (src/base/hash.h), "" = not told */
    bool wanted;
} dtx_hub_file;

typedef struct {
    dtx_hub_file *file;
    size_t n, cap;
} dtx_hub_files;

/* Adds a page of GET .../tree/COMMIT?recursive=true. */
dtx_status dtx_hub_add_page(dtx_hub_files *files, const char *text, size_t size, const char *name);
/* Adds one file that is not from a listing; path is copied. NULL when memory is not there. */
dtx_hub_file *dtx_hub_add(dtx_hub_files *files, const char *path);
void dtx_hub_files_free(dtx_hub_files *files);
/* Relative, without empty, "." or ".." parts, backslashes and control characters, of parts that file systems take. */
bool dtx_hub_safe_path(const char *path);
/* Writes "&cursor=..." of a next page's URL to out, "" when it has none: the rest of the URL may be another host's. */
void dtx_hub_cursor(const char *next_page, char *out, size_t size);

typedef enum { DTX_HUB_MODEL, DTX_HUB_ADAPTER, DTX_HUB_DATA } dtx_hub_kind;

/* Sets `wanted`. Model: configuration, tokenizer, and of the weights the form that src/weights/weights.h prefers. Adapter: PEFT's two
 * files. Data: what src/data/dataset.h can read. Cards and licences always. `include` (n_include shell patterns, may be none)
 * is what is wanted instead. *index is set to the file whose weight_map names further shards (dtx_hub_add_shards), NULL = none.
 * DTX_ERR_INPUT when the files are not there. *kind: a model repository that holds an adapter alone becomes DTX_HUB_ADAPTER. */
dtx_status dtx_hub_select(dtx_hub_files *files, const char *name, dtx_hub_kind *kind, const char *const *include, int64_t n_include,
                          const dtx_hub_file **index);
/* Marks the shards that an index (its bytes) names; one that the repository does not hold is DTX_ERR_INPUT. */
dtx_status dtx_hub_add_shards(dtx_hub_files *files, const char *text, size_t size, const char *name);
/* Drops what is not wanted and sorts by path. */
void dtx_hub_keep_wanted(dtx_hub_files *files);

/* Licences that let anybody use the files without agreeing to something first, by their SPDX-like names on the hub. */
bool dtx_hub_open_licence(const char *licence);

#endif
