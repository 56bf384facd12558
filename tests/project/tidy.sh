#!/usr/bin/env bash
# clang-tidy by .clang-tidy: every C source of src, mpi and jobs whose text, or any header, has changed since it was last found
# clean; the marks stand in the build folder. The first time takes minutes.
set -u
[ -n "${DTX_WORK-}" ] || exec "$(dirname "$0")/../script.sh" "$0" "$@"
cd "$DTX_SOURCE" || exit 1
command -v clang-tidy >/dev/null || { echo "clang-tidy is not installed"; exit 77; }
marks=$DTX_BUILD/tidy
mkdir -p "$marks"
all=$( (clang-tidy --version; cat .clang-tidy; find src mpi jobs -name '*.h' -print0 | sort -z | xargs -0 cat) | sha256sum)
due=()
while IFS= read -r source; do
    mark=$(echo "$all" | cat - "$source" | sha256sum | cut -c 1-40)
    [ -e "$marks/$mark" ] || due+=("$mark $source")
done < <(find src mpi jobs -name '*.c' | sort)
echo "${#due[@]} sources to look at"
[ "${#due[@]}" -gt 0 ] || exit 0
look() { # "MARK SOURCE"
    local source=${1#* }
    if clang-tidy -p "$DTX_BUILD" --quiet "$source" >"$DTX_WORK/${1%% *}" 2>&1; then
        touch "$DTX_BUILD/tidy/${1%% *}"
    else
        grep -vE '^[0-9]+ warnings? ' "$DTX_WORK/${1%% *}"
        return 1
    fi
}
export -f look
printf '%s\0' "${due[@]}" | xargs -0 -n 1 -P "$(nproc)" bash -c 'look "$1"' look || { echo "FAILED: see above; the checks are those of .clang-tidy"; exit 1; }
