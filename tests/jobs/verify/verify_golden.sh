# Recomputes all reference values; then one stored value is changed, and verify must say so with exit 1.
set -eu
[ -d "$DTX_SHARED/golden/neox-tiny" ] || { echo "no reference values at $DTX_SHARED/golden"; exit 77; }
"$DETOXLENS" verify "$DTX_SHARED/golden"
cp -r "$DTX_SHARED/golden/neox-tiny" broken
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
