#!/usr/bin/env bash
# submit.sh - hands a study, or one job, to Slurm.
#
#   slurm/submit.sh [OPTION...] --run RUN CONFIG... [-- JOB-OPTION...]   the whole study of a configuration (JSON)
#   slurm/submit.sh [OPTION...] JOB [JOB-OPTION...]                      one job, with the layout of site.conf
#
#   --variants LIST    what the study compares (IT,FT,RL). NAME:JOB names the training (FT:finetune, RL:ppo, DPO:dpo);
#                      NAME:none has an adapter already (variants.NAME.adapter in the configuration)
#   --fetch LIST       first downloads these (detoxlens fetch: redpajama-3b,dialoconan), on a node that has internet; licences that
#                      need agreement are agreed to only with fetch.accept_licence in the environment: DETOXLENS_FETCH__ACCEPT_LICENCE=true
#   --scorers LIST     toxicity by local, service, both (local,service), or none (local)
#   --site FILE        settings of the cluster (site.conf beside this script)
#   --after JOBID      begin after that job
#   --dry-run          print the lines for sbatch, submit nothing
#
# A study becomes a chain of jobs: each variant is trained, generates, is scored and attributed in a run directory of its own
# (RUN/IT, RUN/FT, ...), all at the same time; then RUN/run.h5 is merged and the report is written to RUN/report. Several
# configurations (one for each model) become arrays, with the run directories RUN/NAME/IT for NAME.json. JOB-OPTIONs go to
# every job: -- --set data.limit=100. Jobs begin in the folder where this is called: relative paths mean the same as there.
# The same command again continues a study that ended early; what is complete ends at once. See slurm/README.md.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
die() { local rc=$1; shift; echo "submit.sh: error: $*" >&2; exit "$rc"; }
usage() { sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0"; }

variants=IT,FT,RL scorers=local fetch='' run='' after='' dry=no job='' configs=() options=()
need() { [ $# -ge 2 ] || die 2 "$1 needs a value"; }
while [ $# -gt 0 ]; do
    case $1 in
    --variants) need "$@"; variants=$2; shift ;;
    --fetch) need "$@"; fetch=$2; shift ;;
    --scorers) need "$@"; scorers=$2; shift ;;
    --site) need "$@"; DTX_SITE=$(realpath -e "$2") || exit 4; shift ;;
    --after) need "$@"; after=$2; shift ;;
    --run) need "$@"; run=${2%/}; shift ;;
    --dry-run) dry=yes ;;
    -h | --help) usage; exit 0 ;;
    --) shift; options=("$@"); break ;;
    -*) die 2 "$1 is unknown; options of the jobs stand after -- (submit.sh --help)" ;;
    *)
        if [ ${#configs[@]} -eq 0 ] && [ -z "$run" ] && [ -e "$here/$1.sbatch" ]; then
            job=$1
            shift
            options=("$@")
            break
        fi
        configs+=("$1")
        ;;
    esac
    shift
done
export DTX_SLURM=$here DTX_SITE=${DTX_SITE:-$here/site.conf}
# shellcheck source=slurm/common.sh
. "$here/common.sh"
set -e

# layout SCRIPT: sets `layout` to sbatch's options for its row of LAYOUT, else the row `default`
layout() {
    local name nodes ranks threads time more found=''
    while read -r name nodes ranks threads time more; do
        case $name in
        "$1" | default)
            case $nodes:$ranks:$threads:$time in
            [1-9]*:[1-9]*:[1-9]*:[0-9]*) ;;
            *) die 2 "$DTX_SITE: LAYOUT, row $name: nodes, ranks, threads and time are expected" ;;
            esac
            if [ "$name" = "$1" ] || [ -z "$found" ]; then
                # shellcheck disable=SC2206
                layout=(--nodes="$nodes" --ntasks-per-node="$ranks" --cpus-per-task="$threads" --time="$time" ${more%%#*})
                found=$name
            fi
            [ "$name" != "$1" ] || return 0
            ;;
        esac
    done <<<"$LAYOUT"
    [ -n "$found" ] || die 2 "$DTX_SITE: LAYOUT has neither a row $1 nor a row default"
}

submitted=()
# give_up: a chain that cannot be submitted to its end is taken back
give_up() {
    [ ${#submitted[@]} -eq 0 ] || scancel "${submitted[@]}"
    die 4 "sbatch refused ${1}; nothing of this study is queued"
}

# submit SCRIPT NAME LOG DEPENDENCY [OPTION...]: sets `id`
submit() {
    local script=$1 name=$2 log=$3 dependency=$4 line
    shift 4
    layout "$script"
    line=(sbatch --parsable --job-name="$name" --output="$log" --export=ALL --signal="B:USR1@$SIGNAL_SECONDS"
        ${ACCOUNT:+--account="$ACCOUNT"} ${PARTITION:+--partition="$PARTITION"} "${layout[@]}")
    [ -z "$dependency" ] || line+=(--dependency="$dependency" --kill-on-invalid-dep=yes)
    if [ ${#models[@]} -gt 1 ]; then line+=(--array="0-$((${#models[@]} - 1))"); fi
    line+=("$here/$script.sbatch" "$@")
    if [ "$dry" = yes ]; then
        printf '%q ' "${line[@]}" | sed 's/ $//; s/\\\([<>@:%]\)/\1/g'
        echo
        id="<$name>"
        return
    fi
    id=$("${line[@]}") || give_up "$name"
    id=${id%%;*}
    submitted+=("$id")
    printf '%-10s %-18s %s\n' "$id" "$name" "$(sed "s/^[a-z]*:/after /; s/:/, /g" <<<"$dependency")"
}

models=()
if [ -n "$job" ]; then
    submit "$job" "$job" '%x-%j.log' "${after:+afterok:$after}" "${options[@]}"
    exit 0
fi

# --- the study ---

[ -n "$run" ] || die 2 "--run RUN is missing (submit.sh --help)"
[ ${#configs[@]} -gt 0 ] || die 2 "a configuration is missing, or there is no job of that name (submit.sh --help)"
for config in "${configs[@]}"; do
    [ -r "$config" ] || die 4 "$config: no such file, nor a job"
    name=$(basename "$config" .json)
    case $name in *[!A-Za-z0-9._-]*) die 2 "$config: the name becomes a folder's: letters, digits, . _ - only" ;; esac
    [[ " ${models[*]-} " != *" $name "* ]] || die 2 "two configurations are called $name"
    models+=("$name")
done
case ,$scorers, in *[!a-z,]* | ,,) die 2 "--scorers $scorers: local, service or none" ;; esac
for scorer in ${scorers//,/ }; do
    case $scorer in local | service | none) ;; *) die 2 "--scorers: $scorer is none of local, service, none" ;; esac
done

root=$run suffix='' after_one=afterok
if [ ${#models[@]} -gt 1 ]; then # task k of an array follows task k of the one before
    root=$run/%m suffix=-%a after_one=aftercorr
fi
export DTX_MODELS="${models[*]}" DTX_LOGS=$run/slurm
common=(--config "$root/study.json")

# Jobs read a copy: what is edited while they wait does not change the study under way.
prepare() {
    local i to
    if [ -s "$DTX_LOGS/jobs" ] && [ -n "$(squeue -h -j "$(paste -sd, "$DTX_LOGS/jobs")" 2>/dev/null)" ]; then
        die 2 "$run: this study is queued already (squeue -j $(paste -sd, "$DTX_LOGS/jobs")); scancel these jobs first"
    fi
    mkdir -p "$DTX_LOGS"
    rm -f "$DTX_LOGS"/.crashes-*
    for i in "${!models[@]}"; do
        to=${root//%m/${models[i]}}
        mkdir -p "$to"
        [ "${configs[i]}" -ef "$to/study.json" ] || cp "${configs[i]}" "$to/study.json"
        if (load_modules) >/dev/null 2>&1; then # a wrong key is found now, not after hours in the queue
            (load_modules && "$PROGRAM" report --config "$to/study.json" --run "$to" "${options[@]}" --dry-run >/dev/null) || exit 2
        fi
    done
}
[ "$dry" = yes ] || prepare

# The chain of one variant: sets `last`, the job that completes it.
chain() { # NAME JOB
    local v=$1 own scorer
    own=("${common[@]}" --run "$root/$v" --variant "$v" "${options[@]}")
    step() { # SCRIPT
        submit "$1" "$v-$1" "$DTX_LOGS/$v-$1$suffix.log" "$last" "${own[@]}"
        last=$after_one:$id
    }
    last=${after:+afterok:$after}
    [ "$2" = none ] || step "$2"
    step generate
    for scorer in ${scorers//,/ }; do [ "$scorer" != local ] || step score; done
    step attribute
    for scorer in ${scorers//,/ }; do [ "$scorer" != service ] || step score-service; done # last: slow, and may fail
}

if [ -n "$fetch" ]; then # one job for all models, before any of them
    all=("${models[@]}")
    models=()
    submit fetch fetch "$DTX_LOGS/fetch.log" "${after:+afterok:$after}" ${fetch//,/ }
    models=("${all[@]}")
    after=$id
fi

sources=() ids=''
for variant in ${variants//,/ }; do
    name=${variant%%:*}
    case $name in *[!A-Za-z0-9._-]* | '') die 2 "--variants: '$variant'" ;; esac
    case $variant in
    *:*) training=${variant#*:} ;;
    IT) training=none ;;
    FT) training=finetune ;;
    DPO) training=dpo ;;
    RL) training=ppo ;;
    *) die 2 "--variants: which training makes $name? $name:finetune, $name:ppo, or $name:none" ;;
    esac
    [ "$training" = none ] || [ -e "$here/$training.sbatch" ] || die 2 "--variants: there is no training $training"
    chain "$name" "$training"
    sources+=("$root/$name")
    ids=$ids:$id
done
submit merge merge "$DTX_LOGS/merge$suffix.log" "$after_one$ids" "${sources[@]}" "${common[@]}" --run "$root" "${options[@]}"
submit report report "$DTX_LOGS/report$suffix.log" "$after_one:$id" "${common[@]}" --run "$root" "${options[@]}"

if [ "$dry" = no ]; then
    printf '%s\n' "${submitted[@]}" >"$DTX_LOGS/jobs"
    cat <<EOT

queue       squeue -j $(paste -sd, "$DTX_LOGS/jobs")
logs        tail -F $DTX_LOGS/*.log
progress    detoxlens inspect ${root//%m/${models[0]}}/${sources[0]##*/}
take back   scancel $(paste -sd' ' "$DTX_LOGS/jobs")
EOT
fi
