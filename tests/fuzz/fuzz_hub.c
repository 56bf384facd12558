/* Replies of a hub: repository info, a page of a listing, an index of shards. The first byte chooses which. */
#include <assert.h>
#include <string.h>

#include "src/net/hub.h"
#include "tests/fuzz/fuzz.h"

dtx_status dtx_fuzz_status;

const char *const dtx_fuzz_words[] = {"\"path\":\"../x\"", "\"path\":\"/x\"", "\"a//b\"", "\\u0000", "\\\\", "\"lfs\":null", "\"size\":-1", "\"size\":1e300",
                                      "\"oid\":\"\"", "null", "[]", "{}", "\"type\":\"file\"", "\"gated\":\"auto\"", "\"license\":[\"a\"]", NULL};

size_t dtx_fuzz_seed(int i, uint8_t *out, size_t cap)
{
    static const char *const seeds[] = {
        "i{\"sha\":\"0123456789012345678901234567890123456789\",\"gated\":false,\"cardData\":{\"license\":\"other\",\"license_name\":\"own\","
        "\"license_link\":\"https://x\"}}",
        "m[{\"type\":\"file\",\"path\":\"config.json\",\"size\":3,\"oid\":\"0123456789012345678901234567890123456789\"},{\"type\":\"directory\","
        "\"path\":\"d\"},{\"type\":\"file\",\"path\":\"model.safetensors\",\"size\":134,\"oid\":\"x\",\"lfs\":{\"size\":9,\"oid\":"
        "\"0123456789012345678901234567890123456789012345678901234567890123\"}}]",
        "d[{\"type\":\"file\",\"path\":\"d/t.csv\",\"size\":3,\"oid\":\"0123456789012345678901234567890123456789\"}]",
        "x{\"metadata\":{},\"weight_map\":{\"a\":\"model-1.safetensors\",\"b\":\"model-1.safetensors\"}}",
    };

    if (i >= (int)(sizeof seeds / sizeof *seeds) || strlen(seeds[i]) > cap) {
        return 0;
    }
    memcpy(out, seeds[i], strlen(seeds[i]));
    return strlen(seeds[i]);
}

static dtx_status listing(const char *text, size_t size, dtx_hub_kind kind)
{
    dtx_hub_files files = {.n = 0};
    const dtx_hub_file *index;
    dtx_status st = dtx_hub_add_page(&files, text, size, "fuzz");

    if (st == DTX_OK) {
        st = dtx_hub_select(&files, "fuzz", &kind, NULL, 0, &index);
    }
    if (st == DTX_OK) {
        dtx_hub_keep_wanted(&files);
        for (size_t i = 0; i < files.n; i++) {
            assert(dtx_hub_safe_path(files.file[i].path) && files.file[i].path[0] != '/' && strstr(files.file[i].path, "/../") == NULL);
            assert(files.file[i].size >= 0 && (files.file[i].sha256[0] != '\0' || files.file[i].git_blob[0] != '\0'));
        }
    }
    dtx_hub_files_free(&files);
    return st;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data + 1;
    dtx_hub_info info;

    if (size == 0) {
        dtx_fuzz_status = DTX_FAIL(DTX_ERR_INPUT, "nothing");
        return 0;
    }
    switch (data[0]) {
    case 'i': dtx_fuzz_status = dtx_hub_read_info(text, size - 1, "fuzz", &info); break;
    case 'm': dtx_fuzz_status = listing(text, size - 1, DTX_HUB_MODEL); break;
    case 'd': dtx_fuzz_status = listing(text, size - 1, DTX_HUB_DATA); break;
    default: {
        dtx_hub_files files = {.n = 0};
        dtx_hub_file *f = dtx_hub_add(&files, "model-1.safetensors");
        dtx_fuzz_status = f == NULL ? DTX_ERR_MISSING : dtx_hub_add_shards(&files, text, size - 1, "fuzz");
        dtx_hub_files_free(&files);
    }
    }
    return 0;
}
