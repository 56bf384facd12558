/* timing.h - rates measured side by side with the limit that they are compared with, as a machine's speed changes from minute to
 * minute. */
#ifndef DTX_TIMING_H
#define DTX_TIMING_H

/* Median of n values; sorts x. */
double dtx_timing_median(double *x, int n);
/* What a rate is compared with: dtx_peak_fma, dtx_peak_read ... (src/algebra/peak.h). */
typedef double (*dtx_timing_limit)(int threads, double seconds);
/* The peak of multiply-adds in compute.precision. */
dtx_timing_limit dtx_timing_peak(void);
/* One repetition: `run` between two measurements of the limit. Returns seconds; *peak is the limit's mean. */
double dtx_timing_beside(int threads, dtx_timing_limit limit, void (*run)(void *user), void *user, double *peak);

#endif
