/* stats.h - figures of all ranks as minimum, mean and maximum: times and memory at the end of a job. */
#ifndef DTX_STATS_H
#define DTX_STATS_H

#include "mpi/par/par.h"

typedef struct {
    double min, mean, max;
} dtx_spread;

enum { DTX_SPREAD_MAX = 16 };

/* Collective. n <= DTX_SPREAD_MAX values of each rank; out[i] is set on every rank. */
dtx_status dtx_par_spread(const dtx_par *par, int n, const double *mine, dtx_spread *out);
/* Local. Largest resident memory of this process so far, bytes; 0 where the system does not tell. */
double dtx_peak_memory(void);
/* Local. Resident memory of this process now, mapped pages included. */
double dtx_resident_memory(void);

#endif
