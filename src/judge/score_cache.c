#include "src/judge/score_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/base/file.h"
#include "src/base/hash.h"
#include "src/base/json.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/text/map.h"

enum { MOST_PATH = 1200 };

struct dtx_score_cache {
    const dtx_service *service;
    char path[MOST_PATH];
    int fd;
    dtx_map index;            /* name -> place in `answers` */
    dtx_service_answer *answers; /* with DTX_SCORE_NOT_DONE where attributes of this service are lacking */
    size_t n, cap;
    bool has_scores;
};

static dtx_status failed(const dtx_score_cache *c, const char *what)
{
    return DTX_FAIL(DTX_ERR_MISSING, "%s: cannot %s: %s", c->path, what, strerror(errno));
}

static dtx_status remember(dtx_score_cache *c, const char *name, const dtx_service_answer *answer)
{
    int32_t place = (int32_t)c->n;
    int added;

    DTX_TRY(DTX_GROW(c->answers, c->cap, c->n + 1));
    DTX_TRY(dtx_map_add(&c->index, name, strlen(name), &place, &added));
    if (!added && answer->status == DTX_SCORE_NOT_DONE) { /* an older line with more attributes is as good */
        return DTX_OK;
    }
    c->answers[place] = *answer;
    c->n += (size_t)added;
    c->has_scores = c->has_scores || answer->status == DTX_SCORE_SCORED;
    return DTX_OK;
}

static dtx_status read_line(dtx_score_cache *c, const char *line, size_t len, int64_t number)
{
    char where[MOST_PATH + 32], name[65] = "";
    dtx_service_answer a = {.general = false};
    cJSON *root = NULL;
    int64_t status = -1;
    dtx_status st;

    snprintf(where, sizeof where, "%s: line %lld", c->path, (long long)number);
    DTX_GO(dtx_json_parse(line, len, c->path, number, &root));
    DTX_GO(dtx_json_str(root, where, "text", sizeof name, name));
    DTX_GO(dtx_json_int(root, where, "status", DTX_SCORE_SCORED, DTX_SCORE_REFUSED, &status));
    const cJSON *scores = cJSON_GetObjectItemCaseSensitive(root, "scores");
    if (strlen(name) != 64 || status < 0 || !cJSON_IsObject(scores)) {
        st = DTX_FAIL(DTX_ERR_INPUT, "%s: no answer of a service", where);
        goto done;
    }
    a.status = (dtx_score_status)status;
    for (int64_t i = 0; i < c->service->n_attributes; i++) {
        const cJSON *value = cJSON_GetObjectItemCaseSensitive(scores, c->service->attribute[i]);
        bool scored = cJSON_IsNumber(value);
        if (value == NULL || scored != (status == DTX_SCORE_SCORED)) { /* an attribute that was not asked for */
            a.status = DTX_SCORE_NOT_DONE;
        }
        a.score[i] = scored ? (float)value->valuedouble : NAN;
    }
    st = remember(c, name, &a);
done:
    cJSON_Delete(root);
    return st == DTX_ERR_INPUT ? dtx_error_context(st, "damaged cache of scores (without the file all texts are sent again)") : st;
}

/* Reads all whole lines; what follows the last line's end was cut short by a crash and is cut off. */
static dtx_status load(dtx_score_cache *c)
{
    dtx_file_map map;
    size_t at = 0;
    dtx_status st = DTX_OK;

    DTX_TRY(dtx_file_map_open(c->path, &map));
    for (int64_t number = 1; st == DTX_OK; number++) {
        const char *end = at < map.size ? memchr(map.data + at, '\n', map.size - at) : NULL;
        if (end == NULL) {
            break;
        }
        size_t len = (size_t)(end - (map.data + at));
        st = read_line(c, map.data + at, len, number);
        at += len + 1;
    }
    size_t size = map.size;
    dtx_file_map_close(&map);
    if (st == DTX_OK && at < size) {
        dtx_log(DTX_LOG_INFO, "score", "%s: the last line was not finished; its text is asked for again", c->path);
        st = ftruncate(c->fd, (off_t)at) == 0 ? DTX_OK : failed(c, "shorten");
    }
    return st;
}

dtx_status dtx_score_cache_open(const char *path, const dtx_service *service, dtx_score_cache **out)
{
    dtx_score_cache *c;
    dtx_status st;

    if (strlen(path) >= MOST_PATH) {
        return DTX_FAIL(DTX_ERR_USAGE, "score.cache: the file's name is longer than %d bytes", MOST_PATH - 1);
    }
    DTX_TRY(DTX_NEW(c, 1));
    c->service = service;
    snprintf(c->path, sizeof c->path, "%s", path);
    c->fd = -1;
    DTX_GO(dtx_file_open_kept(path, O_RDWR | O_APPEND, &c->fd));
    if (dtx_file_try_lock(c->fd) != 0 && (errno == EACCES || errno == EAGAIN)) {
        st = DTX_FAIL(DTX_ERR_USAGE, "%s: another job uses this cache of scores; wait for it, or name another one by score.cache", path);
        goto done;
    }
    DTX_GO(load(c));
    *out = c;
    return DTX_OK;
done:
    dtx_score_cache_close(c);
    return st;
}

void dtx_score_cache_close(dtx_score_cache *c)
{
    if (c != NULL) {
        if (c->fd >= 0) {
            close(c->fd);
        }
        dtx_map_free(&c->index);
        dtx_free(c->answers);
        dtx_free(c);
    }
}

dtx_status dtx_score_cache_name(const dtx_score_cache *c, const char *text, size_t len, char name[65])
{
    const char *parts[] = {c->service->place, c->service->language};
    dtx_sha256 *h = NULL;
    dtx_status st;

    DTX_GO(dtx_sha256_new(&h));
    for (int i = 0; i < 2; i++) {
        DTX_GO(dtx_sha256_add(h, parts[i], strlen(parts[i]) + 1));
    }
    DTX_GO(dtx_sha256_add(h, text, len));
    st = dtx_sha256_end(h, name);
done:
    dtx_sha256_del(h);
    return st;
}

bool dtx_score_cache_find(const dtx_score_cache *c, const char *name, dtx_service_answer *out)
{
    int32_t place = dtx_map_find(&c->index, name, strlen(name));

    if (place < 0 || c->answers[place].status == DTX_SCORE_NOT_DONE) {
        return false;
    }
    *out = c->answers[place];
    return true;
}

dtx_status dtx_score_cache_add(dtx_score_cache *c, const char *name, const dtx_service_answer *answer)
{
    char *line = NULL, *attribute;
    size_t size = 0;
    FILE *f = open_memstream(&line, &size);
    dtx_status st;

    DTX_TRY(dtx_mem_check(f, 1, 1, "a line of the cache"));
    fprintf(f, "{\"text\": \"%s\", \"status\": %d, \"scores\": {", name, (int)answer->status);
    for (int64_t i = 0; i < c->service->n_attributes; i++) {
        if (dtx_json_quote(c->service->attribute[i], strlen(c->service->attribute[i]), &attribute) == DTX_OK) {
            fprintf(f, answer->status == DTX_SCORE_SCORED ? "%s%s: %.9g" : "%s%s: null", i > 0 ? ", " : "", attribute,
                    (double)answer->score[i]);
            dtx_free(attribute);
        }
    }
    fprintf(f, "}}\n");
    if (fclose(f) != 0) {
        free(line);
        return dtx_mem_check(NULL, 1, 1, "a line of the cache");
    }
    /* one write, so that only the end of the file can ever be incomplete */
    errno = ENOSPC;
    st = write(c->fd, line, size) == (ssize_t)size && fdatasync(c->fd) == 0 ? remember(c, name, answer) : failed(c, "write");
    free(line);
    return st;
}

bool dtx_score_cache_has_scores(const dtx_score_cache *c)
{
    return c->has_scores;
}
