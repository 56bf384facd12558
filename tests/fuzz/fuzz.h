/* fuzz.h - what a fuzz harness and its driver know of each other. A harness (fuzz_NAME.c) defines the four names below.
 * Linked with driver.c it is an ordinary test: fixed mutations of its seeds. Built with clang's -fsanitize=fuzzer it is
 * a libFuzzer target (tests/fuzz/README.md). */
#ifndef DTX_FUZZ_H
#define DTX_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#include "src/base/status.h"

/* libFuzzer's entry: hands `data` to the parser, looks at everything a result offers, frees it, and leaves the parser's
 * status in dtx_fuzz_status. Always returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
extern dtx_status dtx_fuzz_status;

/* Writes seed number i, a valid input, to out (cap bytes) and returns its length; 0 when there are fewer seeds. */
size_t dtx_fuzz_seed(int i, uint8_t *out, size_t cap);
/* Words that mean something to the parser, for insertions; ends with NULL. */
extern const char *const dtx_fuzz_words[];

#endif
