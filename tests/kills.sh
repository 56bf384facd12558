# shellcheck shell=bash
# Sourced by tests of what continues after a kill.

# kill_often TIMES COMMAND ARG...: starts an exported function TIMES times, in a session of its own, and kills its ranks, and no
# others, at some time in the second after they are there. Fails where no rank was killed. The last launch's output is in `log`.
kill_often() {
    local times=$1 killed=0 session i
    shift
    RANDOM=5
    for ((i = 0; i < times; i++)); do
        setsid --wait bash -c '"$@"' kill_often "$@" >log 2>&1 &
        session=$!
        until pgrep -s "$session" -x detoxlens >/dev/null || ! kill -0 "$session" 2>/dev/null; do sleep 0.05; done
        sleep "0.$((RANDOM % 9))$((RANDOM % 10))"
        ! pkill -9 -s "$session" -x detoxlens || killed=$((killed + 1))
        wait "$session" 2>/dev/null || true
    done
    [ "$killed" -gt 0 ] || { cat log; echo "FAILED: no rank was killed" >&2; exit 1; }
}
