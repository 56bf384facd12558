#!/usr/bin/env bash
# restart.sh KILLS: generate and attribute are killed (kill -9 of one rank, of all, of mpirun) at random times KILLS times
# in all; what is left can always be read, and the same commands end with the bytes of an undisturbed run. Then a clean
# stop by signal and by time limit, and a full disk.
set -eu
[ -n "${DTX_WORK-}" ] || exec "$(dirname "$0")/../../script.sh" "$0" "$@"
kills=$1
texts=$DTX_SOURCE/data/quickstart/texts.jsonl
"$DTX_BUILD/tests/make_model" neox model "$DTX_SOURCE/data/quickstart/corpus.txt"
RANDOM=20230901
export DTX_LAUNCH_SECONDS=200
common=(--set model.path=model --set "data.prompts=$texts" --set data.limit=60 --set generate.batch=4
    --set round_seconds=0.02 --set threads=1 --quiet)

# launch RUN JOB [ARG...]: in the background, as $launcher
launch() {
    run=$1 job=$2
    shift 2
    "$MPIRUN" 3 "$DETOXLENS" "$job" --run "$run" "${common[@]}" "$@" > launch.txt 2>&1 &
    launcher=$!
}
finish() {
    launch "$@"
    rc=0
    wait "$launcher" || rc=$?
    [ "$rc" -eq 0 ] || { cat launch.txt; echo "$2 after a kill: exit $rc"; exit 1; }
}
same() {
    "$DETOXLENS" verify --same "$1" "$2" > same.txt || { cat same.txt; echo "$1 and $2 differ"; exit 1; }
}
milliseconds() {
    echo $(($(date +%s%N) / 1000000))
}

t0=$(milliseconds)
finish whole generate
t1=$(milliseconds)
finish whole attribute
t2=$(milliseconds)
echo "undisturbed: generate $((t1 - t0)) ms, attribute $((t2 - t1)) ms"

# One attempt: returns 0 when the job was killed before its end.
strike() {
    job=$1 limit=$2
    launch hit "$job"
    sleep "$(printf '0.%03d' 0)$((RANDOM % 10))" # breaks up any rhythm
    pause=$((RANDOM % limit))
    sleep "$((pause / 1000)).$(printf '%03d' $((pause % 1000)))"
    mpirun=$(pgrep -P "$launcher" mpirun || true)
    ranks=$([ -n "$mpirun" ] && pgrep -P "$mpirun" detoxlens || true)
    case $((RANDOM % 3)) in
    0) target=$(echo "$ranks" | sed -n "$((RANDOM % 3 + 1))p") ;;
    1) target=$ranks ;;
    2) target=$mpirun ;;
    esac
    # shellcheck disable=SC2086
    [ -z "$target" ] || kill -9 $target 2> /dev/null || true
    rc=0
    wait "$launcher" 2> /dev/null || rc=$?
    # ranks whose mpirun was killed end by themselves; the next launch would wait for their lock
    for _ in $(seq 100); do
        left=""
        for pid in $ranks; do [ ! -d "/proc/$pid" ] || grep -q '^State:.Z' "/proc/$pid/status" 2> /dev/null || left=$pid; done
        [ -n "$left" ] || break
        sleep 0.1
    done
    [ -z "$left" ] || { echo "rank $left outlived its mpirun by 10 s"; exit 1; }
    if [ -e hit/run.h5 ]; then
        h5dump -H hit/run.h5 > /dev/null 2> dump.txt || { cat dump.txt; echo "run.h5 cannot be read after a kill"; exit 1; }
    fi
    [ "$rc" -ne 124 ] || { cat launch.txt; echo "hung after a kill"; exit 1; }
    [ "$rc" -ne 0 ]
}

struck=0 attempts=0 rounds=0
while [ "$struck" -lt "$kills" ]; do
    rm -rf hit
    rounds=$((rounds + 1))
    for job in generate attribute; do
        [ "$job" = generate ] && limit=$((t1 - t0)) || limit=$((t2 - t1))
        for _ in 1 2 3; do
            attempts=$((attempts + 1))
            ! strike "$job" "$limit" || struck=$((struck + 1))
        done
        finish hit "$job"
    done
    same whole hit
    [ "$attempts" -lt $((20 * kills + 60)) ] || { echo "only $struck of $attempts attempts hit"; exit 1; }
done
echo "$struck kills ($attempts attempts, $rounds runs): all files readable, all runs end with the same bytes"

# --- a clean stop: exit 75, and what was finished is kept ---
stopped=0
for how in usr1 term hours; do
    rm -rf hit
    for job in generate attribute; do
        rc=0
        case $how in
        hours) launch hit "$job" --max-hours 0.0002 ;;
        *)
            launch hit "$job"
            sleep 0.$((3 + RANDOM % 5))
            mpirun=$(pgrep -P "$launcher" mpirun || true)
            ranks=$([ -n "$mpirun" ] && pgrep -P "$mpirun" detoxlens || true)
            # all ranks or one of them: one is enough to stop all
            [ "$how" = usr1 ] && signal=USR1 || signal=TERM
            # shellcheck disable=SC2086
            # shellcheck disable=SC2046 # one word for each rank
            [ -z "$ranks" ] || kill -$signal $(echo "$ranks" | head -n $((1 + RANDOM % 3))) 2> /dev/null || true
            ;;
        esac
        wait "$launcher" || rc=$?
        case $rc in
        75) stopped=$((stopped + 1)) ;;
        0 | 138 | 143) ;; # too late, or before the job could catch signals
        *) cat launch.txt; echo "$how: exit $rc"; exit 1 ;;
        esac
        finish hit "$job"
    done
    same whole hit
done
[ "$stopped" -ge 1 ] || { echo "no stop came in time"; exit 1; }
echo "$stopped clean stops, continued to the same bytes"

# --- no room: exit 4, one message, and the same command goes on when there is room ---
# expect_full JOB CODE: of the launch whose output is launch.txt
expect_full() {
    [ "$2" -eq 4 ] || { cat launch.txt; echo "$1 with no room: exit $2, expected 4"; exit 1; }
    [ "$(grep -c 'error:' launch.txt)" -eq 1 ] || { cat launch.txt; echo "$1 with no room: not one message"; exit 1; }
}
# a limit on the size of files, one process (mpirun would end of it)
rm -rf hit
for job in generate attribute; do
    rc=0
    (
        trap '' XFSZ
        [ "$job" = generate ] && ulimit -f 60 || ulimit -f 300 # kB, less than the stage needs
        exec "$DETOXLENS" "$job" --run hit "${common[@]}" > launch.txt 2>&1
    ) || rc=$?
    expect_full "$job" "$rc"
    finish hit "$job"
done
same whole hit
# a file system of 2 MB, three processes
mkdir disk
if mount -t tmpfs -o size=1m tmpfs disk 2> mount.txt; then
    trap 'umount disk' EXIT
    for job in generate attribute; do
        rc=0
        [ "$job" = generate ] && filler=940 || filler=0
        head -c "${filler}k" /dev/zero > disk/filler
        launch disk/hit "$job"
        wait "$launcher" || rc=$?
        expect_full "$job" "$rc"
        rm disk/filler
        [ "$job" = generate ] || mount -o remount,size=64m disk
        finish disk/hit "$job"
    done
    same whole disk/hit
else
    echo "a full file system was not tried: $(cat mount.txt)"
fi
echo "no room: refused, then completed to the same bytes"
