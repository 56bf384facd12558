/* simd.h - one binary for every x86-64 node: a function marked DTX_CLONES is compiled for AVX-512, AVX2 and plain
 * x86-64, and the loader picks the copy that the machine can run. Other processors get the plain copy. */
#ifndef DTX_SIMD_H
#define DTX_SIMD_H

/* Resolvers run before the sanitizers are ready, hence not there. */
#if defined(__x86_64__) && defined(__linux__) && !defined(DTX_SANITIZED)
#define DTX_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define DTX_CLONES
#endif
/* Helpers of such functions must become part of each copy. */
#define DTX_INLINE static inline __attribute__((always_inline))

#endif
