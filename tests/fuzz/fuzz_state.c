/* Checkpoints of a training: what is not exactly the file that was written is refused. Its sum refuses nearly every change, so the
 * harness is about the reader of what comes before it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/training/state.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/memory_file.h"

enum { N = 3, STEPS = 4 };

dtx_status dtx_fuzz_status;

const char *const dtx_fuzz_words[] = {"\"params\"", "\"F32\"", "\"F64\"", "\"shape\":[0]", "\"data_offsets\":[0,0]", "__metadata__", "\"step\"", "-1", "{}", "}", NULL};

static float params[N], m[N], v[N];
static double loss[STEPS], scalars[2];
static dtx_curve curve = {"loss", loss};

static dtx_train_state state(void)
{
    return (dtx_train_state){.step = 2, .n_steps = STEPS, .n_params = N, .params = params, .m = m, .v = v, .n_curves = 1, .curves = &curve,
                             .n_scalars = 2, .scalars = scalars, .identity = "fuzz"};
}

size_t dtx_fuzz_seed(int i, uint8_t *out, size_t cap)
{
    char dir[] = "/tmp/dtx-fuzz-XXXXXX", path[64];
    const dtx_train_state s = state();
    size_t n = 0;

    if (i > 0) {
        return 0;
    }
    params[0] = 1;
    if (mkdtemp(dir) == NULL) {
        abort();
    }
    snprintf(path, sizeof path, "%s/state", dir);
    FILE *f = dtx_train_state_write(path, &s) == DTX_OK ? fopen(path, "rb") : NULL;
    if (f != NULL) {
        n = fread(out, 1, cap, f);
        fclose(f);
    }
    unlink(path);
    rmdir(dir);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    dtx_train_state s = state();

    dtx_fuzz_status = dtx_train_state_read(dtx_memory_file(data, size), &s);
    if (dtx_fuzz_status == DTX_OK && (s.step < 0 || s.step > STEPS)) {
        abort();
    }
    return 0;
}
