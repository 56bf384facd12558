/* choices.h - settings that are one of a few words: each list once, as word and value. config.h holds the values, config_table.c
 * the words; what a value means elsewhere (a back end, a schedule) is told by the job that reads it. */
#ifndef DTX_CHOICES_H
#define DTX_CHOICES_H

#define DTX_CHOICES_REDUCE(X) X(DTX_SET_REDUCE_STRICT, "strict") X(DTX_SET_REDUCE_FAST, "fast")
#define DTX_CHOICES_GEMM(X) \
    X(DTX_SET_GEMM_AUTO, "auto") X(DTX_SET_GEMM_NATIVE, "native") X(DTX_SET_GEMM_OPENBLAS, "openblas") \
    X(DTX_SET_GEMM_REFERENCE, "reference")
#define DTX_CHOICES_PRECISION(X) X(DTX_SET_PRECISION_F32, "f32") X(DTX_SET_PRECISION_BF16, "bf16")
#define DTX_CHOICES_DTYPE(X) X(DTX_SET_DTYPE_AUTO, "auto") X(DTX_SET_DTYPE_F32, "f32")
#define DTX_CHOICES_METHOD(X) \
    X(DTX_SET_METHOD_INPUT_X_GRADIENT, "input_x_gradient") X(DTX_SET_METHOD_SALIENCY, "saliency") \
    X(DTX_SET_METHOD_INTEGRATED_GRADIENTS, "integrated_gradients")
#define DTX_CHOICES_TARGET(X) \
    X(DTX_SET_TARGET_PROBABILITY, "probability") X(DTX_SET_TARGET_LOGPROB, "logprob") X(DTX_SET_TARGET_LOGIT, "logit")
#define DTX_CHOICES_NORM(X) X(DTX_SET_NORM_L2, "l2") X(DTX_SET_NORM_L1, "l1") X(DTX_SET_NORM_SUM, "sum")
#define DTX_CHOICES_MERGE(X) X(DTX_SET_MERGE_NONE, "none") X(DTX_SET_MERGE_WORDS, "words") X(DTX_SET_MERGE_INSEQ, "inseq")
#define DTX_CHOICES_EOS(X) X(DTX_SET_EOS_DROP, "drop") X(DTX_SET_EOS_KEEP, "keep")
#define DTX_CHOICES_SCHEDULE(X) \
    X(DTX_SET_SCHEDULE_COSINE, "cosine") X(DTX_SET_SCHEDULE_LINEAR, "linear") X(DTX_SET_SCHEDULE_CONSTANT, "constant")
#define DTX_CHOICES_LOSS_ON(X) X(DTX_SET_LOSS_ON_ALL, "all") X(DTX_SET_LOSS_ON_ASSISTANT, "assistant")
#define DTX_CHOICES_LOSS_AVERAGE(X) X(DTX_SET_LOSS_AVERAGE_MICRO, "micro") X(DTX_SET_LOSS_AVERAGE_TOKEN, "token")
#define DTX_CHOICES_KL(X) \
    X(DTX_SET_KL_K1, "k1") X(DTX_SET_KL_ABS, "abs") X(DTX_SET_KL_MSE, "mse") X(DTX_SET_KL_K3, "k3") X(DTX_SET_KL_FULL, "full")
#define DTX_CHOICES_COMPAT(X) X(DTX_SET_COMPAT_NONE, "none") X(DTX_SET_COMPAT_TRL_04, "trl-0.4")
#define DTX_CHOICES_REJECTED(X) X(DTX_SET_REJECTED_TURN, "turn") X(DTX_SET_REJECTED_SAMPLED, "sampled")
#define DTX_CHOICES_REWARD(X) X(DTX_SET_REWARD_PROB, "prob") X(DTX_SET_REWARD_LOGIT, "logit") X(DTX_SET_REWARD_LOGPROB, "logprob")
#define DTX_CHOICES_SCORER(X) X(DTX_SET_SCORER_LOCAL, "local") X(DTX_SET_SCORER_SERVICE, "service")
#define DTX_CHOICES_PROMPTS(X) \
    X(DTX_SET_PROMPTS_AUTO, "auto") X(DTX_SET_PROMPTS_TEMPLATED, "templated") X(DTX_SET_PROMPTS_TEXT, "text") X(DTX_SET_PROMPTS_NONE, "none")
#define DTX_CHOICES_MAP(X) X(DTX_SET_MAP_AUTO, "auto") X(DTX_SET_MAP_ISOTONIC, "isotonic") X(DTX_SET_MAP_LOGISTIC, "logistic")
#define DTX_CHOICES_TASK(X) X(DTX_SET_TASK_LM, "lm") X(DTX_SET_TASK_CLASSIFIER, "classifier")
#define DTX_CHOICES_TEACHER(X) X(DTX_SET_TEACHER_NONE, "none") X(DTX_SET_TEACHER_NGRAMS, "ngrams")

#define DTX_CHOICE_VALUE(value, word) value,
#define DTX_CHOICE_WORD(value, word) word,

typedef enum { DTX_CHOICES_REDUCE(DTX_CHOICE_VALUE) } dtx_set_reduce;
typedef enum { DTX_CHOICES_GEMM(DTX_CHOICE_VALUE) } dtx_set_gemm;
typedef enum { DTX_CHOICES_PRECISION(DTX_CHOICE_VALUE) } dtx_set_precision;
typedef enum { DTX_CHOICES_DTYPE(DTX_CHOICE_VALUE) } dtx_set_dtype;
typedef enum { DTX_CHOICES_METHOD(DTX_CHOICE_VALUE) } dtx_set_method;
typedef enum { DTX_CHOICES_TARGET(DTX_CHOICE_VALUE) } dtx_set_target;
typedef enum { DTX_CHOICES_NORM(DTX_CHOICE_VALUE) } dtx_set_norm;
typedef enum { DTX_CHOICES_MERGE(DTX_CHOICE_VALUE) } dtx_set_merge;
typedef enum { DTX_CHOICES_EOS(DTX_CHOICE_VALUE) } dtx_set_eos;
typedef enum { DTX_CHOICES_SCHEDULE(DTX_CHOICE_VALUE) } dtx_set_schedule;
typedef enum { DTX_CHOICES_LOSS_ON(DTX_CHOICE_VALUE) } dtx_set_loss_on;
typedef enum { DTX_CHOICES_LOSS_AVERAGE(DTX_CHOICE_VALUE) } dtx_set_loss_average;
typedef enum { DTX_CHOICES_KL(DTX_CHOICE_VALUE) } dtx_set_kl;
typedef enum { DTX_CHOICES_COMPAT(DTX_CHOICE_VALUE) } dtx_set_compat;
typedef enum { DTX_CHOICES_REJECTED(DTX_CHOICE_VALUE) } dtx_set_rejected;
typedef enum { DTX_CHOICES_REWARD(DTX_CHOICE_VALUE) } dtx_set_reward;
typedef enum { DTX_CHOICES_SCORER(DTX_CHOICE_VALUE) } dtx_set_scorer;
typedef enum { DTX_CHOICES_PROMPTS(DTX_CHOICE_VALUE) } dtx_set_prompts;
typedef enum { DTX_CHOICES_MAP(DTX_CHOICE_VALUE) } dtx_set_map;
typedef enum { DTX_CHOICES_TASK(DTX_CHOICE_VALUE) } dtx_set_task;
typedef enum { DTX_CHOICES_TEACHER(DTX_CHOICE_VALUE) } dtx_set_teacher;

#endif
