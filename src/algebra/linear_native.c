/* linear_native.c - the default back end: packed panels and a register tile (linear_micro.h).
 *
 * Every product of the seam is C (M, N) = A (M, K) B (K, N) here:
 *   forward          A = x,    B = W^T: stored column by column, turned while it is packed
 *   backward_input   A = dy,   B = W (K is n_out, N is n_in)
 *   backward_weight  A = dy^T, B = x, C = dw
 * An element of C is the sum over blocks of DTX_NATIVE_KC values of k, in order, of one chain of multiply-adds each.
 * That order does not know of tiles, panels or threads, which is the whole argument for equal bits: tiles may be cut
 * as speed wants them. A is packed once into a shared buffer; B is widened and packed tile by tile by the thread that
 * needs it. */
#include "src/algebra/linear_native.h"

#include <omp.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "src/algebra/quant.h"
#include "src/base/simd.h"

enum { KC = DTX_NATIVE_KC, LDA = DTX_NATIVE_LDA, NC = DTX_NATIVE_NC };
enum {
    SHARED_ROWS = 24576,   /* rows of LDA floats in the shared buffer: 26.7 MB of address space */
    PRIVATE_ROWS = 128,    /* and in a thread's own one, for calls while the shared one is taken */
    CHUNK = 768,           /* most rows of A at a time */
    WIDE = 1280,           /* most columns of a tile of B as stored by rows */
    PART = 16              /* rows that one task packs */
};
static const double SERIAL_FLOPS = 1e6; /* below this, waking threads costs more than they save */

typedef struct {
    const dtx_native *isa;
    int64_t M, N, K;
    const void *a;         /* A[i][k] at a[i * lda + k], or a[k * lda + i] when a_turned (then f32) */
    int64_t lda;
    dtx_dtype a_type;
    bool a_turned;
    const void *b;         /* B[k][j] at b[k * ldb + j], or b[j * ldb + k] when b_turned */
    int64_t ldb;
    dtx_dtype b_type;
    bool b_turned;
    float *c;
    int64_t ldc;
    const float *bias;     /* N, or NULL */
    bool accumulate;
    int64_t depth;         /* where K counts words of two bf16: elements */
    const dtx_matrix *rows; /* NULL, or the W that is B (A where sides are changed): quantised, or rows in another order, so that
                             * rows are widened one by one */
} product;

enum { HUGE_PAGE = 2 << 20, SHARED_BYTES = SHARED_ROWS * LDA * (int)sizeof(float) };
static unsigned char shared_memory[SHARED_BYTES + HUGE_PAGE];
static atomic_flag shared_taken = ATOMIC_FLAG_INIT;
static _Thread_local float private_buffer[PRIVATE_ROWS * LDA] __attribute__((aligned(64)));
static _Thread_local float b_buffer[KC * NC] __attribute__((aligned(64)));

static inline int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* Rows of W, columns col .. col + n - 1, in f32. Where W is quantised, col and n are whole blocks: KC and NC are, and so is
 * what is left at the end of a row. */
static void widen_rows(const dtx_matrix *w, int64_t row, int64_t rows, int64_t col, int64_t n, float *out, int64_t ldo)
{
    for (int64_t r = 0; r < rows; r++) {
        dtx_quant_widen(w->dtype, dtx_matrix_at(w, row + r, col), n, out + r * ldo);
    }
}

/* Rows i0 .. i0 + rows - 1 and one block of A: packed row i of block kb stands at (kb * chunk + i) * LDA. */
static void pack_a(const product *p, int64_t i0, int64_t rows, int64_t k0, int64_t kc, float *out)
{
    if (p->rows != NULL && p->a == p->rows->w) {
        widen_rows(p->rows, i0, rows, k0, kc, out, LDA);
        return;
    }
    const int64_t size = p->a_type == DTX_F32 ? 4 : 2, k = p->isa->pairs != NULL ? 2 * k0 : k0;
    const char *a = (const char *)p->a + (p->a_turned ? k * p->lda + i0 : i0 * p->lda + k) * size;

    if (p->isa->pairs != NULL) {
        p->isa->pairs(p->a_type, a, p->lda, rows, min64(2 * kc, p->depth - k), out, LDA);
    } else if (p->a_turned) {
        p->isa->transpose(DTX_F32, a, p->lda, kc, rows, out, LDA);
    } else {
        p->isa->copy(p->a_type, a, p->lda, rows, kc, out, LDA, KC, 0);
    }
}

/* The same for words of two bf16; nr is a multiple of 16. */
static void pack_b_words(const product *p, int64_t k0, int64_t kc, int64_t j0, int64_t nc, float *out)
{
    const int64_t nr = p->isa->nr, size = p->b_type == DTX_F32 ? 4 : 2, n = min64(2 * kc, p->depth - 2 * k0);
    const char *b = p->b;
    float turned[32 * KC];

    if (!p->b_turned) {
        p->isa->pair_rows(p->b_type, b + (2 * k0 * p->ldb + j0) * size, p->ldb, n, nc, out, kc * nr);
        return;
    }
    for (int64_t j = 0; j < nc; j += nr) {
        const char *from = b + ((j0 + j) * p->ldb + 2 * k0) * size;
        const int64_t cols = min64(nr, nc - j);
        if (p->b_type == DTX_BF16 && p->ldb % 2 == 0 && n == 2 * kc) { /* words as they are stored */
            p->isa->transpose(DTX_F32, from, p->ldb / 2, cols, kc, out + j * kc, nr);
        } else {
            p->isa->pairs(p->b_type, from, p->ldb, cols, n, turned, KC);
            p->isa->transpose(DTX_F32, turned, KC, cols, kc, out + j * kc, nr);
        }
    }
}

/* A panel of `cols` columns, which are rows of f32 values here, turned. */
static void pack_panel(const product *p, const void *rows, int64_t ld, int64_t cols, int64_t kc, dtx_dtype t, float *panel)
{
    const int64_t nr = p->isa->nr;
    float wide[16 * KC];

    if (nr % 16 == 0) {
        p->isa->transpose(t, rows, ld, cols, kc, panel, nr);
        return;
    }
    p->isa->transpose(t, rows, ld, cols, kc, wide, 16); /* a panel narrower than what transpose rounds up to */
    for (int64_t k = 0; k < kc; k++) {
        memcpy(panel + k * nr, wide + k * 16, (size_t)nr * sizeof *panel);
    }
}

/* The same as pack_b, of rows that are widened one by one. */
static void pack_b_rows(const product *p, int64_t k0, int64_t kc, int64_t j0, int64_t nc, float *out)
{
    enum { AT_ONCE = 32 };  /* at least nr */
    const int64_t nr = p->isa->nr;
    float wide[AT_ONCE * KC];

    for (int64_t j = 0; p->b_turned && j < nc; j += nr) {
        const int64_t cols = min64(nr, nc - j);
        widen_rows(p->rows, j0 + j, cols, k0, kc, wide, KC);
        pack_panel(p, wide, KC, cols, kc, DTX_F32, out + j * kc);
    }
    for (int64_t k = 0; !p->b_turned && k < kc; k += AT_ONCE) {
        const int64_t rows = min64(AT_ONCE, kc - k);
        widen_rows(p->rows, k0 + k, rows, j0, nc, wide, NC);
        p->isa->copy(DTX_F32, wide, NC, rows, nc, out + k * nr, nr, nr, kc * nr);
    }
}

/* Block (kc, nc) of B at (k0, j0) as panels of nr columns, each (kc, nr); columns past the end are zero. */
static void pack_b(const product *p, int64_t k0, int64_t kc, int64_t j0, int64_t nc, float *out)
{
    int64_t nr = p->isa->nr;
    const char *b = p->b;
    int64_t size = p->b_type == DTX_F32 ? 4 : 2;

    if (nc % nr != 0) {
        memset(out + nc / nr * nr * kc, 0, (size_t)(kc * nr) * sizeof *out);
    }
    if (p->rows != NULL && p->b == p->rows->w) {
        pack_b_rows(p, k0, kc, j0, nc, out);
        return;
    }
    if (p->isa->pairs != NULL) {
        pack_b_words(p, k0, kc, j0, nc, out);
        return;
    }
    if (!p->b_turned) {
        p->isa->copy(p->b_type, b + (k0 * p->ldb + j0) * size, p->ldb, kc, nc, out, nr, nr, kc * nr);
        return;
    }
    for (int64_t j = 0; j < nc; j += nr) {
        pack_panel(p, b + ((j0 + j) * p->ldb + k0) * size, p->ldb, min64(nr, nc - j), kc, p->b_type, out + j * kc);
    }
}

/* Where the block of B at (k0, j0) is stored, as rows of 512 bytes that kernel calls ask for, some at each call. */
typedef struct {
    const char *base;
    int64_t stride, rows, parts; /* parts of 512 bytes in a row */
    int64_t row, part;           /* what is asked for next */
} ahead;

static ahead plan_ahead(const product *p, int64_t k0, int64_t kc, int64_t j0, int64_t nc)
{
    if (p->isa->pairs != NULL) {
        k0 *= 2;
        kc = min64(2 * kc, p->depth - k0);
    }
    const int64_t along = p->b_turned ? k0 : j0, down = p->b_turned ? j0 : k0, n = p->b_turned ? kc : nc;
    const int64_t stride = dtx_dtype_bytes(p->b_type, p->ldb);

    return (ahead){(const char *)p->b + down * stride + dtx_dtype_bytes(p->b_type, along), stride, p->b_turned ? nc : kc,
                   ceil_div(dtx_dtype_bytes(p->b_type, n), 512), 0, 0};
}

/* As many rows as a call asks for; once all are, something that is in cache anyway. */
static void step_ahead(ahead *f, const dtx_native *isa, const float *idle, dtx_native_ahead *next)
{
    const int64_t rows = DTX_NATIVE_AHEAD * isa->busy, last = f->rows > rows ? f->rows - rows : 0;

    next->b = (const char *)idle;
    next->b_stride = 0;
    if (f->part < f->parts) {
        next->b = f->base + min64(f->row, last) * f->stride + f->part * 512;
        next->b_stride = f->stride;
        f->row += rows;
        if (f->row >= f->rows) {
            f->row = 0;
            f->part++;
        }
    }
}

/* Rows i0 .. i1 - 1 of the chunk whose packed A begins at row m0, columns j0 .. j0 + nc - 1, depth k0 .. k1 - 1. */
typedef struct {
    const product *p;
    const float *packed;
    int64_t chunk, m0, i0, i1, j0, nc, k0, k1;
    int64_t then;          /* first column of the tile that this thread probably takes next, N = none */
} tile_work;

/* The block of B (kc, nc) at (k, j), nc <= NC, packed and multiplied. */
static void run_block(const tile_work *t, int64_t k, int64_t kc, int64_t j, int64_t nc, ahead *later)
{
    const product *p = t->p;
    int64_t nr = p->isa->nr, rows = t->i1 - t->i0, panels = ceil_div(rows, p->isa->mr);
    const float *a = t->packed + ((k - t->k0) / KC * t->chunk + t->i0) * LDA;
    bool add = k > 0 || p->accumulate;
    float bias[NC];

    if (p->bias != NULL) { /* the last panel may reach beyond N */
        memset(bias, 0, sizeof bias);
        memcpy(bias, p->bias + j, (size_t)nc * sizeof *bias);
    }
    pack_b(p, k, kc, j, nc, b_buffer);
    for (int64_t q = 0; q < panels; q++) { /* panels of nearly equal height */
        int64_t r0 = q * rows / panels, r1 = (q + 1) * rows / panels;
        float *c = p->c + (t->m0 + t->i0 + r0) * p->ldc + j;
        for (int64_t i = 0; i < nc; i += nr) {
            dtx_native_ahead next = {.a = (const char *)(a + r1 * LDA) + i / nr * 4096};
            step_ahead(later, p->isa, b_buffer + i * kc, &next);
            p->isa->kernel((int)(r1 - r0), (int)min64(nr, nc - i), kc, a + r0 * LDA, b_buffer + i * kc, c + i, p->ldc,
                           k == 0 && p->bias != NULL ? bias + i : NULL, add, &next);
        }
    }
}

static void run_tile(const tile_work *t)
{
    int64_t end = t->j0 + t->nc;

    for (int64_t k = t->k0; k < t->k1; k += KC) {
        int64_t kc = min64(KC, t->k1 - k);
        for (int64_t j = t->j0; j < end; j += NC) {
            ahead later = {0};
            if (j + NC < end) {
                later = plan_ahead(t->p, k, kc, j + NC, min64(NC, end - j - NC));
            } else if (k + KC < t->k1) {
                later = plan_ahead(t->p, k + KC, min64(KC, t->k1 - k - KC), t->j0, min64(NC, t->nc));
            } else if (t->then < t->p->N) {
                later = plan_ahead(t->p, t->k0, min64(KC, t->k1 - t->k0), t->then, min64(min64(NC, t->nc), t->p->N - t->then));
            }
            run_block(t, k, kc, j, min64(NC, end - j), &later);
        }
    }
}

/* One chunk of rows and one range of k: A is packed in `blocks` x `parts` pieces, then C computed in `across` x `down`
 * tiles of nc columns. */
typedef struct {
    const product *p;
    float *packed;
    int64_t m0, rows, k0, k1;
    int64_t parts, across, down, nc;
    int threads;
} chunk_work;

static void pack_task(const chunk_work *c, int64_t t)
{
    int64_t kb = t / c->parts, i = t % c->parts * PART, k = c->k0 + kb * KC;

    pack_a(c->p, c->m0 + i, min64(PART, c->rows - i), k, min64(KC, c->k1 - k), c->packed + (kb * c->rows + i) * LDA);
}

static void tile_task(const chunk_work *c, int64_t t)
{
    int64_t j0 = t / c->down * c->nc, d = t % c->down;
    tile_work w = {c->p, c->packed, c->rows, c->m0, d * c->rows / c->down, (d + 1) * c->rows / c->down, j0,
                   min64(c->nc, c->p->N - j0), c->k0, c->k1, min64((t + c->threads) / c->down * c->nc, c->p->N)};

    run_tile(&w);
}

/* Tiles: enough of them to keep threads busy. W read along its rows (B not turned) stands on as many memory pages as the
 * block is deep, again for each tile beside it: those tiles are wide. */
static void cut_tiles(chunk_work *c, int threads)
{
    int64_t nr = c->p->isa->nr, N = c->p->N, want = 4 * (int64_t)threads, most = NC;
    const int64_t unit = c->p->rows != NULL && !c->p->b_turned ? NC : nr; /* whole blocks of a quantised row */

    if (!c->p->b_turned) {
        most = WIDE;
        want = N >= 2 * threads * WIDE ? want : threads;
    }
    c->nc = threads == 1 ? most : min64(most, ceil_div(ceil_div(N, want), unit) * unit);
    c->nc = c->nc < 2 * nr ? 2 * nr : c->nc;
    c->across = ceil_div(N, c->nc);
    c->down = threads == 1 ? 1 : min64(ceil_div(want, c->across), c->rows / 64);
    c->down = c->down < 1 ? 1 : c->down;
}

static void run_chunk(const product *p, int threads, float *packed, int64_t m0, int64_t rows, int64_t k0, int64_t k1)
{
    chunk_work c = {.p = p, .packed = packed, .m0 = m0, .rows = rows, .k0 = k0, .k1 = k1, .threads = threads};

    cut_tiles(&c, threads);
    c.parts = ceil_div(rows, PART);
    int64_t n_pack = ceil_div(k1 - k0, KC) * c.parts, n_tile = c.across * c.down;
    if (threads == 1) { /* without a parallel region, whose cost small products would feel */
        for (int64_t t = 0; t < n_pack; t++) {
            pack_task(&c, t);
        }
        for (int64_t t = 0; t < n_tile; t++) {
            tile_task(&c, t);
        }
        return;
    }
#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(static)
        for (int64_t t = 0; t < n_pack; t++) {
            pack_task(&c, t);
        }
#pragma omp for schedule(dynamic)
        for (int64_t t = 0; t < n_tile; t++) {
            tile_task(&c, t);
        }
    }
}

/* The shared buffer, on huge pages where the system gives them. */
static float *shared_buffer(void)
{
    static float *buffer;

    if (buffer == NULL) {
        uintptr_t at = ((uintptr_t)shared_memory + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
        buffer = (float *)(void *)(shared_memory + (at - (uintptr_t)shared_memory));
#ifdef MADV_HUGEPAGE
        madvise(buffer, SHARED_BYTES, MADV_HUGEPAGE);
#endif
    }
    return buffer;
}

/* --- few rows --- */

/* With few rows of x, packing W by columns would cost a good part of the product. Its rows need no turning: here they are
 * the A side, x^T is the B side, and C^T is formed in strips of STRIP columns of C, which are turned at the end. The sums
 * are the same, so are the bits. */
enum {
    STRIP = 104,           /* rows of W at a time */
    GROUP = 16 * LDA,      /* packed rows of W for a call, two of them in the thread's own buffer */
    FEW = 256              /* most rows of x */
};

typedef struct {
    const product *p;      /* as of `run` */
    product t;             /* the same with sides changed */
    float *packed;         /* x^T: panels of a block of k after each other, then the next block */
    int64_t panels, strips;
    int64_t ld;            /* columns of the panels together */
    bool carries;          /* rows of W are packed inside the kernel */
    int64_t words;         /* values in a word */
} few_work;

/* What multiplies with panel j: the last one may be thin. */
static const dtx_native *few_isa(const few_work *f, int64_t j)
{
    const dtx_native *isa = f->p->isa;

    if (f->ld - j * isa->nr < isa->nr) {
        return isa->thin;
    }
    return isa->more != NULL && f->panels <= 2 ? isa->more : isa;
}

static void few_pack_task(const few_work *f, int64_t task)
{
    const int64_t nr = f->p->isa->nr, k = task / f->panels * KC, j = task % f->panels, kc = min64(KC, f->t.K - k);
    product t = f->t;

    t.isa = few_isa(f, j);
    pack_b(&t, k, kc, j * nr, min64(t.isa->nr, t.N - j * nr), f->packed + k * f->ld + j * nr * kc);
}

/* What the first block of k is added to: t (rows, ld) = (t + bias) + C^T. */
static void few_begin(const few_work *f, int64_t n0, int64_t rows, float *t, int64_t ld, float *turned)
{
    const product *p = f->p;

    if (p->accumulate) {
        p->isa->transpose(DTX_F32, p->c + n0, p->ldc, p->M, rows, turned, ld);
    }
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t m = 0; p->bias != NULL && m < p->M; m++) {
            t[r * ld + m] += p->bias[n0 + r];
        }
        for (int64_t m = 0; p->accumulate && m < p->M; m++) {
            t[r * ld + m] += turned[r * ld + m];
        }
    }
}

static void few_strip_task(const few_work *f, int64_t s)
{
    const product *p = f->p;
    const int64_t n0 = s * p->N / f->strips, rows = (s + 1) * p->N / f->strips - n0, nr = p->isa->nr, ld = f->ld;
    const int64_t groups = ceil_div(rows, f->carries ? p->isa->mr - 1 : p->isa->mr); /* a register for what is carried */
    float *t = b_buffer, *turned = b_buffer + STRIP * FEW;
    int64_t step = 0, carried = 0; /* rows of the group that are packed already */

    for (int64_t k = 0; k < p->K; k += KC) {
        const int64_t kc = min64(KC, p->K - k);
        const float *x = f->packed + k * ld;
        ahead later = {0};
        if (k + KC < p->K) {
            later = plan_ahead(p, k + KC, min64(KC, p->K - k - KC), n0, rows);
        } else if (n0 + rows < p->N) {
            later = plan_ahead(p, 0, min64(KC, p->K), n0 + rows, min64(rows, p->N - n0 - rows));
        }
        for (int64_t g = 0; g < groups; g++, step++) { /* of nearly equal height */
            const int64_t r0 = g * rows / groups, r1 = (g + 1) * rows / groups;
            /* the next group: its rows are packed while this one is multiplied, as far as there are calls for it */
            const int64_t g2 = (g + 1) % groups, k2 = k + (g2 == 0 ? KC : 0), s0 = g2 * rows / groups, s1 = (g2 + 1) * rows / groups;
            const bool carry = f->carries && kc == KC && k2 + KC <= p->K && f->words * (k2 + KC) <= (f->words == 2 ? p->depth : p->K);
            float *packed = private_buffer + step % 2 * GROUP, *other = private_buffer + (step + 1) % 2 * GROUP;
            pack_a(&f->t, n0 + r0 + carried, r1 - r0 - carried, k, kc, packed + carried * LDA);
            carried = 0;
            for (int64_t j = 0; j < f->panels; j++) {
                const dtx_native *isa = few_isa(f, j);
                const int64_t more = carry ? min64(s1 - s0 - carried, DTX_NATIVE_CARRY * isa->busy) : 0;
                dtx_native_ahead next = {.a = (const char *)(x + (j + 1) % f->panels * kc * nr)};
                if (more > 0) {
                    next.from = (const char *)p->b + ((n0 + s0 + carried) * p->ldb + k2 * f->words) * 2;
                    next.from_stride = p->ldb * 2;
                    next.to = other + carried * LDA;
                    next.carry = more;
                    carried += more;
                }
                step_ahead(&later, isa, packed, &next);
                isa->kernel((int)(r1 - r0), isa->nr, kc, packed, x + j * kc * nr, t + r0 * ld + j * nr, ld, NULL, k > 0, &next);
            }
        }
        if (k == 0 && (p->bias != NULL || p->accumulate)) {
            few_begin(f, n0, rows, t, ld, turned);
        }
    }
    const int64_t wide = ceil_div(rows, 16) * 16;
    p->isa->transpose(DTX_F32, t, ld, rows, p->M, turned, wide);
    for (int64_t m = 0; m < p->M; m++) {
        memcpy(p->c + m * p->ldc + n0, turned + m * wide, (size_t)rows * sizeof *turned);
    }
}

/* Columns of x^T in panels, the last one thin where that is enough. */
static int64_t few_columns(const product *p)
{
    const int64_t step = p->isa->thin != NULL ? p->isa->thin->nr : p->isa->nr;

    return ceil_div(p->M, step) * step;
}

/* Whether this way is open (x^T in the shared buffer) and the faster one. By measurement a thin panel of 16 takes as long
 * as 19 columns, and turning W while it is packed as long as 6 rows; in words W is read so much faster that it is never
 * turned for a single panel. */
static bool is_few(const product *p)
{
    const int64_t nr = p->isa->nr, wide = few_columns(p), takes = wide + wide % nr * 3 / 16;

    return p->b_turned && nr % 16 == 0 && wide <= FEW && p->K * wide <= (int64_t)SHARED_ROWS * LDA
           && (takes <= p->M + 6 || (p->isa->pairs != NULL && wide <= nr));
}

static void run_few(const product *p, int threads, float *packed)
{
    few_work f = {.p = p, .t = *p, .packed = packed, .panels = ceil_div(p->M, p->isa->nr), .ld = few_columns(p)};
    const int64_t n_pack = ceil_div(p->K, KC) * f.panels;

    f.t.M = p->N;
    f.t.N = p->M;
    f.t.a = p->b;
    f.t.a_type = p->b_type;
    f.t.lda = p->ldb;
    f.t.b = p->a;
    f.t.b_type = DTX_F32;
    f.t.ldb = p->lda;
    f.carries = p->isa->carries && p->b_type == DTX_BF16 && p->rows == NULL;
    f.words = p->isa->pairs != NULL ? 2 : 1;
    f.strips = threads * ceil_div(p->N, threads * STRIP);
    f.strips = min64(f.strips, p->N);
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
#pragma omp for schedule(static)
        for (int64_t i = 0; i < n_pack; i++) {
            few_pack_task(&f, i);
        }
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < f.strips; i++) {
            few_strip_task(&f, i);
        }
    }
}

static void run(const product *p, int threads)
{
    if (p->M <= 0 || p->N <= 0) {
        return;
    }
    product words;
    if (p->isa->pairs != NULL) {
        words = *p;
        words.depth = p->K;
        words.K = ceil_div(p->K, 2);
        p = &words;
    }
    double flops = 2.0 * (double)p->M * (double)p->N * (double)p->K;
    bool shared = flops >= SERIAL_FLOPS && !omp_in_parallel() && !atomic_flag_test_and_set(&shared_taken);
    float *packed = shared ? shared_buffer() : private_buffer;
    int64_t room = shared ? SHARED_ROWS : PRIVATE_ROWS;
    int64_t chunk = min64(p->M, shared ? CHUNK : PRIVATE_ROWS);
    int64_t depth = room / chunk * KC;

    threads = shared ? threads : 1;
    if (shared && is_few(p)) {
        run_few(p, threads, packed);
        atomic_flag_clear(&shared_taken);
        return;
    }
    chunk = ceil_div(p->M, ceil_div(p->M, chunk)); /* chunks of equal height */
    for (int64_t m = 0; m < p->M; m += chunk) {
        for (int64_t k = 0; k < p->K; k += depth) {
            run_chunk(p, threads, packed, m, min64(chunk, p->M - m), k, min64(k + depth, p->K));
        }
    }
    if (shared) {
        atomic_flag_clear(&shared_taken);
    }
}

void dtx_native_product(const dtx_native *isa, int64_t M, int64_t N, int64_t K, const float *a, int64_t lda,
                        bool a_turned, const float *b, int64_t ldb, bool b_turned, float *c, int64_t ldc,
                        bool accumulate)
{
    product p = {.isa = isa, .M = M, .N = N, .K = K, .a = a, .lda = lda, .a_turned = a_turned, .b = b, .ldb = ldb,
                 .b_type = DTX_F32, .b_turned = b_turned, .c = c, .ldc = ldc, .accumulate = accumulate};
    run(&p, 1);
}

static const dtx_matrix *by_rows(const dtx_matrix *w)
{
    return dtx_dtype_is_quantised(w->dtype) || w->order != NULL ? w : NULL;
}

void dtx_native_forward(const dtx_native *isa, int threads, const dtx_matrix *w, const float *bias, int64_t M,
                        const float *x, int64_t ldx, float *y, int64_t ldy, bool accumulate)
{
    product p = {.isa = isa, .M = M, .N = w->n_out, .K = w->n_in, .a = x, .lda = ldx, .b = w->w, .ldb = w->n_in,
                 .b_type = w->dtype, .b_turned = true, .c = y, .ldc = ldy, .bias = bias, .accumulate = accumulate,
                 .rows = by_rows(w)};
    run(&p, threads);
}

void dtx_native_backward_input(const dtx_native *isa, int threads, const dtx_matrix *w, int64_t M, const float *dy,
                               int64_t lddy, float *dx, int64_t lddx, bool accumulate)
{
    product p = {.isa = isa, .M = M, .N = w->n_in, .K = w->n_out, .a = dy, .lda = lddy, .b = w->w, .ldb = w->n_in,
                 .b_type = w->dtype, .c = dx, .ldc = lddx, .accumulate = accumulate, .rows = by_rows(w)};
    run(&p, threads);
}

void dtx_native_backward_weight(const dtx_native *isa, int threads, int64_t N, int64_t K, int64_t M, const float *dy,
                                int64_t lddy, const float *x, int64_t ldx, float *dw)
{
    product p = {.isa = isa, .M = N, .N = K, .K = M, .a = dy, .lda = lddy, .a_turned = true, .b = x, .ldb = ldx,
                 .b_type = DTX_F32, .c = dw, .ldc = K, .accumulate = true};
    run(&p, threads);
}
