/* The reference values of the sampling processors and of attribution, for every model that is there. */
#include <glob.h>
#include <stdio.h>
#include <string.h>

#include "jobs/verify.h"
#include "src/status.h"

int main(void)
{
    glob_t g;
    dtx_verify v = {.out = stdout};
    dtx_status st = DTX_OK;

    if (glob(DTX_SHARED "/golden/*/expected", 0, NULL, &g) != 0) {
        printf("no reference values under %s/golden\n", DTX_SHARED);
        return 77;
    }
    for (size_t i = 0; i < g.gl_pathc && st == DTX_OK; i++) {
        *strrchr(g.gl_pathv[i], '/') = '\0';
        snprintf(v.model, sizeof v.model, "%s", strrchr(g.gl_pathv[i], '/') + 1);
        st = dtx_verify_processors(&v, g.gl_pathv[i]);
        if (st == DTX_OK) {
            st = dtx_verify_attribution(&v, g.gl_pathv[i]);
        }
    }
    globfree(&g);
    if (st != DTX_OK) {
        printf("%s\n", dtx_error_text());
    }
    printf("%d quantities, %d outside their tolerance\n", (int)v.n, (int)v.n_bad);
    return st == DTX_OK && v.n_bad == 0 && v.n >= 100 ? 0 : 1;
}
