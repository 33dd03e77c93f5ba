/** Lines over steps, a chart for each panel; one cursor runs through all and reads their values, raw and smoothed. */
kinds.curves = (ui, { panels, steps, few, words }) => {
  if (!panels.length) return () => "";
  const parsed = make("template", { innerHTML: "<svg></svg>" }).content.firstChild;
  const SVG = parsed.namespaceURI, [W, H, LEFT, RIGHT, TOP, BOTTOM] = [360, 190, 46, 10, 8, 22];
  const draw = (tag, attributes, text = "") => {
    const node = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.textContent = text;
    return node;
  };
  ui.canvases.before(make("style", { textContent: CURVES }), make("p", { className: "hint", textContent: words.hint }));
  ui.canvases.classList.add("curves");
  ui.range("at", words.step, 0, steps.length - 1, 1, (at) => String(steps[at]));
  ui.range("smooth", words.smooth, 0, 0.95, 0.05, (value) => value.toFixed(2));

  const [first, last] = [steps[0], steps.at(-1)], span = Math.max(1, last - first);
  const x = (step) => LEFT + ((W - LEFT - RIGHT) * (step - first)) / span;

  /** The mean of all values so far, of which each counts `share` times as much as the next. */
  function smoothed(values, share) {
    let [total, weight] = [0, 0];
    return Array.from(values, (value) => {
      [total, weight] = [share * total + value, share * weight + 1];
      return total / weight;
    });
  }

  const charts = panels.map(({ title, log, percent, curves }) => {
    const all = curves.flatMap(({ values }) => [...values.values]);
    let [low, high] = percent ? [0, 100] : [Math.min(...all), Math.max(...all)];
    if (low === high) [low, high] = log ? [low / 2, high * 2] : [low - 0.5, high + 0.5];
    const scale = log ? Math.log : (value) => value, height = H - TOP - BOTTOM;
    const y = (value) => TOP + height * (1 - (scale(value) - scale(low)) / (scale(high) - scale(low)));
    const svg = draw("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", tabindex: 0 });
    for (const value of log ? logTicks(low, high) : ticks(low, high)) {
      svg.append(draw("path", { d: `M${LEFT} ${y(value)}H${W - RIGHT}`, class: "grid" }));
      svg.append(draw("text", { x: LEFT - 5, y: y(value) + 4, "text-anchor": "end" }, String(value)));
    }
    for (const step of ticks(first, last).filter(Number.isInteger))
      svg.append(draw("text", { x: x(step), y: H - 6, "text-anchor": "middle" }, String(step)));
    const cursor = draw("path", { class: "cursor" });
    svg.append(cursor);
    const list = make("ul");
    const lines = curves.map(({ name, colour, dashes, steps: { values: at }, values: { values } }) => {
      const ink = colour === "#000000" ? "currentColor" : colour, number = make("b"), even = make("span");
      const style = `stroke: ${ink}; fill: none; stroke-dasharray: ${dashes || "none"}`;
      const [raw, drawn] = ["raw", "even"].map((part) => draw("path", { class: part, style }));
      const dot = draw("circle", { r: 3.5, style: `fill: ${ink}; opacity: 1` });
      const path = (some) => some.map((value, i) => `${i ? "L" : "M"}${x(at[i]).toFixed(1)} ${y(value).toFixed(1)}`).join("");
      raw.setAttribute("d", path([...values]));
      svg.append(raw, drawn);
      if (values.length < few)
        for (const [i, value] of values.entries())
          svg.append(draw("circle", { cx: x(at[i]), cy: y(value), r: 2, style: `fill: ${ink}; opacity: 0.6` }));
      svg.append(dot);
      const key = draw("svg", { viewBox: "0 0 22 8", class: "key", "aria-hidden": true });
      key.append(draw("path", { d: "M0 4H22", style: `${style}; stroke-width: 2` }));
      list.append(make("li", {}, key, make("span", { textContent: name }), even, number));
      return { name, at, values, raw, drawn, dot, number, even, path, made: [] };
    });
    const chart = { title, svg, cursor, lines, y, own: steps.map((_, i) => i).filter((i) => lines.some(({ at }) => at.includes(steps[i]))) };
    const near = (event) => {
      const { left, width } = svg.getBoundingClientRect();
      const step = first + ((((event.clientX - left) / width) * W - LEFT) / (W - LEFT - RIGHT)) * span;
      const at = chart.own.reduce((best, i) => (Math.abs(steps[i] - step) < Math.abs(steps[best] - step) ? i : best), chart.own[0]);
      if (at !== ui.state.at || title !== ui.state.panel) ui.set({ at, panel: title });
    };
    svg.onpointermove = svg.onpointerdown = near;
    svg.onkeydown = (event) => {
      const here = chart.own.findLastIndex((i) => i <= ui.state.at), end = chart.own.length - 1;
      const to = { ArrowLeft: here - 1, ArrowRight: here + 1, PageDown: here - 10, PageUp: here + 10, Home: 0, End: end }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      ui.set({ at: chart.own[Math.min(end, Math.max(0, to))], panel: title });
    };
    ui.canvases.append(make("figure", {}, make("figcaption", {}, make("strong", { textContent: title }), list), svg));
    return chart;
  });

  let shown = null; // the smoothing that lines are drawn with
  const update = ({ panel, at: index, smooth }) => {
    const step = steps[index];
    let sentence = "";
    for (const { title, svg, cursor, lines, y } of charts) {
      cursor.setAttribute("d", `M${x(step)} ${TOP}V${H - BOTTOM}`);
      const parts = lines.map((line) => {
        if (shown !== smooth) {
          line.made = smoothed(line.values, smooth);
          line.drawn.setAttribute("d", smooth ? line.path(line.made) : "");
          line.raw.style.opacity = smooth ? 0.3 : 1;
        }
        const at = Math.max(0, line.at.findLastIndex((logged) => logged <= step));
        const [raw, even] = [line.values[at], line.made[at]];
        line.dot.setAttribute("cx", x(line.at[at]));
        line.dot.setAttribute("cy", y(smooth ? even : raw));
        line.number.textContent = short(raw);
        line.even.textContent = smooth ? fill(words.smoothed, { value: short(even) }) : "";
        const said = fill(words.value, { name: line.name, value: short(raw) }).trim();
        return smooth ? `${said}, ${line.even.textContent}` : said;
      });
      const said = fill(words.said, { title, step, values: parts.join("; ") });
      svg.ariaLabel = said;
      if (title === panel) sentence = said;
    }
    shown = smooth;
    return sentence;
  };
  const longest = panels.map(({ title }) => update({ panel: title, at: steps.length - 1, smooth: 0.5 }));
  ui.sentence.textContent = longest.reduce((one, other) => (other.length > one.length ? other : one));
  ui.sentence.style.minHeight = `${ui.sentence.offsetHeight}px`; // nothing moves when a longer sentence comes
  return update;
};

/** About four round numbers from `low` to `high`. */
function ticks(low, high) {
  const rough = (high - low) / 5, ten = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((part) => part * ten).find((size) => size >= rough * 0.999);
  const from = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - from + 1 }, (_, i) => Number(((from + i) * step).toPrecision(12)));
}

/** Powers of ten from `low` to `high`, and twice and five times them unless they are too many. */
function logTicks(low, high) {
  const tens = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  const powers = Array.from({ length: tens[1] - tens[0] + 1 }, (_, i) => 10 ** (tens[0] + i));
  const inside = (parts) =>
    powers.flatMap((power) => parts.map((part) => Number((part * power).toPrecision(3)))).filter((value) => value >= low && value <= high);
  const [fine, coarse] = [inside([1, 2, 5]), inside([1])];
  return fine.length < 2 ? ticks(low, high) : fine.length > 6 && coarse.length > 1 ? coarse : fine;
}

const CURVES = `
.repre-lite:has(.curves) { max-width: 1180px; }
.repre-lite .canvases.curves { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(320px, 100%), 1fr)); gap: 20px 24px; }
.repre-lite .curves figure { width: 100%; display: flex; flex-direction: column; justify-content: space-between; }
.repre-lite .curves figcaption { display: block; margin: 0 0 4px; }
.repre-lite .curves ul { list-style: none; margin: 2px 0 0; padding: 0; }
.repre-lite .curves li { display: grid; grid-template-columns: 22px minmax(0, 1fr) auto auto; gap: 0 8px; align-items: center;
  overflow-wrap: anywhere; max-width: none; }
  /* room for the smoothed value, so that nothing moves when it comes */
.repre-lite .curves li span + span { min-width: 14ch; }
.repre-lite .curves b, .repre-lite .curves li span + span { font-variant-numeric: tabular-nums; text-align: right; }
.repre-lite .curves b { min-width: 5ch; }
.repre-lite .curves svg { touch-action: pan-y; cursor: crosshair; }
.repre-lite .curves svg path { stroke-width: 1.5; stroke-linejoin: round; }
.repre-lite .curves svg .even { stroke-width: 2.2; }
.repre-lite .curves svg .grid { stroke: var(--line); stroke-width: 0.6; }
.repre-lite .curves svg .cursor { stroke: var(--ink); stroke-width: 0.8; opacity: 0.6; }
.repre-lite .curves .key { width: 22px; height: 8px; }
.repre-lite .hint { font-size: 13px; opacity: 0.75; }
`;
