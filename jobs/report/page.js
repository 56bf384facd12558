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
    node.append(...children.flat().filter((c) => c != null));
    return node;
  }
  /* Control characters as their pictures, so that they can be seen. */
  const visible = (s) => s.replace(/[\u0000-\u0008\u000b-\u001f\u007f]/g, (c) => String.fromCharCode(c === "\u007f" ? 0x2421 : 0x2400 + c.charCodeAt(0)));
  const color = (i) => "var(--v" + (i % 8) + ")";
  const variantIndex = (name) => data.variants.findIndex((v) => v.name === name);

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
      el("td", { class: c.word ? "word" : null }, c.show ? c.show(r[c.key], r) : r[c.key] == null ? "–" : String(r[c.key]))))));
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
  $("title").textContent = data.run;
  document.title = data.run + " · detoxlens report";
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
  data.variants.forEach((v, i) => {
    const fact = (label, value, unit) => el("div", null, el("dt", null, label), el("dd", null, value, unit && value !== "–" ? el("small", null, " " + unit) : null));
    $("cards").append(el("article", { class: "card", style: { "--c": color(i) } },
      el("header", null, el("b", null, v.name), el("span", null, v.attrs.base_model || "")),
      el("dl", null,
        fact("mean entropy", fixed(v.entropy, 2), "bits"), fact("prompt dependence", fixed(v.dependence, 3)),
        fact("mean probability", fixed(v.probability, 3)), fact("tokens, mean", fixed(v.tokens, 1)),
        fact("ended by itself", v.completed ? fixed(100 * v.eos / v.completed, 0) : "–", "%"), fact("empty", count(v.empty))),
      bar("completions", v.completed, v.rows), bar("attributed", v.attributed, v.rows)));
  });

  /* --- toxicity --- */
  const tox = data.toxicity;
  if (tox.shares.length) {
    const share = (x) => fixed(x, 4), band = (v, r) => (finite(r.low) ? fixed(r.low, 4) + " … " + fixed(r.high, 4) : "–");
    const several = new Set(tox.shares.map((s) => s.set)).size > 1;
    $("toxicity").hidden = false;
    $("scorer").textContent = "Completions with a score above 0.5 by " + tox.set + (several ? ", and by the other sets" : "") + ": as a share of all " +
      "completions, one without a score counting as not toxic, and of those that have a score, with a 95 % interval (Wilson)." +
      (tox.prompts ? " prompt_score: the prompt's score in " + tox.prompts + "." : "");
    $("shares").append(table([...(several ? [{ key: "set", label: "set", word: true }] : []), { key: "subset", label: "subset", word: true },
      { key: "variant", label: "variant", word: true }, { key: "rows", label: "completions", show: count }, { key: "scored", label: "scored", show: count },
      { key: "all", label: "of all", show: share }, { key: "share", label: "of scored", show: share }, { key: "low", label: "95 %", show: band }], tox.shares));
    $("pairs").append(table([{ key: "pair", label: "difference", word: true }, { key: "subset", label: "subset", word: true },
      { key: "basis", label: "of", word: true }, { key: "rows", label: "texts", show: count }, { key: "difference", label: "difference", show: share },
      { key: "low", label: "95 %", show: band }, { key: "first", label: "only first toxic", show: count },
      { key: "second", label: "only second toxic", show: count }, { key: "p", label: "p", show: (x) => (finite(x) ? x.toPrecision(3) : "–") }], tox.pairs));
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
  $("differences").hidden = !drawn("differences") && !drawn("kl");
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

  /* --- completions --- */
  const sample = data.sample, special = new Set(sample.special);
  const ids = Object.keys(sample.vocab).length === 0;
  const mean = (list) => { const x = (list || []).filter(finite); return x.length ? x.reduce((a, b) => a + b, 0) / x.length : null; };
  sample.rows.forEach((r) => {
    const lead = r.answers.find((a) => a.D) || r.answers[0];
    r.dependence = lead ? mean(lead.D) : null;
    r.entropy = lead ? mean(lead.H) : null;
    r.length = lead ? lead.g.length : null;
  });
  $("rule").textContent = sample.rule ? "Shown: " + sample.rule + "." : "There are no completions to look at yet.";
  if (sample.note) { $("samplenote").append(el("p", { class: "notice" }, sample.note)); }

  function tokenText(id) {
    const t = sample.vocab[id];
    return t === undefined ? { text: (ids ? " " : "") + "#" + id, odd: true } : { text: t, odd: special.has(id) || /^\u2039[0-9A-F ]+\u203a$/.test(t) };
  }
  function tokenNode(id, attrs) {
    const t = tokenText(id);
    const node = el("span", attrs, visible(t.text).replace(/\n/g, "↵\n"));
    node.classList.add("tok");
    node.classList.toggle("odd", t.odd);
    return node;
  }
  /* Row g of an answer's matrix, over the P + g tokens before it. */
  function unpack(answer) {
    if (answer.matrix || !answer.a) { return answer.matrix; }
    const bytes = atob(answer.a), rows = [];
    let at = 0;
    for (let g = 0; g < answer.G; g++) {
      const row = new Float32Array(answer.P + g);
      for (let t = 0; t < row.length; t++, at += 2) {
        const q = bytes.charCodeAt(at) | bytes.charCodeAt(at + 1) << 8;
        row[t] = (q > 32767 ? q - 65536 : q) / 32767;
      }
      rows.push(row);
    }
    answer.matrix = rows;
    return rows;
  }
  /* Scores of one step, or their mean over all steps (0 where a step comes before the token). */
  function scores(answer, step) {
    const m = unpack(answer);
    if (step != null) { return m[step]; }
    const sum = new Float32Array(answer.P + Math.max(answer.G - 1, 0));
    m.forEach((row) => row.forEach((x, t) => { sum[t] += x / answer.G; }));
    return sum;
  }

  let current = null, tab = null, pinned = null, shown = [];
  function spark(label, list, pick) {
    const n = list.length, values = list.filter(finite);
    const lo = Math.min(...values), hi = Math.max(...values), span = hi - lo || 1;
    const x = (i) => (n > 1 ? 100 * i / (n - 1) : 50), y = (v) => 58 - 52 * (v - lo) / span;
    const ns = "http://www.w3.org/2000/svg", svg = document.createElementNS(ns, "svg");
    const add = (tag, attrs) => { const e = document.createElementNS(ns, tag); for (const k in attrs) { e.setAttribute(k, attrs[k]); } svg.append(e); return e; };
    svg.setAttribute("viewBox", "0 0 100 64");
    svg.setAttribute("preserveAspectRatio", "none");
    add("line", { x1: 0, x2: 100, y1: 61, y2: 61 });
    let d = "", pen = "M";
    list.forEach((v, i) => { if (finite(v)) { d += pen + x(i).toFixed(2) + " " + y(v).toFixed(2); pen = "L"; } else { pen = "M"; } });
    add("path", { d: d });
    const at = add("line", { class: "at", x1: -9, x2: -9, y1: 0, y2: 64 });
    const stepOf = (e) => { const r = svg.getBoundingClientRect(); return Math.max(0, Math.min(n - 1, Math.round((e.clientX - r.left) / r.width * (n - 1)))); };
    svg.addEventListener("click", (e) => pick(stepOf(e)));
    return { node: el("figure", { class: "spark" }, el("figcaption", null, label + (values.length ? ", " + fixed(lo, 2) + " to " + fixed(hi, 2) : "")), svg),
      mark: (i) => { const p = i == null ? -9 : x(i); at.setAttribute("x1", p); at.setAttribute("x2", p); at.style.display = i == null ? "none" : ""; } };
  }

  function showDetail() {
    const box = $("detail"), r = current;
    box.replaceChildren();
    if (!r || !r.answers.length) {
      box.append(el("p", { class: "note" }, sample.rows.length ? "Choose a completion." : "Nothing to show."));
      return;
    }
    const answer = r.answers.find((a) => a.variant === tab) || r.answers[0];
    tab = answer.variant;
    if (r.answers.length > 1) {
      box.append(el("div", { class: "segments", role: "group", "aria-label": "Variant" }, r.answers.map((a) =>
        el("button", { type: "button", "aria-pressed": String(a === answer), onclick: () => { tab = a.variant; pinned = null; showDetail(); } }, a.variant))));
    }
    const ends = ["", "ended by itself", "reached its length limit", "imported"];
    box.append(el("p", { class: "facts" }, el("span", null, "row ", el("b", null, r.row)), el("span", null, "text id ", el("b", null, r.id)),
      r.sample ? el("span", null, "sample ", el("b", null, r.sample)) : null,
      answer.p.length ? el("span", null, el("b", null, answer.p.length), " prompt tokens") : null,
      answer.p.length ? el("span", null, el("b", null, answer.g.length), " generated, ", ends[answer.finish] || "") : el("span", null, ends[answer.finish] || "")));
    if (!answer.p.length && answer.text != null) { /* imported without a tokenizer: text alone */
      box.append(el("h4", null, "Prompt"), el("div", { class: "tokens text" }, visible(r.text || "")), el("h4", null, "Completion"),
        el("div", { class: "tokens gen text" }, answer.text ? visible(answer.text) : el("span", { class: "tok odd" }, "(empty)")));
      return;
    }
    const matrix = unpack(answer), G = answer.G || 0;
    const prompt = el("div", { class: "tokens text" }, answer.p.map((id) => tokenNode(id)));
    const gen = el("div", { class: "tokens gen text" }, answer.g.map((id, g) => tokenNode(id, matrix && g < G
      ? { role: "button", tabindex: 0, "data-g": g, "aria-label": "step " + g } : { class: "unmeasured" })));
    const nodes = [...prompt.children, ...gen.children], genNodes = [...gen.children];
    box.append(el("h4", null, "Prompt"), prompt, el("h4", null, "Completion"), gen);
    if (!answer.g.length) { gen.append(el("span", { class: "tok odd" }, "(empty)")); }
    if (!matrix || !G) {
      box.append(el("p", { class: "readout" }, !matrix ? "This completion is not attributed (yet)." : "There is no generated token to attribute."));
      return;
    }
    const readout = el("div", { class: "readout" }), top = el("div", { class: "top" }), topTitle = el("h4");
    const sparks = [spark("Entropy over the steps, bits", answer.H, pin), spark("Prompt dependence over the steps", answer.D, pin)];
    box.append(readout, topTitle, top, el("p", { class: "legend" }, el("i"), "prompt", el("i", { class: "own" }), "generated before"),
      el("div", { class: "sparks" }, sparks.map((s) => s.node)));

    function paint(step) {
      const row = scores(answer, step);
      let max = 0;
      row.forEach((x) => { max = Math.max(max, Math.abs(x)); });
      nodes.forEach((node, t) => {
        const x = t < row.length ? row[t] : 0;
        node.style.setProperty("--a", max > 0 ? (.88 * Math.pow(Math.abs(x) / max, .7)).toFixed(3) : 0);
        node.classList.toggle("minus", x < 0);
        node.title = t < row.length ? (100 * x).toFixed(1) + " %" : "";
      });
      genNodes.forEach((node, g) => {
        node.classList.toggle("chosen", g === step);
        node.classList.toggle("later", step != null && g > step);
        if (node.dataset.g) { node.setAttribute("aria-pressed", String(g === pinned)); }
      });
      sparks.forEach((s) => s.mark(step));
      const word = step == null ? null : visible(tokenText(answer.g[step]).text).replace(/\n/g, "↵");
      readout.replaceChildren(...(step == null
        ? [el("span", null, el("b", null, "Mean over all " + G + " steps. "), "Point at a generated token, or click it to hold it; ← and → go on.")]
        : [el("span", null, "step ", el("b", null, step)), el("span", { class: "text" }, el("b", null, "“" + word + "”")),
          el("span", null, "probability ", el("b", null, fixed(answer.prob[step], 3))), el("span", null, "entropy ", el("b", null, fixed(answer.H[step], 2)), " bits"),
          el("span", null, "prompt dependence ", el("b", null, fixed(answer.D[step], 3)))]),
        el("span", { class: "grow" }), el("span", { class: "scale" }, "0", el("i"), (100 * max).toFixed(1) + " %"));
      const order = Array.from(row.keys()).sort((a, b) => Math.abs(row[b]) - Math.abs(row[a])).slice(0, 8);
      topTitle.textContent = step == null ? "Strongest tokens, mean over all steps" : "Strongest tokens at this step";
      top.replaceChildren(...order.flatMap((t) => [el("span", { class: "label text" }, visible(tokenText(t < answer.P ? answer.p[t] : answer.g[t - answer.P]).text).replace(/\n/g, "↵")),
        el("i", { class: t < answer.P ? null : "own", style: { "--w": max > 0 ? Math.abs(row[t]) / max : 0 } }), el("span", null, (100 * row[t]).toFixed(1) + " %")]));
    }
    function pin(step) {
      pinned = step;
      paint(step);
    }
    const stepOf = (e) => { const t = e.target.closest("[data-g]"); return t ? +t.dataset.g : null; };
    gen.addEventListener("mouseover", (e) => { const g = stepOf(e); if (g != null) { paint(g); } });
    gen.addEventListener("mouseleave", () => paint(pinned));
    gen.addEventListener("click", (e) => { const g = stepOf(e); if (g != null) { pin(g === pinned ? null : g); } });
    gen.addEventListener("keydown", (e) => {
      const g = stepOf(e);
      if (g == null) { return; }
      if (e.key === "Enter" || e.key === " ") { e.preventDefault(); pin(g === pinned ? null : g); }
      const next = e.key === "ArrowRight" ? g + 1 : e.key === "ArrowLeft" ? g - 1 : -1;
      if (next >= 0 && next < G) { e.preventDefault(); genNodes[next].focus(); pin(next); }
    });
    paint(pinned != null && pinned < G ? pinned : null);
  }

  function showList() {
    const wanted = $("search").value.trim().toLowerCase(), key = $("sort").value;
    shown = sample.rows.filter((r) => !wanted || [r.text, ...r.answers.map((a) => a.text)].some((t) => t && t.toLowerCase().includes(wanted)));
    shown.sort((a, b) => (a[key] == null) - (b[key] == null) || a[key] - b[key] || a.row - b.row);
    $("list").replaceChildren(...(shown.length ? shown.map((r) => el("li", null,
      el("button", { type: "button", "data-row": r.row, "aria-current": String(r === current), onclick: () => choose(r) },
        el("span", { class: "snippet text" }, visible(r.text || "").replace(/\s+/g, " ").slice(0, 160) || "(no text)"),
        el("span", { class: "figures" }, el("span", null, "row " + r.row), el("span", null, "dependence " + fixed(r.dependence, 2)),
          el("span", null, "entropy " + fixed(r.entropy, 2))))))
      : [el("li", { class: "none" }, sample.rows.length ? "No text holds this." : "Nothing to show.")]));
  }
  function choose(r) {
    current = r;
    pinned = null;
    document.querySelectorAll("#list [aria-current]").forEach((b) => b.setAttribute("aria-current", String(+b.dataset.row === r.row)));
    showDetail();
  }
  $("sort").addEventListener("change", showList);
  $("search").addEventListener("input", showList);
  $("veil").addEventListener("click", () => {
    const veiled = document.body.classList.toggle("veiled");
    $("veil").setAttribute("aria-pressed", String(!veiled));
    $("veil").textContent = veiled ? "Show texts" : "Blur texts";
  });
  document.querySelector("#completions .toolbar").hidden = !sample.rows.length;
  document.querySelector("#completions .browser").hidden = !sample.rows.length;
  showList();
  if (shown.length) { choose(shown[0]); }

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
