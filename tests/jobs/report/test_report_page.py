"""The report's page in headless Chromium: it renders, logs no error, asks for nothing outside, stays veiled until asked,
a click on a generated token changes the heat map, tables sort, both themes are legible. Skips where no browser is."""
import json
import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.environ["DTX_SOURCE"], "tests/jobs/shared"))
browser = next((b for b in ("chromium", "chromium-browser", "google-chrome") if shutil.which(b)), None)
if browser is None:
    print("skipped: no Chromium (Debian: apt-get install chromium)")
    sys.exit(77)
try:
    import make_run
except ImportError as e:
    print("skipped:", e)
    sys.exit(77)

# Runs in the page after it has built itself; what it finds ends up as text in the DOM.
PROBE = """
<script>
(function () {
  const q = (s) => document.querySelector(s), all = (s) => Array.from(document.querySelectorAll(s));
  const heat = () => all("#detail .tok").map((n) => n.style.getPropertyValue("--a"));
  const lum = (c) => { const m = c.match(/[\\d.]+/g).map(Number).slice(0, 3).map((v) => { v /= 255; return v <= .03928 ? v / 12.92 : Math.pow((v + .055) / 1.055, 2.4); });
    return .2126 * m[0] + .7152 * m[1] + .0722 * m[2]; };
  const contrast = (a, b) => { const x = lum(a), y = lum(b); return (Math.max(x, y) + .05) / (Math.min(x, y) + .05); };
  const out = { errors: window.probeErrors, sections: all("section:not([hidden]) h2").map((h) => h.textContent), nav: all("#nav a").length,
    cards: all(".card").length, missing: all("#missing li").length, figures: all("figure.plot svg").length,
    shown: all("#completions .toolbar, #completions .browser, #figure details").filter((n) => n.offsetHeight > 0).length,
    listed: all("#list button").length, veiled: document.body.classList.contains("veiled"),
    blurred: all("#detail .text, #list .text, #answers .text, #words .text").every((n) => getComputedStyle(n).filter.startsWith("blur")) };
  const gen = all("#detail .gen .tok[data-g]");
  out.steps = gen.length;
  if (gen.length > 3) {
    out.before = heat();
    gen[2].click();
    out.clicked = heat();
    out.pressed = gen[2].getAttribute("aria-pressed");
    out.readout = q("#detail .readout").textContent;
    gen[2].dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
    out.after_key = heat();
    gen[1].dispatchEvent(new MouseEvent("mouseover", { bubbles: true }));
    out.hovered = heat();
    q("#detail .gen").dispatchEvent(new MouseEvent("mouseleave"));
    out.left = heat();
    q("#veil").click();
    out.unveiled = all("#detail .text").every((n) => getComputedStyle(n).filter === "none");
    all("#list button")[1].click();
    out.second = q("#detail .facts b").textContent;
    const tabs = all("#detail .answer header button");
    out.tabs = tabs.map((b) => b.textContent);
    if (tabs.length > 1) { /* side by side; a step of another answer makes that one the shown one */
      const tops = all("#detail .answer").map((n) => n.getBoundingClientRect().top);
      out.beside = new Set(tops).size === 1;
      tabs[1].click();
      out.tab = q("#detail .answer [aria-pressed=true]").textContent;
      q("#detail .answer:nth-child(3) .tok[data-g]").click();
      out.third = q("#detail .answer header [aria-pressed=true]").textContent + q("#detail .readout").textContent;
    }
    q("#search").value = "cyclists";
    q("#search").dispatchEvent(new Event("input"));
    out.found = all("#list button").length;
  }
  out.detail = q("#detail").textContent;
  out.shares = all("#shares tbody tr").length;
  out.pairs = all("#pairs tbody tr").length;
  if (out.shares) {
    all("#shares thead button")[5].click();
    out.sorted = all("#shares tbody tr td:nth-child(6)").map((d) => +d.textContent);
  }
  all("details.numbers").forEach((d) => { d.open = true; d.dispatchEvent(new Event("toggle")); });
  const head = q("#figure details.numbers thead button");
  if (head) {
    const column = () => all("#figure details.numbers tbody tr td:nth-child(5)").map((d) => +d.textContent);
    all("#figure details.numbers thead button")[4].click();
    out.ascending = column();
    all("#figure details.numbers thead button")[4].click();
    out.descending = column();
  }
  out.headlines = all("#headline p").length;
  out.badges = all("#answers .badge").length;
  out.words = all("#words tbody tr").length;
  out.nokeywords = q("#nokeywords").offsetHeight > 0;
  out.same = all("#same tbody tr").length;
  out.runmeans = all("#runmeans tbody tr").length;
  out.moves = all("#moves tbody tr").length;
  out.numbers = all("details.numbers:not([hidden])").filter((d) => d.querySelector("tbody tr")).map((d) => d.dataset.lines).sort();
  const open = q("#answers button.open");
  if (open) { open.click(); out.wanted = open.dataset.row; out.opened = q("#detail .facts b").textContent; }
  out.contrast = {};
  for (const theme of [0, 1]) {
    const body = getComputedStyle(document.body), name = document.documentElement.dataset.theme;
    const cs = [contrast(body.color, body.backgroundColor)];
    all(".note, .lede, .badge, .under button").forEach((n) => { if (getComputedStyle(n).backgroundColor !== "rgba(0, 0, 0, 0)") {
      cs.push(contrast(getComputedStyle(n).color, getComputedStyle(n).backgroundColor)); } });
    all(".note, .lede").forEach((n) => cs.push(contrast(getComputedStyle(n).color, body.backgroundColor)));
    const card = q(".plot") && getComputedStyle(q(".plot")).backgroundColor;
    all(".plot svg g[fill^='rgb']").forEach((g) => cs.push(contrast(getComputedStyle(g).fill, card)));
    all("#figure .plot:not([hidden]) path[stroke^='rgb']:not(.gridline)").forEach((p) => { const c = contrast(getComputedStyle(p).stroke, card); if (c < 2.6) { cs.push(c); } });
    if (card) { // the text of the strongest token on its shade
      const under = card.match(/[\\d.]+/g).map(Number);
      all("#detail .tok").forEach((n) => { const m = getComputedStyle(n).backgroundColor.match(/[\\d.]+/g).map(Number), a = m.length > 3 ? m[3] : 1;
        if (!n.classList.contains("later")) {
          cs.push(contrast(getComputedStyle(n).color, "rgb(" + [0, 1, 2].map((i) => a * m[i] + (1 - a) * under[i]).join(",") + ")")); } });
    }
    out.contrast[name] = Math.min(...cs);
    q("#theme").click();
  }
  out.requests = performance.getEntriesByType("resource").map((r) => r.name);
  out.width = [document.documentElement.scrollWidth, window.innerWidth];
  const pre = document.createElement("pre");
  pre.id = "probe";
  pre.textContent = JSON.stringify(out);
  document.body.append(pre);
})();
</script></body>"""
WATCH = """<head><script>window.probeErrors = [];
window.addEventListener("error", (e) => window.probeErrors.push(e.message));
for (const k of ["error", "warn"]) { console[k] = (...a) => window.probeErrors.push(a.join(" ")); }</script>"""


def look(run, size="1280,1000", more=()):
    subprocess.run([os.environ["DETOXLENS"], "report", "--run", run, *more], check=True, capture_output=True)
    html = open(f"{run}/report/index.html", encoding="utf-8").read()
    probe = os.path.abspath(f"{run}/probe.html")
    with open(probe, "w", encoding="utf-8") as f:
        f.write(html.replace("<head>", WATCH, 1).replace("</body>", PROBE, 1))
    command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
               f"--user-data-dir={os.path.abspath('profile')}", "--host-resolver-rules=MAP * ~NOTFOUND", "--disable-background-networking",
               f"--window-size={size}", "--virtual-time-budget=4000", "--enable-logging=stderr", "--dump-dom", "file://" + probe]
    r = subprocess.run(command, capture_output=True, text=True, timeout=100)
    console = [line for line in r.stderr.splitlines() if ":CONSOLE" in line]
    assert not console, console
    found = re.search(r'<pre id="probe">(.*?)</pre>', r.stdout, re.S)
    assert found, (r.returncode, r.stderr[-2000:])
    text = found.group(1)
    for a, b in (("&lt;", "<"), ("&gt;", ">"), ("&nbsp;", "\u00a0"), ("&amp;", "&")):
        text = text.replace(a, b)
    out = json.loads(text)
    assert out["errors"] == [] and out["requests"] == [], out
    assert out["veiled"] and out["blurred"], out
    assert set(out["contrast"]) == {"light", "dark"} and min(out["contrast"].values()) >= 2.9, out["contrast"]
    assert out["width"][0] <= out["width"][1], out["width"]  # nothing sticks out sideways
    return out


make_run.make("full", "full")
out = look("full")
assert out["sections"] == ["Toxic completions", "Quality beside toxicity", "Entropy over generated tokens", "Do the answers depend on the prompt differently?", "How the variants' curves differ", "What each generated token looked at", "Training",
                           "Faithfulness of the attribution", "The run"] and out["nav"] == 10, out
assert out["cards"] == 3 and out["missing"] == 0 and out["figures"] == 7 and out["listed"] == 39 and out["shown"] == 3, out
assert out["steps"] > 3 and out["clicked"] != out["before"] and out["pressed"] == "true" and "step 2" in out["readout"], out
assert out["after_key"] not in (out["before"], out["clicked"]) and out["hovered"] != out["after_key"] == out["left"], out
assert out["unveiled"] and out["tabs"] == ["IT", "FT", "RL"] and out["tab"] == "FT" and out["beside"] and out["third"].startswith("RLstep 0") and 0 < out["found"] < 39, out
assert out["ascending"] == sorted(out["ascending"]) and out["descending"] == out["ascending"][::-1] or \
    out["descending"] == sorted(out["descending"], reverse=True), out
print("ok full")
look("full", "420,900")
print("ok narrow")
# everything that scores bring, and a row of Table 2 that opens in the browser
make_run.add_scores("full")
out = look("full")
assert {"The same texts, answered", "Answers that changed class", "Entropy against toxicity"} <= set(out["sections"]), out
assert out["headlines"] == 4 and out["badges"] > 10 and out["opened"] == out["wanted"] and out["shares"] > 6, out
assert out["figures"] == 10 and out["moves"] == 12 and out["numbers"] == ["differences", "figure1", "kl", "transition_curves"], out
print("ok with scores")
# key words, the same text under two models, two runs
assert out["words"] == 0 and out["nokeywords"], out
make_run.add_keywords("full")
make_run.cross("full", "FT", "IT")
shutil.copytree("full", "again")
out = look("full", more=["again"])
assert {"Key words of toxic completions", "The same text under different models", "Means over several runs"} <= set(out["sections"]), out
assert out["words"] > 5 and not out["nokeywords"] and out["same"] == 4 and out["runmeans"] > 20 and out["figures"] == 14, out
print("ok with key words")
# toxicity scores and imported answers without ids: tables that sort, and texts
with open("a.csv", "w") as f:
    f.write(",prompts,responses,prompt_score,response_score,pro_API_response_score\n")
    for i in range(40):
        f.write(f"{i},text {i},an answer to {i},{i / 40},0.{i % 7}{i % 3},{'' if i % 9 == 0 else (i * 7 % 40) / 40}\n")
for v in ("IT", "FT"):
    subprocess.run([os.environ["DETOXLENS"], "import", "a.csv", "--run", "scored", "--variant", v], check=True, capture_output=True)
out = look("scored")
assert out["sections"][0] == "Toxic completions" and out["shares"] == 8 and out["pairs"] == 4, out
assert out["sorted"] == sorted(out["sorted"]) and len(set(out["sorted"])) > 1, out
assert out["listed"] == 40 and "an answer to 0" in out["detail"] and "text 0" in out["detail"], out
print("ok scored")
make_run.make("partial", "partial")
out = look("partial")
assert out["missing"] == 6 and out["listed"] == 19 and out["steps"] > 3 and out["clicked"] != out["before"], out
print("ok partial")
make_run.make("empty", "empty")
out = look("empty")
assert out["missing"] == 2 and out["figures"] == 0 and out["listed"] == 0 and out["steps"] == 0 and out["shown"] == 0, out
print("ok empty")
