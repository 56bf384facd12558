/* fetch.h - parts of the job fetch: what can be asked for (source.c), what the servers say of it (plan.c), and how
 * it comes into a folder (folder.c). */
#ifndef DTX_FETCH_H
#define DTX_FETCH_H

#include "jobs/program/job.h"
#include "src/net/download.h"
#include "src/net/http.h"
#include "src/net/hub.h"

/* ---- what is asked for ---- */

typedef struct {
    dtx_hub_kind kind;
    char name[1200];            /* for messages: as given, or the repository */
    char repo[200];             /* OWNER/NAME on the hub; "" = a single file at `url` */
    char revision[200];         /* branch, tag or commit that was asked for; "" for a URL */
    char url[1200];
    char folder[200];           /* name of the folder that is made */
    char file[200];             /* name of the single file */
    char sha256[65];            /* of the single file, "" = not known */
    char home[600];             /* page to read about it, "" = none */
    char licence[160];          /* of what the hub says nothing about, "" = not known */
    const char *include;        /* the one file of a repository that is wanted, NULL = the usual ones */
    const char *setting;        /* how the other jobs are told of it, with %s for the folder */
} dtx_fetch_source;

/* Appends the sources of one word: a preset (one or several sources), [datasets/]OWNER/NAME[@REVISION], or a URL. */
dtx_status dtx_fetch_source_add(const dtx_config *c, const char *word, dtx_fetch_source **list, size_t *n, size_t *cap);
/* The presets, a line each, for --help and messages; static. */
const char *dtx_fetch_presets(void);

/* ---- what the servers say ---- */

typedef struct {
    const dtx_job *job;
    dtx_http *http;
    char *authorization;        /* "Authorization: Bearer ...", NULL = none */
    char *token;
    char hub[DTX_PATH_MAX];     /* without a final slash */
} dtx_fetch_net;

dtx_status dtx_fetch_net_open(const dtx_job *job, bool (*should_stop)(const void *user), const void *user, dtx_fetch_net *out);
void dtx_fetch_net_close(dtx_fetch_net *net);

typedef struct {
    const dtx_fetch_source *source;
    dtx_hub_kind kind;
    char dir[2100], part[2110]; /* the folder, and its name until it is complete */
    char commit[65], licence[160], licence_link[512];
    bool gated, needs_acceptance;
    dtx_hub_files files;
    int64_t total, there;       /* bytes; what is not known counts 0 */
    bool complete;              /* nothing to do */
} dtx_fetch_plan;

/* Asks for revision, licence and files. */
dtx_status dtx_fetch_plan_make(const dtx_fetch_net *net, dtx_http_conn *c, dtx_fetch_plan *p);
void dtx_fetch_plan_free(dtx_fetch_plan *p);
/* The download of file i; *url is allocated and to be freed. */
dtx_status dtx_fetch_plan_file(const dtx_fetch_net *net, const dtx_fetch_plan *p, size_t i, char **url, dtx_download *out);
/* What a reply that is no file means for this source, and the next step. */
dtx_status dtx_fetch_refused(const dtx_fetch_net *net, const dtx_fetch_source *s, int http_status, const char *place);

/* ---- the folder ---- */

#define DTX_FETCH_RECORD "fetch.json" /* in each folder: source, revision, licence, checksums, date */

/* Reads the record of p->dir, when that is there, and checks each file against it; sets complete. With `redo` the folder gets its
 * unfinished name back instead: what is right in it is not fetched again. DTX_ERR_USAGE: a folder of something else, or of
 * another revision. DTX_ERR_INPUT: a file is not what was fetched. */
dtx_status dtx_fetch_check(dtx_fetch_plan *p, bool redo);
/* Downloads into p->part, files in parallel, and gives it its name. */
dtx_status dtx_fetch_folder(const dtx_fetch_net *net, dtx_fetch_plan *p, atomic_bool *stop);

#endif
