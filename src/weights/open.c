/* open.c - finds the files of a folder or an index and gives each to the reader of its container. */
#include <stdio.h>
#include <string.h>

#include "src/base/file.h"
#include "src/base/json.h"
#include "src/weights/gguf.h"
#include "src/weights/parts.h"

static bool ends_with(const char *s, const char *tail)
{
    size_t n = strlen(s), k = strlen(tail);

    return n >= k && strcmp(s + n - k, tail) == 0;
}

static dtx_status open_gguf(dtx_weights *w, const char *path)
{
    dtx_gguf *g = NULL;

    DTX_TRY(dtx_gguf_open(path, &g));
    dtx_weights_own_gguf(w, g);
    for (int64_t i = 0; i < dtx_gguf_n_tensors(g); i++) {
        const dtx_tensor *t = dtx_gguf_tensor(g, i);
        DTX_TRY(dtx_weights_add(w, t, t->name, strlen(t->name), t->file));
    }
    return DTX_OK;
}

/* Maps one file and reads its tensors. What it is, its first bytes tell, not its name. */
static dtx_status open_file(dtx_weights *w, const char *path)
{
    const char *file;
    dtx_file_map map;

    if (dtx_gguf_is_path(path)) {
        return open_gguf(w, path);
    }
    DTX_TRY(dtx_weights_map(w, path, &file, &map));
    if (map.size >= 4 && memcmp(map.data, "PK\3\4", 4) == 0) {
        return dtx_torch_scan(w, file, map.data, map.size);
    }
    if (ends_with(path, ".bin") || ends_with(path, ".pt") || ends_with(path, ".pth")) {
        return DTX_FAIL(DTX_ERR_INPUT,
                        "%s: not a zip archive, as PyTorch writes since 1.6: truncated at its start, an older format, "
                        "or only a pointer to the real file; %zu bytes",
                        path, map.size);
    }
    return dtx_safetensors_scan(w, file, map.data, map.size);
}

/* The index's own view: every tensor it names must stand in the shard it names. */
static dtx_status check_index(dtx_weights *w, const char *index, const cJSON *map)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, map)
    {
        const dtx_tensor *t = dtx_weights_find(w, item->string);
        if (t == NULL) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: tensor %s should be in %s, but is not there", index, item->string,
                            item->valuestring);
        }
        const char *slash = strrchr(t->file, '/');
        if (strcmp(slash != NULL ? slash + 1 : t->file, item->valuestring) != 0) {
            return DTX_FAIL(DTX_ERR_INPUT, "%s: tensor %s should be in %s, but is in %s", index, item->string,
                            item->valuestring, t->file);
        }
    }
    return DTX_OK;
}

/* NAME.index.json: {"weight_map": {tensor: shard}}. */
static dtx_status open_index(dtx_weights *w, const char *index)
{
    char dir[4096], path[4096];
    cJSON *root = NULL;
    const cJSON *map, *item;
    dtx_status st = DTX_OK;

    DTX_TRY(dtx_file_folder(dir, sizeof dir, index));
    DTX_TRY(dtx_json_read(index, &root));
    map = dtx_json_get(root, "weight_map");
    if (!cJSON_IsObject(map) || map->child == NULL) {
        st = DTX_FAIL(DTX_ERR_INPUT, "%s: weight_map: an object {tensor: shard} is expected", index);
        goto done;
    }
    cJSON_ArrayForEach(item, map)
    {
        const char *shard = cJSON_IsString(item) ? item->valuestring : NULL;
        if (shard == NULL || shard[0] == '\0' || strchr(shard, '/') != NULL || strcmp(shard, "..") == 0) {
            st = DTX_FAIL(DTX_ERR_INPUT, "%s: weight_map: %s: the name of a file in the same folder is expected", index,
                          item->string);
            goto done;
        }
        DTX_GO(dtx_file_join(path, sizeof path, dir, shard));
        if (dtx_weights_has_file(w, path)) {
            continue;
        }
        if (!dtx_file_exists(path)) {
            st = DTX_FAIL(DTX_ERR_MISSING,
                          "%s: tensor %s is said to be in %s, but that shard is missing; copy it into the folder",
                          index, item->string, shard);
            goto done;
        }
        DTX_GO(open_file(w, path));
    }
    DTX_GO(dtx_weights_finish(w));
    DTX_GO(check_index(w, index, map));
done:
    cJSON_Delete(root);
    return st;
}

static dtx_status open_any(dtx_weights *w, const char *path)
{
    if (ends_with(path, ".index.json")) {
        return open_index(w, path);
    }
    DTX_TRY(open_file(w, path));
    return dtx_weights_finish(w);
}

/* The file of a folder that holds its weights, in the order of preference. */
static dtx_status find_in_folder(const char *dir, const char *stem, char *out, size_t size)
{
    static const char *const tails[] = {".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json"};
    bool model = stem == NULL || strcmp(stem, "model") == 0 || strcmp(stem, "pytorch_model") == 0;
    char name[256];

    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "%s%s", !model ? stem : i < 2 ? "model" : "pytorch_model", tails[i]);
        DTX_TRY(dtx_file_join(out, size, dir, name));
        if (dtx_file_exists(out)) {
            return DTX_OK;
        }
    }
    return DTX_FAIL(DTX_ERR_MISSING, "%s: holds no weights; %s.safetensors or %s.bin is expected, or their .index.json",
                    dir, model ? "model" : stem, model ? "pytorch_model" : stem);
}

dtx_status dtx_weights_open(const char *path, const char *stem, dtx_weights **out)
{
    char file[4096];
    dtx_weights *w = NULL;
    dtx_status st = DTX_OK;

    if (dtx_file_is_dir(path)) {
        DTX_TRY(find_in_folder(path, stem, file, sizeof file));
        path = file;
    } else if (!dtx_file_exists(path)) {
        return DTX_FAIL(DTX_ERR_MISSING, "%s: no such file or folder", path);
    }
    DTX_GO(dtx_weights_new(&w));
    DTX_GO(open_any(w, path));
    *out = w;
    w = NULL;
done:
    dtx_weights_close(w);
    return st;
}
