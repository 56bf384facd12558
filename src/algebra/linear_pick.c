#include "src/algebra/linear_pick.h"

const dtx_native *dtx_native_pick(const char *isa)
{
    const dtx_native *all[] = {dtx_native_avx512(), dtx_native_avx2(), dtx_native_portable()};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (all[i] != NULL && (isa == NULL || strcmp(isa, all[i]->name) == 0)) {
            return all[i];
        }
    }
    return NULL;
}
