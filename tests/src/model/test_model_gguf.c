/* Models out of GGUF files (DTX_SHARED/golden/gguf/models): quantised weights give the bits of the same weights widened to f32,
 * in the forward and the backward pass and through a file of merged weights; what is no usable model is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "src/algebra/linear.h"
#include "src/base/file.h"
#include "src/base/mem.h"
#include "src/model/model.h"

#define GOLDEN DTX_SHARED "/golden/gguf"
#define OK(expr)                                          \
    do {                                                  \
        if ((expr) != DTX_OK) {                           \
            fail_msg("%s: %s", #expr, dtx_error_text());  \
        }                                                 \
    } while (0)

static const char *const files[] = {"falcon-tiny/Q8_0", "gemma3-tiny/Q4_K_M", "gptneox-tiny/Q8_0", "llama-tiny/Q4_K_M", "qwen3-tiny/Q4_K_M"};
enum { N_FILES = 5, T = 40 };

static dtx_status open_file(const char *name, bool wide, dtx_model **m)
{
    char path[4096];

    snprintf(path, sizeof path, GOLDEN "/%s.gguf", name);
    return dtx_model_open(path, wide, m);
}

/* logits (V) of the last position, and the gradient of their sum at the embeddings (T, d). */
static void run(const dtx_model *m, float **logits, float **grad)
{
    const int64_t d = dtx_model_arch(m)->hidden, V = dtx_model_arch(m)->vocab, offset[2] = {0, T};
    int32_t ids[T];
    float *hidden = NULL, *ones = NULL, *d_hidden = NULL;
    dtx_tape *tape = NULL;

    for (int i = 0; i < T; i++) {
        ids[i] = (i * 37 + 5) % 100;
    }
    OK(DTX_NEW(hidden, T * d));
    OK(DTX_NEW(*logits, V));
    OK(DTX_NEW(*grad, T * d));
    OK(DTX_NEW(ones, V));
    OK(DTX_NEW(d_hidden, T * d));
    OK(dtx_tape_new(m, false, &tape));
    OK(dtx_model_forward(m, &(dtx_batch){.n_seq = 1, .offset = offset, .ids = ids, .tape = tape}, hidden));
    dtx_model_logits(m, 1, hidden + (T - 1) * d, *logits);
    for (int64_t i = 0; i < V; i++) {
        ones[i] = (float)(i % 7) - 3;
    }
    dtx_model_logits_backward(m, 1, ones, hidden + (T - 1) * d, d_hidden + (T - 1) * d, NULL);
    OK(dtx_model_backward(m, tape, 1, &(dtx_segment){.seq = 0, .first = 0, .len = T}, d_hidden, &(dtx_wanted){.embeds = *grad}));
    dtx_tape_del(tape);
    dtx_free(hidden);
    dtx_free(ones);
    dtx_free(d_hidden);
}

static void quantised_weights_give_the_bits_of_their_values(void **state)
{
    (void)state;
    for (int i = 0; i < N_FILES; i++) {
        float *logits[2], *grad[2];
        int quantised = 0;
        for (int wide = 0; wide < 2; wide++) {
            dtx_model *m = NULL;
            OK(dtx_linear_setup(DTX_GEMM_AUTO, 1 + wide));
            char name[64];
            snprintf(name, sizeof name, "models/%s", files[i]);
            OK(open_file(name, wide == 1, &m));
            for (int64_t p = 0; p < dtx_model_n_params(m); p++) {
                quantised += dtx_dtype_is_quantised(dtx_model_param(m, p)->dtype) && wide == 0;
                assert_true(wide == 0 || dtx_model_param(m, p)->dtype == DTX_F32);
            }
            run(m, &logits[wide], &grad[wide]);
            if (wide == 1) {
                const int64_t d = dtx_model_arch(m)->hidden, V = dtx_model_arch(m)->vocab;
                assert_memory_equal(logits[0], logits[1], (size_t)V * sizeof(float));
                assert_memory_equal(grad[0], grad[1], (size_t)(T * d) * sizeof(float));
                assert_true(quantised > 5);
            }
            dtx_model_del(m);
        }
        for (int k = 0; k < 2; k++) {
            dtx_free(logits[k]);
            dtx_free(grad[k]);
        }
    }
}

/* As a folder: the same model from config.json and safetensors. */
static void merged_weights_are_a_folder(void **state)
{
    (void)state;
    for (int i = 0; i < N_FILES; i++) {
        char dir[] = "/tmp/dtx-gguf-model-XXXXXX", path[128], name[64];
        dtx_model *m = NULL, *back = NULL;
        float *logits[2], *grad[2];

        OK(dtx_linear_setup(DTX_GEMM_AUTO, 1));
        assert_non_null(mkdtemp(dir));
        snprintf(name, sizeof name, "models/%s", files[i]);
        OK(open_file(name, false, &m));
        snprintf(path, sizeof path, "%s/model.safetensors", dir);
        OK(dtx_model_write_merged(m, NULL, true, NULL, 0, path));
        OK(dtx_arch_write(dir, dtx_model_arch(m), "float32"));
        OK(dtx_model_open(dir, false, &back));
        run(m, &logits[0], &grad[0]);
        run(back, &logits[1], &grad[1]);
        assert_memory_equal(logits[0], logits[1], (size_t)dtx_model_arch(m)->vocab * sizeof(float));
        assert_memory_equal(grad[0], grad[1], (size_t)(T * dtx_model_arch(m)->hidden) * sizeof(float));
        for (int k = 0; k < 2; k++) {
            dtx_free(logits[k]);
            dtx_free(grad[k]);
        }
        dtx_model_del(m);
        dtx_model_del(back);
        remove(path);
        snprintf(path, sizeof path, "%s/config.json", dir);
        remove(path);
        remove(dir);
    }
}

static void what_is_no_model_is_refused(void **state)
{
    static const struct {
        const char *name, *word;
    } bad[] = {{"broken/model-no-architecture", "general.architecture is missing"}, {"broken/model-architecture-unknown", "supported: llama"},
               {"broken/model-count-is-string", "a whole number is expected"},      {"broken/model-keys-missing", "is missing"},
               {"broken/model-type-i8", ""},                                         {"broken/ok-plain", ""},
               {"broken/tensor-dim-zero", "0 entries"}};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        dtx_model *m = NULL;
        const dtx_status st = open_file(bad[i].name, false, &m);
        if (st != DTX_ERR_INPUT || strstr(dtx_error_text(), bad[i].word) == NULL || strstr(dtx_error_text(), ".gguf") == NULL) {
            fail_msg("%s: %d, %s", bad[i].name, (int)st, dtx_error_text());
        }
        print_message("%s\n", dtx_error_text());
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantised_weights_give_the_bits_of_their_values),
        cmocka_unit_test(merged_weights_are_a_folder),
        cmocka_unit_test(what_is_no_model_is_refused),
    };

    if (!dtx_file_is_dir(GOLDEN)) {
        fprintf(stderr, "skipped: %s is not there\n", GOLDEN);
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
