#include "src/settings/config_table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "src/model/families/table.h"

/* Largest whole number that a JSON number holds exactly. */
#define MAX_INT 9007199254740992.0

enum {
    PRETRAIN = DTX_JOB_PRETRAIN,
    GENERATE = DTX_JOB_GENERATE,
    ATTRIBUTE = DTX_JOB_ATTRIBUTE,
    REPORT = DTX_JOB_REPORT,
    FINETUNE = DTX_JOB_FINETUNE,
    PPO = DTX_JOB_PPO,
    DPO = DTX_JOB_DPO,
    LORA = FINETUNE | PPO | DPO,
    TRAIN = PRETRAIN | LORA,
    ROWS = GENERATE | ATTRIBUTE,                    /* jobs that fill rows of run.h5 */
    COMPUTE = TRAIN | ROWS | DTX_JOB_SCORE | DTX_JOB_VERIFY | DTX_JOB_BENCH,
    IMPORT = DTX_JOB_IMPORT,
    SCORE = DTX_JOB_SCORE,
    FETCH = DTX_JOB_FETCH,
    EXPORT = DTX_JOB_EXPORT,
    MERGE = DTX_JOB_MERGE,
    WITH_RUN = TRAIN | ROWS | REPORT | IMPORT | SCORE | EXPORT | MERGE
};

static bool valid_select(const char *s)
{
    if (strncmp(s, "prompt>", 7) == 0) {
        char *end;
        double x = strtod(s + 7, &end);
        return s[7] != '\0' && *end == '\0' && x >= 0 && x <= 1;
    }
    return strcmp(s, "auto") == 0 || strcmp(s, "both>0.5") == 0 || strcmp(s, "challenging") == 0 || strcmp(s, "all") == 0;
}

static bool valid_template(const char *s)
{
    return strstr(s, "{text}") != NULL;
}

/* Its form; what is a day is looked at where it is used. */
static bool valid_date(const char *s)
{
    static const char form[] = "dddd-dd-dd dd:dd:dd";
    size_t n = strlen(s);

    for (size_t i = 0; i < n && i < sizeof form - 1; i++) {
        if (form[i] == 'd' ? s[i] < '0' || s[i] > '9' : s[i] != form[i]) {
            return false;
        }
    }
    return n == 0 || n == 10 || n == sizeof form - 1;
}

static bool valid_word(const char *s)
{
    return s[0] != '\0' && strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.@") == strlen(s)
        && strcmp(s, ".") != 0 && strcmp(s, "..") != 0;
}

static bool valid_word_or_empty(const char *s)
{
    return s[0] == '\0' || valid_word(s);
}

static bool valid_arch(const char *s)
{
    const dtx_family *f = dtx_family_find(s);

    return strcmp(s, "auto") == 0 || (f != NULL && f->fresh != NULL);
}

static bool valid_not_empty(const char *s)
{
    return s[0] != '\0';
}

static bool valid_sha256(const char *s)
{
    return s[0] == '\0' || (strlen(s) == 64 && strspn(s, "0123456789abcdef") == 64);
}

static bool valid_endpoint(const char *s)
{
    return s[0] == '\0' || ((strncmp(s, "https://", 8) == 0 || strncmp(s, "http://", 7) == 0) && strpbrk(s, "?#@ \t\r\n") == NULL);
}

/* Goes into URLs and headers. */
static bool valid_secret(const char *s)
{
    for (; *s != '\0'; s++) {
        if ((unsigned char)*s <= ' ' || (unsigned char)*s >= 127) {
            return false;
        }
    }
    return true;
}

#define AT(field) offsetof(dtx_config, field), sizeof(((dtx_config *)0)->field)
#define INT(key, field, fallback, min, max, jobs, help) \
    {key, DTX_CFG_INT, AT(field), fallback, min, max, NULL, NULL, jobs, help, DTX_CFG_OPEN, NULL}
#define NUMBER(key, field, fallback, min, max, jobs, help) \
    {key, DTX_CFG_NUMBER, AT(field), fallback, min, max, NULL, NULL, jobs, help, DTX_CFG_OPEN, NULL}
#define BOOL(key, field, fallback, jobs, help) {key, DTX_CFG_BOOL, AT(field), fallback, 0, 0, NULL, NULL, jobs, help, DTX_CFG_OPEN, NULL}
#define TEXT(key, field, fallback, allowed, valid, jobs, help) \
    {key, DTX_CFG_TEXT, AT(field), fallback, 0, 0, allowed, valid, jobs, help, DTX_CFG_OPEN, NULL}
#define SECRET(key, field, jobs, help) \
    {key, DTX_CFG_TEXT, AT(field), "", 0, 0, "text without blanks", valid_secret, jobs, help, DTX_CFG_SECRET, NULL}
#define ENDPOINT(key, field, fallback, jobs, help) \
    {key, DTX_CFG_TEXT, AT(field), fallback, 0, 0, "a URL without query and user", valid_endpoint, jobs, help, DTX_CFG_HIDDEN, NULL}
#define WORDS(choices) (const char *const[]){choices(DTX_CHOICE_WORD) NULL}
#define CHOICE(key, field, fallback, choices, jobs, help) \
    {key, DTX_CFG_CHOICE, AT(field), fallback, 0, 0, NULL, NULL, jobs, help, DTX_CFG_OPEN, WORDS(choices)}

const dtx_config_row dtx_config_table[] = {
    TEXT("run", run, "run", "a folder", valid_not_empty, WITH_RUN, "run directory: run.h5, log/, checkpoints/, report/"),
    INT("seed", seed, "42", 0, MAX_INT, COMPUTE, "key of all random numbers, with text, sample and step"),
    INT("threads", threads, "0", 0, 4096, COMPUTE | EXPORT,
        "threads of each rank; 0 = its share of the CPUs that it may use"),
    CHOICE("reduce", reduce, "strict", DTX_CHOICES_REDUCE, TRAIN,
           "sums over ranks: strict = a fixed order, the same bits on any number of ranks; fast = MPI_Allreduce"),
    NUMBER("round_seconds", round_seconds, "30", 0.01, 86400, ROWS | SCORE, "run.h5 is written about this often; less often, up to a twentieth, where rows take long"),
    CHOICE("compute.gemm", compute.gemm, "auto", DTX_CHOICES_GEMM, COMPUTE, "back end of dense algebra"),
    CHOICE("compute.precision", compute.precision, "f32", DTX_CHOICES_PRECISION, COMPUTE,
           "of products with 16-bit weights; bf16: twice as fast, needs AVX-512 BF16, see README.md"),

    TEXT("model.path", model.path, "", "a folder", NULL, TRAIN | ROWS | REPORT | IMPORT | SCORE | EXPORT | MERGE | DTX_JOB_BENCH | DTX_JOB_VERIFY,
         "model folder in Hugging Face layout; pretrain writes it, the others read it"),
    CHOICE("model.dtype", model.dtype, "auto", DTX_CHOICES_DTYPE, LORA | ROWS | DTX_JOB_VERIFY,
           "weights in memory: auto = as stored (16-bit stays 16-bit), f32 = widened"),
    TEXT("model.template.user", model.tmpl.user, "<human>:", "text of at most 63 bytes", NULL,
         GENERATE | IMPORT | LORA, "what stands for {user}; the human's turns in training"),
    TEXT("model.template.bot", model.tmpl.bot, "<bot>:", "text of at most 63 bytes", NULL,
         GENERATE | IMPORT | LORA, "what stands for {bot}; the model's turns in training"),
    TEXT("model.template.text", model.tmpl.text, "{user} \"{text}\".\n{bot} ", "text of at most 255 bytes with {text} in it",
         valid_template, GENERATE | IMPORT, "how an evaluation text becomes a prompt"),
    TEXT("model.template.date", model.tmpl.date, "", "YYYY-MM-DD or YYYY-MM-DD HH:MM:SS", valid_date, DTX_JOB_TOKENIZE,
         "today's date for chat templates that ask for it (strftime_now); never the clock, unset = such templates do without"),

    TEXT("data.prompts", data.prompts, "", "a file", NULL, GENERATE | IMPORT | DTX_JOB_BENCH,
         "evaluation texts: RealToxicityPrompts JSONL, or plain text or CSV of one's own"),
    TEXT("data.select", data.select, "auto", "auto|both>0.5|challenging|prompt>X|all (X between 0 and 1)", valid_select,
         GENERATE | IMPORT | DTX_JOB_BENCH, "which texts; auto = both>0.5 where the file holds scores, else all"),
    INT("data.expect_count", data.expect_count, "0", 0, MAX_INT, GENERATE | IMPORT, "stop when the selection has another size; 0 = any"),
    INT("data.limit", data.limit, "0", 0, MAX_INT, GENERATE | IMPORT | DTX_JOB_BENCH, "only the first texts of the selection; 0 = all"),
    TEXT("data.dialogues", data.dialogues, "", "a file", NULL, LORA,
         "dialogues: CSV with DIALOCONAN's columns text and dialogue_id"),
    {"data.text", DTX_CFG_LIST, AT(data.text), "[]", 0, 0, "a list of at most 16 FILE or FILE:FIELD", NULL, PRETRAIN,
     "training text: plain text, JSONL with a dotted field, CSV with a column", DTX_CFG_OPEN, NULL},

    INT("generate.max_new_tokens", generate.max_new_tokens, "70", 1, 65536, ROWS | PPO | DPO, "longest completion"),
    INT("generate.min_new_tokens", generate.min_new_tokens, "4", 0, 65536, GENERATE | PPO | DPO, "no end of text before this many"),
    BOOL("generate.do_sample", generate.do_sample, "true", GENERATE | PPO | DPO, "false = greedy"),
    NUMBER("generate.temperature", generate.temperature, "0.7", 0.001, 1000, GENERATE | PPO | DPO, "divides the logits"),
    INT("generate.top_k", generate.top_k, "50", 0, 1048576, GENERATE | PPO | DPO, "keep the k likeliest tokens; 0 = off"),
    NUMBER("generate.top_p", generate.top_p, "0.8", 0, 1, GENERATE | PPO | DPO,
           "keep the likeliest tokens whose probabilities sum to p; 1 = off"),
    INT("generate.no_repeat_ngram_size", generate.no_repeat_ngram_size, "2", 0, 65536, GENERATE | PPO | DPO,
        "no n-gram twice, prompt included; 0 = off"),
    INT("generate.samples", generate.samples, "1", 1, 4096, ROWS, "completions of each text"),
    INT("generate.batch", generate.batch, "16", 1, 4096, GENERATE | PPO | DPO,
        "streams decoded together by each rank; 1 may use a kernel of its own"),

    TEXT("attribute.name", attribute.name, "", "a word of letters, digits, _ - . @", valid_word_or_empty, ATTRIBUTE | REPORT,
         "name of the result; empty = the method, METHOD@W for another variant's completions"),
    CHOICE("attribute.method", attribute.method, "input_x_gradient", DTX_CHOICES_METHOD,
           ATTRIBUTE | REPORT, "attribution method"),
    CHOICE("attribute.target", attribute.target, "probability", DTX_CHOICES_TARGET, ATTRIBUTE,
           "what of the generated token is differentiated"),
    CHOICE("attribute.norm", attribute.norm, "l2", DTX_CHOICES_NORM, ATTRIBUTE, "how embedding dimensions become one score"),
    CHOICE("attribute.merge", attribute.merge, "words", DTX_CHOICES_MERGE, ATTRIBUTE,
           "sub-words: not merged, merged into words, or as Inseq's aggregator does it"),
    INT("attribute.steps", attribute.steps, "50", 1, 10000, ATTRIBUTE, "steps of integrated_gradients"),
    TEXT("attribute.baseline", attribute.baseline, "zero", "zero, or a token of the vocabulary", valid_not_empty, ATTRIBUTE,
         "baseline of integrated_gradients: zeros, or a token's embedding"),
    BOOL("attribute.template_tokens", attribute.template_tokens, "true", ATTRIBUTE,
         "the template's own tokens count as prompt in entropy and prompt dependence"),
    CHOICE("attribute.eos", attribute.eos, "drop", DTX_CHOICES_EOS, ATTRIBUTE, "a final end-of-text token"),
    TEXT("attribute.completions_of", attribute.completions_of, "", "a variant's name", valid_word_or_empty, ATTRIBUTE | REPORT,
         "attribute this variant's completions with --variant's model; empty = its own"),
    INT("attribute.check", attribute.check, "0", 0, MAX_INT, ATTRIBUTE, "rows of the faithfulness check; 0 = none"),
    INT("attribute.memory_mb", attribute.memory_mb, "1024", 1, 16777216, ATTRIBUTE,
        "memory of each rank for cotangents; bounds the block of steps"),

    INT("lora.r", lora.r, "64", 1, 4096, LORA, "rank of the adapters"),
    NUMBER("lora.alpha", lora.alpha, "32", 0, 65536, LORA, "scale: alpha / r"),
    NUMBER("lora.dropout", lora.dropout, "0.05", 0, 0.9, LORA, "dropout on the adapters' input while training"),
    {"lora.target_modules", DTX_CFG_LIST, AT(lora.target_modules), "[]", 0, 0,
     "a list of at most 16 module names or ends of them behind a dot, or all-linear", NULL, LORA,
     "modules that get an adapter; empty = the family's usual ones (query_key_value, q_proj and v_proj, ...)", DTX_CFG_OPEN, NULL},

    BOOL("lora.use_rslora", lora.use_rslora, "false", LORA, "scale: alpha / sqrt(r) (rank-stabilised LoRA)"),
    TEXT("finetune.init", finetune.init, "IT", "a variant's name", valid_word, FINETUNE, "variant that training begins from"),
    INT("finetune.epochs", finetune.epochs, "4", 1, 100000, FINETUNE, "passes over the samples"),
    INT("finetune.batch", finetune.batch, "8", 1, 1024, FINETUNE, "samples of a micro-batch, over all ranks"),
    INT("finetune.accumulate", finetune.accumulate, "2", 1, 1024, FINETUNE, "micro-batches of a step"),
    NUMBER("finetune.lr", finetune.lr, "0.0003", 0, 10, FINETUNE, "peak learning rate of AdamW"),
    INT("finetune.warmup_steps", finetune.warmup_steps, "100", 0, 1000000000, FINETUNE, "linear warm-up"),
    CHOICE("finetune.schedule", finetune.schedule, "linear", DTX_CHOICES_SCHEDULE, FINETUNE, "learning rate after warm-up"),
    INT("finetune.context", finetune.context, "512", 2, 65536, FINETUNE, "longest sample, in tokens"),
    NUMBER("finetune.holdout", finetune.holdout, "0.1", 0, 0.9, FINETUNE, "share of the samples held out for evaluation"),
    CHOICE("finetune.loss_on", finetune.loss_on, "all", DTX_CHOICES_LOSS_ON, FINETUNE,
           "which tokens are learnt: all (the study), or the model's turns alone"),
    CHOICE("finetune.loss_average", finetune.loss_average, "micro", DTX_CHOICES_LOSS_AVERAGE, FINETUNE,
           "mean over each micro-batch's tokens, micro-batches averaged (the study), or over all tokens of the step"),
    NUMBER("finetune.ear_weight", finetune.ear_weight, "0", 0, 1000, FINETUNE,
           "entropy-based attention regularisation: loss minus this times the mean entropy of attention; 0 = off"),
    NUMBER("finetune.clip", finetune.clip, "1.0", 0, HUGE_VAL, FINETUNE, "norm that gradients are clipped to; 0 = off"),
    BOOL("finetune.checkpoint_layers", finetune.checkpoint_layers, "false", FINETUNE,
         "keep only each layer's input and run it again backward: less memory, a third more work"),
    INT("finetune.eval_every", finetune.eval_every, "200", 1, 1000000000, FINETUNE, "steps between held-out losses"),
    INT("finetune.save_every", finetune.save_every, "100", 1, 1000000000, FINETUNE, "steps between checkpoints"),

    TEXT("ppo.init", ppo.init, "IT", "a variant's name", valid_word, PPO, "variant that training begins from"),
    INT("ppo.steps", ppo.steps, "0", 0, 1000000000, PPO, "steps; 0 = one pass over the prompts"),
    INT("ppo.batch", ppo.batch, "64", 2, 4096, PPO, "rollouts of a step, over all ranks"),
    INT("ppo.mini_batch", ppo.mini_batch, "8", 1, 1024, PPO, "rollouts of a mini-batch; divides ppo.batch"),
    INT("ppo.accumulate", ppo.accumulate, "2", 1, 1024, PPO, "mini-batches whose gradients are averaged for one update"),
    INT("ppo.epochs", ppo.epochs, "4", 1, 1000, PPO, "passes over the rollouts of a step"),
    NUMBER("ppo.lr", ppo.lr, "0.000005", 0, 10, PPO, "learning rate of Adam, constant"),
    NUMBER("ppo.kl_coef", ppo.kl_coef, "0.2", 0, 1000, PPO, "first coefficient of the KL penalty"),
    NUMBER("ppo.kl_target", ppo.kl_target, "6", 0.000001, 1000000, PPO, "KL per response that the controller aims at"),
    NUMBER("ppo.kl_horizon", ppo.kl_horizon, "10000", 1, HUGE_VAL, PPO, "rollouts over which the controller adapts"),
    NUMBER("ppo.gamma", ppo.gamma, "1", 0, 1, PPO, "discount"),
    NUMBER("ppo.lambda", ppo.lambda, "0.95", 0, 1, PPO, "lambda of generalised advantage estimation"),
    NUMBER("ppo.clip", ppo.clip, "0.2", 0, 1, PPO, "range that the probability ratio is clipped to: 1 +- clip"),
    NUMBER("ppo.value_clip", ppo.value_clip, "0.2", 0, HUGE_VAL, PPO, "range that new values are kept in around the old ones"),
    NUMBER("ppo.vf_coef", ppo.vf_coef, "0.1", 0, 1000, PPO, "weight of the value loss"),
    NUMBER("ppo.max_grad_norm", ppo.max_grad_norm, "0", 0, HUGE_VAL, PPO, "norm that gradients are clipped to; 0 = off"),
    CHOICE("ppo.kl_estimator", ppo.kl_estimator, "k1", DTX_CHOICES_KL, PPO,
           "per-token KL in penalty and controller: k1 = lp - ref (the study; biased under warped sampling), abs, mse = half its "
           "square, k3, full = over the vocabulary"),
    INT("ppo.context", ppo.context, "512", 2, 65536, PPO, "prompt and response together; a longer prompt loses its beginning"),
    CHOICE("ppo.compat", ppo.compat, "none", DTX_CHOICES_COMPAT, PPO,
           "trl-0.4 = what that library did by accident: of every ppo.accumulate mini-batches only the last counts, its loss divided "
           "by their number; and dropout (lora.dropout, 0.1 before the value head) acts on the rollouts' log-probabilities and values "
           "and in the updates, though not on the reference. Then the KL of an untrained policy is not 0, the ratio of an unchanged "
           "one not 1, and half of the rollouts go unused: none of it is part of PPO, hence none is the default. Sampling itself is "
           "without dropout"),
    INT("ppo.max_rollbacks", ppo.max_rollbacks, "2", 0, 100, PPO, "returns to the last healthy checkpoint before giving up"),
    INT("ppo.patience", ppo.patience, "3", 1, 1000, PPO, "unhealthy steps in a row that are a collapse"),
    INT("ppo.save_every", ppo.save_every, "5", 1, 1000000000, PPO, "steps between checkpoints"),
    NUMBER("ppo.guard_kl_min", ppo.guard_kl_min, "-5", -HUGE_VAL, 0, PPO, "a KL per response below this is unhealthy"),
    NUMBER("ppo.guard_kl_max", ppo.guard_kl_max, "60", 0, HUGE_VAL, PPO, "and one above this"),
    NUMBER("ppo.guard_entropy", ppo.guard_entropy, "0.1", 0, 1, PPO, "least entropy, as a share of the first step's"),
    NUMBER("ppo.guard_value_error", ppo.guard_value_error, "1000", 0, HUGE_VAL, PPO, "largest mean square error of the values"),
    NUMBER("ppo.guard_repeat", ppo.guard_repeat, "0.9", 0, 1, PPO, "largest share of repeated 4-grams among a step's responses"),
    NUMBER("ppo.guard_empty", ppo.guard_empty, "0.5", 0, 1, PPO, "largest share of responses without text"),
    NUMBER("ppo.guard_reward", ppo.guard_reward, "0.2", 0, HUGE_VAL, PPO,
           "largest fall of the mean reward, over 5 steps, from its best: in standard deviations of the scores, beyond chance"),

    TEXT("dpo.init", dpo.init, "IT", "a variant's name", valid_word, DPO, "variant that training begins from; it is the reference too"),
    NUMBER("dpo.beta", dpo.beta, "0.1", 0.000001, 1000, DPO, "strength of the tie to the reference"),
    INT("dpo.epochs", dpo.epochs, "1", 1, 100000, DPO, "passes over the pairs"),
    INT("dpo.batch", dpo.batch, "16", 1, 1024, DPO, "pairs of a step, over all ranks"),
    NUMBER("dpo.lr", dpo.lr, "0.00005", 0, 10, DPO, "peak learning rate of AdamW"),
    INT("dpo.warmup_steps", dpo.warmup_steps, "20", 0, 1000000000, DPO, "linear warm-up"),
    CHOICE("dpo.schedule", dpo.schedule, "linear", DTX_CHOICES_SCHEDULE, DPO, "learning rate after warm-up"),
    CHOICE("dpo.rejected", dpo.rejected, "turn", DTX_CHOICES_REJECTED, DPO,
           "rejected answer: turn = the hater's next turn in the dialogue; after the last one, the dialogue's first. sampled = what "
           "the reference (dpo.init, its adapter as training begins) answers there, by generate.*; made once, kept in /rejected/V"),
    NUMBER("dpo.min_toxicity", dpo.min_toxicity, "0", 0, 1, DPO,
           "take a sampled answer only where reward.models give it at least this P(label), a pair without one is left out; 0.5 = what "
           "they find toxic; 0 = all"),
    INT("dpo.context", dpo.context, "512", 8, 65536, DPO,
        "prompt and answer together: a longer prompt loses its beginning, an answer keeps at least half of it"),
    NUMBER("dpo.holdout", dpo.holdout, "0.1", 0, 0.9, DPO, "share of the pairs held out for evaluation"),
    NUMBER("dpo.clip", dpo.clip, "1.0", 0, HUGE_VAL, DPO, "norm that gradients are clipped to; 0 = off"),
    BOOL("dpo.checkpoint_layers", dpo.checkpoint_layers, "false", DPO,
         "keep only each layer's input and run it again backward: less memory, a third more work"),
    INT("dpo.eval_every", dpo.eval_every, "100", 1, 1000000000, DPO, "steps between held-out losses"),
    INT("dpo.save_every", dpo.save_every, "50", 1, 1000000000, DPO, "steps between checkpoints"),

    TEXT("reward.path", reward.path, "", "a folder", NULL, PPO | DPO, "classifier in Hugging Face layout: DIR or DIR#LABEL"),
    {"reward.models", DTX_CFG_LIST, AT(reward.models), "[]", 0, 0, "a list of at most 8 [WEIGHT*]DIR[#LABEL]", NULL, PPO | DPO,
     "several classifiers instead; the reward is the weighted mean", DTX_CFG_OPEN, NULL},
    CHOICE("reward.kind", reward.kind, "prob", DTX_CHOICES_REWARD, PPO,
           "prob = 1 - P(label) (the study), logit = log((1 - P) / P), logprob = log(1 - P)"),

    TEXT("score.name", score.name, "", "a word of letters, digits, _ - . @", valid_word_or_empty, SCORE | REPORT,
         "name of a toxicity set; empty = the scorer for score, perspective or what most variants have for report"),
    CHOICE("score.scorer", score.scorer, "local", DTX_CHOICES_SCORER, SCORE,
           "local = a classifier on all ranks, service = a Perspective-compatible service, asked by rank 0"),
    TEXT("score.path", score.path, "", "a folder", NULL, SCORE, "RoBERTa classifier in Hugging Face layout"),
    ENDPOINT("score.endpoint", score.endpoint, "", SCORE, "where the service answers, https://HOST/v1alpha1/comments:analyze for example"),
    SECRET("score.key", score.key, SCORE,
           "the service's key, in DETOXLENS_SCORE__KEY or in the file of --config; appears in no log, file or message"),
    {"score.attributes", DTX_CFG_LIST, AT(score.attributes), "[]", 0, 0, "a list of at most 16 names", NULL, SCORE,
     "what is scored. local: the classifier's label; empty = toxicity, toxic, hate, hateful or HS. service: its attributes, one set "
     "each (S, S.SECOND, ...); empty = TOXICITY", DTX_CFG_OPEN, NULL},
    TEXT("score.language", score.language, "en", "a language's code; empty = the service finds out", valid_word_or_empty, SCORE,
         "language of the texts, for the service"),
    CHOICE("score.prompts", score.prompts, "auto", DTX_CHOICES_PROMPTS, SCORE,
           "prompts are scored in their chat template (the study's way), without it, or not at all; auto = templated for local, none "
           "for service"),
    BOOL("score.keywords", score.keywords, "false", SCORE,
         "also each generated token's share in the toxicity (local classifier; model.path gives the tokenizer)"),
    NUMBER("score.qps", score.qps, "1", 0.001, 100000, SCORE, "requests a second to the service, at most"),
    INT("score.connections", score.connections, "0", 0, 64, SCORE,
        "connections to the service; 0 = one for each request a second, at most 16"),
    TEXT("score.cache", score.cache, "", "a file", NULL, SCORE,
         "the service's answers by text (no texts), so that none is sent twice; empty = RUN/score-cache.jsonl"),
    TEXT("score.from", score.from, "", "a word of letters, digits, _ - . @", valid_word_or_empty, SCORE,
         "--calibrate: the set whose scores are mapped; empty = hate, else local"),
    TEXT("score.to", score.to, "", "a word of letters, digits, _ - . @", valid_word_or_empty, SCORE,
         "--calibrate: the set whose scores they shall resemble; empty = perspective, else service"),
    CHOICE("score.map", score.map, "auto", DTX_CHOICES_MAP, SCORE, "--calibrate: the map; auto = the smaller held-out error"),
    INT("score.folds", score.folds, "5", 2, 100, SCORE, "--calibrate: parts of the texts, each held out once"),
    NUMBER("http.timeout", http.timeout, "30", 0.1, 86400, SCORE | FETCH, "seconds until a connection or a reply counts as failed"),
    INT("http.tries", http.tries, "8", 1, 1000, SCORE | FETCH, "attempts at a request that fails or is answered by 429 or 5xx"),
    NUMBER("http.backoff", http.backoff, "1", 0.001, 60, SCORE | FETCH,
           "seconds before the second attempt, doubled for each further one up to 60, with jitter; Retry-After is honoured"),
    TEXT("http.ca_file", http.ca_file, "", "a file", NULL, SCORE | FETCH,
         "certificates to trust (PEM); empty = CURL_CA_BUNDLE, else SSL_CERT_FILE, else the system's"),

    CHOICE("pretrain.task", pretrain.task, "lm", DTX_CHOICES_TASK, PRETRAIN, "causal language model, or classifier of labelled text"),
    TEXT("pretrain.arch", pretrain.arch, "auto", "auto, or a model type that inspect --families shows as trained here", valid_arch, PRETRAIN,
         "architecture, as config.json's model_type; auto = gpt_neox for lm, roberta for classifier"),
    TEXT("pretrain.label", pretrain.label, "", "a column", NULL, PRETRAIN, "column of the label (classifier)"),
    TEXT("pretrain.group", pretrain.group, "", "a column", NULL, PRETRAIN,
         "column whose equal values are held out together, such as dialogue_id (classifier); empty = each text by itself"),
    NUMBER("pretrain.mask", pretrain.mask, "0.3", 0, 0.9, PRETRAIN,
           "share of the tokens that are hidden from a classifier while it trains, other ones in each step"),
    CHOICE("pretrain.teacher", pretrain.teacher, "none", DTX_CHOICES_TEACHER, PRETRAIN,
           "what a classifier learns from: the labels, or a linear classifier of token n-grams that is fitted to them first; the better choice for some ten thousand texts"),
    NUMBER("pretrain.average", pretrain.average, "0", 0, 0.99999, PRETRAIN,
           "the model is the moving average of the weights, of which each step keeps this share; 0 = the last weights"),
    INT("pretrain.layers", pretrain.layers, "4", 1, 1024, PRETRAIN, "number of layers"),
    INT("pretrain.hidden", pretrain.hidden, "128", 2, 65536, PRETRAIN, "width; a multiple of heads"),
    INT("pretrain.heads", pretrain.heads, "4", 1, 1024, PRETRAIN, "attention heads"),
    INT("pretrain.vocab", pretrain.vocab, "2048", 258, 1048576, PRETRAIN,
        "entries of the byte-level BPE vocabulary that is trained first"),
    INT("pretrain.context", pretrain.context, "256", 2, 65536, PRETRAIN, "tokens of a training sequence, and the model's limit"),
    INT("pretrain.steps", pretrain.steps, "1000", 1, 1000000000, PRETRAIN, "optimiser steps"),
    INT("pretrain.batch", pretrain.batch, "16", 1, 4096, PRETRAIN, "sequences of a step, over all ranks"),
    NUMBER("pretrain.lr", pretrain.lr, "0.001", 0, 10, PRETRAIN, "peak learning rate of AdamW"),
    INT("pretrain.warmup_steps", pretrain.warmup_steps, "50", 0, 1000000000, PRETRAIN, "linear warm-up"),
    CHOICE("pretrain.schedule", pretrain.schedule, "cosine", DTX_CHOICES_SCHEDULE, PRETRAIN, "learning rate after warm-up"),
    NUMBER("pretrain.clip", pretrain.clip, "1.0", 0, HUGE_VAL, PRETRAIN, "norm that gradients are clipped to; 0 = off"),
    NUMBER("pretrain.weight_decay", pretrain.weight_decay, "0.01", 0, 1, PRETRAIN, "AdamW's weight decay on matrices"),
    NUMBER("pretrain.holdout", pretrain.holdout, "0.05", 0, 0.9, PRETRAIN, "share of the texts held out for evaluation"),
    INT("pretrain.eval_every", pretrain.eval_every, "100", 1, 1000000000, PRETRAIN, "steps between held-out losses"),
    INT("pretrain.save_every", pretrain.save_every, "200", 1, 1000000000, PRETRAIN, "steps between checkpoints"),

    TEXT("fetch.to", fetch.to, "", "a folder", NULL, FETCH,
         "where the folders are made; empty = models for models and adapters, data for data sets"),
    INT("fetch.parallel", fetch.parallel, "4", 1, 64, FETCH, "files at a time, each over a connection of its own"),
    BOOL("fetch.accept_licence", fetch.accept_licence, "false", FETCH,
         "agree to the licences and terms that are shown; needed where they are not one of the common open licences"),
    {"fetch.include", DTX_CFG_LIST, AT(fetch.include), "[]", 0, 0, "a list of at most 16 shell patterns", NULL, FETCH,
     "files of a repository to take instead of those that detoxlens reads", DTX_CFG_OPEN, NULL},
    TEXT("fetch.sha256", fetch.sha256, "", "64 hexadecimal digits", valid_sha256, FETCH, "of the one file when a URL is given"),
    ENDPOINT("fetch.hub", fetch.hub, "", FETCH, "a Hugging Face hub or mirror; empty = HF_ENDPOINT, else https://huggingface.co"),
    ENDPOINT("fetch.github", fetch.github, "https://raw.githubusercontent.com", FETCH, "where files of GitHub's repositories are read, or a mirror"),
    SECRET("fetch.token", fetch.token, FETCH,
           "the hub's access token, in HF_TOKEN or DETOXLENS_FETCH__TOKEN; goes to the hub alone, appears in no log, file or message"),

    {"pipeline.variants", DTX_CFG_LIST, AT(pipeline.variants), "[\"IT\",\"FT\",\"RL\"]", 0, 0, "a list of at most 16 names", NULL,
     DTX_JOB_PIPELINE, "variants that answer, are scored and attributed, in this order", DTX_CFG_OPEN, NULL},
    {"pipeline.train", DTX_CFG_LIST, AT(pipeline.train), "[\"FT=finetune\",\"DPO=dpo\",\"RL=ppo\"]", 0, 0, "a list of at most 16 NAME=JOB", NULL,
     DTX_JOB_PIPELINE, "how a variant without variants.NAME.adapter is trained first", DTX_CFG_OPEN, NULL},
    BOOL("pipeline.pretrain", pipeline.pretrain, "false", DTX_JOB_PIPELINE, "train the model of model.path from data.text first"),

    TEXT("plan.bench", plan.bench, "", "a file", NULL, TRAIN | ROWS | SCORE,
         "what `bench layer --json` printed on a node of this kind: the job's time is predicted from it; empty = a measurement at its "
         "start where that costs below 1 % of the job"),
};
const size_t dtx_config_table_size = sizeof dtx_config_table / sizeof dtx_config_table[0];
