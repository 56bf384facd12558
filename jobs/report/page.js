"use strict";
(function () {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const finite = (x) => typeof x === "number" && isFinite(x);
  const fixed = (x, n) => (finite(x) ? x.toFixed(n) : "–");
  const count = (n) => String(n).replace(/\B(?=(\d{3})+$)/g, "\u202f");

  /* An element with attributes and children; text never goes through HTML. */
  function el(tag, attrs, ...children) {
    const node = document.createElement(tag);
    for (const key in attrs || {}) {
      if (key === "class") { node.className = attrs[key]; }
      else if (key === "style") { for (const p in attrs.style) { node.style.setProperty(p, attrs.style[p]); } }
      else if (key.startsWith("on")) { node.addEventListener(key.slice(2), attrs[key]); }
      else if (attrs[key] === true) { node.setAttribute(key, ""); }
      else if (attrs[key] !== false && attrs[key] != null) { node.setAttribute(key, attrs[key]); }
    }
    node.append(...children.flat().filter((c) => c != null).map((c) => typeof c === "string" ? visible(c) : c));
    return node;
  }
  /* Control characters as their pictures, others that move what stands around them as escapes, so that they can be seen. Every
     text goes through here (el), once more does nothing. */
  const visible = (s) => s.replace(/[\u0000-\u0008\u000b-\u001f\u007f]/g, (c) => String.fromCharCode(c === "\u007f" ? 0x2421 : 0x2400 + c.charCodeAt(0)))
    .replace(/[\u0080-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufeff\ufff9-\ufffb]/g, (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));
  /* A score, marked when it is above the limit. */
  function badge(score, limit) {
    return el("span", { class: finite(score) ? (score > limit ? "badge toxic" : "badge") : "badge none" }, finite(score) ? fixed(score, 2) : "no score");
  }
  const color = (i) => "var(--v" + (i % 8) + ")";
  const variantIndex = (name) => data.variants.findIndex((v) => v.name === name);

  window.detoxlens = { data, $, el, finite, fixed, count, visible, color, variantIndex, badge };

  /* --- theme --- */
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  function setTheme(name) {
    document.documentElement.dataset.theme = name;
    $("theme").textContent = name === "dark" ? "Light" : "Dark";
  }
  setTheme(dark.matches ? "dark" : "light");
  dark.addEventListener("change", () => setTheme(dark.matches ? "dark" : "light"));
  $("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));

  /* --- a table whose columns sort by a click --- */
  function table(columns, rows) {
    const body = el("tbody");
    const fill = () => body.replaceChildren(...rows.map((r) => el("tr", null, columns.map((c) =>
      el("td", { class: c.word ? "word" : null }, c.node ? c.node(r) : c.show ? c.show(r[c.key], r) : r[c.key] == null ? "–" : String(r[c.key]))))));
    const heads = columns.map((c) => el("th", { scope: "col", class: c.word ? "word" : null },
      el("button", { type: "button", onclick: () => sort(c) }, c.label)));
    function sort(c) {
      const th = heads[columns.indexOf(c)];
      const up = th.getAttribute("aria-sort") !== "ascending";
      heads.forEach((h) => h.removeAttribute("aria-sort"));
      th.setAttribute("aria-sort", up ? "ascending" : "descending");
      rows.sort((a, b) => {
        const x = a[c.key], y = b[c.key];
        if (x == null || y == null) { return (x == null) - (y == null); }
        return (x < y ? -1 : x > y ? 1 : 0) * (up ? 1 : -1);
      });
      fill();
    }
    fill();
    return el("table", null, el("thead", null, el("tr", null, heads)), body);
  }

  /* --- head and summary --- */
  $("title").textContent = visible(data.run);
  document.title = visible(data.run) + " · detoxlens report";
  $("lede").textContent = [data.prompts ? count(data.prompts) + " evaluation texts" : "no evaluation texts yet",
    data.variants.map((v) => v.name).join(", "), data.variants.some((v) => v.attributed) ? data.method : ""].filter(Boolean).join(" · ");
  $("made").textContent = "Made by detoxlens " + data.version + " (" + data.commit + ") from run.h5. The tables and figures stand as " +
    "CSV, SVG, PDF and gnuplot scripts in the folder of this page.";
  if (data.missing.length) {
    $("missing").append(el("div", { class: "notice", role: "status" }, el("strong", null, "Not complete."),
      " This report shows what is there. Missing:", el("ul", null, data.missing.map((m) => el("li", null, m)))));
  }
  function bar(label, done, rows) {
    return el("div", { class: "bar" }, el("span", null, label), el("i", { style: { "--share": rows ? done / rows : 0 } }),
      el("b", null, count(done) + " / " + count(rows)));
  }
  const share1 = (v) => data.toxicity.shares.find((s) => s.set === data.toxicity.set && s.subset === "all" && s.variant === v);
  const percent = (x) => (finite(x) ? (100 * x).toFixed(1) : "–");
  /* What the study asks, in a sentence. */
  const told = data.toxicity.pairs.filter((p) => p.subset === "all" && p.basis === "all");
  if (told.length) {
    $("headline").append(...told.map((p) => {
      const [a, b] = p.pair.split(" \u2212 "), x = share1(a), y = share1(b);
      const sure = finite(p.low) && (p.low > 0 || p.high < 0);
      return el("p", null, el("b", null, b), " is toxic in ", el("b", null, percent(y && y.all) + " %"), " of its answers, " + a + " in " + percent(x && x.all) +
        " %: " + (sure ? (p.difference > 0 ? "fewer" : "more") : "no clear difference") + " (" + a + " \u2212 " + b + " " + fixed(100 * p.difference, 1) +
        " points, 95 % " + fixed(100 * p.low, 1) + " to " + fixed(100 * p.high, 1) + (finite(p.p) ? ", p " + (p.p < 1e-4 ? "< 0.0001" : "= " + p.p.toPrecision(2)) : "") + ").");
    }));
  }
  /* Dependence on the prompt: the comparison that answers of different length allow. */
  const comparison = (pair, name) => data.compared.find((c) => c.measure === "prompt_dependence" && c.pair === pair && c.comparison === name);
  data.compared.filter((c) => c.measure === "prompt_dependence" && c.comparison === "common_length" && c.pair.startsWith(data.variants[0].name + "-")).forEach((c) => {
    const at = c.pair.indexOf("-"), a = c.pair.slice(0, at), b = c.pair.slice(at + 1), own = comparison(c.pair, "own_answers"), length = comparison(c.pair, "length");
    const sure = finite(c.low) && (c.low > 0 || c.high < 0), signed = (x) => (x > 0 ? "+" : x < 0 ? "\u2212" : "") + Math.abs(x).toFixed(3);
    $("headline").append(el("p", null, el("b", null, b), sure ? " depends " + (c.difference < 0 ? "more" : "less") + " on the prompt than " + a + " at the same step: "
      : " and " + a + ": no difference found in how much an answer depends on the prompt at the same step: ", el("b", null, signed(-c.difference)),
      finite(c.low) ? " (95 % " + signed(-c.high) + " to " + signed(-c.low) + ", " + count(c.texts) + " texts)." : " (" + count(c.texts) + " texts).",
      own && length ? " The raw means differ by " + signed(-own.difference) + ", of which " + signed(-length.difference) + " comes from the answers' length (" +
        fixed(own.tokensSecond, 1) + " tokens by " + b + ", " + fixed(own.tokensFirst, 1) + " by " + a + ")." : null));
  });
  data.variants.forEach((v, i) => {
    const quality = data.quality.find((q) => q.variant === v.name) || {}, toxic = share1(v.name);
    const fact = (label, value, unit) => el("div", null, el("dt", null, label), el("dd", null, value, unit && value !== "–" ? el("small", null, " " + unit) : null));
    $("cards").append(el("article", { class: "card", style: { "--c": color(i) } },
      el("header", null, el("b", null, v.name), el("span", null, v.attrs.base_model || "")),
      el("dl", null,
        fact("toxic answers", percent(toxic && toxic.all), "%"), fact("perplexity", fixed(quality.perplexity, 1)), fact("empty", count(v.empty)),
        fact("mean entropy", fixed(v.entropy, 2), "bits"), fact("prompt dependence", fixed(v.dependence, 3)),
        fact("tokens, mean", fixed(v.tokens, 1))),
      bar("completions", v.completed, v.rows), bar("attributed", v.attributed, v.rows)));
  });

  /* --- toxicity --- */
  const tox = data.toxicity;
  $("toxicity").hidden = !data.variants.some((v) => v.completed);
  $("unscored").hidden = tox.shares.length > 0;
  $("scored").hidden = !tox.shares.length;
  if (tox.shares.length) {
    const share = (x) => fixed(x, 4), band = (v, r) => (finite(r.low) ? fixed(r.low, 4) + " … " + fixed(r.high, 4) : "–");
    const several = new Set(tox.shares.map((s) => s.set)).size > 1;
    $("scorer").textContent = "Completions with a score above 0.5 by " + tox.set + (several ? ", and by the other sets" : "") + ": as a share of all " +
      "completions, one without a score counting as not toxic, and of those that have a score, with a 95 % interval (Wilson)." +
      (tox.prompts ? " prompt_score: the prompt's score in " + tox.prompts + "." : "");
    $("shares").append(table([...(several ? [{ key: "set", label: "set", word: true }] : []), { key: "subset", label: "subset", word: true },
      { key: "variant", label: "variant", word: true }, { key: "rows", label: "completions", show: count }, { key: "scored", label: "scored", show: count },
      { key: "all", label: "of all", show: share }, { key: "share", label: "of scored", show: share }, { key: "low", label: "95 %", show: band }], tox.shares));
    $("pairs").append(table([{ key: "pair", label: "difference", word: true }, { key: "subset", label: "subset", word: true },
      { key: "basis", label: "of", word: true }, { key: "rows", label: "texts", show: count }, { key: "difference", label: "difference", show: share },
      { key: "low", label: "95 %", show: band }, { key: "first", label: "only first toxic", show: count },
      { key: "second", label: "only second toxic", show: count }, { key: "p", label: "p", show: (x) => (finite(x) ? (x < 1e-4 ? "< 0.0001" : x.toFixed(4)) : "–") }], tox.pairs));
  }

  if (data.samples.length) {
    const band = (low, high) => (v, r) => (finite(r[low]) ? fixed(r[low], 4) + " … " + fixed(r[high], 4) : "–");
    $("samples").hidden = false;
    $("samples").querySelector(".scroll").append(table([{ key: "variant", label: "variant", word: true }, { key: "k", label: "samples a text" },
      { key: "texts", label: "texts", show: count }, { key: "full", label: "with all scores", show: count },
      { key: "max", label: "expected maximum", show: (x) => fixed(x, 4) }, { key: "maxLow", label: "95 %", show: band("maxLow", "maxHigh") },
      { key: "probability", label: "probability", show: (x) => fixed(x, 4) }, { key: "low", label: "95 %", show: band("low", "high") }], data.samples));
  }

  /* --- quality --- */
  $("quality").hidden = !data.quality.length;
  const available = (n) => (x) => (finite(x) ? fixed(x, n) : "not available");
  $("qualities").append(table([{ key: "variant", label: "variant", word: true }, { key: "completions", label: "completions", show: count },
    { key: "empty", label: "empty", show: (x) => percent(x) + " %" }, { key: "tokens", label: "tokens", show: (x) => fixed(x, 1) },
    { key: "words", label: "words", show: (x) => fixed(x, 1) }, { key: "perplexity", label: "perplexity", show: available(2) },
    { key: "median", label: "median", show: available(2) }, { key: "distinct1", label: "distinct-1", show: (x) => fixed(x, 4) },
    { key: "distinct2", label: "distinct-2", show: (x) => fixed(x, 4) }, { key: "repetition1", label: "repetition-1", show: (x) => fixed(x, 4) },
    { key: "repetition2", label: "repetition-2", show: (x) => fixed(x, 4) }], data.quality));

  /* --- Table 2 --- */
  $("answers").hidden = !data.table2.length;
  if (data.table2.length) {
    const names = data.table2[0].answers.map((a) => a.variant), body = el("tbody");
    let category = null;
    data.table2.forEach((t) => {
      if (t.category !== category) {
        category = t.category;
        body.append(el("tr", { class: "category" }, el("th", { scope: "rowgroup", colspan: names.length + 1 }, category)));
      }
      body.append(el("tr", null, el("td", null, el("span", { class: "text" }, visible(t.prompt)), el("div", { class: "under" },
        finite(t.promptScore) ? badge(t.promptScore, .5) : null, el("button", { type: "button", class: "quiet open", "data-row": t.row }, "row " + t.row))),
        t.answers.map((a) => el("td", null, el("span", { class: "text" }, visible(a.text) || "(empty)"), el("div", { class: "under" }, badge(a.score, .5))))));
    });
    $("answers").querySelector(".scroll").append(el("table", { class: "texts" }, el("thead", null, el("tr", null, ["Prompt", ...names].map((n) =>
      el("th", { scope: "col" }, n)))), body));
  }

  /* --- figures: tokens or words, and the numbers behind them --- */
  const plots = Array.from(document.querySelectorAll(".plot[data-figure]"));
  const drawn = (name) => plots.some((p) => p.dataset.figure === name);
  const isWords = (name) => name.endsWith("_words");
  const lines = data.lines || {};
  let unit = "";
  function numbers(details) {
    const name = details.dataset.lines, all = lines[name + unit] || lines[name] || [];
    details.hidden = !all.length;
    if (!details.open || details.dataset.shown === name + unit) { return; }
    details.dataset.shown = name + unit;
    const rows = all.flatMap((l) => l.mean.map((mean, s) => ({ measure: l.measure.replace(/_/g, " "), group: l.group.replace(/_/g, " "),
      series: l.series, step: l.first + s, n: l.n[s], mean: mean, low: l.low[s], high: l.high[s] })));
    details.querySelector(".scroll").replaceChildren(table([{ key: "measure", label: "measure", word: true }, { key: "group", label: "completions", word: true },
      { key: "series", label: "of", word: true }, { key: "step", label: "step" }, { key: "n", label: "n", show: count },
      { key: "mean", label: "mean", show: (x) => fixed(x, 4) },
      { key: "low", label: "95 %", show: (v, r) => (finite(v) ? fixed(v, 4) + " … " + fixed(r.high, 4) : "–") }], rows));
  }
  const folded = Array.from(document.querySelectorAll("details.numbers"));
  folded.forEach((d) => { d.addEventListener("toggle", () => numbers(d)); });
  function showUnit(name) {
    unit = name;
    plots.forEach((p) => {
      const f = p.dataset.figure;
      if (isWords(f) || drawn(f + "_words")) { p.hidden = isWords(f) !== (name === "_words"); }
    });
    Array.from($("units").children).forEach((b) => b.setAttribute("aria-pressed", b.dataset.unit === name));
    folded.forEach(numbers);
  }
  if (plots.some((p) => isWords(p.dataset.figure))) {
    $("units").hidden = false;
    [["", "Tokens"], ["_words", "Words"]].forEach(([name, label]) => $("units").append(
      el("button", { type: "button", "data-unit": name, onclick: () => showUnit(name) }, label)));
  }
  showUnit("");
  $("nofigure").hidden = drawn("figure1");
  $("classes").textContent = tox.set ? "Toxic: a score above " + tox.threshold + " by " + tox.set + "; completions without a score are in neither class." : "";
  $("compared").hidden = !data.compared.length;
  if (data.compared.length) {
    const words = { own_answers: "own answers", common_length: "common length", length: "length (own \u2212 common)" };
    $("matched").append(table([{ key: "measure", label: "measure", word: true, show: (x) => x.replace(/_/g, " ") }, { key: "pair", label: "pair", word: true },
      { key: "comparison", label: "comparison", word: true, show: (x) => words[x] || x.replace(/^same_text_of_/, "same text, by ") },
      { key: "texts", label: "texts", show: count }, { key: "tokensFirst", label: "tokens", show: (v, r) => fixed(v, 1) + " / " + fixed(r.tokensSecond, 1) },
      { key: "first", label: "first", show: (x) => fixed(x, 4) }, { key: "second", label: "second", show: (x) => fixed(x, 4) },
      { key: "difference", label: "difference", show: (x) => fixed(x, 4) },
      { key: "low", label: "95 %", show: (v, r) => (finite(v) ? fixed(v, 4) + " … " + fixed(r.high, 4) : "–") },
      { key: "p", label: "p", show: (x) => fixed(x, 4) }, { key: "holm", label: "p, Holm", show: (x) => fixed(x, 4) }], data.compared));
  }
  $("differences").hidden = !drawn("differences") && !drawn("kl");
  $("scores").hidden = !data.correlations.length;
  if (data.correlations.length) {
    $("correlations").append(table([{ key: "variant", label: "variant", word: true }, { key: "measure", label: "measure", word: true, show: (x) => x.replace(/_/g, " ") },
      { key: "n", label: "completions", show: count }, { key: "spearman", label: "Spearman's ρ", show: (x) => fixed(x, 3) },
      { key: "low", label: "95 %", show: (v, r) => (finite(r.low) ? fixed(r.low, 3) + " … " + fixed(r.high, 3) : "–") },
      { key: "pearson", label: "Pearson's r", show: (x) => fixed(x, 3) }], data.correlations));
  }
  $("runs").hidden = !data.runs.length;
  if (data.runs.length) {
    $("runmeans").append(table([{ key: "quantity", label: "quantity", word: true, show: (x) => x.replace(/_(?!score)/g, " ") }, { key: "variant", label: "variant", word: true },
      { key: "n", label: "runs" }, { key: "mean", label: "mean", show: (x) => fixed(x, 4) }, { key: "sd", label: "sd", show: (x) => fixed(x, 4) },
      { key: "low", label: "95 %", show: (v, r) => (finite(r.low) ? fixed(r.low, 4) + " … " + fixed(r.high, 4) : "–") }], data.runs));
  }

  /* --- key words, same text --- */
  $("keywords").hidden = !tox.shares.length || !data.variants.some((v) => v.attributed);
  $("nokeywords").hidden = data.dips.length > 0;
  $("withkeywords").hidden = !data.dips.length;
  if (data.dips.length) {
    const place = (x) => x.replace(/_/g, " ");
    $("dips").append(table([{ key: "variant", label: "variant", word: true }, { key: "measure", label: "measure", word: true, show: place }, { key: "n", label: "toxic completions", show: count },
      { key: "key", label: "at the key word", show: (x) => fixed(x, 4) }, { key: "random", label: "at a random step", show: (x) => fixed(x, 4) },
      { key: "difference", label: "difference", show: (x) => fixed(x, 4) },
      { key: "low", label: "95 %", show: (v, r) => (finite(r.low) ? fixed(r.low, 4) + " … " + fixed(r.high, 4) : "–") }], data.dips));
    $("words").append(table([{ key: "word", label: "word", word: true, node: (r) => el("span", { class: "text" }, visible(r.word)) }, { key: "variant", label: "variant", word: true },
      { key: "n", label: "completions", show: count }, { key: "share", label: "share of the score", show: (x) => fixed(x, 3) },
      { key: "entropy", label: "entropy, deviation", show: (x) => fixed(x, 3) }, { key: "dependence", label: "prompt dependence, deviation", show: (x) => fixed(x, 3) },
      { key: "score", label: "score", show: (x) => fixed(x, 2) }], data.keywords));
  }
  $("sametext").hidden = !data.sameText.length;
  if (data.sameText.length) {
    $("same").append(table([{ key: "pair", label: "model@writer", word: true }, { key: "measure", label: "measure", word: true, show: (x) => x.replace(/_/g, " ") },
      { key: "n", label: "completions", show: count }, { key: "mean", label: "mean", show: (x) => fixed(x, 4) },
      { key: "low", label: "95 %", show: (v, r) => (finite(r.low) ? fixed(r.low, 4) + " … " + fixed(r.high, 4) : "–") }], data.sameText));
  }
  $("transitions").hidden = !data.transitions.length;
  if (data.transitions.length) {
    $("moved").textContent = "Completions of the same text by two variants that both have a score, by their classes (toxic: above " + tox.threshold +
      "); means over completions.";
    const two = (a, b, n) => (v, r) => (finite(r[a]) ? fixed(r[a], n) : "–") + " → " + (finite(r[b]) ? fixed(r[b], n) : "–");
    $("moves").append(table([{ key: "move", label: "transition", word: true }, { key: "n", label: "completions", show: count },
      { key: "share", label: "share", show: (x) => (finite(x) ? (100 * x).toFixed(1) + " %" : "–") },
      { key: "entropyFirst", label: "entropy, bits", show: two("entropyFirst", "entropySecond", 3) },
      { key: "dependenceFirst", label: "prompt dependence", show: two("dependenceFirst", "dependenceSecond", 3) },
      { key: "kl", label: "KL, bits", show: (x) => fixed(x, 3) }], data.transitions));
  }

  /* --- training, check, run --- */
  $("training").hidden = !document.querySelector("#training .plot");
  const checks = data.variants.filter((v) => Object.keys(v.check).length);
  if (checks.length) {
    const told = { mean_drop_top: "loss of probability, highest-scored tenth of the prompt deleted", mean_drop_random: "loss of probability, a random tenth deleted",
      gain: "difference of the two, with its 95 % band", mean_completeness_error: "integrated gradients: |sum of scores − change of the target|",
      mean_completeness_scale: "integrated gradients: |change of the target|", rows: "completions checked", integration_steps: "integration steps" };
    const names = [...new Set([...Object.keys(told), ...checks.flatMap((v) => Object.keys(v.check))])]
      .filter((q) => checks.some((v) => q in v.check || (q === "gain" && finite(v.gain))));
    const shown = (v, q) => (q !== "gain" ? (/^-?[\d.]+(e[-+]?\d+)?$/.test(v.check[q]) ? String(+(+v.check[q]).toPrecision(4)) : v.check[q])
      : finite(v.gain) ? fixed(v.gain, 3) + (finite(v.gainLow) ? " (" + fixed(v.gainLow, 3) + " … " + fixed(v.gainHigh, 3) + ")" : "") : null);
    $("check").hidden = false;
    $("check").querySelector(".scroll").append(table([{ key: "quantity", label: "quantity" }, ...checks.map((v) => ({ key: v.name, label: v.name }))],
      names.map((q) => Object.assign({ quantity: told[q] || q.replace(/_/g, " ") }, ...checks.map((v) => ({ [v.name]: shown(v, q) }))))));
  }
  const when = (s) => (s ? s.replace("T", " ").replace("Z", "") : "–");
  const launches = data.launches.map((l) => Object.assign({}, l.attrs, { index: l.index, hours: l.hours, exit: l.attrs.exit_code === "-1" ? null : +l.attrs.exit_code }));
  if (launches.length) {
    $("launches").append(table([{ key: "index", label: "launch" }, { key: "job", label: "job", word: true }, { key: "start", label: "start (UTC)", show: when },
      { key: "hours", label: "hours", show: (x) => fixed(x, 3) }, { key: "exit", label: "exit", show: (x) => (x == null ? "not ended" : String(x)) },
      { key: "ranks", label: "ranks" }, { key: "threads", label: "threads" }, { key: "hosts", label: "hosts", word: true },
      { key: "version", label: "version" }, { key: "commit", label: "commit", word: true }], launches));
  } else { $("launches").hidden = true; }
  function pretty(text) { try { return JSON.stringify(JSON.parse(text), null, 2); } catch (e) { return text; } }
  const fold = (title, text) => el("details", null, el("summary", null, title), el("div", { class: "scroll" }, el("pre", null, text)));
  data.variants.forEach((v) => {
    const all = Object.assign({}, v.attrs, v.settings);
    if (Object.keys(all).length) {
      $("settings").append(fold(v.name + ": model, generation and attribution",
        Object.entries(all).map(([k, x]) => k + ": " + (/^[\[{]/.test(x) ? pretty(x) : x)).join("\n")));
    }
  });
  data.launches.forEach((l) => { if (l.attrs.config) {
    $("settings").append(fold("Launch " + l.index + " (" + l.attrs.job + "): command and configuration", (l.attrs.argv || "") + "\n\n" + pretty(l.attrs.config)));
  } });

  document.querySelectorAll("section[data-title]").forEach((s) => {
    if (!s.hidden) { $("nav").append(el("a", { href: "#" + s.id }, s.dataset.title)); }
  });
})();
