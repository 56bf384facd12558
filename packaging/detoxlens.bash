# bash completion of detoxlens: jobs, their options, keys after --set, presets of fetch; all from the program's own help.
_detoxlens() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} job=${COMP_WORDS[1]} program=${COMP_WORDS[0]} words
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        words="$("$program" --help 2>/dev/null | sed -n 's/^  \([a-z]*\) *[* ] .*/\1/p') --help --version"
    elif [ "$prev" = --set ]; then
        words=$("$program" "$job" --help 2>/dev/null | sed -n 's/^  \([a-z_]*\.[a-z_.]*\).* default .*/\1=/p; s/^  \(run\|seed\|threads\|reduce\) (.*/\1=/p')
        compopt -o nospace
    elif [ "${cur#-}" != "$cur" ]; then
        words=$("$program" "$job" --help 2>/dev/null | grep -o -e '--[a-z][a-z-]*' | sort -u)
    elif [ "$job" = fetch ] && [ "${prev#-}" = "$prev" ]; then
        words=$("$program" fetch --help 2>/dev/null | sed -n '/^Presets/,/^$/s/^  \([a-z0-9-]*\).*/\1/p')
    else
        compopt -o default
        return
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}
complete -F _detoxlens detoxlens
