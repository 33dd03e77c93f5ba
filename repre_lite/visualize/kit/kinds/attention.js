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


/** Blocks x heads as small maps, one enlarged, and the image with the kept share of it. */
kinds.attention = (ui, { image, blocks, distances, norms, rolled, drops, tops, words }) => {
  const finest = blocks[0].grid, [h, w] = finest, [height, width] = image.shape;
  const [most, heads] = listHeads(blocks);
  ui.cells = w;
  ui.range("block", "block", 0, blocks.length - 1);
  ui.choice("head", "head", [...heads, ...(rolled.length ? [["rollout", "rollout"]] : [])]);
  if (blocks[0].classToken) ui.choice("source", "from", [["class", "class token"], ["patch", "patch"]]);
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
    const block = blocks[index], { prefix, classToken } = block, [r, c] = patchOf(block, row, column, finest);
    const token = source === "class" && classToken ? 0 : prefix + r * block.grid[1] + c;
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
    const source = state.source === "class" && block.classToken ? "class" : "patch";
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

    kept.image(image);
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
