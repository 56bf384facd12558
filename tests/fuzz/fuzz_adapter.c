/* adapter_config.json beside the weights that it once described. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/base/mem.h"
#include "src/model/adapter.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/memory_file.h"

dtx_status dtx_fuzz_status;

const char *const dtx_fuzz_words[] = {"\"r\": 4,", "\"lora_alpha\": 1e300,", "\"target_modules\": \"all-linear\",", "\"target_modules\": [],", "\".*\"",
                                      "\"rank_pattern\": {\"dense\": 2},", "\"alpha_pattern\": {},", "\"use_rslora\": true,", "\"use_dora\": true,",
                                      "\"bias\": \"all\",", "\"modules_to_save\": [\"embed_out\"],", "\"init_lora_weights\": \"pissa\",", "null", "[", "-1", NULL};

static char dir[32], config[64], weights[64];
static dtx_arch arch;

static void remove_folder(void)
{
    unlink(config);
    unlink(weights);
    rmdir(dir);
}

/* A folder with an adapter of a tiny model; its configuration is left in `config`. */
static void make_folder(void)
{
    static const char model[] = "{\"architectures\": [\"GPTNeoXForCausalLM\"], \"model_type\": \"gpt_neox\", \"hidden_size\": 8, \"num_hidden_layers\": 1, "
                                "\"num_attention_heads\": 2, \"rotary_pct\": 1.0, \"intermediate_size\": 8, \"vocab_size\": 16, \"max_position_embeddings\": 16}";
    const char *target = "query_key_value";
    dtx_adapter *a;
    char path[64];

    strcpy(dir, "/tmp/dtx-fuzz-XXXXXX");
    if (mkdtemp(dir) == NULL) {
        abort();
    }
    snprintf(path, sizeof path, "%s/config.json", dir);
    snprintf(config, sizeof config, "%s/adapter_config.json", dir);
    snprintf(weights, sizeof weights, "%s/adapter_model.safetensors", dir);
    FILE *f = fopen(path, "w");
    if (f == NULL || fputs(model, f) < 0 || fclose(f) != 0 || dtx_arch_read(dir, &arch) != DTX_OK ||
        dtx_adapter_new(&arch, 2, 4, 0, &target, 1, 1, &a) != DTX_OK || dtx_adapter_write(dir, &arch, a, "base") != DTX_OK) {
        fprintf(stderr, "%s\n", dtx_error_text());
        abort();
    }
    unlink(path);
    dtx_adapter_del(a);
    atexit(remove_folder);
}

size_t dtx_fuzz_seed(int i, uint8_t *out, size_t cap)
{
    static uint8_t written[4096];
    static size_t n;

    if (dir[0] == '\0') {
        make_folder();
        FILE *f = fopen(config, "rb");
        n = f != NULL ? fread(written, 1, sizeof written, f) : 0;
        if (f != NULL) {
            fclose(f);
        }
    }
    if (i > 0 || n > cap) {
        return 0;
    }
    memcpy(out, written, n);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool linked;
    const char *path = dtx_memory_file(data, size);
    dtx_adapter *a = NULL;

    if (dir[0] == '\0') {
        make_folder();
    }
    if (!linked) {
        unlink(config);
        if (symlink(path, config) != 0) {
            perror(config);
            abort();
        }
        linked = true;
    }
    dtx_fuzz_status = dtx_adapter_read(dir, &arch, &a);
    dtx_adapter_del(a);
    return 0;
}
