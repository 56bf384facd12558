#!/usr/bin/env bash
# The installation of packages, with dpkg, apt-get, id and sudo replaced: what is missing, and what is said when it cannot be
# installed.
set -u
[ -n "${DTX_WORK-}" ] || exec "$(dirname "$0")/../script.sh" "$0" "$@"
bad=0
mkdir bin
cat >bin/dpkg-query <<'SH'
#!/bin/sh
for name; do :; done # the last word
case " $INSTALLED " in *" $name "*) echo "install ok installed" ;; *) exit 1 ;; esac
SH
cat >bin/apt-get <<'SH'
#!/bin/sh
echo "apt-get $*" >>"$CALLS"
case "$*" in *install*) exit "$APT_RC" ;; esac
SH
printf '#!/bin/sh\necho "$FAKE_UID"\n' >bin/id
printf '#!/bin/sh\necho "sudo $*" >>"$CALLS"\n[ "$SUDO_RC" -eq 0 ] || exit "$SUDO_RC"\n[ "$1" = -n ] || "$@"\n' >bin/sudo
chmod +x bin/*
printf '# a comment\none\ntwo | other   # another\nthree\n\n' >packages.txt
export CALLS=$PWD/calls APT_RC=0 SUDO_RC=0 FAKE_UID=0 INSTALLED=

# check CODE WORDS: install_packages with the variables above, in a shell of its own without a terminal
check() {
    local out rc
    : >calls
    out=$(PATH=$PWD/bin:$PATH bash -c '. "$DTX_SOURCE/jobs/setup.sh"; install_packages packages.txt' 2>&1 </dev/null)
    rc=$?
    { [ "$rc" -eq "$1" ] && [[ $out == *"$2"* ]]; } || { echo "FAILED: code $rc, expected $1 and \"$2\": $out"; bad=1; }
}
called() {
    grep -q -- "$1" calls || { echo "FAILED: no call of \"$1\": $(cat calls)"; bad=1; }
}

INSTALLED="one other three" check 0 "all are installed"
[ ! -s calls ] || { echo "FAILED: something was called though nothing is missing"; bad=1; }
INSTALLED="one" check 0 "installing two three"
called 'install --no-install-recommends two three$'
called ' update$'
APT_RC=100 check 4 "could not be installed: one two three"
FAKE_UID=1000 INSTALLED="one two" check 0 "installing three"
called '^sudo env DEBIAN_FRONTEND=noninteractive apt-get .* three$'
FAKE_UID=1000 SUDO_RC=1 INSTALLED="one two" check 4 "run as root: apt-get install --no-install-recommends three"

# Every package that CMake names is one of the lists'.
for package in $(sed -n 's/^ *dtx_need([A-Za-z0-9_]* "\{0,1\}\([a-z0-9 -]*\)"\{0,1\} ".*/\1/p' "$DTX_SOURCE/cmake/DtxPackages.cmake"); do
    grep -qw -- "$package" "$DTX_SOURCE/jobs/packages.txt" || { echo "FAILED: jobs/packages.txt lacks $package"; bad=1; }
done
exit "$bad"
