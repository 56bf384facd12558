/* detoxlens pipeline: the whole study in one process a rank. Each stage is another job's run function, so that its bytes, its
 * logs and its refusals are that job's; what is complete is found out by the job itself. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "jobs/pipeline/pipeline.h"
#include "src/base/file.h"
#include "src/base/log.h"
#include "src/base/mem.h"

static const char *label(const dtx_pipeline_stage *s, char out[96])
{
    snprintf(out, 96, "%s%s%s", s->def->name, s->variant[0] != '\0' ? " " : "", s->variant);
    return out;
}

/* --- the summary --- */

static void clock_text(double s, char out[32])
{
    const long t = (long)(s + 0.5);

    snprintf(out, 32, "%02ld:%02ld:%02ld", t / 3600, t / 60 % 60, t % 60);
}

/* How far a stage came: "21 of 21 rows, 21 of them now". */
static void reached_text(const dtx_pipeline_stage *s, char *out, size_t size)
{
    const dtx_job_reached *r = &s->reached;

    if (s->why[0] != '\0') {
        snprintf(out, size, "%s", s->why);
    } else if (r->begun) {
        snprintf(out, size, "%.0f of %.0f %s, %.0f now", r->done, r->total, r->unit, r->done - r->skipped);
    } else {
        snprintf(out, size, "%s", s->state == DTX_STAGE_COMPLETE ? "before this launch" : "");
    }
}

static void log_summary(const dtx_pipeline *p)
{
    char name[96], time[32], reached[320];

    dtx_log(DTX_LOG_INFO, "pipeline", "%-22s %-12s %-9s %s", "stage", "state", "time", "reached");
    for (int i = 0; i < p->n; i++) {
        const dtx_pipeline_stage *s = &p->stage[i];
        clock_text(s->seconds, time);
        reached_text(s, reached, sizeof reached);
        dtx_log(DTX_LOG_INFO, "pipeline", "%-22s %-12s %-9s %s", label(s, name), dtx_stage_state_name(s->state),
                s->state == DTX_STAGE_LEFT_OUT || s->state == DTX_STAGE_WAITING ? "" : time, reached);
    }
}

static void print_json(const dtx_pipeline *p)
{
    printf("[");
    for (int i = 0; i < p->n; i++) {
        const dtx_pipeline_stage *s = &p->stage[i];
        printf("%s{\"job\":\"%s\",\"variant\":\"%s\",\"state\":\"%s\",\"seconds\":%.3f", i > 0 ? ",\n " : "", s->def->name, s->variant,
               dtx_stage_state_name(s->state), s->seconds);
        if (s->reached.begun) {
            printf(",\"unit\":\"%s\",\"total\":%.0f,\"done\":%.0f,\"before\":%.0f", s->reached.unit, s->reached.total, s->reached.done,
                   s->reached.skipped);
        }
        printf("}");
    }
    printf("]\n");
}

/* --- the stages --- */

/* After a training that failed numerically the variant has no adapter; the others do not depend on it. */
static void leave_out_rest(dtx_pipeline *p, int failed)
{
    for (int i = failed + 1; i < p->n; i++) {
        dtx_pipeline_stage *s = &p->stage[i];
        if (strcmp(s->variant, p->stage[failed].variant) == 0 && s->state == DTX_STAGE_WAITING) {
            s->state = DTX_STAGE_LEFT_OUT;
            snprintf(s->why, sizeof s->why, "%s of %s failed", p->stage[failed].def->name, s->variant);
        }
    }
}

/* Collective. One stage; its status on all ranks. */
static dtx_status run_one(dtx_job *job, dtx_pipeline *p, int i, const char *log_dir)
{
    dtx_pipeline_stage *s = &p->stage[i];
    const double begun = dtx_now();
    char name[96];

    label(s, name);
    if (dtx_par_any(&job->par, dtx_job_should_stop(job))) {
        return DTX_FAIL(DTX_STOPPED, "before %s, stage %d of %d; the same command continues", name, i + 1, p->n);
    }
    dtx_log(DTX_LOG_INFO, "pipeline", "stage %d of %d: %s", i + 1, p->n, name);
    dtx_status st = dtx_job_run_inside(job, s->def, s->variant[0] != '\0' ? s->variant : "IT", &s->reached);
    dtx_job_log_open(job, log_dir);
    s->seconds = dtx_now() - begun;
    if (st == DTX_OK) {
        s->state = s->reached.begun || s->def == &dtx_job_report ? DTX_STAGE_DONE : DTX_STAGE_COMPLETE;
        return DTX_OK;
    }
    s->state = st == DTX_STOPPED ? DTX_STAGE_STOPPED : DTX_STAGE_FAILED;
    return dtx_error_context(st, "%s, stage %d of %d", name, i + 1, p->n);
}

/* Collective. All stages, up to the first that fails; one that fails numerically ends its variant alone. */
static dtx_status run_all(dtx_job *job, dtx_pipeline *p, const char *log_dir)
{
    dtx_status st = DTX_OK, kept = DTX_OK;
    char why[2048] = "";

    for (int i = 0; i < p->n && st == DTX_OK; i++) {
        if (p->stage[i].state == DTX_STAGE_LEFT_OUT) {
            continue;
        }
        st = run_one(job, p, i, log_dir);
        if (st == DTX_ERR_NUMERIC && p->stage[i].trains) {
            leave_out_rest(p, i);
            dtx_log(DTX_LOG_WARN, "pipeline", "%s; the other variants go on", dtx_error_text());
            if (kept == DTX_OK) {
                snprintf(why, sizeof why, "%s", dtx_error_text());
            }
            kept = st;
            st = DTX_OK;
        }
    }
    if (st == DTX_OK && kept != DTX_OK) {
        dtx_error_set(why);
        st = kept;
    }
    return st;
}

/* --- before anything is done --- */

static dtx_status check_options(const dtx_job *job)
{
    if (job->row_first >= 0) {
        return DTX_FAIL(DTX_ERR_USAGE, "--rows: a pipeline does all rows; data.limit takes the first texts, the jobs themselves take --rows");
    }
    if (job->redo) {
        return DTX_FAIL(DTX_ERR_USAGE, "--redo: take another run directory, or let the job whose result is to be discarded do it: "
                        "detoxlens JOB --variant V --redo");
    }
    if (strcmp(job->variant, "IT") != 0) {
        return DTX_FAIL(DTX_ERR_USAGE, "--variant: the variants of a pipeline are a setting: --set 'pipeline.variants=[\"IT\",\"%s\"]'",
                        job->variant);
    }
    DTX_TRY(dtx_job_need(job, "model.path", job->config.model.path));
    return dtx_job_need(job, "data.prompts", job->config.data.prompts);
}

static dtx_status print_plan(const dtx_job *job, const dtx_pipeline *p)
{
    char name[96], text[160];

    printf("%-22s %-30s %s\n", "stage", "in the run", "this launch");
    for (int i = 0; i < p->n; i++) {
        const dtx_pipeline_stage *s = &p->stage[i];
        DTX_TRY(dtx_pipeline_look(&job->config, s, text, sizeof text));
        const bool out = s->state == DTX_STAGE_LEFT_OUT, complete = strncmp(text, "complete", 8) == 0;
        printf("%-22s %-30s %s%s\n", label(s, name), text, out ? "left out: " : "",
               out ? s->why : complete ? "nothing, if its settings are the same" : strcmp(text, "nothing") == 0 ? "all of it"
                     : s->def == &dtx_job_report ? "all of it" : "the rest");
    }
    return DTX_OK;
}

/* Collective. */
static dtx_status prepare(const dtx_job *job, dtx_pipeline *p)
{
    bool there[DTX_LIST_MAX] = {false};

    DTX_TRY(check_options(job)); /* the same on all ranks, as is the plan */
    if (job->par.rank == 0) {
        dtx_pipeline_find_adapters(&job->config, there);
    }
    DTX_TRY(dtx_par_or(&job->par, there, sizeof there));
    DTX_TRY(dtx_pipeline_plan(&job->config, there, p));
    return DTX_ROOT(&job->par, dtx_pipeline_check_files(&job->config, p));
}

static dtx_status run(dtx_job *job)
{
    dtx_pipeline *p = NULL;
    char log_dir[DTX_PATH_MAX + 8], why[2048];
    dtx_status st;

    DTX_TRY(dtx_par_agree(&job->par, DTX_NEW(p, 1)));
    DTX_GO(prepare(job, p));
    if (job->dry_run) {
        st = job->par.rank == 0 ? print_plan(job, p) : DTX_OK;
        goto done;
    }
    DTX_GO(dtx_par_agree(&job->par, dtx_file_join(log_dir, sizeof log_dir, job->config.run, "log")));
    dtx_job_log_open(job, log_dir);
    st = run_all(job, p, log_dir);
    snprintf(why, sizeof why, "%s", dtx_error_text());
    log_summary(p);
    if (job->json && job->par.rank == 0) {
        print_json(p);
    }
    dtx_error_set(why);
done:
    dtx_free(p);
    return st;
}

const dtx_job_def dtx_job_pipeline = {
    .name = "pipeline",
    .summary = "the whole study in one command",
    .help = "Runs the jobs of a study one after the other on the same ranks: for each of pipeline.variants its training (finetune for FT, "
            "dpo for DPO, ppo for RL; pipeline.train names others), generate, score and attribute, and report at the end. Each stage is the job of "
            "that name, with the same settings, results, bytes and logs (RUN/log/JOB.log); what is complete is skipped, what was begun "
            "continues. Ends with a table of the stages.\n\n"
            "  mpirun -n 8 detoxlens pipeline --config study.json --run runs/study\n\n"
            "Needed are model.path and data.prompts; data.dialogues for the trainings, reward.path (or reward.models) for ppo, score.path "
            "for scores. A stage whose settings are not there is left out, and the table says so. variants.V.adapter gives a variant that "
            "was trained elsewhere. With pipeline.pretrain the model is trained from data.text first.\n\n"
            "--max-hours and signals (SIGTERM, SIGUSR1) stop it cleanly in any stage with exit code 75; the same command continues, as it "
            "does after a kill. A training that fails numerically (5) ends its variant alone; any other error ends the pipeline. "
            "--dry-run shows what the run holds and what would be done; detoxlens plan tells hours and memory. --json prints the table "
            "for programs.\n",
    .bit = DTX_JOB_PIPELINE | DTX_JOB_PRETRAIN | DTX_JOB_FINETUNE | DTX_JOB_DPO | DTX_JOB_PPO | DTX_JOB_GENERATE | DTX_JOB_SCORE | DTX_JOB_ATTRIBUTE
           | DTX_JOB_REPORT,
    .parallel = true,
    .own_dry_run = true,
    .run = run,
};
