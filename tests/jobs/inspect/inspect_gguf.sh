#!/usr/bin/env bash
# detoxlens inspect of GGUF files: what is broken is exit 3 with the file's name and the place, a sound container is
# exit 0 and says what it lacks to be a model.
set -eu
[ -n "${DTX_WORK-}" ] || exec "$(dirname "$0")/../../script.sh" "$0" "$@"
gguf=$DTX_SHARED/golden/gguf
[ -d "$gguf" ] || { echo "skipped: $gguf is not there"; exit 77; }
while read -r name verdict; do
    rc=0
    "$DETOXLENS" inspect "$gguf/broken/$name" > out 2> err || rc=$?
    case $name:$verdict in
    model-*) [ "$rc" -eq 0 ] && grep -q '^  usable *no' out || { cat out err; echo "$name: exit $rc, 0 and what it lacks are expected"; exit 1; } ;;
    *:read) [ "$rc" -eq 0 ] || { cat err; echo "$name: exit $rc, 0 is expected"; exit 1; } ;;
    *:refuse) [ "$rc" -eq 3 ] && grep -q "$name: " err || { cat err; echo "$name: exit $rc, 3 and its name are expected"; exit 1; } ;;
    esac
done < "$gguf/broken/list.tsv"
file=$gguf/models/llama-tiny/Q4_K_M.gguf
"$DETOXLENS" inspect --json "$file" > facts
/usr/bin/python3 - facts <<'PY'
import json, sys
f = json.load(open(sys.argv[1]))
assert f["keys"]["general.architecture"] == "llama" and f["keys"]["llama.block_count"] == 2, f["keys"]
assert f["weights"]["dtype"].startswith("Q4_K, Q6_K") and f["weights"]["fits"] is True, f["weights"]
PY
rc=0
"$DETOXLENS" inspect "$gguf/broken/empty.gguf" --json > out 2> err || rc=$?
[ "$rc" -eq 3 ] && [ "$(grep -c error: err)" -eq 1 ] || { cat err; exit 1; }
