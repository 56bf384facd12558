#!/usr/bin/env bash
# detoxlens tokenize on a vocabulary made here: what is read, what is printed, exit codes.
set -u
[ -n "${DTX_WORK-}" ] || exec "$(dirname "$0")/../../script.sh" "$0" "$@"
bad=0
mkdir v
echo '{"a": 0, "b": 1, "ab": 2, "Ġ": 3, "Ċ": 4, "Ā": 5, "<s>": 6, "</s>": 7, "Ã": 8, "©": 9, "\"": 10}' >v/vocab.json
printf '#version: 0.2\na b\n' >v/merges.txt

# expect CODE INPUT OUTPUT ARG...: exit code and standard output; the input goes through printf.
expect() {
    local code=$1 input=$2 want=$3 out rc
    shift 3
    # shellcheck disable=SC2059 # the input is a format on purpose: it holds escapes
    out=$(printf "$input" | "$DETOXLENS" tokenize "$@" 2>err; echo "rc $?")
    rc=${out##*rc }
    out=${out%rc *}
    if [ "$rc" -ne "$code" ] || [ "$out" != "$want" ]; then
        printf 'FAILED: %s: exit %s, output "%s"; expected %s, "%s"; %s\n' "$*" "$rc" "$out" "$code" "$want" "$(cat err)"
        bad=1
    fi
}

says() {
    grep -qF -- "$1" err || { echo "FAILED: \"$1\" is not in: $(cat err)"; bad=1; }
    [ "$(wc -l <err)" -eq 1 ] || { echo "FAILED: not one line: $(cat err)"; bad=1; }
}

t=(--tokenizer v)
expect 0 '' '' "${t[@]}"
expect 0 '{"text": "ab a"}\n{"text": ""}\n{"text": "zz"}\n{"text": "b"}' $'2 3 0\n\n\n1\n' "${t[@]}"
expect 0 '{"text": "a\\u0000b"}\r\n' $'0 5 1\n' "${t[@]}"
expect 0 '{"text": "\xc3\xa9", "other": [1, {}]}\n' $'8 9\n' "${t[@]}"
expect 0 '{"text": "ab a"}\n{"text": ""}\n' $'[2,3,0]\n[]\n' "${t[@]}" --json
expect 0 '{"text": "ab a"}\n' $'6 2 3 0 7\n' "${t[@]}" --special
expect 0 '{"text": "ab a"}\n' $'6 2 7\n' "${t[@]}" --special --max-length 3
expect 0 '{"text": "a", "pair": "b"}\n{"text": ["a", "b"]}\n{"a": "a", "b": "b"}\n' \
    $'6 0 7 7 1 7\n6 0 7 7 1 7\n6 0 7 7 1 7\n' "${t[@]}" --special --pair
expect 0 '{"text": "aaa", "pair": "bb"}\n' $'0 0 1\n' "${t[@]}" --pair --max-length 3
expect 0 '2 3 0\n\n[0,5, 1]\n8\n10 6\n999 -1' \
    $'{"text": "ab a"}\n{"text": ""}\n{"text": "a\\u0000b"}\n{"text": "\xef\xbf\xbd"}\n{"text": "\\"<s>"}\n{"text": ""}\n' \
    "${t[@]}" --decode
expect 0 '6 0 7\n' $'{"text": "a"}\n' "${t[@]}" --decode --skip-special

expect 0 '2 3 8 9 0 8\n' $'{"text": "ab \xc3\xa9a\xef\xbf\xbd", "stream": ["ab", " ", null, "\xc3\xa9", "a", null, "\xef\xbf\xbd"]}\n' \
    "${t[@]}" --decode --stream

expect 3 '{"text": "a"}\n{"text": \n' $'0\n' "${t[@]}"
says 'line 2'
expect 3 '{"text": "a"}\n\n' $'0\n' "${t[@]}"
says 'line 2'
expect 3 '["a"]\n' '' "${t[@]}"
says 'line 1'
expect 3 '{"txt": "a"}\n' '' "${t[@]}"
says 'text must be a string'
expect 3 '{"text": "a"}\n' '' "${t[@]}" --pair
says 'pair must be a string'
expect 3 '{"text": "a"}\n{"text": "b\xff"}\n' $'0\n' "${t[@]}"
says 'line 2: byte 11: not UTF-8'
expect 3 '1 2\n1 x\n' $'{"text": "bab"}\n' "${t[@]}" --decode
says 'line 2'
expect 3 '99999999999\n' '' "${t[@]}" --decode
says 'is not an id'
expect 2 '' ''
says '--tokenizer DIR'
expect 2 '' '' "${t[@]}" --max-length 0
says 'at least 1'
expect 2 '' '' "${t[@]}" --decode --special
expect 2 '' '' "${t[@]}" --clean-up
expect 2 '' '' "${t[@]}" --stream
expect 2 '' '' "${t[@]}" --decode --stream --clean-up
expect 2 '{"text": "a"}\n' '' "${t[@]}" --special --max-length 1
says 'less than the 2 special tokens'
expect 4 '' '' --tokenizer nowhere
says 'tokenizer.json'
# conversations: the template of the folder, or of a file
mkdir c none
printf '{"bos_token": "<s>", "eos_token": {"content": "</s>"}, "chat_template": "{{ bos_token }}{%% for m in messages %%}{{ m.content | trim }}{%% endfor %%}{%% if add_generation_prompt %%}b{%% endif %%}"}' >c/tokenizer_config.json
cp v/vocab.json v/merges.txt c
m='{"messages": [{"role": "user", "content": " ab<s> "}, {"role": "user", "content": "", "name": null}]'
expect 0 "$m}\n$m, \"add_generation_prompt\": true}\n" \
    $'{"text": "<s>ab<s>", "ids": [6,2], "spans": [[[3, 8]], [[8, 8]]]}\n{"text": "<s>ab<s>b", "ids": [6,2,1], "spans": [[[3, 8]], [[8, 8]]]}\n' \
    --tokenizer c --messages --json # < s > are not in the vocabulary, and the token they spell is not what the text says
echo '{{ x }}{% if not messages %}{{ raise_exception("nobody") }}{% endif %}{{ strftime_now("%d.%m.%Y") if strftime_now is defined }}' >own.jinja
expect 0 "$m, \"variables\": {\"x\": \"a\"}}\n{\"messages\": []}\n{\"messages\": 1}\n" \
    $'{"text": "a", "ids": [0], "spans": [[], []]}\n{"error": "nobody"}\n{"error": "messages must be a list of objects with \\"role\\" and \\"content\\""}\n' \
    --tokenizer c --messages --json --template own.jinja
expect 0 "$m}\n" $'{"text": "03.02.2026", "ids": [], "spans": [[], []]}\n' --tokenizer c --messages --json --template own.jinja \
    --set model.template.date=2026-02-03
expect 2 '' '' --tokenizer c --messages --json --template own.jinja --set model.template.date=2026-02-30
says 'is no date'
expect 2 '' '' --tokenizer c --messages --json --set model.template.date=today
expect 2 '' '' --tokenizer v --messages --json
says '--template FILE'
expect 2 '' '' --tokenizer c --messages
expect 2 '' '' --tokenizer c --template own.jinja
expect 4 '' '' --tokenizer none --messages --json
says 'no tokenizer'
printf 'a\n{%% macro m() %%}{%% endmacro %%}' >macro.jinja
expect 3 "$m}\n" '' --tokenizer c --messages --json --template macro.jinja
says 'macro.jinja:2: the statement "macro"'

echo '{"a": 0, "a": 1}' >v/vocab.json
expect 3 '' '' "${t[@]}"
says 'v/vocab.json'
exit "$bad"
