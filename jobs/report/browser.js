"use strict";
/* The browser over completions: a text, the variants' answers side by side, and the heat map of one of them. */
(function () {
  const { data, $, el, finite, fixed, visible, color, variantIndex, badge } = window.detoxlens;
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

  /* Tokens of an answer, or its text where there are no ids. */
  function tokensOf(a) {
    if (!a.p.length && a.text != null) { return [visible(a.text) || el("span", { class: "tok odd" }, "(empty)")]; }
    const G = a.G || 0;
    return a.g.length ? a.g.map((id, g) => tokenNode(id, a.a && g < G ? { role: "button", tabindex: 0, "data-g": g, "aria-label": "step " + g } : { class: "unmeasured" }))
      : [el("span", { class: "tok odd" }, "(empty)")];
  }
  function showDetail() {
    const box = $("detail"), r = current;
    box.replaceChildren();
    if (!r || !r.answers.length) {
      box.append(el("p", { class: "note" }, sample.rows.length ? "Choose a completion." : "Nothing to show."));
      return;
    }
    const answer = r.answers.find((a) => a.variant === tab) || r.answers.find((a) => a.a) || r.answers[0];
    const ends = ["", "ended by itself", "reached its length limit", "imported"], whole = answer.p.length > 0;
    box.append(el("p", { class: "facts" }, el("span", null, "row ", el("b", null, r.row)), el("span", null, "text id ", el("b", null, r.id)),
      r.sample ? el("span", null, "sample ", el("b", null, r.sample)) : null, whole ? el("span", null, el("b", null, answer.p.length), " prompt tokens") : null));
    const prompt = el("div", { class: "tokens text" }, whole ? answer.p.map((id) => tokenNode(id)) : visible(r.text || ""));
    const gens = new Map();
    const panels = r.answers.map((a) => {
      const gen = el("div", { class: "tokens gen text" }, tokensOf(a));
      gens.set(a, gen);
      return el("article", { class: "answer" + (a === answer ? " active" : ""), style: { "--c": color(variantIndex(a.variant)) } },
        el("header", null, el("button", { type: "button", "aria-pressed": String(a === answer), title: "Show this answer's heat map",
          onclick: () => { tab = a.variant; pinned = null; showDetail(); } }, a.variant), "score" in a ? badge(a.score, data.toxicity.threshold) : null),
        gen, el("footer", null, (a.p.length ? a.g.length + " tokens, " : "") + (ends[a.finish] || "")));
    });
    const gen = gens.get(answer), matrix = unpack(answer), G = answer.G || 0;
    box.append(el("h4", null, "Prompt"), prompt, el("h4", null, r.answers.length > 1 ? "Completions" : "Completion"), el("div", { class: "panels" }, panels));
    gens.forEach((node, a) => { /* a step of another answer makes that one the shown one */
      if (a !== answer) {
        node.addEventListener("click", (e) => { const t = e.target.closest("[data-g]"); if (t) { tab = a.variant; pinned = +t.dataset.g; showDetail(); } });
      }
    });
    if (!whole) { return; }
    const genNodes = answer.g.length ? [...gen.children] : [], nodes = [...prompt.children, ...genNodes];
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
  const veils = Array.from(document.querySelectorAll(".veil"));
  veils.forEach((b) => b.addEventListener("click", () => {
    const veiled = document.body.classList.toggle("veiled");
    veils.forEach((v) => { v.setAttribute("aria-pressed", String(!veiled)); v.textContent = veiled ? "Show texts" : "Blur texts"; });
  }));
  document.querySelectorAll("button.open").forEach((b) => {
    const r = sample.rows.find((x) => x.row === +b.dataset.row);
    if (!r) { b.disabled = true; return; }
    b.addEventListener("click", () => { choose(r); $("completions").scrollIntoView(); });
  });
  document.querySelector("#completions .toolbar").hidden = !sample.rows.length;
  document.querySelector("#completions .browser").hidden = !sample.rows.length;
  showList();
  if (shown.length) { choose(shown[0]); }
})();
