#!/usr/bin/env bash
# What all jobs share, with a program of its own: options, configuration, messages, exit codes, signals, logs.
set -u
[ -n "${DTX_WORK-}" ] || exec "$(dirname "$0")/../../script.sh" "$0" "$@"
toy=$1
bad=0

# expect CODE WORDS COMMAND...: exit code, and every word (separated by ~) in the output.
expect() {
    local code=$1 words=$2 out rc word
    shift 2
    out=$("$@" 2>&1 </dev/null)
    rc=$?
    if [ "$rc" -ne "$code" ]; then
        echo "FAILED: $* ended with $rc, not $code: $out"
        bad=1
    fi
    while [ -n "$words" ]; do
        word=${words%%~*}
        if [[ $out != *"$word"* ]]; then
            echo "FAILED: $* lacks \"$word\": $out"
            bad=1
        fi
        [[ $words == *~* ]] && words=${words#*~} || words=
    done
    last=$out
}

one_message() {
    local n
    n=$(grep -c 'error: ' <<<"$last")
    [ "$n" -eq 1 ] || { echo "FAILED: $n messages instead of one: $last"; bad=1; }
}

two() {
    "$MPIRUN" 2 "$toy" "$@"
}

# help
expect 0 "generate~inspect~Exit codes~75~A first example" "$toy" --help
expect 0 "Usage~--variant~generate.batch, --batch~default 16~fails on that rank" "$toy" generate --help
expect 0 "Usage~model.path" "$toy" help inspect
expect 0 "detoxlens 0." "$toy" --version
expect 0 "detoxlens 0." two --version
[ "$(two --version | wc -l)" -eq 1 ] || { echo "FAILED: --version under mpirun speaks more than once"; bad=1; }

# usage errors: one process
expect 2 "unknown job foo" "$toy" help foo; one_message
expect 2 "--batch needs a value" "$toy" generate --batch; one_message
expect 2 "--redo takes no value" "$toy" generate --redo=1; one_message
expect 2 "unexpected argument word" "$toy" generate word; one_message
expect 2 "environment DETOXLENS_GENERATE__BATCH~found \"x\"" env DETOXLENS_GENERATE__BATCH=x "$toy" generate; one_message
expect 2 "environment DETOXLENS_NO__SUCH~unknown key no.such" env DETOXLENS_NO__SUCH=x "$toy" generate; one_message
expect 2 "--rows 5:3~A <= B" "$toy" generate --rows 5:3; one_message
expect 2 "--max-hours" "$toy" generate --max-hours -1; one_message
expect 2 "--variant" "$toy" generate --variant a/b; one_message
expect 2 "model.path is not set~--set model.path=" "$toy" inspect a b; one_message
expect 0 "arg a~arg -b" "$toy" inspect a --set model.path=x -- -b
# one process and two ranks
for run in "$toy" two; do
    expect 2 "a job is missing" "$run"; one_message
    expect 2 "unknown job foo~generate, inspect" "$run" foo; one_message
    expect 2 "unknown job generte~did you mean generate?" "$run" generte; one_message
    expect 2 "unknown option --bath~--help" "$run" generate --bath 3; one_message
    expect 2 "generate.batch~found 0~1..4096" "$run" generate --batch 0; one_message
    expect 2 "unknown key generate.bath~did you mean generate.batch" "$run" generate --set generate.bath=3; one_message
    expect 4 "missing.json" "$run" generate --config missing.json; one_message
done

# precedence: command line, environment, file, default
echo '{"generate": {"batch": 3, "top_k": 7}}' >c.json
expect 0 "batch 16 " "$toy" generate
expect 0 "batch 3 " "$toy" generate --config c.json
expect 0 "batch 4 " env DETOXLENS_GENERATE__BATCH=4 "$toy" generate --config c.json
expect 0 "batch 5 " env DETOXLENS_GENERATE__BATCH=4 "$toy" generate --config c.json --set generate.batch=5
expect 0 "batch 6 " env DETOXLENS_GENERATE__BATCH=4 "$toy" generate --set generate.batch=5 --batch=6
expect 0 "ranks 2~batch 6 ~variant FT~rows 1:9~redo 1" two generate --config c.json --batch 6 --variant FT --rows 1:9 --redo
expect 0 '"top_k": 7' "$toy" generate --config c.json --dry-run
[ "$last" = "$("$toy" generate --config c.json --dry-run | tee dry.json)" ] || { echo "FAILED: --dry-run differs"; bad=1; }
expect 0 '"top_k": 7' "$toy" generate --config dry.json --dry-run # the resolved configuration is one
expect 0 "OVERSUBSCRIBED" two generate --set threads=99 # loud, not silent

# a fault on one rank: its code, one message that names the rank
expect 3 "rank 1 (~a fault on purpose" two generate --fail 1; one_message
expect 3 "a fault on purpose" two generate --fail 0; one_message
expect 3 "" "$toy" generate --fail 0; one_message

# logs
rm -rf logged
expect 0 "version 0.~command: ~2 rank(s) x ~\"batch\": 16~3/3 rows  100.0 %~ETA~loss=1.5~memory" two generate --run logged
for words in 'configuration: {' '100.0 %'; do
    grep -q "$words" logged/generate.log || { echo "FAILED: the log file lacks $words"; bad=1; }
done
python3 - logged/generate.jsonl <<'PY' || bad=1
import json, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
assert rows and rows[-1]["done"] == 3 and rows[-1]["total"] == 3 and rows[-1]["loss"] == 1.5, rows
assert rows[-1]["unit"] == "rows" and rows[-1]["job"] == "generate" and rows[-1]["rate"] > 0, rows
PY
expect 0 "" "$toy" generate --quiet --run logged
[ "$(grep -cv '^ranks' <<<"$last")" -eq 0 ] || { echo "FAILED: --quiet says $last"; bad=1; }

# clean stops
expect 75 "continues" "$toy" generate --ticks 400 --max-hours 0.0002
expect 75 "continues" two generate --ticks 400 --max-hours 0.0002
for signal in TERM USR1 INT; do
    # (a shell without job control starts background commands with SIGINT ignored; env restores its default)
    env --default-signal=INT "$toy" generate --ticks 400 >out.txt 2>&1 &
    pid=$!
    for _ in $(seq 100); do grep -q '^ranks' out.txt && break; sleep 0.1; done
    kill -s "$signal" "$pid"
    wait "$pid"
    rc=$?
    [ "$rc" -eq 75 ] || { echo "FAILED: $signal gave $rc: $(cat out.txt)"; bad=1; }
done

# standard output that cannot be written
if [ -w /dev/full ]; then
    "$toy" inspect a --set model.path=x >/dev/full 2>err.txt
    rc=$?
    { [ "$rc" -eq 4 ] && grep -q 'standard output' err.txt; } || { echo "FAILED: full disk behind stdout gave $rc"; bad=1; }
fi
exit "$bad"
