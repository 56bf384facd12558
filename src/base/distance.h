/* distance.h - how far two words are apart, for "did you mean". Local. */
#ifndef DTX_DISTANCE_H
#define DTX_DISTANCE_H

#include <stddef.h>

/* Levenshtein's distance in bytes; SIZE_MAX where b is longer than 160. */
size_t dtx_edit_distance(const char *a, const char *b);

#endif
