// The viewer: one module without imports, for the widget (anywidget calls `render`) and pages (which call `mountAll`).
//
// A kind of view is a function (ui, data) that adds its controls and canvases to `ui` once and returns `update(state)`,
// which redraws them and returns the sentence that says what is shown. Packed arrays in `data` arrive as
// {shape, values}. Controls are bound to a key of the state; a change calls `update` by itself.

const kinds = {};

// ---------------------------------------------------------------------------------------------------------- colours

// Seventeen places of matplotlib's maps, as hexadecimal digits, from low to high; in between they are interpolated.
const TABLES = {
  cividis: "00224e002e6a1a386f32436d434e6c535a6d61656f6f70737d7c788c88789b9476aba072bcae6ccdbb63dec958f0d846fee838",
  viridis: "44015448186a472d7b4240863b528b33638d2c728e26828e21918c1fa08828ae803fbc735ec96284d44baddc30d8e219fde725",
  signed: "0530611752902a71b23f8ec06bacd19bc9e0c2ddece0ecf3f7f6f6fbe5d8fbccb4f5aa89e48066d05548ba2832930e2667001f",
};

/** All 256 colours of a table, red, green and blue each 0 to 255, one after the other. */
const colours = Object.fromEntries(Object.entries(TABLES).map(([table, digits]) => {
  const fixed = digits.match(/../g).map((pair) => parseInt(pair, 16)), last = fixed.length / 3 - 1;
  return [table, Uint8ClampedArray.from({ length: 768 }, (_, i) => {
    const at = (Math.floor(i / 3) / 255) * last, below = Math.min(last - 1, Math.floor(at)), share = at - below;
    return fixed[3 * below + (i % 3)] * (1 - share) + fixed[3 * below + 3 + (i % 3)] * share;
  })];
}));

/** A function from a value to [red, green, blue], each 0 to 255; `low` and `high` are the ends of the map. */
function colourMap(table, low, high) {
  const all = colours[table];
  return (value) => {
    const at = 3 * Math.round(255 * Math.min(1, Math.max(0, (value - low) / (high - low))));
    return all.subarray(at, at + 3);
  };
}

// --------------------------------------------------------------------------------------------------- words and arrays

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

// ------------------------------------------------------------------------------------------------- user interface

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

  /** A list to choose from; `options` are [value, text]. */
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

  /** A canvas for pictures of `height` x `width` pixels, enlarged by a whole number so that pixels stay sharp. */
  canvas(caption, height, width, className = "") {
    return new Canvas(this, caption, height, width, className);
  }
}

class Canvas {
  constructor(ui, caption, height, width, className) {
    this.ui = ui;
    this.scale = Math.max(1, Math.round(448 / Math.max(height, width)));
    this.node = make("canvas", { height: height * this.scale, width: width * this.scale, role: "img" });
    this.context = this.node.getContext("2d");
    this.context.imageSmoothingEnabled = false;
    this.caption = make("span", { textContent: caption });
    this.legend = make("span", { className: "legend" });
    ui.canvases.append(make("figure", { className }, this.node, make("figcaption", {}, this.caption, this.legend)));
    this.label(caption);
  }

  /** What a screen reader says of this canvas; the caption stays. */
  label(text) {
    this.node.ariaLabel = text;
  }

  /** Draw `colour(i)` -> [red, green, blue] for each of h x w places over the canvas, or over a rectangle of it (top,
   *  left, height, width in shares). */
  fill(h, w, colour, [top, left, height, width] = [0, 0, 1, 1]) {
    const small = make("canvas", { height: h, width: w }), context = small.getContext("2d");
    const image = context.createImageData(w, h);
    image.data.fill(255);
    for (let i = 0; i < h * w; i++) image.data.set(colour(i), 4 * i);
    context.putImageData(image, 0, 0);
    const { width: across, height: down } = this.node;
    this.context.drawImage(small, left * across, top * down, width * across, height * down);
  }

  /** A picture, {shape: [H, W, 3], values: uint8}; `start` is where it begins in the values of a stack of pictures. */
  picture({ shape, values }, start = 0) {
    const [h, w] = shape.slice(-3);
    this.fill(h, w, (i) => values.subarray(start + 3 * i, start + 3 * i + 3));
  }

  /** A map of h x w values in colours from `low` to `high`, with its colour bar. Beyond its ends colours stay
   *  the same, which the bar says once it happened. */
  map(values, h, w, table, low, high, frame) {
    const colour = colourMap(table, low, high);
    this.fill(h, w, (i) => colour(values[i]), frame);
    const bar = Array.from({ length: 17 }, (_, i) => `rgb(${colour(low + ((high - low) * i) / 16)})`);
    const strip = make("i");
    strip.style.background = `linear-gradient(to right, ${bar})`;
    this.over ||= values.some((value) => value > high);
    this.legend.replaceChildren(short(low), strip, (this.over ? "≥ " : "") + short(high));
  }

  /** Veil each of h x w places that is not `kept`. */
  dim(kept, h, w) {
    this.context.fillStyle = "rgb(128 128 128 / 85%)";
    const [down, across] = [this.node.height / h, this.node.width / w];
    kept.forEach((keep, i) => keep || this.context.fillRect((i % w) * across, Math.floor(i / w) * down, across, down));
  }

  /** Outline the rectangle top, left, height, width, in shares of the canvas. */
  outline([top, left, height, width], dashed = false) {
    const { context, node } = this, line = Math.max(2, node.width / 150);
    const box = [left * node.width, top * node.height, width * node.width, height * node.height];
    for (const [colour, thickness] of [["#000", 2 * line], ["#fff", line]]) {
      context.setLineDash(dashed ? [3 * line, 2 * line] : []);
      Object.assign(context, { strokeStyle: colour, lineWidth: thickness });
      context.strokeRect(...box);
    }
    context.setLineDash([]);
  }

  /** Choose one of rows x columns places by hovering, touching or the arrow keys; a click holds it or lets go. Without
   *  `hover` only a click and the keys choose. `chosen(row, column)` is told; keys start from `place()`. */
  point(rows, columns, place, chosen, hover = true) {
    const { node, ui } = this;
    const within = (value, count) => Math.min(count - 1, Math.max(0, value));
    const to = (row, column) => {
      const [r, c] = [within(row, rows), within(column, columns)], [r0, c0] = place();
      if (r !== r0 || c !== c0) chosen(r, c);
    };
    const at = (event) => {
      const frame = node.getBoundingClientRect();
      to(
        Math.floor(((event.clientY - frame.top) / frame.height) * rows),
        Math.floor(((event.clientX - frame.left) / frame.width) * columns),
      );
    };
    node.tabIndex = 0;
    if (hover) node.onpointermove = (event) => ui.held || at(event);
    node.onclick = (event) => {
      at(event);
      if (!hover) return;
      ui.held = !ui.held;
      ui.canvases.classList.toggle("held", ui.held);
    };
    node.onkeydown = (event) => {
      const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (!step) return;
      event.preventDefault();
      const [row, column] = place();
      to(row + step[0], column + step[1]);
    };
  }
}

/** Dots above 0, 1, 2, ... */
class Chart {
  constructor(ui, caption) {
    this.node = make("div", { innerHTML: '<svg viewBox="0 0 208 150" role="img"></svg>' }).firstChild;
    ui.canvases.append(make("figure", {}, this.node, make("figcaption", {}, caption)));
  }

  /** `columns`: the values above each place, drawn from 0 to `top`; those for which `chosen(i, j)` holds stand out. */
  dots(columns, top, chosen, label) {
    const x = (i) => 30 + (172 * (i + 0.5)) / columns.length, y = (value) => 128 - (116 * value) / top;
    const dot = (value, i, j) =>
      `<circle cx="${x(i)}" cy="${y(value)}" r="${chosen(i, j) ? 4.5 : 2.5}" class="${chosen(i, j) ? "chosen" : ""}"/>`;
    const every = Math.ceil(columns.length / 12);
    this.node.innerHTML =
      `<path d="M30 8 V128 H204"/><text x="26" y="16" text-anchor="end">${short(top)}</text>` +
      `<text x="26" y="132" text-anchor="end">0</text>` +
      columns.map((_, i) => (i % every ? "" : `<text x="${x(i)}" y="144" text-anchor="middle">${i}</text>`)).join("") +
      columns.map((values, i) => values.map((value, j) => dot(value, i, j)).join("")).join("");
    this.node.ariaLabel = label;
  }
}

const short = (value) => String(Number(value.toPrecision(3)));

// ----------------------------------------------------------------------------------------------- the kinds of view

/** Attention of one head from one token to another; a Swin's is 0 between windows. */
function weight({ weights: { shape: [, tokens, area], values }, windows }, head, from, to) {
  if (!windows) return values[(head * tokens + from) * area + to];
  const [window, place] = windows.map((part) => part.values);
  return window[from] === window[to] ? values[(head * tokens + from) * area + place[to]] : 0;
}

/** For every patch of a block, the attention that `pair(patch)` -> [from, to] names: of a head, or the mean of all. */
function attentionMap(block, head, pair) {
  const [all] = block.weights.shape, [h, w] = block.grid;
  const heads = typeof head === "number" ? [Math.min(head, all - 1)] : [...Array(all).keys()];
  return Float64Array.from({ length: h * w }, (_, patch) => {
    const [from, to] = pair(block.prefix + patch);
    return heads.reduce((sum, one) => sum + weight(block, one, from, to), 0) / heads.length;
  });
}

/** The most heads a block has, and the entries of a list of heads; with one head there is only the mean. */
function listHeads(blocks) {
  const most = Math.max(...blocks.map((block) => block.weights.shape[0]));
  const each = most > 1 ? Array.from({ length: most }, (_, head) => [head, String(head)]) : [];
  return [most, [["mean", "mean"], ...each]];
}

/** The patch of a block that covers the one at `row`, `column` of the grid `finest`. */
const patchOf = ({ grid: [h, w] }, row, column, [rows, columns]) =>
  [Math.floor((row * h) / rows), Math.floor((column * w) / columns)];

/** The fewest places that hold `mass` of all weight: which, how many. */
function heaviest(values, mass) {
  const order = [...values.keys()].sort((a, b) => values[b] - values[a]);
  const enough = mass * values.reduce((sum, value) => sum + value, 0) * (1 - 1e-9);
  const mask = new Array(values.length).fill(false);
  let kept = 0, count = 0;
  do {
    mask[order[count]] = true;
    kept += values[order[count++]];
  } while (kept < enough && count < order.length);
  return { mask, count };
}

const percent = (share) => (100 * share).toFixed(0);

/** Blocks x heads as small maps, one enlarged, and the picture with the kept share of it. */
kinds.attention = (ui, { picture, blocks, distances, norms, rolled, drops, tops, words }) => {
  const finest = blocks[0].grid, [h, w] = finest, [height, width] = picture.shape;
  const [most, heads] = listHeads(blocks);
  ui.range("block", "block", 0, blocks.length - 1);
  ui.choice("head", "head", [...heads, ...(rolled.length ? [["rollout", "rollout"]] : [])]);
  if (blocks[0].prefix) ui.choice("source", "from", [["class", "class token"], ["patch", "patch"]]);
  ui.range("row", "row", 0, h - 1);
  ui.range("column", "column", 0, w - 1);
  ui.range("mass", "keep", 0.1, 1, 0.05, (mass) => `${percent(mass)} %`);
  if (rolled.length) ui.choice("drop", "rollout drops", drops.map((drop) => [drop, `${percent(drop)} %`]));

  const kept = ui.canvas("kept share: point at a patch", height, width);
  const chosen = ui.canvas("attention", height, width), norm = ui.canvas("token norms", height, width);
  const enlarged = Math.max(1, Math.round(90 / w)), gap = 8, cell = [h * enlarged + gap, w * enlarged + gap];
  const [down, across] = [most * cell[0] - gap, blocks.length * cell[1] - gap];
  const overview = ui.canvas("every block (across) and head (down): click one", down, across, "wide");
  const chart = new Chart(ui, "mean distance (pixels) of each block's heads");
  kept.point(h, w, () => [ui.state.row, ui.state.column], (row, column) => ui.set({ row, column, source: "patch" }));
  const small = ({ block, head }) => [Math.min(Number(head) || 0, blocks[block].weights.shape[0] - 1), block];
  const choose = (head, block) => ui.set({ block, head: most > 1 ? head : "mean" });
  overview.point(most, blocks.length, () => small(ui.state), choose, false);

  const weights = (index, { head, source, row, column, drop }) => {
    const block = blocks[index], { prefix } = block, [r, c] = patchOf(block, row, column, finest);
    const token = source === "class" && prefix ? 0 : prefix + r * block.grid[1] + c;
    if (head !== "rollout" || !rolled.length) return attentionMap(block, head, (patch) => [token, patch]);
    const { shape: [, tokens], values } = rolled[drops.indexOf(drop)];
    const start = (index * tokens + token) * tokens + prefix;
    return values.slice(start, start + tokens - prefix);
  };

  return (state) => {
    const { block: index, head, mass, drop } = state, block = blocks[index], [rows, columns] = block.grid;
    const map = weights(index, state), { mask, count } = heaviest(map, mass);
    const rolls = head === "rollout" && rolled.length > 0;
    const one = typeof head === "number", number = one ? Math.min(head, block.heads - 1) : 0;
    const [row, column] = patchOf(block, state.row, state.column, finest);
    const top = map.indexOf(Math.max(...map)), total = map.reduce((sum, value) => sum + value, 0);
    const source = state.source === "class" && block.prefix ? "class" : "patch";
    const here = [row / rows, column / columns, 1 / rows, 1 / columns];
    const distance = one ? distances[index][number] : distances[index].reduce((sum, d) => sum + d, 0) / block.heads;
    const facts = {
      block: index, head: number, heads: block.heads, drop: percent(drop), row, column, h: rows, w: columns,
      mass: percent(mass), count, patches: rows * columns, share: percent(map[top] / Math.max(total, 1e-12)),
      top_row: Math.floor(top / columns), top_column: top % columns, distance: distance.toFixed(1),
    };
    const who = fill(words[rolls ? "rollout" : one ? "head" : "mean"], facts);
    const far = rolls ? "" : fill(words.far, facts);
    const sentence = `${who}, ${fill(words[source], facts)}: ${fill(words.kept, facts)}${far}.`;

    kept.picture(picture);
    kept.dim(mask, rows, columns);
    chosen.map(map, rows, columns, "cividis", 0, rolls ? tops.rollout : tops.attention);
    norm.map(norms[index].values, rows, columns, "viridis", 0, tops.norm);
    if (source === "patch") for (const canvas of [kept, chosen, norm]) canvas.outline(here);
    overview.context.clearRect(0, 0, overview.node.width, overview.node.height);
    const frame = (i, k) => 
      [(k * cell[0]) / down, (i * cell[1]) / across, (cell[0] - gap) / down, (cell[1] - gap) / across];
    blocks.forEach((each, i) => {
      for (let k = 0; k < each.weights.shape[0]; k++)
        overview.map(weights(i, { ...state, head: k }), ...each.grid, "cividis", 0, tops.attention, frame(i, k));
    });
    const marked = one ? [number] : [...Array(block.weights.shape[0]).keys()];
    for (const k of marked) overview.outline(frame(index, k));
    chart.dots(distances, Math.max(...distances.flat()), (i, j) => i === index && (!one || j === number),
      `mean attention distance, block ${index}: ${distances[index].map((d) => d.toFixed(1)).join(", ")} pixels`);
    for (const canvas of [kept, chosen]) canvas.label(`${canvas.caption.textContent}: ${sentence}`);
    norm.label(`token norms after block ${index}`);
    return sentence;
  };
};

/** One patch: attention from and to it, what resembles it, how it is redrawn, where the other view shows it. */
kinds.inspector = (ui, data) => {
  const { picture, grid, blocks, top, taps, error, range, errors, mean, other, match, matched, words } = data;
  const [h, w] = grid, [height, width] = picture.shape, [, heads] = listHeads(blocks);
  ui.range("row", "row", 0, h - 1);
  ui.range("column", "column", 0, w - 1);
  ui.range("block", "block", 0, blocks.length - 1);
  ui.choice("head", "head", heads);
  ui.choice("tap", "tap", taps.map(({ name }, tap) => [tap, name]));
  const view = ui.canvas("view: point at a patch", height, width);
  const from = ui.canvas("attention from it", height, width), to = ui.canvas("attention to it", height, width);
  const similar = ui.canvas("cosine similarity", height, width);
  const redrawn = error && ui.canvas("reconstruction error", height, width);
  const second = other && ui.canvas("other view", height, width);
  const pointed = [view, from, to, similar, ...(error ? [redrawn] : [])];
  for (const canvas of pointed)
    canvas.point(h, w, () => [ui.state.row, ui.state.column], (row, column) => ui.set({ row, column }));

  const place = ([row, column], [rows, columns]) =>
    fill(words[rows === h && columns === w ? "place" : "place_of"], { row, column, h: rows, w: columns });
  const best = (values) => values.reduce((best, value, i) => (value > values[best] ? i : best), 0);
  const at = (index, columns) => [Math.floor(index / columns), index % columns];

  return (state) => {
    const { row, column, block: index, head, tap } = state, block = blocks[index], one = typeof head === "number";
    const [rows, columns] = block.grid, [r, c] = patchOf(block, row, column, grid);
    const token = block.prefix + r * columns + c;
    const sent = attentionMap(block, head, (patch) => [token, patch]);
    const received = attentionMap(block, head, (patch) => [patch, token]);
    const { name, grid: [down, across], cosines } = taps[tap], [y, x] = patchOf(taps[tap], row, column, grid);
    const size = down * across, self = y * across + x, likeness = cosines.values.slice(self * size, (self + 1) * size);
    const others = likeness.map((cosine, i) => (i === self ? -2 : cosine)), like = best(others);

    const number = one ? Math.min(head, block.heads - 1) : 0;
    const parts = [fill(words.attention, {
      here: place([row, column], grid),
      who: fill(words[one ? "head" : "mean"], { block: index, head: number, heads: block.heads }),
      to: place(at(best(sent), columns), block.grid), sent: percent(sent[best(sent)]),
      by: place(at(best(received), columns), block.grid), received: percent(received[best(received)]),
    })];
    if (size > 1) {
      const facts = { tap: name, like: place(at(like, across), [down, across]), cosine: others[like].toFixed(2) };
      parts.push(fill(words.similar, facts));
    }
    if (error) parts.push(fill(words.error, { error: errors.values[row * w + column].toFixed(3), mean }));
    const there = other && matched[row][column];
    if (there) parts.push(fill(words[there[0] < 0 ? "no_match" : "match"], { there: place(there, grid) }));
    const sentence = `${parts.join("")}.`;

    const outline = (canvas, i, j, n, m) => canvas.outline([i / n, j / m, 1 / n, 1 / m]);
    view.picture(picture);
    from.map(sent, rows, columns, "cividis", 0, top);
    to.map(received, rows, columns, "cividis", 0, top);
    similar.map(likeness, down, across, "signed", -1, 1);
    if (error) redrawn.map(error.values, height, width, "cividis", 0, range);
    for (const canvas of pointed) {
      if (canvas === similar) outline(canvas, y, x, down, across);
      else if (canvas === from || canvas === to) outline(canvas, r, c, rows, columns);
      else outline(canvas, row, column, h, w);
      canvas.label(`${canvas.caption.textContent}: ${sentence}`);
    }
    if (other) {
      const start = 4 * (row * w + column);
      second.picture(other);
      second.outline(match.values.subarray(start, start + 4));
      second.label(`other view: ${sentence}`);
    }
    return sentence;
  };
};

/** Which of the 2^K or 3^K precomputed pictures a choice for each tap stands for, its error, its sentence. */
kinds.mixer = (ui, { names, choices, other, view, pictures, range, sentences }) => {
  names.forEach((name, i) => ui.choice(`tap${i}`, name, choices.map((choice) => [choice, choice])));
  const [h, w] = view.shape, size = view.values.length;
  ui.canvas("view", h, w).picture(view);
  const drawn = ui.canvas("redrawn", h, w), error = ui.canvas("error", h, w);
  if (other) ui.canvas(other, h, w).picture(pictures, pictures.values.length - size);
  return (state) => {
    const index = names.reduce((sum, _, i) => sum * choices.length + choices.indexOf(state[`tap${i}`]), 0);
    drawn.picture(pictures, index * size);
    error.map(difference(view.values, 0, pictures.values, index * size, size), h, w, "cividis", 0, range);
    for (const canvas of [drawn, error]) canvas.label(`${canvas.caption.textContent}: ${sentences[index]}`);
    return sentences[index];
  };
};

/** One rung of one picture between its view and its error; `pictures` are S x R x H x W x 3. */
kinds.ladder = (ui, { names, views, pictures, range, sentences }) => {
  const [shown, h, w] = views.shape, size = h * w * 3;
  ui.range("rung", "rung, deep to shallow", 0, names.length - 1, 1, (rung) => names[rung]);
  ui.range("picture", "picture", 0, shown - 1);
  const [view, drawn, error] = ["view", "redrawn", "error"].map((caption) => ui.canvas(caption, h, w));
  return ({ picture, rung }) => {
    const start = (picture * names.length + rung) * size, sentence = sentences[picture][rung];
    view.picture(views, picture * size);
    drawn.picture(pictures, start);
    error.map(difference(views.values, picture * size, pictures.values, start, size), h, w, "cividis", 0, range);
    for (const canvas of [drawn, error]) canvas.label(`${canvas.caption.textContent}: ${sentence}`);
    return sentence;
  };
};

/** Mean absolute difference over the three colours of two pictures of `size` bytes, in [0, 1]. */
function difference(one, start, other, from, size) {
  return Float32Array.from({ length: size / 3 }, (_, i) => {
    const [a, b] = [start + 3 * i, from + 3 * i];
    return (Math.abs(one[a] - other[b]) + Math.abs(one[a + 1] - other[b + 1]) + Math.abs(one[a + 2] - other[b + 2])) / 765;
  });
}


// -------------------------------------------------------------------------------------------------- the two doors

// Ink and paper come together, so that text is legible whatever lies around: JupyterLab's, else the system's colours.
const STYLE = `
.repre-lite { --ink: var(--jp-content-font-color1, CanvasText); --paper: var(--jp-layout-color1, Canvas);
  --line: var(--jp-border-color1, color-mix(in srgb, CanvasText 30%, Canvas));
  --mark: var(--jp-brand-color1, light-dark(#0072b2, #56b4e9));
  color-scheme: light dark; color: var(--ink); background: var(--paper); font: 14px/1.4 system-ui, sans-serif;
  padding: 8px; max-width: 960px; box-sizing: border-box; }
.repre-lite * { box-sizing: border-box; }
.repre-lite .controls { display: flex; flex-wrap: wrap; gap: 6px 18px; align-items: center; margin-bottom: 8px; }
.repre-lite label { display: inline-flex; gap: 6px; align-items: center; }
.repre-lite input[type=range] { width: 120px; accent-color: var(--mark); }
.repre-lite output { min-width: 3em; font-variant-numeric: tabular-nums; }
.repre-lite select, .repre-lite button { font: inherit; color: var(--ink); background: var(--paper);
  border: 1px solid var(--line); border-radius: 3px; padding: 2px 6px; }
.repre-lite button[aria-pressed=true] { border-color: var(--mark); box-shadow: inset 0 -3px var(--mark); }
.repre-lite .canvases { display: flex; flex-wrap: wrap; gap: 12px; align-items: flex-start; }
.repre-lite figure { margin: 0; width: min(208px, 50% - 6px); } /* two in a row on a phone */
.repre-lite figure.wide { width: 428px; max-width: 100%; }
.repre-lite canvas { width: 100%; height: auto; display: block; touch-action: pan-y; }
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

/** Build a view inside `el`. `changed(state)` is told when the reader moves it; returns a function to show a state. */
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
    ui.sentence.style.minHeight = `${ui.sentence.offsetHeight}px`; // a shorter one must not move what is pointed at
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

/** The widget's door: `model` has the traits kind, data and state. */
function render({ model, el }) {
  const show = mount(el, model.get("kind"), model.get("data"), model.get("state"), (state) => {
    model.set("state", state);
    model.save_changes();
  });
  const listen = () => show(model.get("state"));
  model.on("change:state", listen);
  return () => model.off("change:state", listen);
}

/** The page's door: every view that `to_html` wrote and that is not live yet. */
function mountAll() {
  for (const el of document.querySelectorAll(".repre-lite-view:not(.repre-lite)")) {
    const { kind, data, state } = JSON.parse(el.querySelector("script").textContent);
    mount(el, kind, data, state);
  }
}

export default { render, mountAll };
