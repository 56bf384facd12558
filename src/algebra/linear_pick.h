/* linear_pick.h - inside of the native back end: which instruction set this processor takes. */
#ifndef DTX_LINEAR_PICK_H
#define DTX_LINEAR_PICK_H

#include "src/algebra/linear_tile.h"

/* The best of them here; `isa` forces one by name (tests). NULL = that one is not there. */
const dtx_native *dtx_native_pick(const char *isa);

#endif
