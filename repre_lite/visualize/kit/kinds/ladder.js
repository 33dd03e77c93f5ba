/** One rung of one view, beside it the view and the error; `reconstructions` are S x R x H x W x 3. */
kinds.ladder = (ui, { names, views, reconstructions, range, sentences }) => {
  const [shown, h, w] = views.shape, size = h * w * 3;
  ui.range("rung", "rung, deep to shallow", 0, names.length - 1, 1, (rung) => names[rung]);
  ui.range("image", "image", 0, shown - 1);
  const [view, rebuilt, error] = ["view", "reconstruction", "error"].map((caption) => ui.canvas(caption, h, w));
  return ({ image, rung }) => {
    const start = (image * names.length + rung) * size, sentence = sentences[image][rung];
    view.image(views, image * size);
    rebuilt.image(reconstructions, start);
    error.map(difference(views.values, image * size, reconstructions.values, start, size), h, w, "cividis", 0, range);
    for (const canvas of [rebuilt, error]) canvas.label(`${canvas.caption.textContent}: ${sentence}`);
    return sentence;
  };
};
