/* The table of run.h5. What is changed here changes the file's format: DTX_SCHEMA_VERSION counts versions. */
#include "mpi/h5/schema.h"

#include <string.h>

#define IDS "of an imported variant once model.path is known, at the latest by attribute or score.keywords"
#define GENERATED "not of an imported variant"

const dtx_h5_place_info dtx_h5_places[DTX_H5_PLACES] = {
    [DTX_H5_ROOT] = {"/", "the run; scales of its axes", "all"},
    [DTX_H5_PROMPTS] = {"/prompts", "the evaluation texts", "generate, import"},
    [DTX_H5_VARIANTS] = {"/variants", "one group for each variant", "generate, import, attribute"},
    [DTX_H5_VARIANT] = {"/variants/{V}", "a variant: IT, FT, RL or another name", "generate, import, attribute"},
    [DTX_H5_COMPLETIONS] = {"/variants/{V}/completions", "its answers; several samples of a text are rows in sequence", "generate, import"},
    [DTX_H5_TOXICITIES] = {"/variants/{V}/toxicity", "one group for each set of scores", "score, import"},
    [DTX_H5_TOXICITY] = {"/variants/{V}/toxicity/{S}", "scores by one scorer, S = score.name; S.ATTRIBUTE: a service's further ones; "
                         "FROM@TO: calibrated", "score, import"},
    [DTX_H5_ATTRIBUTIONS] = {"/variants/{V}/attribution", "one group for each attribution", "attribute"},
    [DTX_H5_ATTRIBUTION] = {"/variants/{V}/attribution/{M}", "M = attribute.name, by default the method, METHOD@W for W's completions",
                            "attribute"},
    [DTX_H5_WORDS] = {"/variants/{V}/attribution/{M}/words", "the curves after merging of sub-words", "attribute"},
    [DTX_H5_CHECK] = {"/variants/{V}/attribution/{M}/check", "faithfulness on a sample of rows", "attribute"},
    [DTX_H5_CALIBRATIONS] = {"/calibration", "one group for each map", "score"},
    [DTX_H5_CALIBRATION] = {"/calibration/{FROM@TO}", "the map from one set's scores to another's", "score"},
    [DTX_H5_TRAININGS] = {"/training", "one group for each training", "pretrain, finetune, dpo, ppo"},
    [DTX_H5_TRAINING] = {"/training/{JOB-V}", "curves of a training", "pretrain, finetune, dpo, ppo"},
    [DTX_H5_TIMING] = {"/training/{JOB-V}/timing", "what depends on clock and machine", "pretrain, finetune, dpo, ppo"},
    [DTX_H5_ALL_ROLLOUTS] = {"/rollouts", "one group for each ppo training", "ppo"},
    [DTX_H5_ROLLOUTS] = {"/rollouts/{V}", "every rollout: row step * batch + i", "ppo"},
    [DTX_H5_ALL_REJECTED] = {"/rejected", "one group for each dpo training that samples", "dpo"},
    [DTX_H5_REJECTED] = {"/rejected/{V}", "the reference's answer to each pair's prompt", "dpo"},
    [DTX_H5_LAUNCHES] = {"/provenance", "one group for each launch", "all"},
    [DTX_H5_LAUNCH] = {"/provenance/{k}", "a launch, counted from 0", "all"},
};

const dtx_h5_axis dtx_h5_axes[] = {
    {"row", DTX_H5_BY_ROW, true, "texts in /prompts, texts x samples elsewhere"},
    {"row_edge", DTX_H5_BY_EDGE, true, "row + 1: where rows begin and end in a flat dataset"},
    {"step", DTX_H5_BY_STEP, true, "generated tokens: generate.max_new_tokens, of an imported variant its longest answer"},
    {"text_byte", DTX_H5_BY_ITEM, false, "bytes of texts, one after the other"},
    {"prompt_token", DTX_H5_BY_ITEM, false, "tokens of prompts, one after the other"},
    {"score", DTX_H5_BY_ITEM, false, "entries of matrices, one after the other"},
    {"sample", DTX_H5_BY_ROW, false, "rows that were checked"},
    {"knot", DTX_H5_BY_ROW, false, "knots of an isotonic map; 1 of a logistic one"},
    {"train_step", DTX_H5_BY_ROW, false, "steps of a training"},
    {"response", DTX_H5_BY_STEP, false, "rollouts of a step"},
    {"rollout", DTX_H5_BY_ROW, false, "steps x ppo.batch"},
    {"rollout_edge", DTX_H5_BY_EDGE, false, "rollout + 1"},
    {"token", DTX_H5_BY_STEP, false, "generated tokens: generate.max_new_tokens"},
    {"pair", DTX_H5_BY_ROW, false, "pairs of dpo"},
    {"pair_edge", DTX_H5_BY_EDGE, false, "pair + 1"},
};
const int dtx_h5_n_axes = sizeof dtx_h5_axes / sizeof *dtx_h5_axes;

const dtx_h5_dataset dtx_h5_datasets[] = {
    {DTX_H5_PROMPTS, "id", {"row"}, DTX_H5_I64, "index of the text in its source file", "1", .writers = "generate, import", .fill = -1},
    {DTX_H5_PROMPTS, "text_offset", {"row_edge"}, DTX_H5_U64, "start of each text in text_bytes",
     "byte", .writers = "generate, import", .flat = "text_bytes"},
    {DTX_H5_PROMPTS, "text_bytes", {"text_byte"}, DTX_H5_U8, "evaluation texts without template, UTF-8",
     "1", .writers = "generate, import"},

    {DTX_H5_COMPLETIONS, "tokens", {"row", "step"}, DTX_H5_I32, "generated ids, a final end-of-text included",
     "1", .writers = "generate, import, attribute, score", .fill = -1, .imported = "ids of the imported completions", .when = IDS},
    {DTX_H5_COMPLETIONS, "length", {"row"}, DTX_H5_I32, "number of generated ids",
     "1", .writers = "generate, import, attribute, score", .imported = "number of ids", .when = IDS},
    {DTX_H5_COMPLETIONS, "prompt_offset", {"row_edge"}, DTX_H5_U64, "start of each row's prompt in prompt_tokens",
     "1", .writers = "generate, import, attribute, score", .flat = "prompt_tokens", .when = IDS},
    {DTX_H5_COMPLETIONS, "prompt_tokens", {"prompt_token"}, DTX_H5_I32, "ids of the templated prompts",
     "1", .writers = "generate, import, attribute, score", .fill = -1, .when = IDS},
    {DTX_H5_COMPLETIONS, "logprob", {"row", "step"}, DTX_H5_F32, "log-probability of each generated id under the model",
     "nat", .writers = "generate", .when = GENERATED},
    {DTX_H5_COMPLETIONS, "behaviour_logprob", {"row", "step"}, DTX_H5_F32,
     "log-probability of each generated id after the sampling processors", "nat", .writers = "generate", .when = GENERATED},
    {DTX_H5_COMPLETIONS, "base_logprob", {"row", "step"}, DTX_H5_F32,
     "log-probability of each generated id under the model without its adapter", "nat", .writers = "generate", .when = "the variant has an adapter"},
    {DTX_H5_COMPLETIONS, "finish", {"row"}, DTX_H5_U8, "0 not done, 1 end of text, 2 length, 3 imported",
     "1", .writers = "generate, import"},
    {DTX_H5_COMPLETIONS, "text_offset", {"row_edge"}, DTX_H5_U64, "start of each completion in text_bytes",
     "byte", .writers = "generate, import, merge", .flat = "text_bytes"},
    {DTX_H5_COMPLETIONS, "text_bytes", {"text_byte"}, DTX_H5_U8, "decoded completions without special tokens, newlines as spaces, UTF-8",
     "1", .writers = "generate, import, merge"},

    {DTX_H5_TOXICITY, "completion", {"row"}, DTX_H5_F32, "toxicity of the completion, NaN where it has no score",
     "1", .writers = "score, import"},
    {DTX_H5_TOXICITY, "prompt", {"row"}, DTX_H5_F32, "toxicity of the prompt, NaN where it has no score",
     "1", .writers = "score, import"},
    {DTX_H5_TOXICITY, "status", {"row"}, DTX_H5_U8, "0 not done, 1 scored, 2 empty, 3 language, 4 too long, 5 refused, 6 failed",
     "1", .writers = "score, import"},
    {DTX_H5_TOXICITY, "token_share", {"row", "step"}, DTX_H5_F32,
     "share of each token in the completion's toxicity, input x gradient of the classifier", "1", .writers = "score", .when = "score.keywords"},
    {DTX_H5_TOXICITY, "token_share_done", {"row"}, DTX_H5_U8, "1 once the row's shares are on disk",
     "1", .writers = "score", .when = "score.keywords"},

    {DTX_H5_ATTRIBUTION, "row_offset", {"row_edge"}, DTX_H5_U64, "start of each row's matrix in value",
     "1", .writers = "attribute", .flat = "value"},
    {DTX_H5_ATTRIBUTION, "value", {"score"}, DTX_H5_F32, "scores, row-major (G, T) matrices; NaN at the generated token and after it",
     "1", .writers = "attribute"},
    {DTX_H5_ATTRIBUTION, "G", {"row"}, DTX_H5_I32, "generated tokens attributed", "1", .writers = "attribute"},
    {DTX_H5_ATTRIBUTION, "T", {"row"}, DTX_H5_I32, "attributed tokens, prompt and generated", "1", .writers = "attribute"},
    {DTX_H5_ATTRIBUTION, "step_probability", {"row", "step"}, DTX_H5_F32, "probability of each generated token",
     "1", .writers = "attribute"},
    {DTX_H5_ATTRIBUTION, "entropy", {"row", "step"}, DTX_H5_F32, "entropy of each generated token's scores over the prompt",
     "bit", .writers = "attribute"},
    {DTX_H5_ATTRIBUTION, "prompt_dependence", {"row", "step"}, DTX_H5_F32, "sum of each generated token's scores over the prompt",
     "1", .writers = "attribute"},
    {DTX_H5_ATTRIBUTION, "user_dependence", {"row", "step"}, DTX_H5_F32, "sum of each generated token's scores over the user's own text", "1",
     .writers = "attribute", .when = "where it is known which prompt tokens are the user's"},
    {DTX_H5_ATTRIBUTION, "done", {"row"}, DTX_H5_U8, "1 once every value of the row is on disk", "1", .writers = "attribute"},
    {DTX_H5_ATTRIBUTION, "words/length", {"row"}, DTX_H5_I32, "generated words",
     "1", .writers = "attribute", .when = "attribute.merge is not none"},
    {DTX_H5_ATTRIBUTION, "words/step_probability", {"row", "step"}, DTX_H5_F32, "probability of each generated word",
     "1", .writers = "attribute", .when = "attribute.merge is not none"},
    {DTX_H5_ATTRIBUTION, "words/entropy", {"row", "step"}, DTX_H5_F32, "entropy of each generated word's scores over the prompt's words",
     "bit", .writers = "attribute", .when = "attribute.merge is not none"},
    {DTX_H5_ATTRIBUTION, "words/prompt_dependence", {"row", "step"}, DTX_H5_F32,
     "sum of each generated word's scores over the prompt's words", "1", .writers = "attribute", .when = "attribute.merge is not none"},

    {DTX_H5_CHECK, "row", {"sample"}, DTX_H5_I64, "row that was checked",
     "1", .writers = "attribute", .fill = -1, .when = "attribute.check > 0"},
    {DTX_H5_CHECK, "drop_top", {"sample"}, DTX_H5_F32, "loss of probability when the highest-scored tenth of the prompt is deleted",
     "1", .writers = "attribute", .when = "attribute.check > 0"},
    {DTX_H5_CHECK, "drop_random", {"sample"}, DTX_H5_F32, "loss of probability when a random tenth of the prompt is deleted",
     "1", .writers = "attribute", .when = "attribute.check > 0"},
    {DTX_H5_CHECK, "completeness_error", {"sample"}, DTX_H5_F32, "integrated gradients: |sum of scores - change of the target|",
     "1", .writers = "attribute", .when = "attribute.check > 0"},
    {DTX_H5_CHECK, "completeness_scale", {"sample"}, DTX_H5_F32, "integrated gradients: |change of the target|",
     "1", .writers = "attribute", .when = "attribute.check > 0"},

    {DTX_H5_CALIBRATION, "knot_x", {"knot"}, DTX_H5_F64, "score that is mapped", "1", .writers = "score", .when = "score --calibrate"},
    {DTX_H5_CALIBRATION, "knot_y", {"knot"}, DTX_H5_F64, "score that it becomes", "1", .writers = "score", .when = "score --calibrate"},

    {DTX_H5_TRAINING, "loss", {"train_step"}, DTX_H5_F32, "training loss of the step, mean over its tokens",
     "nat", .writers = "pretrain, finetune, dpo"},
    {DTX_H5_TRAINING, "eval_loss", {"train_step"}, DTX_H5_F32, "held-out loss, mean over its tokens; NaN between evaluations",
     "nat", .writers = "pretrain, finetune, dpo"},
    {DTX_H5_TRAINING, "grad_norm", {"train_step"}, DTX_H5_F32, "gradient norm before clipping",
     "1", .writers = "pretrain, finetune, dpo"},
    {DTX_H5_TRAINING, "lr", {"train_step"}, DTX_H5_F32, "learning rate", "1", .writers = "pretrain, finetune, dpo"},
    {DTX_H5_TRAINING, "timing/tokens_per_s", {"train_step"}, DTX_H5_F32,
     "tokens trained on per second of the step; NaN before the last launch", "s-1", .writers = "pretrain, finetune, dpo"},
    {DTX_H5_TRAINING, "timing/gflops", {"train_step"}, DTX_H5_F32, "operations of products with weights per second, all ranks",
     "1e9 s-1", .writers = "pretrain, finetune, dpo"},
    {DTX_H5_TRAINING, "timing/seconds", {"train_step"}, DTX_H5_F32, "time of the step without its evaluation",
     "s", .writers = "pretrain, finetune, dpo"},
    {DTX_H5_TRAINING, "eval_accuracy", {"train_step"}, DTX_H5_F32, "share of the held-out texts with the right label",
     "1", .writers = "pretrain", .when = "pretrain.task = classifier"},
    {DTX_H5_TRAINING, "attention_entropy", {"train_step"}, DTX_H5_F32, "attention's entropy, mean over layers, heads and positions",
     "nat", .writers = "finetune", .when = "finetune.ear_weight > 0"},
    {DTX_H5_TRAINING, "rewards/chosen", {"train_step"}, DTX_H5_F32,
     "beta (log p - log p of the reference) of chosen answers, mean of the step", "nat", .writers = "dpo"},
    {DTX_H5_TRAINING, "rewards/rejected", {"train_step"}, DTX_H5_F32, "the same of rejected answers", "nat", .writers = "dpo"},
    {DTX_H5_TRAINING, "rewards/accuracies", {"train_step"}, DTX_H5_F32, "share of pairs whose chosen answer has the higher reward",
     "1", .writers = "dpo"},
    {DTX_H5_TRAINING, "rewards/margins", {"train_step"}, DTX_H5_F32,
     "reward of the chosen answer minus that of the rejected one, mean of the step", "nat", .writers = "dpo"},
    {DTX_H5_TRAINING, "logps/chosen", {"train_step"}, DTX_H5_F32, "log-probability of chosen answers, mean of the step",
     "nat", .writers = "dpo"},
    {DTX_H5_TRAINING, "logps/rejected", {"train_step"}, DTX_H5_F32, "log-probability of rejected answers, mean of the step",
     "nat", .writers = "dpo"},
    {DTX_H5_TRAINING, "eval_rewards/accuracies", {"train_step"}, DTX_H5_F32, "accuracy on held-out pairs; NaN between evaluations",
     "1", .writers = "dpo"},
    {DTX_H5_TRAINING, "eval_rewards/margins", {"train_step"}, DTX_H5_F32, "margin on held-out pairs; NaN between evaluations",
     "nat", .writers = "dpo"},
    {DTX_H5_TRAINING, "env/reward_mean", {"train_step"}, DTX_H5_F32, "mean score of the responses", "1", .writers = "ppo"},
    {DTX_H5_TRAINING, "env/reward_std", {"train_step"}, DTX_H5_F32, "standard deviation of the scores", "1", .writers = "ppo"},
    {DTX_H5_TRAINING, "objective/kl", {"train_step"}, DTX_H5_F32, "sum of log p - log p_ref over a response, mean",
     "nat", .writers = "ppo"},
    {DTX_H5_TRAINING, "objective/kl_estimate", {"train_step"}, DTX_H5_F32,
     "sum of ppo.kl_estimator over a response, mean; what the controller sees", "nat", .writers = "ppo"},
    {DTX_H5_TRAINING, "objective/kl_full", {"train_step"}, DTX_H5_F32,
     "sum over a response of the KL divergence over the vocabulary, mean", "nat", .writers = "ppo"},
    {DTX_H5_TRAINING, "objective/kl_coef", {"train_step"}, DTX_H5_F32, "coefficient of the KL penalty", "1", .writers = "ppo"},
    {DTX_H5_TRAINING, "objective/entropy", {"train_step"}, DTX_H5_F32, "minus the sum of log p over a response, mean",
     "nat", .writers = "ppo"},
    {DTX_H5_TRAINING, "objective/logprobs", {"train_step"}, DTX_H5_F32, "log p of a response token at rollout, mean",
     "nat", .writers = "ppo"},
    {DTX_H5_TRAINING, "objective/ref_logprobs", {"train_step"}, DTX_H5_F32, "log p of a response token under the reference, mean",
     "nat", .writers = "ppo"},
    {DTX_H5_TRAINING, "ppo/mean_scores", {"train_step"}, DTX_H5_F32, "mean score of the responses", "1", .writers = "ppo"},
    {DTX_H5_TRAINING, "ppo/std_scores", {"train_step"}, DTX_H5_F32, "standard deviation of the scores", "1", .writers = "ppo"},
    {DTX_H5_TRAINING, "ppo/mean_non_score_reward", {"train_step"}, DTX_H5_F32, "KL penalty of a token, mean", "1", .writers = "ppo"},
    {DTX_H5_TRAINING, "ppo/loss/policy", {"train_step"}, DTX_H5_F32, "clipped policy loss, mean over the updates", "1", .writers = "ppo"},
    {DTX_H5_TRAINING, "ppo/loss/value", {"train_step"}, DTX_H5_F32, "clipped value loss, mean over the updates", "1", .writers = "ppo"},
    {DTX_H5_TRAINING, "ppo/loss/total", {"train_step"}, DTX_H5_F32, "policy loss + vf_coef value loss", "1", .writers = "ppo"},
    {DTX_H5_TRAINING, "ppo/policy/entropy", {"train_step"}, DTX_H5_F32, "entropy of the policy's next-token distribution, mean",
     "nat", .writers = "ppo"},
    {DTX_H5_TRAINING, "ppo/policy/approxkl", {"train_step"}, DTX_H5_F32, "half the squared change of log p since the rollout, mean",
     "nat", .writers = "ppo"},
    {DTX_H5_TRAINING, "ppo/policy/policykl", {"train_step"}, DTX_H5_F32, "fall of log p since the rollout, mean",
     "nat", .writers = "ppo"},
    {DTX_H5_TRAINING, "ppo/policy/clipfrac", {"train_step"}, DTX_H5_F32, "share of tokens whose policy loss was clipped",
     "1", .writers = "ppo"},
    {DTX_H5_TRAINING, "ppo/policy/advantages", {"train_step"}, DTX_H5_F32, "advantage before whitening, mean", "1", .writers = "ppo"},
    {DTX_H5_TRAINING, "ppo/policy/advantages_mean", {"train_step"}, DTX_H5_F32, "whitened advantage, mean", "1", .writers = "ppo"},
    {DTX_H5_TRAINING, "ppo/policy/ratio", {"train_step"}, DTX_H5_F32, "probability ratio to the rollout's policy, mean",
     "1", .writers = "ppo"},
    {DTX_H5_TRAINING, "ppo/returns/mean", {"train_step"}, DTX_H5_F32, "return of a token, mean", "1", .writers = "ppo"},
    {DTX_H5_TRAINING, "ppo/returns/var", {"train_step"}, DTX_H5_F32, "return of a token, variance", "1", .writers = "ppo"},
    {DTX_H5_TRAINING, "ppo/val/vpred", {"train_step"}, DTX_H5_F32, "value during the updates, mean", "1", .writers = "ppo"},
    {DTX_H5_TRAINING, "ppo/val/error", {"train_step"}, DTX_H5_F32, "squared difference of value and return, mean", "1", .writers = "ppo"},
    {DTX_H5_TRAINING, "ppo/val/clipfrac", {"train_step"}, DTX_H5_F32, "share of tokens whose value loss was clipped",
     "1", .writers = "ppo"},
    {DTX_H5_TRAINING, "ppo/val/mean", {"train_step"}, DTX_H5_F32, "value at rollout, mean", "1", .writers = "ppo"},
    {DTX_H5_TRAINING, "ppo/val/var", {"train_step"}, DTX_H5_F32, "value at rollout, variance", "1", .writers = "ppo"},
    {DTX_H5_TRAINING, "ppo/val/var_explained", {"train_step"}, DTX_H5_F32, "1 - val/error / returns/var", "1", .writers = "ppo"},
    {DTX_H5_TRAINING, "ppo/learning_rate", {"train_step"}, DTX_H5_F32, "learning rate", "1", .writers = "ppo"},
    {DTX_H5_TRAINING, "tokens/queries_len_mean", {"train_step"}, DTX_H5_F32, "tokens of a prompt, mean", "1", .writers = "ppo"},
    {DTX_H5_TRAINING, "tokens/queries_len_std", {"train_step"}, DTX_H5_F32, "tokens of a prompt, standard deviation",
     "1", .writers = "ppo"},
    {DTX_H5_TRAINING, "tokens/responses_len_mean", {"train_step"}, DTX_H5_F32, "tokens of a response, mean", "1", .writers = "ppo"},
    {DTX_H5_TRAINING, "tokens/responses_len_std", {"train_step"}, DTX_H5_F32, "tokens of a response, standard deviation",
     "1", .writers = "ppo"},
    {DTX_H5_TRAINING, "health/repeated_ngrams", {"train_step"}, DTX_H5_F32, "share of the responses' 4-grams that occurred before",
     "1", .writers = "ppo"},
    {DTX_H5_TRAINING, "health/empty", {"train_step"}, DTX_H5_F32, "share of responses without text", "1", .writers = "ppo"},
    {DTX_H5_TRAINING, "timing/time/ppo/rollouts", {"train_step"}, DTX_H5_F32, "generating, evaluating and scoring the rollouts",
     "s", .writers = "ppo"},
    {DTX_H5_TRAINING, "timing/time/ppo/forward_pass", {"train_step"}, DTX_H5_F32, "of that: policy and reference on rank 0's rollouts",
     "s", .writers = "ppo"},
    {DTX_H5_TRAINING, "timing/time/ppo/compute_rewards", {"train_step"}, DTX_H5_F32, "KL penalties and rewards of the tokens",
     "s", .writers = "ppo"},
    {DTX_H5_TRAINING, "timing/time/ppo/optimize_step", {"train_step"}, DTX_H5_F32, "all updates of the step, and writing its rollouts",
     "s", .writers = "ppo"},
    {DTX_H5_TRAINING, "timing/time/ppo/calc_stats", {"train_step"}, DTX_H5_F32, "the curves that rollouts alone tell",
     "s", .writers = "ppo"},
    {DTX_H5_TRAINING, "timing/time/ppo/total", {"train_step"}, DTX_H5_F32, "the whole step", "s", .writers = "ppo"},
    {DTX_H5_TRAINING, "env/reward_dist", {"train_step", "response"}, DTX_H5_F32, "score of each response", "1", .writers = "ppo"},
    {DTX_H5_TRAINING, "objective/kl_dist", {"train_step", "response"}, DTX_H5_F32, "sum of log p - log p_ref over each response",
     "nat", .writers = "ppo"},

    {DTX_H5_ROLLOUTS, "tokens", {"rollout", "token"}, DTX_H5_I32, "ids of the response, -1 after its end",
     "1", .writers = "ppo", .fill = -1},
    {DTX_H5_ROLLOUTS, "length", {"rollout"}, DTX_H5_I32, "tokens of the response", "1", .writers = "ppo"},
    {DTX_H5_ROLLOUTS, "finish", {"rollout"}, DTX_H5_U8, "0 not done, 1 end of text, 2 length", "1", .writers = "ppo"},
    {DTX_H5_ROLLOUTS, "prompt", {"rollout"}, DTX_H5_I32, "index of the training prompt", "1", .writers = "ppo", .fill = -1},
    {DTX_H5_ROLLOUTS, "score", {"rollout"}, DTX_H5_F32, "score of the response", "1", .writers = "ppo"},
    {DTX_H5_ROLLOUTS, "kl", {"rollout"}, DTX_H5_F32, "sum of logprob - ref_logprob over the response", "nat", .writers = "ppo"},
    {DTX_H5_ROLLOUTS, "logprob", {"rollout", "token"}, DTX_H5_F32, "log p of the token under the policy", "nat", .writers = "ppo"},
    {DTX_H5_ROLLOUTS, "ref_logprob", {"rollout", "token"}, DTX_H5_F32, "log p of the token under the reference", "nat", .writers = "ppo"},
    {DTX_H5_ROLLOUTS, "behaviour_logprob", {"rollout", "token"}, DTX_H5_F32, "log p of the token after the processors",
     "nat", .writers = "ppo"},
    {DTX_H5_ROLLOUTS, "value", {"rollout", "token"}, DTX_H5_F32, "value of the position before the token", "1", .writers = "ppo"},
    {DTX_H5_ROLLOUTS, "text_offset", {"rollout_edge"}, DTX_H5_U64, "first byte of a text in text_bytes",
     "byte", .writers = "ppo", .flat = "text_bytes"},
    {DTX_H5_ROLLOUTS, "text_bytes", {"text_byte"}, DTX_H5_U8, "answers as UTF-8", "1", .writers = "ppo"},

    {DTX_H5_REJECTED, "tokens", {"pair", "token"}, DTX_H5_I32, "ids of the reference's answer, -1 after its end",
     "1", .writers = "dpo", .fill = -1, .when = "dpo.rejected = sampled"},
    {DTX_H5_REJECTED, "length", {"pair"}, DTX_H5_I32, "tokens of the answer", "1", .writers = "dpo", .when = "dpo.rejected = sampled"},
    {DTX_H5_REJECTED, "toxicity", {"pair"}, DTX_H5_F32, "P(label) of the answer by reward.models, NaN without",
     "1", .writers = "dpo", .when = "dpo.rejected = sampled"},
    {DTX_H5_REJECTED, "finish", {"pair"}, DTX_H5_U8, "0 not done, 1 end of text, 2 length",
     "1", .writers = "dpo", .when = "dpo.rejected = sampled"},
    {DTX_H5_REJECTED, "text_offset", {"pair_edge"}, DTX_H5_U64, "first byte of a text in text_bytes",
     "byte", .writers = "dpo", .flat = "text_bytes", .when = "dpo.rejected = sampled"},
    {DTX_H5_REJECTED, "text_bytes", {"text_byte"}, DTX_H5_U8, "answers as UTF-8",
     "1", .writers = "dpo", .when = "dpo.rejected = sampled"},
};
const int dtx_h5_n_datasets = sizeof dtx_h5_datasets / sizeof *dtx_h5_datasets;

const dtx_h5_attribute dtx_h5_attributes[] = {
    {DTX_H5_ROOT, NULL, "schema_version", 'i', "version of this table"},
    {DTX_H5_ROOT, NULL, "Conventions", 's', "CF-1.8"},

    {DTX_H5_PROMPTS, NULL, "select", 's', "which texts of the source: what data.select became"},

    {DTX_H5_VARIANT, NULL, "base_model", 's', "the model folder's name"},
    {DTX_H5_VARIANT, NULL, "weights_fingerprint", 's', "SHA-256 over architecture, tensors and sampled bytes of the base model"},
    {DTX_H5_VARIANT, NULL, "adapter_sha256", 's', "SHA-256 over the adapter's weights and scale; none without adapter"},
    {DTX_H5_VARIANT, NULL, "template", 's', "the chat template, JSON: user, bot, text"},
    {DTX_H5_VARIANT, NULL, "generation", 's', "JSON: the settings of generate, or the imported file and its SHA-256"},

    {DTX_H5_COMPLETIONS, NULL, "complete", 'i', "1 once all rows are done and decoded"},
    {DTX_H5_COMPLETIONS, NULL, "tokenizer_sha256", 's', "of an imported variant: the tokenizer that made the ids"},

    {DTX_H5_TOXICITY, NULL, "scorer", 's', "local, service, imported, calibrated"},
    {DTX_H5_TOXICITY, NULL, "measure", 's', "label or attribute that is scored"},
    {DTX_H5_TOXICITY, NULL, "prompts", 's', "score.prompts: what stands for the prompt"},
    {DTX_H5_TOXICITY, NULL, "weights_fingerprint", 's', "of a local classifier"},
    {DTX_H5_TOXICITY, NULL, "precision", 's', "of a local classifier: compute.precision"},
    {DTX_H5_TOXICITY, NULL, "endpoint", 's', "of a service"},
    {DTX_H5_TOXICITY, NULL, "language", 's', "of a service"},
    {DTX_H5_TOXICITY, NULL, "attributes", 's', "of a service: all that were asked for"},
    {DTX_H5_TOXICITY, NULL, "source", 's', "of imported scores: the file and its SHA-256, JSON"},
    {DTX_H5_TOXICITY, NULL, "calibration", 's', "of calibrated scores: path of the map"},
    {DTX_H5_TOXICITY, NULL, "map", 's', "of calibrated scores: isotonic, logistic"},
    {DTX_H5_TOXICITY, "token_share", "method", 's', "of the attribution"},
    {DTX_H5_TOXICITY, "token_share", "norm", 's', "of the attribution"},

    {DTX_H5_ATTRIBUTION, NULL, "base_model", 's', "as in the variant"},
    {DTX_H5_ATTRIBUTION, NULL, "weights_fingerprint", 's', "as in the variant"},
    {DTX_H5_ATTRIBUTION, NULL, "adapter_sha256", 's', "as in the variant"},
    {DTX_H5_ATTRIBUTION, NULL, "completions_of", 's', "variant whose completions are attributed"},
    {DTX_H5_ATTRIBUTION, NULL, "method", 's', "attribute.method"},
    {DTX_H5_ATTRIBUTION, NULL, "target", 's', "attribute.target"},
    {DTX_H5_ATTRIBUTION, NULL, "norm", 's', "attribute.norm"},
    {DTX_H5_ATTRIBUTION, NULL, "merge", 's', "attribute.merge"},
    {DTX_H5_ATTRIBUTION, NULL, "eos", 's', "attribute.eos"},
    {DTX_H5_ATTRIBUTION, NULL, "template_tokens", 'i', "attribute.template_tokens"},
    {DTX_H5_ATTRIBUTION, NULL, "baseline", 's', "of integrated gradients; none of other methods"},
    {DTX_H5_ATTRIBUTION, NULL, "steps", 'i', "of integrated gradients; 0 of other methods"},
    {DTX_H5_ATTRIBUTION, NULL, "precision", 's', "compute.precision"},

    {DTX_H5_CHECK, NULL, "rows", 'i', "attribute.check"},
    {DTX_H5_CHECK, NULL, "integration_steps", 'i', "attribute.steps"},
    {DTX_H5_CHECK, NULL, "mean_drop_top", 'f', "mean over the rows"},
    {DTX_H5_CHECK, NULL, "mean_drop_random", 'f', "mean over the rows"},
    {DTX_H5_CHECK, NULL, "mean_completeness_error", 'f', "mean over the rows"},
    {DTX_H5_CHECK, NULL, "mean_completeness_scale", 'f', "mean over the rows"},

    {DTX_H5_CALIBRATION, NULL, "from", 's', "set that is mapped"},
    {DTX_H5_CALIBRATION, NULL, "to", 's', "set that it is mapped to"},
    {DTX_H5_CALIBRATION, NULL, "map", 's', "isotonic, logistic"},
    {DTX_H5_CALIBRATION, NULL, "variants", 's', "that taught the map"},
    {DTX_H5_CALIBRATION, NULL, "slope", 'f', "of a logistic map, else NaN"},
    {DTX_H5_CALIBRATION, NULL, "offset", 'f', "of a logistic map, else NaN"},
    {DTX_H5_CALIBRATION, NULL, "rows", 'i', "with both scores"},
    {DTX_H5_CALIBRATION, NULL, "folds", 'i', "score.folds"},
    {DTX_H5_CALIBRATION, NULL, "seed", 'i', "of the folds"},
    {DTX_H5_CALIBRATION, NULL, "share_true", 'f', "of rows with `to` above 0.5"},
    {DTX_H5_CALIBRATION, NULL, "heldout_{MAP}_mean_absolute", 'f', "error on held-out texts, MAP none, isotonic, logistic"},
    {DTX_H5_CALIBRATION, NULL, "heldout_{MAP}_root_mean_square", 'f', "the same"},
    {DTX_H5_CALIBRATION, NULL, "heldout_{MAP}_correlation", 'f', "of mapped and true scores"},
    {DTX_H5_CALIBRATION, NULL, "heldout_{MAP}_agreement", 'f', "share of rows on the same side of 0.5"},
    {DTX_H5_CALIBRATION, NULL, "heldout_{MAP}_share_mapped", 'f', "of rows with a mapped score above 0.5"},

    {DTX_H5_TRAINING, NULL, "settings", 's', "what the training depends on"},
    {DTX_H5_TRAINING, NULL, "complete", 'i', "1"},
    {DTX_H5_TRAINING, NULL, "final_reward_mean", 'f', "of ppo: of the published policy"},
    {DTX_H5_TRAINING, NULL, "final_kl", 'f', "of ppo: of the published policy"},
    {DTX_H5_TRAINING, NULL, "rollbacks", 'i', "of ppo"},
    {DTX_H5_TIMING, NULL, "peak_memory_predicted_bytes", 'i', "of the largest rank, by the forecast"},
    {DTX_H5_TIMING, NULL, "peak_memory_seen_bytes", 'i', "of the largest rank"},
    {DTX_H5_ROLLOUTS, NULL, "batch", 'i', "rollouts of a step"},
    {DTX_H5_REJECTED, NULL, "settings", 's', "what the answers depend on"},

    {DTX_H5_LAUNCH, NULL, "job", 's', "name"},
    {DTX_H5_LAUNCH, NULL, "argv", 's', "command line, JSON"},
    {DTX_H5_LAUNCH, NULL, "config", 's', "resolved configuration, JSON"},
    {DTX_H5_LAUNCH, NULL, "version", 's', "of the program"},
    {DTX_H5_LAUNCH, NULL, "commit", 's', "of the program"},
    {DTX_H5_LAUNCH, NULL, "hosts", 's', "and their ranks"},
    {DTX_H5_LAUNCH, NULL, "cpu", 's', "types"},
    {DTX_H5_LAUNCH, NULL, "mpi", 's', "library"},
    {DTX_H5_LAUNCH, NULL, "hdf5", 's', "library"},
    {DTX_H5_LAUNCH, NULL, "linear", 's', "what multiplies matrices"},
    {DTX_H5_LAUNCH, NULL, "slurm_job", 's', "number, or empty"},
    {DTX_H5_LAUNCH, NULL, "start", 's', "time, UTC"},
    {DTX_H5_LAUNCH, NULL, "ranks", 'i', "number"},
    {DTX_H5_LAUNCH, NULL, "threads", 'i', "of a rank"},
    {DTX_H5_LAUNCH, NULL, "threads_total", 'i', "of all ranks"},
    {DTX_H5_LAUNCH, NULL, "exit_code", 'i', "-1: not ended, or killed"},
    {DTX_H5_LAUNCH, NULL, "predicted_seconds", 'f', "by the forecast; NaN where there is none"},
    {DTX_H5_LAUNCH, NULL, "seconds", 'f', "from the forecast, else the begin, to the end"},
    {DTX_H5_LAUNCH, NULL, "predicted_peak_memory_bytes", 'f', "of the largest rank, by the forecast"},
    {DTX_H5_LAUNCH, NULL, "peak_memory_bytes", 'f', "of the largest rank, mapped weights included"},
    {DTX_H5_LAUNCH, NULL, "handout_share", 'f', "of the ranks' time: waiting for tickets"},
    {DTX_H5_LAUNCH, NULL, "rounds_share", 'f', "of the ranks' time: collective writes"},
    {DTX_H5_LAUNCH, NULL, "uneven_share", 'f', "of the ranks' time: waiting for the slowest rank"},
    {DTX_H5_LAUNCH, NULL, "stop", 's', "time, UTC; empty while it runs"},
    {DTX_H5_LAUNCH, NULL, "facts", 's', "what a job adds, JSON"},
};
const int dtx_h5_n_attributes = sizeof dtx_h5_attributes / sizeof *dtx_h5_attributes;

const char *dtx_h5_type_name(dtx_h5_type type)
{
    static const char *const names[DTX_H5_TYPES] = {"u8", "i32", "i64", "u64", "f32", "f64"};

    return names[type];
}

hid_t dtx_h5_native(dtx_h5_type type)
{
    switch (type) {
    case DTX_H5_U8: return H5T_NATIVE_UINT8;
    case DTX_H5_I32: return H5T_NATIVE_INT32;
    case DTX_H5_I64: return H5T_NATIVE_INT64;
    case DTX_H5_U64: return H5T_NATIVE_UINT64;
    case DTX_H5_F32: return H5T_NATIVE_FLOAT;
    default: return H5T_NATIVE_DOUBLE;
    }
}

void dtx_h5_group(char *out, size_t size, dtx_h5_place place, const char *name, const char *second)
{
    const char *p = dtx_h5_places[place].path, *names[] = {name, second};
    size_t n = 0, used = 0;

    while (*p != '\0' && n < size) {
        const char *part = p;
        size_t len = 1;
        if (*p == '{') {
            part = used < 2 && names[used] != NULL ? names[used] : "";
            len = strlen(part);
            used++;
            p += strcspn(p, "}");
        }
        if (len >= size - n) {
            n = size;
            break;
        }
        memcpy(out + n, part, len);
        n += len;
        p++;
    }
    out[n < size ? n : 0] = '\0';
}

/* Whether a path is one of a pattern whose parts in braces stand for any name. */
static bool is_like(const char *pattern, const char *path)
{
    while (*pattern != '\0' && *path != '\0') {
        if (*pattern == '{') {
            const size_t n = strcspn(path, "/");
            if (n == 0) {
                return false;
            }
            path += n;
            pattern += strcspn(pattern, "}") + 1;
        } else if (*pattern++ != *path++) {
            return false;
        }
    }
    return *pattern == *path;
}

dtx_h5_place dtx_h5_place_of(const char *group)
{
    int p = 0;

    while (p < DTX_H5_PLACES && !is_like(dtx_h5_places[p].path, group)) {
        p++;
    }
    return (dtx_h5_place)p;
}

const dtx_h5_dataset *dtx_h5_find(const char *group, const char *name)
{
    const dtx_h5_place place = dtx_h5_place_of(group);

    for (int i = 0; i < dtx_h5_n_datasets && place != DTX_H5_PLACES; i++) {
        if (dtx_h5_datasets[i].place == place && strcmp(dtx_h5_datasets[i].name, name) == 0) {
            return &dtx_h5_datasets[i];
        }
    }
    return NULL;
}
