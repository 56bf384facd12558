#include "jobs/shared/toxicity.h"

dtx_status dtx_toxicity_make(hid_t file, const char *group, int64_t n)
{
    DTX_TRY(dtx_h5_make(file, group, "completion", n, 1));
    DTX_TRY(dtx_h5_make(file, group, "prompt", n, 1));
    return dtx_h5_make(file, group, "status", n, 1);
}

dtx_status dtx_toxicity_write(hid_t file, const char *group, int64_t n, const float *completion, const float *prompt, const uint8_t *status)
{
    DTX_TRY(dtx_h5_write(file, group, "completion", H5T_NATIVE_FLOAT, n, 1, completion));
    DTX_TRY(dtx_h5_write(file, group, "prompt", H5T_NATIVE_FLOAT, n, 1, prompt));
    return dtx_h5_write(file, group, "status", H5T_NATIVE_UINT8, n, 1, status);
}
