#include "jobs/shared/toxicity.h"

#include <stdio.h>

enum { N_COLUMNS = 3 };

static const char *const names[N_COLUMNS] = {"completion", "prompt", "status"};

dtx_status dtx_toxicity_make(hid_t file, const char *group, int64_t n)
{
    static const char *const long_names[N_COLUMNS] = {
        "toxicity of the completion, NaN where it has no score", "toxicity of the prompt, NaN where it has no score",
        "0 not done, 1 scored, 2 empty, 3 language, 4 too long, 5 refused, 6 failed"};
    const hid_t types[N_COLUMNS] = {H5T_NATIVE_FLOAT, H5T_NATIVE_FLOAT, H5T_NATIVE_UINT8};
    char path[256];

    for (int c = 0; c < N_COLUMNS; c++) {
        snprintf(path, sizeof path, "%s/%s", group, names[c]);
        DTX_TRY(dtx_h5_make(file, &(dtx_h5_spec){path, types[c], 1, {(hsize_t)n}, {"/row"}, 0, long_names[c], "1"}));
    }
    return DTX_OK;
}

dtx_status dtx_toxicity_write(hid_t file, const char *group, const float *completion, const float *prompt, const uint8_t *status)
{
    const void *const values[N_COLUMNS] = {completion, prompt, status};
    const hid_t types[N_COLUMNS] = {H5T_NATIVE_FLOAT, H5T_NATIVE_FLOAT, H5T_NATIVE_UINT8};
    char path[256];

    for (int c = 0; c < N_COLUMNS; c++) {
        snprintf(path, sizeof path, "%s/%s", group, names[c]);
        DTX_TRY(dtx_h5_write(file, path, types[c], values[c]));
    }
    return DTX_OK;
}
