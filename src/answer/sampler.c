#include "src/answer/sampler.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>

enum { BLOCK = 256 }; /* scores looked at together */

/* NoRepeatNGramLogitsProcessor: every token that followed an earlier occurrence of the last n-1 ids. */
static void ban_repeated_ngrams(int64_t n, const int32_t *ids, int64_t n_ids, int64_t V, float *score)
{
    if (n_ids + 1 < n) {
        return;
    }
    const int32_t *tail = ids + (n_ids + 1 - n);
    for (int64_t i = 0; i + n <= n_ids; i++) {
        int64_t same = 0;
        while (same < n - 1 && ids[i + same] == tail[same]) {
            same++;
        }
        int32_t next = ids[i + n - 1];
        if (same == n - 1 && next >= 0 && next < V) {
            score[next] = -INFINITY;
        }
    }
}

/* Heaps of floats. sign = 1: the root is the largest, sign = -1: the smallest. Comparisons with NaN are false, so NaN
 * ends up anywhere but the loops end; dtx_sampler_choose refuses such scores. */
static void sift_down(float *heap, int64_t n, int64_t at, float sign)
{
    float x = heap[at];

    for (;;) {
        int64_t child = 2 * at + 1;
        if (child >= n) {
            break;
        }
        if (child + 1 < n && sign * heap[child + 1] > sign * heap[child]) {
            child++;
        }
        if (!(sign * heap[child] > sign * x)) {
            break;
        }
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = x;
}

static void heapify(float *heap, int64_t n, float sign)
{
    for (int64_t i = n / 2 - 1; i >= 0; i--) {
        sift_down(heap, n, i, sign);
    }
}

/* Whether any of n scores is above a bound: a loop without exits, which the compiler turns into vector code. */
static bool any_above(int64_t n, const float *score, float bound)
{
    int any = 0;

    for (int64_t i = 0; i < n; i++) {
        any |= score[i] > bound;
    }
    return any != 0;
}

/* TopKLogitsWarper: everything below the k-th best value goes, ties with it stay. A heap of the k best seen so far:
 * one pass over V in blocks, hardly ever one with something for the heap. */
static void keep_top_k(int64_t k, int64_t V, float *score, float *heap)
{
    if (k >= V) {
        return;
    }
    for (int64_t i = 0; i < k; i++) {
        heap[i] = score[i];
    }
    heapify(heap, k, -1);
    for (int64_t at = k; at < V; at += BLOCK) {
        int64_t end = at + BLOCK < V ? at + BLOCK : V;
        for (int64_t i = any_above(end - at, score + at, heap[0]) ? at : end; i < end; i++) {
            if (score[i] > heap[0]) {
                heap[0] = score[i];
                sift_down(heap, k, 0, -1);
            }
        }
    }
    const float least = heap[0];
    for (int64_t i = 0; i < V; i++) {
        score[i] = score[i] < least ? -INFINITY : score[i];
    }
}

/* TopPLogitsWarper: sorted ascending, whatever has a cumulative probability <= 1 - p goes, the best one always stays.
 * Equal values are sorted by id, so the lower ids of a tie go first. Read from the other end: values leave a heap in
 * descending order while 1 minus the mass above them is > 1 - p. */
static void keep_top_p(double p, int64_t V, float *score, float *heap)
{
    double total = 0, above, top;
    float last;
    int64_t n = 0, kept = 1, of_last = 1;

    for (int64_t at = 0; at < V; at += BLOCK) {
        int64_t end = at + BLOCK < V ? at + BLOCK : V;
        for (int64_t i = any_above(end - at, score + at, -INFINITY) ? at : end; i < end; i++) {
            if (score[i] > -INFINITY) {
                heap[n++] = score[i];
            }
        }
    }
    if (n == 0) {
        return;
    }
    heapify(heap, n, 1);
    last = heap[0];
    top = (double)last;
    for (int64_t i = 0; i < n; i++) {
        total += exp((double)heap[i] - top);
    }
    if (!isfinite(total)) {
        return;
    }
    above = 1; /* exp(top - top) */
    while (kept < n) {
        heap[0] = heap[n - kept];
        sift_down(heap, n - kept, 0, 1);
        if (1 - above / total <= 1 - p) {
            break;
        }
        of_last = heap[0] < last ? 1 : of_last + 1;
        last = heap[0];
        above += exp((double)last - top);
        kept++;
    }
    for (int64_t i = V - 1; i >= 0; i--) {
        if (score[i] < last || (score[i] == last && of_last-- <= 0)) {
            score[i] = -INFINITY;
        }
    }
}

void dtx_sampler_process(const dtx_sampling *s, const int32_t *ids, int64_t n_ids, int64_t prompt_len, int64_t V,
                         float *logits, float *scratch)
{
    if (s->no_repeat_ngram > 0) {
        ban_repeated_ngrams(s->no_repeat_ngram, ids, n_ids, V, logits);
    }
    for (int i = 0; n_ids - prompt_len < s->min_new_tokens && i < s->eos.n; i++) {
        if (s->eos.id[i] < V) {
            logits[s->eos.id[i]] = -INFINITY;
        }
    }
    if (!s->do_sample) {
        return; /* greedy search has the processors, not the warpers */
    }
    if (s->temperature != 1) {
        const float t = (float)s->temperature;
        for (int64_t i = 0; i < V; i++) {
            logits[i] /= t;
        }
    }
    if (s->top_k > 0) {
        keep_top_k(s->top_k, V, logits, scratch);
    }
    if (s->top_p < 1) {
        keep_top_p(s->top_p, V, logits, scratch);
    }
}

dtx_status dtx_sampler_choose(const dtx_sampling *s, int64_t V, const float *scores, double u, int32_t *token,
                              float *logprob)
{
    double total = 0, sum = 0;
    int64_t pick = -1;
    float top = -INFINITY;
    int bad = 0;

    for (int64_t at = 0; at < V; at += BLOCK) {
        int64_t end = at + BLOCK < V ? at + BLOCK : V;
        for (int64_t i = at; i < end; i++) {
            bad |= !(scores[i] < INFINITY);
        }
        for (int64_t i = any_above(end - at, scores + at, top) ? at : end; i < end; i++) {
            if (scores[i] > top) {
                top = scores[i];
                pick = i; /* of equal ones the lowest id */
            }
        }
    }
    for (int64_t i = 0; bad && i < V; i++) {
        if (!(scores[i] < INFINITY)) {
            return DTX_FAIL(DTX_ERR_NUMERIC, "score of token %" PRId64 " is %g: the model's output is not finite", i,
                            (double)scores[i]);
        }
    }
    if (pick < 0) {
        return DTX_FAIL(DTX_ERR_NUMERIC, "no token is left: all %" PRId64 " scores are -inf after the processors", V);
    }
    for (int64_t at = 0; at < V; at += BLOCK) {
        int64_t end = at + BLOCK < V ? at + BLOCK : V;
        for (int64_t i = any_above(end - at, scores + at, -INFINITY) ? at : end; i < end; i++) {
            total += scores[i] > -INFINITY ? exp((double)scores[i] - (double)top) : 0;
        }
    }
    for (int64_t i = 0; s->do_sample && i < V; i++) {
        if (scores[i] > -INFINITY) {
            sum += exp((double)scores[i] - (double)top);
            pick = i;
            if (sum > u * total) {
                break;
            }
        }
    }
    *token = (int32_t)pick;
    *logprob = (float)((double)scores[pick] - (double)top - log(total));
    return DTX_OK;
}
