/* Downloads models, adapters and data sets. Everything is asked for first: licences are shown and agreed to, and the disk is
 * large enough, before the first byte; then one folder after the other is filled. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "jobs/fetch/fetch.h"
#include "src/base/file.h"
#include "src/base/log.h"
#include "src/base/mem.h"

typedef struct {
    const dtx_job *job;
    dtx_fetch_source *source;
    size_t n, cap;
    dtx_fetch_plan *plan;       /* of each source */
    dtx_fetch_net net;
    atomic_bool stop;
} fetching;

static bool should_stop(const void *user)
{
    const fetching *f = user;

    return f->stop || dtx_job_should_stop(f->job);
}

/* ---- where ---- */

static dtx_status name_folders(fetching *f)
{
    const char *to = f->job->config.fetch.to;

    for (size_t i = 0; i < f->n; i++) {
        dtx_fetch_plan *p = &f->plan[i];
        p->source = &f->source[i];
        const char *parent = to[0] != '\0' ? to : p->source->kind == DTX_HUB_DATA ? "data" : "models";
        DTX_TRY(dtx_file_join(p->dir, sizeof p->dir, parent, p->source->folder));
        snprintf(p->part, sizeof p->part, "%s.part", p->dir);
    }
    return DTX_OK;
}

/* ---- what is said first ---- */

static const char *amount(char out[32], int64_t bytes)
{
    snprintf(out, 32, bytes < 1000000 ? "%.1f kB" : "%.1f MB", (double)bytes / (bytes < 1000000 ? 1e3 : 1e6));
    return out;
}

static void print_plan(const fetching *f, const dtx_fetch_plan *p)
{
    static const char *const kinds[] = {[DTX_HUB_MODEL] = "model", [DTX_HUB_ADAPTER] = "adapter", [DTX_HUB_DATA] = "data"};
    const dtx_fetch_source *s = p->source;
    const bool hub = s->repo[0] != '\0';
    char size[32];

    printf("%s (%s)\n", s->name, kinds[p->kind]);
    if (hub) {
        printf("  from     %s/%s%s\n  commit   %s (%s)\n", f->net.hub, s->kind == DTX_HUB_DATA ? "datasets/" : "", s->repo, p->commit, s->revision);
    } else {
        char place[1400];
        dtx_http_place(s->url, place, sizeof place);
        printf("  from     %s\n", place);
    }
    if (s->home[0] != '\0') {
        printf("  page     %s\n", s->home);
    }
    printf("  licence  %s%s%s%s\n", p->licence[0] != '\0' ? p->licence : hub ? "none is stated" : "see where you have the URL from",
           p->licence_link[0] != '\0' ? ", " : "", p->licence_link, p->gated ? "; gated: terms are accepted on its page" : "");
    if (s->kind == DTX_HUB_DATA && (hub || s->home[0] != '\0')) {
        printf("  note     may hold hateful and toxic language: that is what is studied\n");
    }
    printf("  to       %s\n  files    %zu, %s\n", p->dir, p->files.n, p->total > 0 ? amount(size, p->total) : "of a size that is not told");
    if (p->there > 0) {
        printf("  there    %s\n", amount(size, p->there));
    }
    for (size_t i = 0; f->job->dry_run && i < p->files.n; i++) {
        const dtx_hub_file *x = &p->files.file[i];
        printf("           %15lld  %s\n", (long long)x->size, x->path);
    }
    fflush(stdout);
}

static dtx_status agree(const fetching *f)
{
    char list[1024] = "";

    for (size_t i = 0; i < f->n; i++) {
        if (!f->plan[i].complete && f->plan[i].needs_acceptance) {
            size_t n = strlen(list);
            snprintf(list + n, sizeof list - n, "%s%.200s", n > 0 ? ", " : "", f->source[i].name);
        }
    }
    if (list[0] != '\0' && !f->job->config.fetch.accept_licence) {
        return DTX_FAIL(DTX_ERR_USAGE, "%s: the licence or terms shown above need your agreement: read them, then add --accept-licence; nothing "
                        "has been downloaded", list);
    }
    return DTX_OK;
}

/* ---- room ---- */

/* The file system that will hold a path: of its nearest folder that exists. */
static bool place_of(const char *path, struct stat *sb, struct statvfs *fs)
{
    char at[4096];

    snprintf(at, sizeof at, "%s", path);
    while (stat(at, sb) != 0) {
        char *slash = strrchr(at, '/');
        if (slash == at || at[0] == '\0') {
            return false;
        }
        snprintf(slash != NULL ? slash : at, 2, "%s", slash != NULL ? "" : ".");
    }
    return statvfs(at, fs) == 0;
}

static int64_t missing_bytes(const dtx_fetch_plan *p)
{
    return !p->complete && p->total > p->there ? p->total - p->there : 0;
}

static dtx_status check_room(const fetching *f)
{
    struct stat mine, other;
    struct statvfs fs, ignored;

    for (size_t i = 0; i < f->n; i++) {
        double need = 0;
        if (missing_bytes(&f->plan[i]) == 0 || !place_of(f->plan[i].part, &mine, &fs)) {
            continue;
        }
        for (size_t k = 0; k < f->n; k++) {
            if (place_of(f->plan[k].part, &other, &ignored) && other.st_dev == mine.st_dev) {
                need += (double)missing_bytes(&f->plan[k]);
            }
        }
        double room = (double)fs.f_bavail * (double)fs.f_frsize;
        if (need > room) {
            return DTX_FAIL(DTX_ERR_MISSING, "%s: %.1f MB are needed on this file system, %.1f MB are free: make room, or choose another place "
                            "with --to; nothing has been downloaded", f->plan[i].dir, need / 1e6, room / 1e6);
        }
    }
    return DTX_OK;
}

/* ---- the job ---- */

static dtx_status read_words(fetching *f)
{
    const dtx_job *job = f->job;

    if (job->n_args == 0) {
        return DTX_FAIL(DTX_ERR_USAGE, "what is to be fetched? A preset (%s), OWNER/NAME, datasets/OWNER/NAME, or a URL", dtx_fetch_presets());
    }
    for (int i = 0; i < job->n_args; i++) {
        DTX_TRY(dtx_fetch_source_add(&job->config, job->args[i], &f->source, &f->n, &f->cap));
    }
    if (job->config.fetch.sha256[0] != '\0' && (f->n != 1 || f->source[0].file[0] == '\0')) {
        return DTX_FAIL(DTX_ERR_USAGE, "fetch.sha256 is for one URL; a hub tells its checksums itself");
    }
    DTX_TRY(DTX_NEW(f->plan, f->n));
    return name_folders(f);
}

static dtx_status plan_all(fetching *f)
{
    dtx_http_conn *c = NULL;
    dtx_status st = DTX_OK;
    size_t left = 0;

    for (size_t i = 0; i < f->n; i++) {
        if (!f->job->redo || !f->job->dry_run) {
            DTX_TRY(dtx_fetch_check(&f->plan[i], f->job->redo));
        }
        left += !f->plan[i].complete;
    }
    if (left == 0) {
        return DTX_OK;
    }
    DTX_TRY(dtx_fetch_net_open(f->job, should_stop, f, &f->net));
    DTX_GO(dtx_http_connect(f->net.http, &c));
    for (size_t i = 0; i < f->n; i++) {
        if (!f->plan[i].complete) {
            st = dtx_fetch_plan_make(&f->net, c, &f->plan[i]);
            if (st == DTX_ERR_MISSING && f->plan[i].commit[0] == '\0' && strstr(dtx_error_text(), "HTTP status") == NULL) {
                st = dtx_error_context(st, "no answer (does this node reach the internet? See https_proxy, or run fetch on a node that does)");
            }
            DTX_GO(st);
            print_plan(f, &f->plan[i]);
        }
    }
done:
    dtx_http_disconnect(c);
    return st;
}

static void say_next(const dtx_fetch_plan *p)
{
    const char *next = p->source->setting, *at = next != NULL ? strstr(next, "%s") : NULL;

    if (at != NULL) {
        printf("%s is complete. Next: %.*s%s%s\n", p->dir, (int)(at - next), next, p->dir, at + 2);
    } else {
        printf("%s is complete\n", p->dir);
    }
    fflush(stdout);
}

static dtx_status run(dtx_job *job)
{
    fetching f = {.job = job};
    dtx_status st;

    DTX_GO(read_words(&f));
    DTX_GO(plan_all(&f));
    if (job->dry_run) {
        goto done;
    }
    DTX_GO(agree(&f));
    DTX_GO(check_room(&f));
    for (size_t i = 0; i < f.n; i++) {
        if (!f.plan[i].complete) {
            DTX_GO(dtx_fetch_folder(&f.net, &f.plan[i], &f.stop));
        }
        say_next(&f.plan[i]);
    }
done:
    for (size_t i = 0; f.plan != NULL && i < f.n; i++) {
        dtx_fetch_plan_free(&f.plan[i]);
    }
    dtx_fetch_net_close(&f.net);
    dtx_free(f.plan);
    dtx_free(f.source);
    return st;
}

static const dtx_job_option options[] = {
    {"accept-licence", NULL, "fetch.accept_licence", "agree to the licences and terms that are shown"},
    {NULL, NULL, NULL, NULL},
};

const dtx_job_def dtx_job_fetch = {
    .name = "fetch",
    .args = "WHAT...",
    .summary = "downloads models, adapters and data sets, resumable and checked",
    .help = "Brings the study's models and data, or any others, from their public homes into folders that the other jobs read:\n\n"
            "  detoxlens fetch redpajama-3b roberta-hate realtoxicityprompts\n"
            "  detoxlens fetch dialoconan --accept-licence\n"
            "  detoxlens fetch EleutherAI/pythia-70m@main datasets/OWNER/NAME --to /scratch/models --parallel 8\n"
            "  detoxlens fetch https://host/texts.csv --sha256 0123...\n\n"
            "WHAT is a preset, a repository of a Hugging Face hub with @REVISION (branch, tag or commit; default main), or a URL "
            "of one file.\n\n"
            "Presets\n"
            "  redpajama-3b            togethercomputer/RedPajama-INCITE-Chat-3B-v1\n"
            "  redpajama-3b-ft         its published adapters: fine-tuned on counter-narratives\n"
            "  redpajama-3b-rl         and by reinforcement learning\n"
            "  falcon-7b               tiiuae/falcon-7b-instruct\n"
            "  falcon-7b-ft            its published adapters\n"
            "  falcon-7b-rl\n"
            "  roberta-hate            facebook/roberta-hate-speech-dynabench-r4-target: reward and scorer\n"
            "  unbiased-toxic-roberta  unitary/unbiased-toxic-roberta: another scorer\n"
            "  realtoxicityprompts     datasets/allenai/real-toxicity-prompts: evaluation texts\n"
            "  dialoconan              DIALOCONAN of marcoguerini/CONAN on GitHub: training dialogues\n"
            "  study                   both models, roberta-hate and both data sets\n\n"
            "Source, licence, files and sizes are shown first (--dry-run: and no more is done). Licences other than the common open ones "
            "need --accept-licence, and then nothing asks. Of a model only what detoxlens reads is taken: configuration, tokenizer, and "
            "safetensors or else torch's .bin.\n\n"
            "A folder is called NAME.part until every file has its size and checksum; fetch.json in it tells where it comes from. "
            "Whatever interrupts it, the same command continues, byte for byte where the server can; given once more, it reads the "
            "folder, compares checksums and downloads nothing. --redo fetches what is wrong or another revision. Private and "
            "gated repositories: HF_TOKEN. Proxies: http_proxy, https_proxy, no_proxy.\n",
    .bit = DTX_JOB_FETCH,
    .stops = true,
    .own_dry_run = true,
    .options = options,
    .run = run,
};
