// Images, colour maps and charts: what visuals draw on.

// Seventeen colours of each of matplotlib's maps, as hexadecimal digits, from low to high; in between they are interpolated.
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

class Canvas {
  constructor(ui, caption, height, width, className) {
    this.ui = ui;
    this.scale = Math.max(1, Math.round(448 / Math.max(height, width)));
    this.node = make("canvas", { height: height * this.scale, width: width * this.scale, role: "img" });
    this.context = this.node.getContext("2d");
    this.context.imageSmoothingEnabled = false;
    if (ui.cells) this.node.style.setProperty("--cells", ui.cells);
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
    const pixels = context.createImageData(w, h);
    pixels.data.fill(255);
    for (let i = 0; i < h * w; i++) pixels.data.set(colour(i), 4 * i);
    context.putImageData(pixels, 0, 0);
    const { width: across, height: down } = this.node;
    this.context.drawImage(small, left * across, top * down, width * across, height * down);
  }

  /** An image, {shape: [H, W, 3], values: uint8}; `start` is where it begins in the values of a stack of images. */
  image({ shape, values }, start = 0) {
    const [h, w] = shape.slice(-3);
    this.fill(h, w, (i) => values.subarray(start + 3 * i, start + 3 * i + 3));
  }

  /** A map of h x w values in colours from `low` to `high`, with its colour bar. Values beyond its ends get
   *  the colours of the ends, and the bar says so. */
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
   *  `hover` only a click and the keys choose. `chosen(row, column)` is called; keys start from `place()`. */
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

/** A number with three digits; words.py writes it likewise. */
const percent = (share) => (share >= 0.0095 || !share ? (100 * share).toFixed(0) : String(Number((100 * share).toPrecision(1))));
const short = (value) => String(Number(value.toPrecision(3)));

/** Mean absolute difference over the three colours of two images of `size` bytes, in [0, 1]. */
function difference(one, start, other, from, size) {
  return Float32Array.from({ length: size / 3 }, (_, i) => {
    const [a, b] = [start + 3 * i, from + 3 * i];
    return (Math.abs(one[a] - other[b]) + Math.abs(one[a + 1] - other[b + 1]) + Math.abs(one[a + 2] - other[b + 2])) / 765;
  });
}
