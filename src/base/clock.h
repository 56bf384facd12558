/* clock.h - time that never goes back. */
#ifndef DTX_CLOCK_H
#define DTX_CLOCK_H

/* Seconds since an arbitrary start. */
double dtx_now(void);

#endif
