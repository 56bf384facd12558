# shellcheck shell=bash
# setup.sh - sourced by jobs/quickstart.sh and tests/run.sh: Debian packages, and MPI on one machine. Asks nothing.

say() {
    printf '\n== %s\n' "$*"
}

die() {
    printf '\nerror: %s\n' "$*" >&2
    exit 4
}

package_is_there() {
    dpkg-query -W -f='${Status}\n' "$1" 2>/dev/null | grep -q '^install ok installed'
}

# missing_packages FILE...: the first alternative of each line none of whose alternatives is installed.
missing_packages() {
    local line name found first
    cat "$@" | while IFS= read -r line; do
        line=${line%%#*}
        found=no
        first=
        for name in ${line//|/ }; do
            first=${first:-$name}
            if package_is_there "$name"; then
                found=yes
            fi
        done
        if [ -n "$first" ] && [ "$found" = no ]; then
            echo "$first"
        fi
    done
}

# install_packages FILE...: installs what is missing, as root or through sudo.
install_packages() {
    local missing=() apt=()
    if ! command -v dpkg-query >/dev/null; then
        say "No dpkg here: the libraries named in $* are expected to be installed"
        return
    fi
    mapfile -t missing < <(missing_packages "$@")
    if [ "${#missing[@]}" -eq 0 ]; then
        say "Packages: all are installed"
        return
    fi
    say "Packages: installing ${missing[*]}"
    command -v apt-get >/dev/null || die "apt-get is not there; install these packages by hand: ${missing[*]}"
    if [ "$(id -u)" -eq 0 ]; then
        apt=(env DEBIAN_FRONTEND=noninteractive apt-get)
    elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
        apt=(sudo env DEBIAN_FRONTEND=noninteractive apt-get)
    else
        die "installing needs root or sudo; run as root: apt-get install --no-install-recommends ${missing[*]}"
    fi
    "${apt[@]}" -o DPkg::Lock::Timeout=300 -qq update || die "apt-get update failed (is the network there?)"
    "${apt[@]}" -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 -qq -y install --no-install-recommends "${missing[@]}" ||
        die "these packages could not be installed: ${missing[*]}"
}

# Settings of Open MPI for one machine, whoever runs it: as root, with more ranks than cores, ranks not bound to cores,
# and a session folder of its own with a short name (UNIX sockets live there), removed at exit.
setup_mpi() {
    TMPDIR=$(mktemp -d /tmp/dtx.XXXXXX)
    export TMPDIR
    trap 'rm -rf "$TMPDIR"' EXIT
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none
    if [ "$(nproc)" -lt 2 ]; then
        export OMPI_MCA_mpi_yield_when_idle=1
    fi
}
