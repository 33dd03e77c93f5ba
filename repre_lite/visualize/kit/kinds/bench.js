/** The bench: an image goes through the encoders and decoders here in the page, as taps, image and point of view change. */
kinds.bench = (ui, data) => {
  const { models, images, labels, taps, blocks, heads, steps, size, grid, range, words } = data;
  const bytes = 3 * size * size, area = size * size;
  ui.cells = grid;
  const file = new Blob([data.script], { type: "text/javascript" });
  const worker = new Worker(URL.createObjectURL(file));
  worker.postMessage({ models: models.map(({ live }) => live) });

  const [controls, canvases] = [ui.controls, ui.canvases];
  canvases.classList.add("bench");
  const whole = make("div", { className: "bench-whole" });
  controls.before(make("style", { textContent: BENCH }), whole);
  whole.append(canvases, controls);
  const group = (title, build) => {
    ui.controls = make("fieldset", {}, make("legend", { textContent: title }));
    controls.append(ui.controls);
    build();
    ui.controls = controls;
  };
  const join = (...parts) => parts.filter(Boolean).join(" · ");
  const momentOf = (own, state) => own.findLast((step) => step <= steps[state.stage]) ?? own[0]; // as worker.js chooses it
  const row = (title, note) => {
    ui.canvases = make("div", { className: "row" });
    const small = make("small", { textContent: note });
    canvases.append(make("section", {}, make("h3", {}, make("span", { textContent: title }), small), ui.canvases));
    return small;
  };

  // the reader's own image: bytes like those of `images`, made when first painted on, dropped or photographed
  let mine = null, version = 0; // the version never repeats: what the worker has encoded is known by it
  const pixels = ({ image, own }) => (own && mine ? mine : images.values.subarray(image * bytes, (image + 1) * bytes));
  const planes = (from) => Float32Array.from({ length: bytes }, (_, i) => from[3 * (i % area) + Math.floor(i / area)] / 255);
  async function open(chosen) {
    if (!chosen) return;
    try {
      const bitmap = await createImageBitmap(chosen), side = Math.min(bitmap.width, bitmap.height);
      const small = make("canvas", { width: size, height: size }), context = small.getContext("2d");
      context.imageSmoothingQuality = "high";
      context.drawImage(bitmap, (bitmap.width - side) / 2, (bitmap.height - side) / 2, side, side, 0, 0, size, size);
      const { data: rgba } = context.getImageData(0, 0, size, size);
      mine = Uint8Array.from({ length: bytes }, (_, i) => rgba[4 * Math.floor(i / 3) + (i % 3)]);
      ui.set({ own: ++version });
    } catch {
      note.textContent = words.unreadable;
    }
  }
  function paint(y, x, radius) {
    if (!ui.state.own || !mine) mine = Uint8Array.from(pixels(ui.state));
    const colour = [1, 3, 5].map((at) => parseInt(ink.value.slice(at, at + 2), 16));
    for (let i = 0; i < area; i++)
      if ((Math.floor(i / size) + 0.5 - y) ** 2 + ((i % size) + 0.5 - x) ** 2 <= radius ** 2) mine.set(colour, 3 * i);
    ui.set({ own: ++version });
  }

  const thumbs = make("div", { className: "thumbs", role: "group", ariaLabel: words.images });
  labels.forEach((label, image) => {
    const small = make("canvas", { width: size, height: size }), context = small.getContext("2d");
    const drawn = context.createImageData(size, size);
    drawn.data.fill(255);
    for (let i = 0; i < area; i++) drawn.data.set(images.values.subarray(image * bytes + 3 * i, image * bytes + 3 * i + 3), 4 * i);
    context.putImageData(drawn, 0, 0);
    const button = make("button", { type: "button", title: label, ariaLabel: label }, small);
    button.onclick = () => ui.set({ image, own: 0 });
    ui.follow.push((state) => (button.ariaPressed = String(!state.own && state.image === image)));
    thumbs.append(button);
  });
  whole.before(thumbs);

  const note = make("small", { role: "status" }), ink = make("input", { type: "color", value: "#ff8800", ariaLabel: words.ink });
  if (taps.length)
    group(words.taps, () => {
      const whole = ui.controls, presets = make("div", { className: "presets", role: "group", ariaLabel: words.presets });
      const choose = (kept) => Object.fromEntries(taps.flatMap((_, i) => [[`weight${i}`, kept(i) ? 1 : 0], [`swap${i}`, false]]));
      [[words.all, () => true], ...taps.map((tap, i) => [fill(words.only, { tap }), (at) => at === i])].forEach(([text, kept]) => {
        const button = make("button", { type: "button", textContent: text }), patch = choose(kept);
        button.onclick = () => ui.set(patch);
        ui.follow.push((state) => (button.ariaPressed = String(Object.entries(patch).every(([key, value]) => state[key] === value))));
        presets.append(button);
      });
      whole.append(presets);
      taps.forEach((name, i) => {
        whole.append((ui.controls = make("div", { className: "tap" })));
        ui.range(`weight${i}`, name, 0, 1, 0.05, (value) => value.toFixed(2));
        ui.toggle(`swap${i}`, words.swap).ariaLabel = `${name}: ${words.swap}`;
      });
      ui.controls = whole;
      ui.choice("other", words.other, labels.map((label, i) => [i, label]));
    });
  group(words.source, () => {
    for (const [text, more] of [[words.file, {}], [words.photograph, { capture: "environment" }]]) {
      const input = make("input", { type: "file", accept: "image/*", ...more });
      input.onchange = () => open(input.files[0]);
      ui.controls.append(make("label", { className: "file" }, make("span", { textContent: text }), input));
    }
    ui.toggle("brush", words.paint);
    ui.controls.append(ink, note);
  });
  group(words.look, () => {
    ui.choice("look", words.show, Object.entries(words.looks));
    ui.range("block", words.block, 0, blocks - 1);
    ui.choice("head", words.head, [[-1, words.mean], ...Array.from({ length: heads }, (_, i) => [i, String(i)])]);
    ui.choice("tap", words.tap, data.names.map((name, i) => [i, name]));
    if (data.token) ui.toggle("token", words.token);
  });
  if (steps.length > 1) group(words.time, () => ui.range("stage", words.step, 0, steps.length - 1, 1, (i) => String(steps[i])));

  row(words.image, words.hint);
  const input = ui.canvas(words.image, size, size);
  ui.canvases.append(ui.sentence);
  input.point(grid, grid, () => [ui.state.row, ui.state.column], (row, column) => ui.state.brush || ui.set({ row, column, token: false }), false);
  const brush = (event) => {
    if (!ui.state.brush || (event.type === "pointermove" && !event.buttons)) return;
    const frame = input.node.getBoundingClientRect();
    paint(((event.clientY - frame.top) / frame.height) * size, ((event.clientX - frame.left) / frame.width) * size, size / 20);
  };
  input.node.addEventListener("pointerdown", brush);
  input.node.addEventListener("pointermove", brush);
  input.node.addEventListener("keydown", (event) => {
    if (event.key !== " ") return;
    event.preventDefault(); // the space bar paints the chosen patch, as the pointer does
    paint(((ui.state.row + 0.5) * size) / grid, ((ui.state.column + 0.5) * size) / grid, size / grid / 2);
  });
  for (const [name, act] of [["dragover", () => {}], ["drop", (event) => open(event.dataTransfer.files[0])]])
    canvases.addEventListener(name, (event) => (event.preventDefault(), act(event)));
  const shown = models.map(({ name, note, steps: own, decodes }) => {
    const small = row(name, ""), parts = [note, decodes ? "" : words.alone];
    if (steps.length > 1) ui.follow.push((state) => (small.textContent = join(fill(words.at, { step: momentOf(own, state) }), ...parts)));
    else small.textContent = join(...parts);
    const pair = decodes ? [words.reconstruction, words.error].map((title) => ui.canvas(title, size, size)) : [];
    return [...pair, ui.canvas(words.look, size, size, decodes ? "" : "third")];
  });
  ui.canvases = canvases;

  ui.sentence.textContent = data.expected; // room for the answer, so that nothing moves when it comes
  ui.sentence.style.minHeight = `${ui.sentence.offsetHeight}px`;
  canvases.classList.toggle("alone", models.length === 1);

  // one request at a time, the newest state next
  let asked = null, answered = null, results = null, sentence = words.starting;
  const chosen = (state) => (data.token && state.token && state.look !== "similarity" ? -1 : state.row * grid + state.column);
  const keyOf = (state) => JSON.stringify({ ...state, brush: 0 });
  function ask(state) {
    asked = keyOf(state);
    const image = planes(pixels(state)), other = planes(images.values.subarray(state.other * bytes, (state.other + 1) * bytes));
    worker.postMessage({
      id: asked, image, key: state.own ? `own ${state.own}` : state.image, other, otherKey: state.other, look: state.look,
      weights: taps.map((_, i) => state[`weight${i}`]), swaps: taps.map((_, i) => state[`swap${i}`]),
      block: state.block, head: state.head, tap: state.tap, patch: chosen(state), step: steps[state.stage],
    });
  }
  worker.onmessage = ({ data: reply }) => {
    [answered, results, asked] = [reply.id, reply.results, null];
    ui.milliseconds = reply.milliseconds;
    ui.set({});
  };
  worker.onerror = () => (note.textContent = words.broken);

  const list = (names) => names.join(", ");
  function say(state) {
    const parts = [fill(words[state.own ? "mine" : "which"], { image: labels[state.image] })];
    if (taps.length) {
      const amount = (i) => (state[`weight${i}`] < 1 ? `${taps[i]} × ${state[`weight${i}`].toFixed(2)}` : taps[i]);
      const all = taps.map((_, i) => i), used = all.filter((i) => state[`weight${i}`] > 0);
      const from = [[words.from, used.filter((i) => !state[`swap${i}`])], [words.swapped, used.filter((i) => state[`swap${i}`])]];
      for (const [template, some] of from)
        if (some.length) parts.push(fill(template, { taps: list(some.map(amount)), other: labels[state.other] }));
      const out = all.filter((i) => state[`weight${i}`] === 0);
      if (out.length) parts.push(fill(words.out, { taps: list(out.map((i) => taps[i])) }));
    }
    const errors = models.flatMap(({ name }, i) => (results[i].l1 === undefined ? [] : `${name} ${results[i].l1.toFixed(3)}`));
    if (errors.length) parts.push(fill(words.errors, { errors: list(errors) }));
    const where = chosen(state) < 0 ? words.token : fill(words.place, state);
    const numbers = models.map(({ name }, i) => {
      const map = results[i].map;
      if (!map) return name;
      if (state.look === "attention") return `${name} ${percent(Math.max(...map))} %`;
      return `${name} ${((map.reduce((sum, value) => sum + value, 0) - 1) / (map.length - 1)).toFixed(2)}`;
    });
    const head = state.head < 0 ? words.mean : fill(words.one, state);
    parts.push(fill(words[state.look], { where, head, block: state.block, tap: data.names[state.tap], numbers: list(numbers) }));
    return parts.join(" ");
  }

  return (state) => {
    input.image({ shape: [size, size, 3], values: pixels(state) });
    if (chosen(state) >= 0) input.outline([state.row / grid, state.column / grid, 1 / grid, 1 / grid]);
    const key = keyOf(state);
    canvases.ariaBusy = String(key !== answered);
    if (key !== answered) {
      if (!asked) ask(state);
      return sentence;
    }
    sentence = say(state);
    const top = results.reduce((most, { map }) => Math.max(most, ...(map || [0])), 0);
    shown.forEach((canvases, i) => {
      const { image, error: wrong, l1, map, colours } = results[i], look = canvases.at(-1);
      if (image) {
        const [drawn, error] = canvases;
        drawn.image({ shape: [size, size, 3], values: image });
        error.map(wrong, size, size, "cividis", 0, range);
        error.caption.textContent = fill(words.l1, { l1: l1.toFixed(3) });
      }
      if (colours) look.fill(grid, grid, (at) => colours.subarray(3 * at, 3 * at + 3));
      if (colours) look.legend.replaceChildren();
      if (map && state.look === "attention") look.map(map, grid, grid, "viridis", 0, top);
      if (map && state.look === "similarity") look.map(map, grid, grid, "signed", -1, 1);
      look.caption.textContent = words.looks[state.look];
      if (chosen(state) >= 0) look.outline([state.row / grid, state.column / grid, 1 / grid, 1 / grid]);
      for (const canvas of canvases) canvas.label(`${models[i].name}, ${canvas.caption.textContent}: ${sentence}`);
    });
    input.label(`${words.image}: ${sentence}`);
    return sentence;
  };
};

const BENCH = `
.repre-lite:has(.bench) { max-width: 1180px; }
.repre-lite .bench-whole { display: grid; grid-template-columns: minmax(0, 1fr); gap: 8px 24px; }
@media (min-width: 900px) { .repre-lite .bench-whole { grid-template-columns: minmax(0, 700px) minmax(300px, 1fr); } }
.repre-lite .canvases.bench { display: block; }
.repre-lite .bench section { margin: 0 0 14px; }
.repre-lite .bench h3 { font-size: 15px; font-weight: 600; line-height: 1.3; margin: 0 0 4px; display: flex; gap: 10px; align-items: baseline; flex-wrap: wrap; }
.repre-lite .bench h3 small, .repre-lite fieldset small { font-weight: 400; font-size: 13px; opacity: 0.75; }
.repre-lite .bench .row { display: grid; grid-template-columns: repeat(3, minmax(0, 224px)); gap: 10px; }
.repre-lite .bench .row p { grid-column: span 2; margin: 0; }
.repre-lite .bench figure { width: 100%; }
.repre-lite .bench .third { grid-column: 3; }
.repre-lite .bench canvas { border-radius: 4px; }
.repre-lite .bench-whole .controls { align-content: start; margin: 0; }
.repre-lite fieldset { border: 1px solid var(--line); border-radius: 6px; margin: 0; padding: 4px 10px 8px; display: flex;
  flex-wrap: wrap; gap: 6px 12px; align-items: center; min-width: 0; width: 100%; }
.repre-lite legend { font-size: 13px; padding: 0 4px; }
.repre-lite .tap { display: flex; gap: 6px 12px; width: 100%; align-items: center; }
.repre-lite .tap label { flex: 1; min-width: 0; }
.repre-lite .tap input[type=range] { flex: 1; min-width: 48px; width: auto; }
.repre-lite .thumbs { display: flex; gap: 4px; overflow-x: auto; padding: 3px; margin-bottom: 8px; }
.repre-lite .thumbs button { padding: 2px; line-height: 0; flex: 0 0 auto; }
.repre-lite .thumbs canvas { width: 48px; border-radius: 2px; }
.repre-lite .presets { display: flex; flex-wrap: wrap; gap: 6px; width: 100%; }
.repre-lite .thumbs button { border-radius: 5px; }
@media (max-width: 899px) and (min-height: 700px) { /* the image stays in sight while the sliders below it move */
  .repre-lite .bench.alone { position: sticky; top: 0; background: var(--paper); z-index: 1; }
  .repre-lite .bench.alone section:last-child { margin-bottom: 4px; }
}
.repre-lite .file { border: 1px solid var(--line); border-radius: 4px; padding: 2px 8px; cursor: pointer; position: relative; }
.repre-lite .file:focus-within { outline: 3px solid var(--mark); outline-offset: 2px; }
.repre-lite .file input { position: absolute; inset: 0; opacity: 0; width: 100%; cursor: pointer; }
`;
