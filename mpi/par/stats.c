#include "mpi/par/stats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

dtx_status dtx_par_spread(const dtx_par *par, int n, const double *mine, dtx_spread *out)
{
    double low[DTX_SPREAD_MAX], sum[DTX_SPREAD_MAX], high[DTX_SPREAD_MAX];

    if (n > DTX_SPREAD_MAX) {
        return DTX_FAIL(DTX_ERR_CHECK, "%d figures to compare between ranks; at most %d", n, DTX_SPREAD_MAX);
    }
    DTX_TRY(DTX_MPI(MPI_Allreduce(mine, low, n, MPI_DOUBLE, MPI_MIN, par->comm)));
    DTX_TRY(DTX_MPI(MPI_Allreduce(mine, sum, n, MPI_DOUBLE, MPI_SUM, par->comm)));
    DTX_TRY(DTX_MPI(MPI_Allreduce(mine, high, n, MPI_DOUBLE, MPI_MAX, par->comm)));
    for (int i = 0; i < n; i++) {
        out[i] = (dtx_spread){low[i], sum[i] / par->size, high[i]};
    }
    return DTX_OK;
}

/* A line of /proc/self/status, in bytes. */
static double status_line(const char *name)
{
    FILE *f = fopen("/proc/self/status", "re");
    char line[256];
    double kilobytes = 0;

    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        if (strncmp(line, name, strlen(name)) == 0) {
            kilobytes = strtod(line + strlen(name), NULL);
            break;
        }
    }
    if (f != NULL) {
        fclose(f);
    }
    return kilobytes * 1024;
}

double dtx_peak_memory(void)
{
    return status_line("VmHWM:");
}

double dtx_resident_memory(void)
{
    return status_line("VmRSS:");
}
