# Recomputes the reference values in tests/golden, and of every folder of golden.txt in DTX_SHARED/golden; then one stored value is changed, and verify must say so with
# exit 1. Folders that are not listed yet are printed as waiting.
set -eu
[ -n "${DTX_WORK-}" ] || exec "$(dirname "$0")/../../script.sh" "$0" "$@"
own=$DTX_SOURCE/tests/golden golden=$DTX_SHARED/golden
"$DETOXLENS" verify "$own" > out 2>&1 || { cat out; exit 1; }
tail -n 1 out
grep -v '^#' "$DTX_SOURCE/tests/jobs/verify/golden.txt" > listed
[ -d "$golden" ] || { echo "no further reference values at $golden"; : > listed; }
failed=
while read -r name; do
    if [ ! -d "$golden/$name" ]; then
        echo "$name: listed in golden.txt, but $golden holds no such folder"
        failed="$failed $name"
    elif ! "$DETOXLENS" verify "$golden/$name" > out 2>&1; then
        cat out
        failed="$failed $name"
    else
        echo "$name: $(tail -n 1 out)"
    fi
done < listed
[ ! -d "$golden" ] || (cd "$golden" && find . -type d -name expected) | sed 's,^\./,,; s,/expected$,,' | sort | grep -vxFf listed | sed 's/^/waiting: /' || true
[ -z "$failed" ] || { echo "failed:$failed"; exit 1; }
cp -r "$own/neox-tiny-seq" broken
chmod -R u+w broken
# the sign of one stored logit
/usr/bin/python3 - broken/expected/logits.safetensors <<'PY'
import json, struct, sys
with open(sys.argv[1], "r+b") as f:
    n = struct.unpack("<Q", f.read(8))[0]
    at = 8 + n + json.loads(f.read(n))["seq0.logits"]["data_offsets"][1] - 1
    f.seek(at)
    last = f.read(1)[0]
    f.seek(at)
    f.write(bytes([last ^ 0x80]))
PY
rc=0
"$DETOXLENS" verify broken > out || rc=$?
[ "$rc" -eq 1 ] && grep -q DIFFERS out || { cat out; echo "a changed value was not noticed (exit $rc)"; exit 1; }
rc=0
"$DETOXLENS" verify --json broken > json || rc=$?
[ "$rc" -eq 1 ] && grep -q '"equal":false' json || { echo "--json: exit $rc"; exit 1; }
rc=0
mkdir empty
"$DETOXLENS" verify empty 2> err || rc=$?
[ "$rc" -eq 4 ] || { cat err; echo "an empty folder: exit $rc"; exit 1; }
