/* peak.h - what this machine can do at most, measured, so that speeds can be given as shares of it. */
#ifndef DTX_PEAK_H
#define DTX_PEAK_H

/* f32 flop/s of multiply-adds on registers alone, `threads` threads for about `seconds`. */
double dtx_peak_fma(int threads, double seconds);
/* The same in bf16 (VDPBF16PS); 0 where the processor has none. */
double dtx_peak_bf16(int threads, double seconds);
/* Bytes/s of reading memory far larger than the caches (256 MB, given back at the end). 0 when the memory is not
 * there. */
double dtx_peak_read(int threads, double seconds);

#endif
