/* driver.c - runs a harness as a test: every seed as it is (must be accepted), every prefix of every seed, every file of its
 * corpus (accepted or refused), and a fixed sequence of mutations of both. The input ends at an unmapped page, so that a read beyond it faults without any sanitizer. A
 * test fails by a fault, by memory that is still held after a call, by a refusal without a message, by a seed that is
 * refused, or when the mutations are all accepted or all refused.
 * Usage: fuzz_NAME [ITERATIONS [SEED]]; one input again: fuzz_NAME --file INPUT; the seeds as files: fuzz_NAME --seeds
 * DIR. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "src/base/log.h"
#include "src/base/mem.h"
#include "tests/fuzz/fuzz.h"

enum { CAP = 1 << 16, MAX_SEEDS = 32, MAX_CORPUS = 512, ITERATIONS = 200000 };

static uint8_t seeds[MAX_SEEDS][CAP];
static size_t seed_size[MAX_SEEDS];
static int n_seeds;
static struct {
    uint8_t *data;
    size_t size;
} corpus[MAX_CORPUS]; /* what libFuzzer found, in the order of the names */
static int n_corpus;
static uint8_t *guard; /* first byte of the unmapped page; CAP bytes before it are ours */
static uint64_t state;

/* xorshift64* (Vigna 2016): the sequence is the same everywhere */
static uint64_t next(void)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 2685821657736338717u;
}

static size_t below(size_t n)
{
    return n > 0 ? (size_t)(next() % n) : 0;
}

static dtx_status run(const uint8_t *data, size_t size)
{
    size_t held = dtx_mem_used();
    uint8_t *p = guard - size;

    memcpy(p, data, size);
    dtx_error_clear();
    LLVMFuzzerTestOneInput(p, size);
    if (dtx_mem_used() != held) {
        fprintf(stderr, "%zd bytes are still held after the call\n", (ssize_t)(dtx_mem_used() - held));
        abort();
    }
    if (dtx_fuzz_status != DTX_OK && dtx_error_text()[0] == '\0') {
        fprintf(stderr, "refused without a message\n");
        abort();
    }
    return dtx_fuzz_status;
}

/* Moves the tail from `at` by `by` bytes; returns the new size, or `size` when there is no room. */
static size_t shift(uint8_t *x, size_t size, size_t at, ptrdiff_t by)
{
    if ((by > 0 && size + (size_t)by > CAP) || (by < 0 && at < (size_t)-by)) {
        return size;
    }
    memmove(x + at + by, x + at, size - at);
    return (size_t)((ptrdiff_t)size + by);
}

static size_t insert(uint8_t *x, size_t size, const void *what, size_t n)
{
    size_t at = below(size + 1), grown = shift(x, size, at, (ptrdiff_t)n);

    if (grown != size) {
        memcpy(x + at, what, n);
    }
    return grown;
}

static size_t mutate(uint8_t *x, size_t size)
{
    static const uint64_t numbers[] = {0,
                                       1,
                                       2,
                                       7,
                                       127,
                                       128,
                                       255,
                                       256,
                                       65535,
                                       65536,
                                       0x7FFFFFFF,
                                       0x80000000,
                                       0xFFFFFFFF,
                                       0x100000000,
                                       0x7FFFFFFFFFFFFFFF,
                                       0x8000000000000000,
                                       0xFFFFFFFFFFFFFFFF};
    static const size_t widths[] = {1, 2, 4, 8};
    static const char *const decimal[] = {"0",    "-1", "1.5", "4294967296", "9007199254740993", "18446744073709551616",
                                          "1e999"};
    size_t at = below(size), n_words = 0, k;
    uint64_t v;

    switch (below(9)) {
    case 0: /* one bit */
        if (size > 0) {
            x[at] ^= (uint8_t)(1u << below(8));
        }
        return size;
    case 1: /* one byte */
        if (size > 0) {
            x[at] = (uint8_t)next();
        }
        return size;
    case 2: /* a number at a border, or one off it */
        v = numbers[below(sizeof numbers / sizeof *numbers)] + below(3) - 1;
        k = widths[below(4)];
        if (at + k <= size) {
            memcpy(x + at, &v, k);
        }
        return size;
    case 3: /* a run out */
        k = 1 + below(size - at < 16 ? size - at : 16);
        return at + k <= size ? shift(x, size, at + k, -(ptrdiff_t)k) : size;
    case 4: /* a word in */
        while (dtx_fuzz_words[n_words] != NULL) {
            n_words++;
        }
        if (n_words > 0) {
            const char *word = dtx_fuzz_words[below(n_words)];
            return insert(x, size, word, strlen(word));
        }
        return size;
    case 5: /* a decimal number replaced */
        while (at < size && (x[at] < '0' || x[at] > '9')) {
            at++;
        }
        for (k = at; k < size && x[k] >= '0' && x[k] <= '9';) {
            k++;
        }
        if (at < k) {
            const char *number = decimal[below(sizeof decimal / sizeof *decimal)];
            size = shift(x, size, k, -(ptrdiff_t)(k - at));
            size_t grown = shift(x, size, at, (ptrdiff_t)strlen(number));
            if (grown != size) {
                memcpy(x + at, number, strlen(number));
            }
            return grown;
        }
        return size;
    case 6: { /* a piece of a seed in */
        const int s = (int)below((size_t)n_seeds);
        size_t from = below(seed_size[s]);
        k = 1 + below(seed_size[s] - from < 64 ? seed_size[s] - from : 64);
        return from + k <= seed_size[s] ? insert(x, size, seeds[s] + from, k) : size;
    }
    case 7: { /* a piece of itself again */
        uint8_t piece[64];
        k = 1 + below(sizeof piece);
        if (at + k <= size) {
            memcpy(piece, x + at, k);
            return insert(x, size, piece, k);
        }
        return size;
    }
    default: /* the end off */ return below(8) == 0 ? at : size;
    }
}

static int run_file(const char *path)
{
    static uint8_t x[CAP];
    FILE *f = fopen(path, "rb");

    if (f == NULL) {
        perror(path);
        return 2;
    }
    size_t n = fread(x, 1, sizeof x, f);
    fclose(f);
    printf("status %d: %s\n", (int)run(x, n), dtx_error_text());
    return 0;
}

/* Reads DTX_CORPUS, which may be absent. Returns 0, or 2 after a message. */
static int read_corpus(void)
{
    struct dirent **entry = NULL;
    int n = scandir(DTX_CORPUS, &entry, NULL, alphasort), rc = 0;

    for (int i = 0; i < n; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", DTX_CORPUS, entry[i]->d_name);
        if (entry[i]->d_name[0] != '.' && rc == 0) {
            FILE *f = fopen(path, "rb");
            uint8_t *x = malloc(CAP);
            if (f == NULL || x == NULL || n_corpus == MAX_CORPUS) {
                fprintf(stderr, "%s cannot be read, or there are more than %d files\n", path, MAX_CORPUS);
                rc = 2;
                free(x);
            } else {
                corpus[n_corpus].size = fread(x, 1, CAP, f);
                corpus[n_corpus++].data = x;
            }
            if (f != NULL) {
                fclose(f);
            }
        }
        free(entry[i]);
    }
    free(entry);
    return rc;
}

static int write_seeds(const char *dir)
{
    char path[4096];

    for (int i = 0; i < n_seeds; i++) {
        snprintf(path, sizeof path, "%s/seed%d", dir, i);
        FILE *f = fopen(path, "wb");
        if (f == NULL || fwrite(seeds[i], 1, seed_size[i], f) != seed_size[i] || fclose(f) != 0) {
            perror(path);
            return 2;
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    static uint8_t x[CAP];
    long iterations = argc > 1 ? strtol(argv[1], NULL, 10) : ITERATIONS, accepted = 0, refused = 0;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *area = mmap(NULL, CAP + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (area == MAP_FAILED || mprotect(area + CAP, page, PROT_NONE) != 0) {
        perror("mmap");
        return 2;
    }
    guard = area + CAP;
    dtx_log_set_level(DTX_LOG_ERROR);
    if (argc > 2 && strcmp(argv[1], "--file") == 0) {
        return run_file(argv[2]);
    }
    state = argc > 2 ? strtoull(argv[2], NULL, 10) * 2 + 1 : 20231123;
    while (n_seeds < MAX_SEEDS && (seed_size[n_seeds] = dtx_fuzz_seed(n_seeds, seeds[n_seeds], CAP)) > 0) {
        n_seeds++;
    }
    if (argc > 2 && strcmp(argv[1], "--seeds") == 0) {
        return write_seeds(argv[2]);
    }
    for (int i = 0; i < n_seeds; i++) {
        if (run(seeds[i], seed_size[i]) != DTX_OK) {
            fprintf(stderr, "seed %d is refused: %s\n", i, dtx_error_text());
            return 1;
        }
        for (size_t k = 0; k < seed_size[i]; k++) {
            (void)run(seeds[i], k);
        }
    }
    if (read_corpus() != 0) {
        return 2;
    }
    for (int i = 0; i < n_corpus; i++) {
        (void)run(corpus[i].data, corpus[i].size);
    }
    for (long i = 0; i < iterations; i++) {
        int s = (int)below((size_t)(n_seeds + n_corpus));
        const uint8_t *from = s < n_seeds ? seeds[s] : corpus[s - n_seeds].data;
        size_t size = s < n_seeds ? seed_size[s] : corpus[s - n_seeds].size;
        memcpy(x, from, size);
        for (size_t k = 1 + below(4); k > 0; k--) {
            size = mutate(x, size);
        }
        if (run(x, size) == DTX_OK) {
            accepted++;
        } else {
            refused++;
        }
    }
    printf("%d seeds, %d files of the corpus, %ld mutations: %ld accepted, %ld refused\n", n_seeds, n_corpus, iterations, accepted, refused);
    for (int i = 0; i < n_corpus; i++) {
        free(corpus[i].data);
    }
    return n_seeds == 0 || (iterations >= 1000 && (accepted == 0 || refused == 0));
}
