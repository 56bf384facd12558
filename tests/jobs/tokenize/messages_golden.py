"""detoxlens tokenize --messages on the chat templates of golden/templates: texts, spans of the messages and ids with control tokens kept
as text equal the reference's; refusals where it refuses; one-line templates; where templates and tokens can stand. Skips where the
reference values are absent."""
import json
import lzma
import os
import shutil
import subprocess
import sys

golden = os.path.join(os.environ["DTX_SHARED"], "golden")
templates = os.path.join(golden, "templates")
if not os.path.isdir(templates):
    print("no reference values at", templates)
    sys.exit(77)

bad = []


def same(what, got, want):
    if got != want:
        bad.append(what)
        print("DIFFERS:", *what, "\n  got ", json.dumps(got)[:400], "\n  want", json.dumps(want)[:400])


def run(folder, lines, *args):
    p = subprocess.run(
        [os.environ["DETOXLENS"], "tokenize", "--tokenizer", folder, "--messages", "--json",
         "--set", "model.template.date=2026-02-03 04:05:06", *args],
        input="".join(json.dumps(line) + "\n" for line in lines).encode(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if p.returncode != 0:
        return p.returncode, p.stderr.decode()
    out = [json.loads(x) for x in p.stdout.decode().split("\n") if x]
    assert len(out) == len(lines), (len(out), len(lines))
    return 0, out


def line_of(case):
    return {k: case[k] for k in ("messages", "add_generation_prompt", "variables") if k in case}


def check(name, case, out):
    what = (name, case.get("name", ""), case.get("add_generation_prompt"), json.dumps(case.get("variables")))
    if "error" in case:
        same(what + ("refused",), "error" in out, True)
        if case["error"] == "raised":
            same(what + ("message",), out.get("error"), case["message"])
        return
    same(what + ("text",), out.get("text", out), case["text"])
    if "spans_bytes" in case:
        same(what + ("spans",), out.get("spans"), case["spans_bytes"])
    if "ids" in case and out.get("ids") is not None:
        same(what + ("ids",), out["ids"], case.get("ids_sanitized", case["ids"]))


def tokenizer_files(name, to):
    source = os.path.join(golden, "tokenizers-today", name, "tokenizer.json.xz")
    with lzma.open(source) as f, open(os.path.join(to, "tokenizer.json"), "wb") as out:
        shutil.copyfileobj(f, out)


checked = refused = with_ids = 0
for name in sorted(os.listdir(templates)):
    folder = os.path.join(templates, name)
    if not os.path.exists(os.path.join(folder, "cases.json")):
        continue
    with open(os.path.join(folder, "info.json"), encoding="utf-8") as f:
        info = json.load(f)
    with open(os.path.join(folder, "cases.json"), encoding="utf-8") as f:
        cases = json.load(f)
    own = os.path.join("t", name)
    os.makedirs(own)
    shutil.copy(os.path.join(folder, "tokenizer_config.json"), own)
    if info["tokenizer"]:
        tokenizer_files(info["tokenizer"], own)
    for args in ((), ("--template", os.path.join(folder, "template.jinja"))):
        code, out = run(own, [line_of(c) for c in cases], *args)
        if code == 3 and info["beyond_a_small_subset"]:
            refused += 1
            same((name, "names the line"), "jinja:" in out or "json:" in out, True)
            continue
        if code != 0:
            same((name, "exit code", out), code, 0)
            continue
        for case, got in zip(cases, out):
            check(name, case, got)
            checked += 1
            with_ids += got.get("ids") is not None
    shutil.rmtree(own)

with open(os.path.join(templates, "micro.json"), encoding="utf-8") as f:
    micro = json.load(f)
os.makedirs("micro")
for case in micro["cases"]:
    with open("micro/t.jinja", "w", encoding="utf-8", newline="") as f:
        f.write(case["template"])
    variables = dict(micro["variables"])
    line = {"messages": variables.pop("messages", []), "variables": variables}
    code, out = run("micro", [line], "--template", "micro/t.jinja")
    if code != 0:
        same(("micro", case["template"], out), code, 0)
        continue
    check("micro: " + case["template"], case, out[0])
    checked += 1

for name in sorted(os.listdir(os.path.join(templates, "forms"))):
    folder = os.path.join(templates, "forms", name)
    with open(os.path.join(folder, "expected.json"), encoding="utf-8") as f:
        case = json.load(f)
    code, out = run(folder, [line_of(case)])
    if "error" in case:
        same(("forms", name), code in (2, 4), True)
    elif code != 0:
        same(("forms", name, out), code, 0)
    else:
        check("forms/" + name, case, out[0])
    checked += 1
print(checked, "renderings,", with_ids, "with ids,", refused, "templates refused,", len(bad), "differ")
sys.exit(1 if bad or not with_ids else 0)
