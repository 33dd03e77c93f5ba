/** One of the 2^K or 3^K precomputed reconstructions, selected by a choice for each tap; its error and sentence. */
kinds.mixer = (ui, { names, choices, other, view, reconstructions, range, sentences }) => {
  names.forEach((name, i) => ui.choice(`tap${i}`, name, choices.map((choice) => [choice, choice])));
  const [h, w] = view.shape, size = view.values.length;
  ui.canvas("view", h, w).image(view);
  const shown = ui.canvas("reconstruction", h, w), error = ui.canvas("error", h, w);
  if (other) ui.canvas(other, h, w).image(reconstructions, reconstructions.values.length - size);
  return (state) => {
    const index = names.reduce((sum, _, i) => sum * choices.length + choices.indexOf(state[`tap${i}`]), 0);
    shown.image(reconstructions, index * size);
    error.map(difference(view.values, 0, reconstructions.values, index * size, size), h, w, "cividis", 0, range);
    for (const canvas of [shown, error]) canvas.label(`${canvas.caption.textContent}: ${sentences[index]}`);
    return sentences[index];
  };
};
