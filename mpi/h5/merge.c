#include "mpi/h5/merge.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "mpi/h5/impl.h"
#include "mpi/h5/same.h"
#include "mpi/h5/schema.h"
#include "src/base/json.h"
#include "src/base/log.h"
#include "src/base/mem.h"

enum { PATH_SIZE = 1024, PIECE = 1 << 24 };

/* One call: the files beside what the caller sees. */
typedef struct {
    dtx_h5_merge *m;
    hid_t to, from;
} merging;

/* A stage that both files hold: which of its rows are done. */
typedef struct {
    int64_t n;
    uint8_t *to_done, *from_done; /* (n) */
    int64_t fresh;                /* rows done in `from` alone */
} stage;

static bool in_to(const merging *g, const char *path)
{
    return g->to >= 0 && dtx_h5_exists(g->to, path);
}

/* What the two files disagree on, as an answer to a person. */
#define CONFLICT(g, fmt, ...)                                                                                     \
    DTX_FAIL(DTX_ERR_USAGE, "%s does not fit %s: " fmt "; runs that are merged must have the same texts, model, seed and " \
             "settings", (g)->m->from_name, (g)->m->to_name, __VA_ARGS__)

static dtx_status join_path(char out[PATH_SIZE], const char *group, const char *name)
{
    int n = snprintf(out, PATH_SIZE, "%s/%s", strcmp(group, "/") == 0 ? "" : group, name);

    return n > 0 && n < PATH_SIZE ? DTX_OK : DTX_FAIL(DTX_ERR_INPUT, "%s: path too long", group);
}

typedef dtx_status (*member_work)(merging *g, const char *path, void *user);

/* Calls `work` with the path of every member of a group of `from`. */
static dtx_status each_member(merging *g, const char *group, member_work work, void *user)
{
    char **names = NULL, path[PATH_SIZE];
    size_t n;
    dtx_status st = dtx_h5_list(g->from, group, &names, &n);

    for (size_t i = 0; i < n && st == DTX_OK; i++) {
        st = join_path(path, group, names[i]);
        if (st == DTX_OK) {
            st = work(g, path, user);
        }
    }
    dtx_free(names);
    return st;
}

static dtx_status kind_of(hid_t file, const char *path, bool *group, bool *scale)
{
    hid_t obj = -1;

    DTX_TRY(dtx_h5_open_object(file, path, &obj));
    *group = H5Iget_type(obj) == H5I_GROUP;
    *scale = !*group && dtx_h5_is_scale(obj);
    H5Oclose(obj);
    return DTX_OK;
}

/* --- attributes --- */

static const char *find_pair(char *const *pairs, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(pairs[2 * i], name) == 0) {
            return pairs[2 * i + 1];
        }
    }
    return NULL;
}

/* What both objects say must be the same; base_model is a folder's name, the fingerprint tells models apart. A long text is
 * shown from where it differs. */
static dtx_status compare_attributes(const merging *g, const char *path)
{
    char **a = NULL, **b = NULL;
    size_t n_a = 0, n_b = 0;
    dtx_status st;

    DTX_GO(dtx_h5_attr_list(g->to, path, &a, &n_a));
    DTX_GO(dtx_h5_attr_list(g->from, path, &b, &n_b));
    for (size_t i = 0; i < n_b; i++) {
        const char *name = b[2 * i], *here = find_pair(a, n_a, name), *there = b[2 * i + 1];
        if (here == NULL || strcmp(here, there) == 0 || strcmp(name, "base_model") == 0) {
            continue;
        }
        size_t same = 0;
        while (here[same] != '\0' && here[same] == there[same]) {
            same++;
        }
        while (same > 0 && strchr(",{", here[same - 1]) == NULL) {
            same--;
        }
        st = CONFLICT(g, "%s of %s is %s%.100s there and %s%.100s here", name, path, same > 0 ? "..." : "", there + same,
                      same > 0 ? "..." : "", here + same);
        goto done;
    }
done:
    dtx_free(a);
    dtx_free(b);
    return st;
}

/* --- parts that only `from` holds --- */

static dtx_status add_part(merging *g, const char *path)
{
    g->m->parts++;
    if (g->m->tell) {
        dtx_log(DTX_LOG_INFO, "merge", "%s: %s", g->m->from_name, path);
    }
    return g->m->apply ? dtx_h5_copy(g->from, path, g->to) : DTX_OK;
}

/* --- parts that both hold: as a whole --- */

static dtx_status must_be_same(const merging *g, const char *path)
{
    dtx_h5_same_report report;

    DTX_TRY(dtx_h5_same_object(g->to, g->from, path, &report));
    report.text[strcspn(report.text, "\n")] = '\0';
    return report.differences == 0 ? DTX_OK : CONFLICT(g, "both hold %s, and they differ (%s)", path, report.text);
}

static dtx_status whole(merging *g, const char *path, void *user)
{
    bool group, scale;

    (void)user;
    DTX_TRY(kind_of(g->from, path, &group, &scale));
    if (scale) {
        return DTX_OK;
    }
    return in_to(g, path) ? must_be_same(g, path) : add_part(g, path);
}

/* --- stages that both hold: row by row --- */

/* Whether the first axis of a dataset counts the stage's rows. */
static dtx_status is_by_row(hid_t dset, const char *path, bool *yes)
{
    char scale[PATH_SIZE];

    DTX_TRY(dtx_h5_scale_name(dset, path, 0, scale, sizeof scale));
    const char *name = strrchr(scale, '/');
    *yes = name != NULL && strcmp(name, "/row") == 0;
    return DTX_OK;
}

static dtx_status read_flag(const merging *g, const char *group, const char *name, stage *s)
{
    int64_t a[2], b[2];
    void *x = NULL;

    if (!dtx_h5_has(g->to, group, name)) {
        return CONFLICT(g, "%s/%s is there and not here", group, name);
    }
    DTX_TRY(dtx_h5_take(g->to, group, name, H5T_NATIVE_UINT8, DTX_H5_ANY, 1, &x, a));
    s->to_done = x;
    DTX_TRY(dtx_h5_take(g->from, group, name, H5T_NATIVE_UINT8, DTX_H5_ANY, 1, &x, b));
    s->from_done = x;
    if (a[0] != b[0]) {
        return CONFLICT(g, "%s/%s has %" PRId64 " rows there and %" PRId64 " here", group, name, b[0], a[0]);
    }
    s->n = a[0];
    for (int64_t r = 0; r < s->n; r++) {
        s->fresh += s->from_done[r] != 0 && s->to_done[r] == 0;
    }
    return DTX_OK;
}

/* The flags of a stage, if `group` is one. */
static dtx_status read_flags(const merging *g, const char *group, stage *s)
{
    static const char *const names[] = {"finish", "done", "status"};

    for (size_t i = 0; i < sizeof names / sizeof *names && s->to_done == NULL; i++) {
        if (dtx_h5_find(group, names[i]) != NULL && dtx_h5_has(g->from, group, names[i])) {
            DTX_TRY(read_flag(g, group, names[i], s));
        }
    }
    return DTX_OK;
}

/* The group that a path lies in; returns its name there. */
static const char *split(const char *path, char group[PATH_SIZE])
{
    const char *name = strrchr(path, '/');

    snprintf(group, PATH_SIZE, "%.*s", (int)(name - path), path);
    return name + 1;
}

/* NAME of a stage may come later than its rows, with flags of its own, NAME_done. */
static dtx_status read_own_flags(const merging *g, const char *path, stage *s)
{
    static const char ending[] = "_done";
    char group[PATH_SIZE], flag[PATH_SIZE];
    const char *name = split(path, group);
    size_t n = strlen(name), tail = sizeof ending - 1;
    bool is_flag = n > tail && strcmp(name + n - tail, ending) == 0;

    int len = snprintf(flag, sizeof flag, "%s%s", name, is_flag ? "" : ending);
    return len < PATH_SIZE && dtx_h5_find(group, flag) != NULL && dtx_h5_has(g->from, group, flag) && dtx_h5_has(g->to, group, flag)
               ? read_flag(g, group, flag, s) : DTX_OK;
}

static void free_stage(stage *s)
{
    dtx_free(s->to_done);
    dtx_free(s->from_done);
}

/* A dataset whose elements belong to rows: row r has the elements edge[r] .. edge[r + 1] - 1 of the first axis, or element r
 * alone where edge is NULL. */
typedef struct {
    const char *path;
    hid_t to, from, type;   /* type: native */
    hsize_t width;
    size_t item;            /* bytes of an element of the first axis */
    const uint64_t *edge;
} column;

static hsize_t edge_of(const column *c, int64_t row)
{
    return c->edge != NULL ? c->edge[row] : (hsize_t)row;
}

/* Rows first .. last-1: checks those that both have, takes those that only `from` has. */
static dtx_status join_block(const merging *g, const stage *s, const column *c, int64_t first, int64_t last, char *x, char *y)
{
    hsize_t at = edge_of(c, first), n = edge_of(c, last) - at;
    bool changed = false;

    DTX_TRY(dtx_h5_read_open(c->to, c->path, c->type, at, n, c->width, x));
    DTX_TRY(dtx_h5_read_open(c->from, c->path, c->type, at, n, c->width, y));
    for (int64_t r = first; r < last; r++) {
        size_t offset = (size_t)(edge_of(c, r) - at) * c->item, bytes = (size_t)(edge_of(c, r + 1) - edge_of(c, r)) * c->item;
        if (s->from_done[r] == 0 || bytes == 0) {
            continue;
        }
        if (s->to_done[r] != 0 && memcmp(x + offset, y + offset, bytes) != 0) {
            return CONFLICT(g, "row %" PRId64 " of %s is done in both, with other values", r, c->path);
        }
        if (s->to_done[r] == 0) {
            memcpy(x + offset, y + offset, bytes);
            changed = true;
        }
    }
    return changed && g->m->apply ? dtx_h5_write_rows(c->to, c->path, c->type, at, n, c->width, x) : DTX_OK;
}

static dtx_status join_column(const merging *g, const stage *s, const column *c)
{
    size_t most = 0, used;
    char *x = NULL, *y = NULL;
    dtx_status st = DTX_OK;

    for (int pass = 0; pass < 2; pass++) { /* first the largest block's size, then the work */
        for (int64_t first = 0, last; first < s->n; first = last) {
            last = first + 1;
            used = (size_t)(edge_of(c, last) - edge_of(c, first)) * c->item;
            while (last < s->n && used + (size_t)(edge_of(c, last + 1) - edge_of(c, last)) * c->item <= PIECE) {
                used += (size_t)(edge_of(c, last + 1) - edge_of(c, last)) * c->item;
                last++;
            }
            most = used > most ? used : most;
            if (pass == 1) {
                DTX_GO(join_block(g, s, c, first, last, x, y));
            }
        }
        if (pass == 0) {
            DTX_GO(DTX_NEW_RAW(x, most + 1));
            DTX_GO(DTX_NEW_RAW(y, most + 1));
        }
    }
done:
    dtx_free(x);
    dtx_free(y);
    return st;
}

/* Where the matrices of an attribution lie; *edge stays NULL when `path` is no such flat dataset. */
static dtx_status read_edges(const merging *g, const stage *s, const char *path, uint64_t **edge)
{
    char group[PATH_SIZE], offsets[PATH_SIZE];
    int64_t here = 0, there = 0;
    uint64_t *own = NULL;

    if (strcmp(split(path, group), "value") != 0 || dtx_h5_find(group, "row_offset") == NULL || !dtx_h5_has(g->from, group, "row_offset")
        || !dtx_h5_has(g->to, group, "row_offset")) {
        return DTX_OK;
    }
    DTX_TRY(join_path(offsets, group, "row_offset"));
    DTX_TRY(must_be_same(g, offsets));
    DTX_TRY(dtx_h5_take_offsets(g->to, group, "row_offset", s->n, &own, &here));
    dtx_free(own);
    return dtx_h5_take_offsets(g->from, group, "row_offset", s->n, edge, &there);
}

static dtx_status join_dataset(const merging *g, const char *path, const stage *s)
{
    column c = {.path = path, .to = -1, .from = -1, .type = -1};
    hid_t type_a = -1, type_b = -1;
    hsize_t a[2], b[2];
    int rank_a = 0, rank_b = 0;
    uint64_t *edge = NULL;
    bool by_row = false;
    dtx_status st;

    DTX_GO(dtx_h5_open_object(g->to, path, &c.to));
    DTX_GO(dtx_h5_open_object(g->from, path, &c.from));
    if (H5Iget_type(c.to) != H5I_DATASET) {
        st = CONFLICT(g, "%s is a dataset there and a group here", path);
        goto done;
    }
    type_a = H5Dget_type(c.to);
    type_b = H5Dget_type(c.from);
    DTX_GO(dtx_h5_space_shape(c.to, path, a, &rank_a));
    DTX_GO(dtx_h5_space_shape(c.from, path, b, &rank_b));
    DTX_GO(read_edges(g, s, path, &edge));
    DTX_GO(is_by_row(c.from, path, &by_row));
    if (edge == NULL && !by_row) {
        st = must_be_same(g, path);
        goto done;
    }
    if (H5Tequal(type_a, type_b) <= 0 || rank_a != rank_b || a[0] != b[0] || a[1] != b[1] || (edge == NULL && a[0] != (hsize_t)s->n)) {
        st = CONFLICT(g, "%s has the shape (%" PRIu64 ", %" PRIu64 ") there and (%" PRIu64 ", %" PRIu64 ") here, or another type", path, (uint64_t)b[0],
                      (uint64_t)b[1], (uint64_t)a[0], (uint64_t)a[1]);
        goto done;
    }
    c.type = H5Tget_native_type(type_b, H5T_DIR_ASCEND);
    c.width = a[1];
    c.item = (size_t)a[1] * H5Tget_size(c.type);
    c.edge = edge;
    st = join_column(g, s, &c);
done:
    dtx_free(edge);
    if (c.type >= 0) {
        H5Tclose(c.type);
    }
    if (type_a >= 0) {
        H5Tclose(type_a);
    }
    if (type_b >= 0) {
        H5Tclose(type_b);
    }
    if (c.to >= 0) {
        H5Oclose(c.to);
    }
    if (c.from >= 0) {
        H5Oclose(c.from);
    }
    return st;
}

static dtx_status join_group(merging *g, const char *path, void *user);

/* `user`: the stage that the object belongs to, without rows for one that belongs to none. */
static dtx_status join_member(merging *g, const char *path, void *user)
{
    const stage *s = user;
    bool group, scale;

    DTX_TRY(kind_of(g->from, path, &group, &scale));
    if (scale) {
        return DTX_OK;
    }
    if (group) {
        return join_group(g, path, user);
    }
    if (!in_to(g, path)) { /* the decoded texts, the check: written once a stage is complete */
        if (s->to_done == NULL) {
            return add_part(g, path);
        }
        return g->m->apply ? dtx_h5_copy(g->from, path, g->to) : DTX_OK;
    }
    if (s->to_done == NULL) {
        return must_be_same(g, path);
    }
    stage own = {0};
    dtx_status st = read_own_flags(g, path, &own);
    if (st == DTX_OK) {
        st = join_dataset(g, path, own.to_done != NULL ? &own : s);
    }
    if (own.to_done != NULL && strcmp(strrchr(path, '_'), "_done") == 0) { /* counted once */
        g->m->rows += own.fresh;
    }
    free_stage(&own);
    return st;
}

static dtx_status join_group(merging *g, const char *path, void *user)
{
    stage own = {0};
    dtx_status st;

    if (!in_to(g, path)) {
        return add_part(g, path);
    }
    DTX_TRY(compare_attributes(g, path));
    DTX_GO(read_flags(g, path, &own));
    DTX_GO(each_member(g, path, join_member, own.to_done != NULL ? &own : user));
    g->m->rows += own.fresh;
    if (own.fresh > 0 && g->m->tell) {
        dtx_log(DTX_LOG_INFO, "merge", "%s: %" PRId64 " rows of %s", g->m->from_name, own.fresh, path);
    }
    if (g->m->apply) {
        st = dtx_h5_copy_attributes(g->from, path, g->to, path);
    }
done:
    free_stage(&own);
    return st;
}

/* --- variants --- */

/* Weights and seed that a variant was made with; NULL and -1 where it does not say (an imported one). */
static dtx_status origin(hid_t file, const char *path, char **fingerprint, double *seed)
{
    char *json = NULL;
    cJSON *root = NULL;
    dtx_status st;

    *seed = -1;
    DTX_GO(dtx_h5_attr_get_str(file, path, "weights_fingerprint", fingerprint));
    DTX_GO(dtx_h5_attr_get_str(file, path, "generation", &json));
    if (json != NULL) {
        DTX_GO(dtx_json_parse(json, strlen(json), path, 0, &root));
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, "seed");
        *seed = cJSON_IsNumber(item) ? item->valuedouble : -1;
    }
done:
    cJSON_Delete(root);
    dtx_free(json);
    return st;
}

/* All variants of a run come from one model and one seed. */
static dtx_status check_origin(merging *g, const char *path, void *user)
{
    char **names = NULL, other[PATH_SIZE], *here = NULL, *there = NULL;
    double seed_here, seed_there;
    size_t n = 0;
    dtx_status st;

    (void)user;
    DTX_GO(origin(g->from, path, &there, &seed_there));
    DTX_GO(dtx_h5_list(g->to, dtx_h5_places[DTX_H5_VARIANTS].path, &names, &n));
    for (size_t i = 0; i < n; i++) {
        DTX_GO(join_path(other, dtx_h5_places[DTX_H5_VARIANTS].path, names[i]));
        dtx_free(here);
        here = NULL;
        DTX_GO(origin(g->to, other, &here, &seed_here));
        if (here != NULL && there != NULL && strcmp(here, there) != 0) {
            st = CONFLICT(g, "%s there and %s here come from other weights", path, other);
            goto done;
        }
        if (seed_here >= 0 && seed_there >= 0 && seed_here != seed_there) {
            st = CONFLICT(g, "the seed of %s there is %.0f, of %s here %.0f", path, seed_there, other, seed_here);
            goto done;
        }
    }
done:
    dtx_free(names);
    dtx_free(here);
    dtx_free(there);
    return st;
}

static dtx_status merge_variant(merging *g, const char *path, void *user)
{
    static const dtx_h5_place parts[] = {DTX_H5_COMPLETIONS, DTX_H5_TOXICITIES, DTX_H5_ATTRIBUTIONS};
    char part[PATH_SIZE];
    stage none = {0};

    (void)user;
    if (in_to(g, path)) {
        return join_group(g, path, &none);
    }
    if (g->m->tell) { /* by its parts, as they are told where the variant is there */
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
            dtx_h5_group(part, sizeof part, parts[i], strrchr(path, '/') + 1, NULL);
            if (dtx_h5_exists(g->from, part)) {
                dtx_log(DTX_LOG_INFO, "merge", "%s: %s", g->m->from_name, part);
            }
        }
    }
    g->m->parts++;
    return g->m->apply ? dtx_h5_copy(g->from, path, g->to) : DTX_OK;
}

/* --- rollouts, provenance --- */

/* Rollouts of ppo and sampled answers of dpo (`user` is the job) are whole once their training is. */
static dtx_status merge_rollouts(merging *g, const char *path, void *user)
{
    char training[PATH_SIZE], name[512];
    int64_t complete = 0;
    bool there = false;

    snprintf(name, sizeof name, "%s-%s", (const char *)user, strrchr(path, '/') + 1);
    dtx_h5_group(training, sizeof training, DTX_H5_TRAINING, name, NULL);
    if (dtx_h5_exists(g->from, training)) {
        DTX_TRY(dtx_h5_attr_get_int(g->from, training, "complete", &complete, &there));
    }
    if (complete != 1) {
        dtx_log(DTX_LOG_WARN, "merge", "%s: %s stays out, as its training is under way; merge again when it has ended",
                g->m->from_name, path);
        return DTX_OK;
    }
    if (in_to(g, path) && !dtx_h5_exists(g->to, training)) {
        return CONFLICT(g, "%s is under way here and complete there: finish the training here or use another run directory", path);
    }
    return whole(g, path, NULL);
}

/* All attributes of a launch as one text. */
static dtx_status launch_text(hid_t file, const char *path, char **out)
{
    char **pairs = NULL, *text = NULL;
    size_t n = 0, size = 0, cap = 0;
    dtx_status st;

    DTX_GO(dtx_h5_attr_list(file, path, &pairs, &n));
    DTX_GO(DTX_GROW(text, cap, 1));
    for (size_t i = 0; i < 2 * n; i++) {
        size_t len = strlen(pairs[i]);
        DTX_GO(DTX_GROW(text, cap, size + len + 2));
        memcpy(text + size, pairs[i], len);
        text[size + len] = '\n';
        size += len + 1;
    }
    text[size] = '\0';
    *out = text;
    text = NULL;
done:
    dtx_free(text);
    dtx_free(pairs);
    return st;
}

typedef struct {
    char **text; /* of the launches of `to` */
    size_t n, cap;
} launches;

static dtx_status read_launches(hid_t file, launches *l)
{
    char **names = NULL, path[PATH_SIZE];
    size_t n = 0;
    dtx_status st = dtx_h5_list(file, dtx_h5_places[DTX_H5_LAUNCHES].path, &names, &n);

    for (size_t i = 0; i < n && st == DTX_OK; i++) {
        DTX_GO(join_path(path, dtx_h5_places[DTX_H5_LAUNCHES].path, names[i]));
        DTX_GO(DTX_GROW(l->text, l->cap, l->n + 1));
        DTX_GO(launch_text(file, path, &l->text[l->n]));
        l->n++;
    }
done:
    dtx_free(names);
    return st;
}

static bool is_known(const launches *l, const char *text)
{
    for (size_t i = 0; i < l->n; i++) {
        if (strcmp(l->text[i], text) == 0) {
            return true;
        }
    }
    return false;
}

/* Launches are numbered from 0; those that `to` lacks get the next numbers. */
static dtx_status merge_provenance(merging *g)
{
    launches known = {0};
    char from[PATH_SIZE], to[PATH_SIZE], number[24], *text = NULL;
    dtx_status st = DTX_OK;

    if (g->to >= 0) {
        DTX_GO(read_launches(g->to, &known));
    }
    size_t next = known.n;
    for (size_t k = 0;; k++) {
        snprintf(number, sizeof number, "%zu", k);
        dtx_h5_group(from, sizeof from, DTX_H5_LAUNCH, number, NULL);
        if (!dtx_h5_exists(g->from, from)) {
            break;
        }
        dtx_free(text);
        text = NULL;
        DTX_GO(launch_text(g->from, from, &text));
        if (is_known(&known, text)) {
            continue;
        }
        g->m->launches++;
        if (g->m->apply) {
            do {
                snprintf(number, sizeof number, "%zu", next++);
                dtx_h5_group(to, sizeof to, DTX_H5_LAUNCH, number, NULL);
            } while (dtx_h5_exists(g->to, to));
            DTX_GO(dtx_h5_make_groups(g->to, to, true));
            DTX_GO(dtx_h5_copy_attributes(g->from, from, g->to, to));
        }
    }
done:
    dtx_free(text);
    for (size_t i = 0; i < known.n; i++) {
        dtx_free(known.text[i]);
    }
    dtx_free(known.text);
    return st;
}

/* --- the file --- */

static dtx_status merge_other(merging *g, const char *path, void *user)
{
    static const dtx_h5_place known[] = {DTX_H5_PROMPTS, DTX_H5_VARIANTS, DTX_H5_TRAININGS, DTX_H5_ALL_ROLLOUTS, DTX_H5_ALL_REJECTED,
                                         DTX_H5_LAUNCHES};

    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(path, dtx_h5_places[known[i]].path) == 0) {
            return DTX_OK;
        }
    }
    return whole(g, path, user);
}

static dtx_status merge_prompts(merging *g)
{
    const char *path = dtx_h5_places[DTX_H5_PROMPTS].path;
    dtx_h5_same_report report;

    if (!dtx_h5_exists(g->from, path)) {
        return DTX_OK;
    }
    if (!in_to(g, path)) {
        return add_part(g, path);
    }
    DTX_TRY(dtx_h5_same_object(g->to, g->from, path, &report));
    report.text[strcspn(report.text, "\n")] = '\0';
    return report.differences == 0 ? DTX_OK : CONFLICT(g, "it holds other evaluation texts (%s)", report.text);
}

dtx_status dtx_h5_merge_file(hid_t to, hid_t from, dtx_h5_merge *m)
{
    merging g = {m, to, from};

    DTX_TRY(dtx_h5_check_schema(from, m->from_name));
    DTX_TRY(dtx_h5_fits_all(from));
    if (to >= 0) {
        DTX_TRY(dtx_h5_check_schema(to, m->to_name));
        DTX_TRY(dtx_h5_fits_all(to));
        DTX_TRY(each_member(&g, dtx_h5_places[DTX_H5_VARIANTS].path, check_origin, NULL));
    }
    DTX_TRY(merge_prompts(&g)); /* first, as a job makes them: they name the axes of the root */
    DTX_TRY(each_member(&g, dtx_h5_places[DTX_H5_VARIANTS].path, merge_variant, NULL));
    DTX_TRY(each_member(&g, dtx_h5_places[DTX_H5_ALL_REJECTED].path, merge_rollouts, (void *)(uintptr_t) "dpo"));
    DTX_TRY(each_member(&g, dtx_h5_places[DTX_H5_ALL_ROLLOUTS].path, merge_rollouts, (void *)(uintptr_t) "ppo")); /* before the training that says whether they are whole */
    DTX_TRY(each_member(&g, dtx_h5_places[DTX_H5_TRAININGS].path, whole, NULL));
    DTX_TRY(each_member(&g, "/", merge_other, NULL));
    return merge_provenance(&g);
}
