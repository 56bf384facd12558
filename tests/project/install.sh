#!/usr/bin/env bash
# cmake --install gives a tree that works on its own: program, manual page, texts.
set -eu
[ -n "${DTX_WORK-}" ] || exec "$(dirname "$0")/../script.sh" "$0" "$@"
cmake --install "$DTX_BUILD" --prefix "$PWD/tree" >/dev/null
test -x tree/bin/detoxlens
"$PWD/tree/bin/detoxlens" --version
(cd tree && find . -name detoxlens.1 | grep -q 'man/man1')
test -s tree/share/detoxlens/configs/tiny.json
test -s tree/share/detoxlens/quickstart/texts.jsonl
test -s tree/share/doc/detoxlens/LICENSE
# OpenBLAS is found where it was when the program was linked, whatever the environment says.
env -u LD_LIBRARY_PATH ldd tree/bin/detoxlens | grep -q 'libopenblas.*=> /'
