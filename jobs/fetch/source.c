/* What can be asked for: the presets of the study, repositories of the hub, URLs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/fetch/fetch.h"
#include "src/base/mem.h"

/* %s is the folder. */
static const char as_model[] = "detoxlens inspect %s";
static const char as_classifier[] = "detoxlens inspect %s, then --set score.path=... or reward.path=...";
static const char as_ft[] = "detoxlens inspect %s, then --set variants.FT.adapter=...";
static const char as_rl[] = "detoxlens inspect %s, then --set variants.RL.adapter=...";

static const struct {
    const char *name;
    dtx_hub_kind kind;
    const char *repo;           /* OWNER/NAME; NULL: `path` below fetch.github */
    const char *path, *sha256;
    const char *folder;         /* NULL = the repository's name */
    const char *include, *licence, *home, *setting;
} presets[] = {
    {"redpajama-3b", DTX_HUB_MODEL, "togethercomputer/RedPajama-INCITE-Chat-3B-v1", NULL, "", NULL, NULL, "", NULL, as_model},
    {"falcon-7b", DTX_HUB_MODEL, "tiiuae/falcon-7b-instruct", NULL, "", NULL, NULL, "", NULL, as_model},
    {"redpajama-3b-ft", DTX_HUB_ADAPTER, "DanielSc4/RedPajama-INCITE-Chat-3B-v1-FT-LoRA-8bit-test1", NULL, "", NULL, NULL, "", NULL, as_ft},
    {"redpajama-3b-rl", DTX_HUB_ADAPTER, "DanielSc4/RedPajama-INCITE-Chat-3B-v1-RL-LoRA-8bit-test1", NULL, "", NULL, NULL, "", NULL, as_rl},
    {"falcon-7b-ft", DTX_HUB_ADAPTER, "DanielSc4/falcon-7b-instruct-FT-LoRA-8bit-test1", NULL, "", NULL, NULL, "", NULL, as_ft},
    {"falcon-7b-rl", DTX_HUB_ADAPTER, "DanielSc4/falcon-7b-instruct-RL-LoRA-8bit-test1", NULL, "", NULL, NULL, "", NULL, as_rl},
    {"roberta-hate", DTX_HUB_MODEL, "facebook/roberta-hate-speech-dynabench-r4-target", NULL, "", NULL, NULL, "", NULL, as_classifier},
    {"unbiased-toxic-roberta", DTX_HUB_MODEL, "unitary/unbiased-toxic-roberta", NULL, "", NULL, NULL, "", NULL, as_classifier},
    {"realtoxicityprompts", DTX_HUB_DATA, "allenai/real-toxicity-prompts", NULL, "", "RealToxicityPrompts", "prompts.jsonl", "", NULL,
     "--set data.prompts=%s/prompts.jsonl"},
    {"dialoconan", DTX_HUB_DATA, NULL, "marcoguerini/CONAN/17d4b9ed3fd56a1b6c9be87b30618872f536396d/DIALOCONAN/DIALOCONAN.csv",
     "19f1c7fc35dc951d385b7c50a53d544b0e969100134cadfb804b87373668ed06", "DIALOCONAN", NULL, "for research purposes, with citation (Bonaldi et al. 2022)",
     "https://github.com/marcoguerini/CONAN", "--set data.dialogues=%s/DIALOCONAN.csv"},
};
enum { N_PRESETS = sizeof presets / sizeof *presets };

static const struct {
    const char *name, *members[8];
} groups[] = {
    {"study", {"redpajama-3b", "falcon-7b", "roberta-hate", "realtoxicityprompts", "dialoconan", NULL}},
};

const char *dtx_fetch_presets(void)
{
    return "redpajama-3b, falcon-7b, redpajama-3b-ft, redpajama-3b-rl, falcon-7b-ft, falcon-7b-rl, roberta-hate, "
           "unbiased-toxic-roberta, realtoxicityprompts, dialoconan; study = redpajama-3b falcon-7b roberta-hate "
           "realtoxicityprompts dialoconan";
}

static dtx_status append(const dtx_fetch_source *s, dtx_fetch_source **list, size_t *n, size_t *cap)
{
    for (size_t i = 0; i < *n; i++) {
        const dtx_fetch_source *o = &(*list)[i];
        bool models = (o->kind == DTX_HUB_DATA) == (s->kind == DTX_HUB_DATA);
        if (strcmp(o->name, s->name) == 0 && strcmp(o->revision, s->revision) == 0) { /* "study redpajama-3b" */
            return DTX_OK;
        }
        if (models && strcmp(o->folder, s->folder) == 0) {
            return DTX_FAIL(DTX_ERR_USAGE, "%s and %s would both become a folder %s: fetch one of them with another --to", o->name, s->name,
                            s->folder);
        }
    }
    DTX_TRY(DTX_GROW(*list, *cap, *n + 1));
    (*list)[(*n)++] = *s;
    return DTX_OK;
}

static dtx_status add_preset(const dtx_config *c, int i, dtx_fetch_source **list, size_t *n, size_t *cap)
{
    dtx_fetch_source s = {.kind = presets[i].kind, .include = presets[i].include, .setting = presets[i].setting};
    const char *repo = presets[i].repo, *last = strrchr(repo != NULL ? repo : presets[i].path, '/') + 1;

    snprintf(s.name, sizeof s.name, "%s", presets[i].name);
    snprintf(s.repo, sizeof s.repo, "%s", repo != NULL ? repo : "");
    snprintf(s.revision, sizeof s.revision, "%s", repo != NULL ? "main" : "");
    snprintf(s.folder, sizeof s.folder, "%s", presets[i].folder != NULL ? presets[i].folder : last);
    snprintf(s.licence, sizeof s.licence, "%s", presets[i].licence);
    snprintf(s.home, sizeof s.home, "%s", presets[i].home != NULL ? presets[i].home : "");
    snprintf(s.sha256, sizeof s.sha256, "%s", presets[i].sha256);
    if (repo == NULL) {
        snprintf(s.url, sizeof s.url, "%s/%s", c->fetch.github, presets[i].path);
        snprintf(s.file, sizeof s.file, "%s", last);
    }
    return append(&s, list, n, cap);
}

static bool is_name(const char *s, size_t n)
{
    return n > 0 && n < 100 && strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") >= n && s[0] != '.'
        && s[0] != '-';
}

static dtx_status add_repo(const char *word, dtx_fetch_source **list, size_t *n, size_t *cap)
{
    const bool data = strncmp(word, "datasets/", 9) == 0;
    const char *repo = data ? word + 9 : word, *slash = strchr(repo, '/'), *at = strchr(repo, '@');
    const size_t len = at != NULL ? (size_t)(at - repo) : strlen(repo);
    dtx_fetch_source s = {.kind = data ? DTX_HUB_DATA : DTX_HUB_MODEL, .setting = data ? NULL : as_model};
    const char *revision = at != NULL ? at + 1 : "main";

    if (slash == NULL || slash > repo + len || !is_name(repo, (size_t)(slash - repo)) || !is_name(slash + 1, len - (size_t)(slash + 1 - repo))
        || revision[0] == '\0' || strlen(revision) >= sizeof s.revision) {
        return DTX_FAIL(DTX_ERR_USAGE, "%.200s is neither a preset nor OWNER/NAME, datasets/OWNER/NAME (with @REVISION perhaps) or a URL; the "
                        "presets are %s", word, dtx_fetch_presets());
    }
    snprintf(s.name, sizeof s.name, "%s%.*s", data ? "datasets/" : "", (int)len, repo);
    snprintf(s.repo, sizeof s.repo, "%.*s", (int)len, repo);
    snprintf(s.revision, sizeof s.revision, "%s", revision);
    snprintf(s.folder, sizeof s.folder, "%s", strrchr(s.repo, '/') + 1);
    return append(&s, list, n, cap);
}

static dtx_status add_url(const dtx_config *c, const char *word, dtx_fetch_source **list, size_t *n, size_t *cap)
{
    dtx_fetch_source s = {.kind = DTX_HUB_DATA};

    dtx_http_place(word, s.name, sizeof s.name); /* without what may be secret */
    const char *slash = s.name[0] != '\0' ? strrchr(s.name, '/') : NULL;
    const char *file = slash != NULL && slash > strstr(s.name, "://") + 2 ? slash + 1 : "";
    if (strlen(word) >= sizeof s.url || file[0] == '\0' || strlen(file) >= sizeof s.file || strchr(file, '%') != NULL || !dtx_hub_safe_path(file)) {
        return DTX_FAIL(DTX_ERR_USAGE, "a URL with the plain name of a file at its end is expected: https://HOST/.../FILE");
    }
    snprintf(s.url, sizeof s.url, "%s", word);
    snprintf(s.file, sizeof s.file, "%s", file);
    snprintf(s.folder, sizeof s.folder, "%s", file);
    snprintf(s.sha256, sizeof s.sha256, "%s", c->fetch.sha256);
    char *dot = strrchr(s.folder, '.');
    if (dot != NULL && dot != s.folder) {
        *dot = '\0';
    }
    return append(&s, list, n, cap);
}

dtx_status dtx_fetch_source_add(const dtx_config *c, const char *word, dtx_fetch_source **list, size_t *n, size_t *cap)
{
    for (size_t g = 0; g < sizeof groups / sizeof *groups; g++) {
        for (int k = 0; strcmp(word, groups[g].name) == 0 && groups[g].members[k] != NULL; k++) {
            DTX_TRY(dtx_fetch_source_add(c, groups[g].members[k], list, n, cap));
        }
        if (strcmp(word, groups[g].name) == 0) {
            return DTX_OK;
        }
    }
    for (int i = 0; i < N_PRESETS; i++) {
        if (strcmp(word, presets[i].name) == 0) {
            return add_preset(c, i, list, n, cap);
        }
    }
    return strstr(word, "://") != NULL ? add_url(c, word, list, n, cap) : add_repo(word, list, n, cap);
}
