/* config.h - the resolved configuration of a run and the one table that describes every key: type, default, range,
 * help, and which jobs it concerns. Precedence: command line > environment (DETOXLENS_GENERATE__BATCH) > JSON file >
 * default. Unknown keys, wrong types and values out of range are DTX_ERR_USAGE naming the key and what is allowed. */
#ifndef DTX_CONFIG_H
#define DTX_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/status.h"
#include "src/settings/choices.h"

/* Jobs as bits, for the table. */
enum {
    DTX_JOB_PRETRAIN = 1 << 0,
    DTX_JOB_GENERATE = 1 << 1,
    DTX_JOB_ATTRIBUTE = 1 << 2,
    DTX_JOB_REPORT = 1 << 3,
    DTX_JOB_INSPECT = 1 << 4,
    DTX_JOB_TOKENIZE = 1 << 5,
    DTX_JOB_VERIFY = 1 << 6,
    DTX_JOB_BENCH = 1 << 7,
    DTX_JOB_FINETUNE = 1 << 8,
    DTX_JOB_PPO = 1 << 9,
    DTX_JOB_DPO = 1 << 10,
    DTX_JOB_EXPORT = 1 << 11,
    DTX_JOB_IMPORT = 1 << 12,
    DTX_JOB_SCORE = 1 << 13,
    DTX_JOB_MERGE = 1 << 18,
    DTX_JOB_PIPELINE = 1 << 19,
    DTX_JOB_FETCH = 1 << 20,
    DTX_JOB_ALL = (1 << 24) - 1
};

enum { DTX_PATH_MAX = 1024, DTX_LIST_MAX = 16, DTX_MAX_VARIANTS = 32 };

typedef struct {
    char name[64];
    char adapter[DTX_PATH_MAX];
} dtx_variant;

typedef struct {
    int64_t n;
    char entry[DTX_LIST_MAX][DTX_PATH_MAX];
} dtx_config_list;

typedef struct {
    char run[DTX_PATH_MAX];
    int64_t seed, threads;              /* threads 0 = from the rank's CPU mask */
    dtx_set_reduce reduce;
    double round_seconds;               /* run.h5 is written about this often */
    struct {
        dtx_set_gemm gemm;
        dtx_set_precision precision;
    } compute;
    struct {
        char path[DTX_PATH_MAX];
        dtx_set_dtype dtype;
        struct { char user[64], bot[64], text[256], date[32]; } tmpl; /* key model.template.* */
    } model;
    int64_t n_variants;
    dtx_variant variants[DTX_MAX_VARIANTS];
    struct {
        char prompts[DTX_PATH_MAX], select[32];
        int64_t expect_count, limit;
        char dialogues[DTX_PATH_MAX];
        dtx_config_list text;
    } data;
    struct {
        int64_t max_new_tokens, min_new_tokens;
        bool do_sample;
        double temperature;
        int64_t top_k;
        double top_p;
        int64_t no_repeat_ngram_size, samples, batch;
    } generate;
    struct {
        char name[64];
        dtx_set_method method;
        dtx_set_target target;
        dtx_set_norm norm;
        dtx_set_merge merge;
        int64_t steps;
        char baseline[64];
        bool template_tokens;
        dtx_set_eos eos;
        char completions_of[64];
        int64_t check;                  /* rows of the faithfulness check, 0 = none */
        int64_t memory_mb;
    } attribute;
    struct {
        int64_t r;
        double alpha, dropout;
        dtx_config_list target_modules;
        bool use_rslora;
    } lora;
    struct {
        char init[64];                      /* a variant's name */
        int64_t epochs, batch, accumulate, warmup_steps, context, eval_every, save_every;
        double lr, clip, holdout, ear_weight;
        dtx_set_schedule schedule;
        dtx_set_loss_on loss_on;
        dtx_set_loss_average loss_average;
        bool checkpoint_layers;
    } finetune;
    struct {
        char name[64], path[DTX_PATH_MAX];
        dtx_set_scorer scorer;
        dtx_set_prompts prompts;
        dtx_config_list attributes;
        bool keywords;
        char endpoint[DTX_PATH_MAX], key[256], language[16], cache[DTX_PATH_MAX]; /* key: never to be shown */
        double qps;
        int64_t connections, folds;
        char from[64], to[64];
        dtx_set_map map;
    } score;
    struct {
        double timeout, backoff;
        int64_t tries;
        char ca_file[DTX_PATH_MAX];
    } http;
    struct {
        char init[64];                      /* a variant's name */
        int64_t steps, batch, mini_batch, accumulate, epochs, context, max_rollbacks, patience, save_every;
        double lr, kl_coef, kl_target, kl_horizon, gamma, lambda, clip, value_clip, vf_coef, max_grad_norm;
        double guard_kl_min, guard_kl_max, guard_entropy, guard_value_error, guard_repeat, guard_empty, guard_reward;
        dtx_set_kl kl_estimator;
        dtx_set_compat compat;
    } ppo;
    struct {
        char init[64];                      /* a variant's name */
        int64_t epochs, batch, warmup_steps, context, eval_every, save_every;
        double beta, lr, clip, holdout, min_toxicity;
        dtx_set_schedule schedule;
        dtx_set_rejected rejected;
        bool checkpoint_layers;
    } dpo;
    struct {
        char path[DTX_PATH_MAX];
        dtx_set_reward kind;
        dtx_config_list models;
    } reward;
    struct {
        dtx_set_task task;
        dtx_set_teacher teacher;
        char arch[16];
        int64_t layers, hidden, heads, vocab, context, steps, batch, warmup_steps, eval_every, save_every;
        double lr, clip, weight_decay, holdout, mask, average;
        dtx_set_schedule schedule;
        char label[128], group[128];
    } pretrain;
    struct {
        char to[DTX_PATH_MAX], hub[DTX_PATH_MAX], github[DTX_PATH_MAX], token[256], sha256[65]; /* token: never to be shown */
        int64_t parallel;
        bool accept_licence;
        dtx_config_list include;
    } fetch;
    struct {
        dtx_config_list variants, train;    /* names; NAME=JOB */
        bool pretrain;
    } pipeline;
    struct {
        char bench[DTX_PATH_MAX];
    } plan;
} dtx_config;

/* All defaults. */
void dtx_config_init(dtx_config *c);
/* Applies a JSON file; `path` and key appear in messages. */
dtx_status dtx_config_apply_file(dtx_config *c, const char *path);
/* Applies all DETOXLENS_* variables of the environment. */
dtx_status dtx_config_apply_env(dtx_config *c, const char *const *environ_list);
/* Applies "key.path=value" (value is JSON, else a bare string). */
dtx_status dtx_config_apply_set(dtx_config *c, const char *assignment);
/* Applies one key with a value as text. */
dtx_status dtx_config_apply(dtx_config *c, const char *key, const char *value);
/* Keys that must agree with each other; call once after all sources. */
dtx_status dtx_config_check(const dtx_config *c, unsigned jobs);
/* The resolved configuration as JSON without secrets, a line for each group, keys that concern `jobs` only; freed with
 * dtx_free. */
dtx_status dtx_config_print(const dtx_config *c, unsigned jobs, char **out);

/* The word of a key that is one of a few words (choices.h); NULL for other keys. */
const char *dtx_config_word(const dtx_config *c, const char *key);
/* The word of a value of such a key. */
const char *dtx_config_word_of(const char *key, int value);
/* The value of such a word, from a file that was written by it; -1 when the key does not allow it. */
int dtx_config_value(const char *key, const char *word);

/* The table, for --help and for the documentation. Returns false past the end. */
typedef struct {
    const char *key, *type, *help;
    char allowed[256];  /* "a|b", "a whole number, 1..4096" */
    char fallback[256]; /* default as text */
    unsigned jobs;
    bool secret;        /* not taken from the command line, not printed */
} dtx_config_key;
bool dtx_config_key_at(size_t i, dtx_config_key *out);

#endif
