/** One patch: attention from and to it, what resembles it, its reconstruction error, where the other view shows it. */
kinds.inspector = (ui, data) => {
  const { view: image, grid, blocks, top, taps, error, range, errors, mean, other, match, matched, words } = data;
  const [h, w] = grid, [height, width] = image.shape, [, heads] = listHeads(blocks);
  ui.cells = w;
  ui.range("row", "row", 0, h - 1);
  ui.range("column", "column", 0, w - 1);
  ui.range("block", "block", 0, blocks.length - 1);
  ui.choice("head", "head", heads);
  ui.choice("tap", "tap", taps.map(({ name }, tap) => [tap, name]));
  const view = ui.canvas("view: point at a patch", height, width);
  const from = ui.canvas("attention from it", height, width), to = ui.canvas("attention to it", height, width);
  const similar = ui.canvas("cosine similarity", height, width);
  const wrong = error && ui.canvas("reconstruction error", height, width);
  const second = other && ui.canvas("other view", height, width);
  const pointed = [view, from, to, similar, ...(error ? [wrong] : [])];
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
    view.image(image);
    from.map(sent, rows, columns, "cividis", 0, top);
    to.map(received, rows, columns, "cividis", 0, top);
    similar.map(likeness, down, across, "signed", -1, 1);
    if (error) wrong.map(error.values, height, width, "cividis", 0, range);
    for (const canvas of pointed) {
      if (canvas === similar) outline(canvas, y, x, down, across);
      else if (canvas === from || canvas === to) outline(canvas, r, c, rows, columns);
      else outline(canvas, row, column, h, w);
      canvas.label(`${canvas.caption.textContent}: ${sentence}`);
    }
    if (other) {
      const start = 4 * (row * w + column);
      second.image(other);
      second.outline(match.values.subarray(start, start + 4));
      second.label(`other view: ${sentence}`);
    }
    return sentence;
  };
};
