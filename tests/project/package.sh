#!/usr/bin/env bash
# The Debian package installs into a root of its own and works there: program, a manual page for each job, completion.
set -eu
[ -n "${DTX_WORK-}" ] || exec "$(dirname "$0")/../script.sh" "$0" "$@"
command -v cpack dpkg-deb dpkg-shlibdeps >/dev/null || { echo "cpack or dpkg is not there"; exit 77; }
fail() { echo "FAILED: $*" >&2; exit 1; }
cpack -G DEB --config "$DTX_BUILD/CPackConfig.cmake" -B "$PWD" >log 2>&1 || { cat log; fail "cpack"; }
deb=$(echo detoxlens_*.deb)
dpkg-deb -f "$deb" Depends >depends
for library in libc6 libopenmpi libhdf5 libopenblas openmpi-bin; do
    grep -q "$library" depends || { cat depends; fail "no dependency on $library"; }
done
mkdir -p root/var/lib/dpkg/updates root/var/lib/dpkg/info
touch root/var/lib/dpkg/status
dpkg --root="$PWD/root" --force-not-root --force-depends --log="$PWD/dpkg.log" -i "$deb" >log 2>&1 || { cat log; fail "dpkg -i"; }
program=$PWD/root/usr/bin/detoxlens
"$program" --version
"$program" --help >help
jobs=$(sed -n 's/^  \([a-z]*\) *[* ] .*/\1/p' help)
[ "$(wc -w <<<"$jobs")" -ge 14 ] || fail "the jobs are not in the help"
for job in $jobs; do
    page=root/usr/share/man/man1/detoxlens-$job.1
    [ -s "$page" ] || [ -s "$page.gz" ] || fail "no manual page of $job"
    ! command -v groff >/dev/null || groff -man -Tascii -ww "$page" 2>warnings >page.txt || fail "the page of $job"
    [ ! -s warnings ] || { cat warnings; fail "warnings in the page of $job"; }
done
grep -q 'set.*generate.batch\|generate\.batch' root/usr/share/man/man1/detoxlens-generate.1 || fail "the page of generate has no settings"
[ -s root/usr/share/detoxlens/configs/tiny.json ] || fail "no configurations"

PATH=$PWD/root/usr/bin:$PATH
# shellcheck disable=SC1091
. root/usr/share/bash-completion/completions/detoxlens
compopt() { :; }
completed() { # WORD OF-REPLY WORDS...: the last word is completed
    local want=$1
    shift
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
    _detoxlens
    [[ " ${COMPREPLY[*]} " == *" $want "* ]] || fail "$* is completed to ${COMPREPLY[*]}"
}
completed generate detoxlens gen
completed pipeline detoxlens p
completed redpajama-3b-rl detoxlens fetch --to models dialoconan red
completed --batch detoxlens generate --ba
completed generate.top_k= detoxlens generate --set generate.
for recipe in "$DTX_SOURCE"/packaging/*.py; do /usr/bin/python3 -c 'import ast, sys; ast.parse(open(sys.argv[1]).read())' "$recipe"; done
