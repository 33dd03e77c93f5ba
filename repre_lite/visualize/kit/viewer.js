// The viewer's core: state, controls, and the two ways in, for the widget (anywidget calls `render`) and for pages (which
// call `mountAll`). viewer.py joins it with canvas.js and kinds/*.js to one script without imports.
//
// A kind of visual is a function (ui, data) that adds its controls and canvases to `ui` once and returns `update(state)`,
// which redraws them and returns the sentence that says what is shown. Packed arrays in `data` arrive as
// {shape, values}. Controls are bound to a key of the state; a change calls `update` by itself.

const kinds = {};

/** "block {block}" -> "block 3"; the wording of every sentence comes with the data, so Python says the same. */
const fill = (template, values) => template.replace(/\{(\w+)\}/g, (_, name) => values[name]);

/** Arrays packed by viewer.py become {shape, values}, those on a scale numbers from low to high; the rest stays. */
function unpack(data) {
  if (Array.isArray(data)) return data.map(unpack);
  if (data === null || typeof data !== "object") return data;
  if (!("dtype" in data)) return Object.fromEntries(Object.entries(data).map(([key, value]) => [key, unpack(value)]));
  const bytes = Uint8Array.from(atob(data.data), (letter) => letter.charCodeAt(0));
  const type = { uint8: Uint8Array, uint16: Uint16Array, float32: Float32Array }[data.dtype];
  const { shape, low, high } = data, values = new type(bytes.buffer);
  if (low === undefined) return { shape, values };
  return { shape, values: Float32Array.from(values, (q) => low + ((high - low) * q) / 65535) };
}

function make(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

/** What a kind builds with. `state` is what the controls show, `set(patch)` changes it and redraws. */
class Interface {
  constructor(el, state) {
    this.state = state;
    this.follow = []; // of each control: show the state's value
    this.controls = make("div", { className: "controls" });
    this.canvases = make("div", { className: "canvases" });
    this.sentence = make("p", { role: "status", ariaLive: "polite" });
    el.append(make("style", { textContent: STYLE }), this.controls, this.sentence, this.canvases);
  }

  /** A slider from `low` to `high`; `show(value)` is written behind it. */
  range(key, label, low, high, step = 1, show = String) {
    const input = make("input", { type: "range", min: low, max: high, step });
    const value = make("output");
    input.oninput = () => this.set({ [key]: Number(input.value) });
    this.follow.push((state) => {
      input.value = state[key];
      value.textContent = show(state[key]);
      input.ariaValueText = value.textContent;
    });
    this.controls.append(make("label", {}, make("span", { textContent: label }), input, value));
    return input;
  }

  /** A list to select from; `options` are [value, text]. */
  choice(key, label, options) {
    const select = make("select", {}, ...options.map(([, text]) => make("option", { textContent: text })));
    select.onchange = () => this.set({ [key]: options[select.selectedIndex][0] });
    this.follow.push((state) => (select.selectedIndex = options.findIndex(([value]) => value === state[key])));
    this.controls.append(make("label", {}, make("span", { textContent: label }), select));
    return select;
  }

  /** A button that is on or off. */
  toggle(key, label) {
    const button = make("button", { type: "button", textContent: label });
    button.onclick = () => this.set({ [key]: !this.state[key] });
    this.follow.push((state) => (button.ariaPressed = String(state[key])));
    this.controls.append(button);
    return button;
  }

  /** A canvas for images of `height` x `width` pixels, enlarged by a whole number so that pixels stay sharp. */
  canvas(caption, height, width, className = "") {
    return new Canvas(this, caption, height, width, className);
  }
}

// Text and background colours come in pairs, JupyterLab's, a page's or else the system's, so that text is always legible.
const STYLE = `
.repre-lite { --ink: var(--jp-content-font-color1, var(--page-ink, CanvasText));
  --paper: var(--jp-layout-color1, var(--page-paper, Canvas));
  --line: var(--jp-border-color1, var(--page-line, color-mix(in srgb, CanvasText 30%, Canvas)));
  --mark: var(--jp-brand-color1, var(--page-mark, light-dark(#0072b2, #56b4e9)));
  color-scheme: light dark; color: var(--ink); background: var(--paper); font: 14px/1.4 system-ui, sans-serif;
  padding: 8px; max-width: 960px; box-sizing: border-box; }
.repre-lite * { box-sizing: border-box; }
.repre-lite .controls { display: flex; flex-wrap: wrap; gap: 6px 18px; align-items: center; margin-bottom: 8px; }
.repre-lite label { display: inline-flex; gap: 6px; align-items: center; }
.repre-lite input[type=range] { width: 120px; accent-color: var(--mark); }
.repre-lite output { min-width: 3em; font-variant-numeric: tabular-nums; }
.repre-lite select, .repre-lite button { font: inherit; color: var(--ink); background: var(--paper);
  border: 1px solid var(--line); border-radius: 4px; padding: 2px 8px; min-height: 28px; }
.repre-lite button { cursor: pointer; }
.repre-lite button:hover, .repre-lite select:hover { border-color: var(--mark); }
.repre-lite button[aria-pressed=true] { border-color: var(--mark); box-shadow: inset 0 -3px var(--mark); }
.repre-lite .canvases { display: flex; flex-wrap: wrap; gap: 12px; align-items: flex-start; }
.repre-lite figure { margin: 0; width: min(208px, 50% - 6px); } /* two in a row on a phone */
.repre-lite figure.wide { width: 428px; max-width: 100%; }
.repre-lite canvas { width: 100%; width: round(down, 100%, calc(var(--cells, 1) * 1px)); height: auto; display: block;
  touch-action: pan-y; image-rendering: pixelated; } /* a whole number of pixels for each patch: sharp edges */
.repre-lite canvas[tabindex] { cursor: crosshair; }
.repre-lite .held canvas[tabindex] { cursor: pointer; }
.repre-lite :focus-visible { outline: 3px solid var(--mark); outline-offset: 2px; }
.repre-lite figcaption { font-size: 13px; margin-top: 3px; display: flex; flex-wrap: wrap; gap: 0 8px;
  justify-content: space-between; }
.repre-lite svg { width: 100%; font-size: 11px; fill: var(--ink); display: block; }
.repre-lite svg path { fill: none; stroke: var(--line); }
.repre-lite svg circle { opacity: 0.5; }
.repre-lite svg .chosen { fill: var(--mark); opacity: 1; }
.repre-lite .legend { display: inline-flex; gap: 4px; align-items: center; font-variant-numeric: tabular-nums; }
.repre-lite .legend i { display: inline-block; width: 44px; height: 9px; border: 1px solid var(--line); }
.repre-lite p { margin: 0 0 8px; }
`;

/** Build a visual inside `el`. `changed(state)` is called when the reader changes it; returns a function to show a state. */
function mount(el, kind, data, state, changed = () => {}) {
  const theme = { true: "light", false: "dark" }[document.body.dataset.jpThemeLight]; // JupyterLab's own choice
  el.classList.add("repre-lite");
  el.addEventListener("keydown", (event) => event.stopPropagation()); // arrows move sliders, not a notebook's cells
  if (theme) el.style.colorScheme = theme;
  const ui = new Interface(el, state);
  const update = kinds[kind](ui, unpack(data));
  const show = () => {
    for (const follow of ui.follow) follow(ui.state);
    ui.sentence.textContent = update(ui.state);
    ui.sentence.style.minHeight = `${ui.sentence.offsetHeight}px`; // a shorter one must not move the canvas under the pointer
  };
  ui.set = (patch) => {
    ui.state = { ...ui.state, ...patch };
    show();
    changed(ui.state);
  };
  show();
  return (received) => {
    if (received === ui.state) return;
    ui.state = received;
    show();
  };
}

/** The widget's way in: `model` has the traits kind, data and state. */
function render({ model, el }) {
  const show = mount(el, model.get("kind"), model.get("data"), model.get("state"), (state) => {
    model.set("state", state);
    model.save_changes();
  });
  const listen = () => show(model.get("state"));
  model.on("change:state", listen);
  return () => model.off("change:state", listen);
}

/** The page's way in: every visual that `to_html` wrote and that is not live yet. */
function mountAll() {
  for (const el of document.querySelectorAll(".repre-lite-visual:not(.repre-lite)")) {
    const { kind, data, state } = JSON.parse(el.querySelector("script").textContent);
    mount(el, kind, data, state);
  }
}

export default { render, mountAll };
