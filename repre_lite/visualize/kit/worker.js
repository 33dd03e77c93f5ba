// What runs beside the page: it follows model.js in one script, holds the models, and answers the newest request.

/** `models`: for each {steps, stages: [{config, weights}], means, axes}, all of JSON; a stage is the moment after a step. */
let held = [];

/** Encoded images by model, stage and key, the few that the page is about to ask for again: at most so much attention. */
const MOST = 5e7;
const seen = new Map();

function encoded(index, stage, key, image) {
  const name = `${index} ${stage} ${key}`;
  if (!seen.has(name)) {
    const made = held[index].stages[stage].encode(image), size = made.attention.reduce((sum, shares) => sum + shares.length, 0);
    while (seen.size > Math.max(2, Math.min(24, MOST / size))) seen.delete(seen.keys().next().value);
    seen.set(name, made);
  }
  return seen.get(name);
}

/** Each tap at its weight, 0 being the mean over the data set; from the other image where `swaps` says so. The deepest
 *  taps are those that are weighed. */
const mixed = (means, own, other, weights, swaps) =>
  own.map((tap, i) => {
    const at = i - own.length + weights.length, weight = at < 0 ? 1 : weights[at];
    const mean = numbers(means[i]), from = swaps[at] ? other[i] : tap;
    return from.map((value, n) => mean[n % mean.length] + weight * (value - mean[n % mean.length]));
  });

/** Attention of a token to every patch: of one head, or the mean over heads (-1). */
function attentionOf({ tokens, prefix, heads }, shares, head, token) {
  const map = new Float32Array(tokens - prefix), chosen = head < 0 ? [...Array(heads).keys()] : [head];
  for (const one of chosen)
    for (let i = 0; i < map.length; i++) map[i] += shares[(one * tokens + token) * tokens + prefix + i] / chosen.length;
  return map;
}

/** Cosine of one patch's feature with that of every patch. */
function similarityOf(tap, width, patch) {
  const count = tap.length / width, dots = new Float32Array(count), norms = new Float32Array(count);
  for (let i = 0; i < count; i++)
    for (let c = 0; c < width; c++) {
      dots[i] += tap[i * width + c] * tap[patch * width + c];
      norms[i] += tap[i * width + c] ** 2;
    }
  return dots.map((dot, i) => dot / Math.max(1e-12, Math.sqrt(norms[i] * norms[patch])));
}

/** A tap's principal components as red, green and blue, 0 to 255. */
function coloursOf(tap, { mean, axes, low, high }) {
  const [m, a, l, h] = [mean, axes, low, high].map(numbers), width = m.length, count = tap.length / width;
  const made = new Uint8ClampedArray(3 * count);
  for (let i = 0; i < count; i++)
    for (let k = 0; k < 3; k++) {
      let dot = 0;
      for (let c = 0; c < width; c++) dot += (tap[i * width + c] - m[c]) * a[k * width + c];
      made[3 * i + k] = (255 * (dot - l[k])) / (h[k] - l[k]);
    }
  return made;
}

/** Everything one model shows for a request. */
function answer(index, request) {
  const { steps, stages, means, axes } = held[index], last = steps.findLastIndex((step) => step <= request.step);
  const stage = Math.max(0, last), model = stages[stage];
  const own = encoded(index, stage, request.key, request.image), { size, prefix, grid } = model;
  const token = request.patch < 0 ? 0 : prefix + request.patch, patch = Math.max(0, request.patch), found = {};
  if (model.decoder) {
    const other = request.swaps.some(Boolean) ? encoded(index, stage, request.otherKey, request.other) : own;
    const drawn = model.decode(mixed(means, own.taps, other.taps, request.weights, request.swaps)), area = size * size;
    found.image = new Uint8ClampedArray(3 * area);
    found.error = new Float32Array(area);
    for (let i = 0; i < area; i++)
      for (let c = 0; c < 3; c++) {
        found.image[3 * i + c] = 255 * drawn[c * area + i];
        found.error[i] += Math.abs(drawn[c * area + i] - request.image[c * area + i]) / 3;
      }
    found.l1 = found.error.reduce((sum, value) => sum + value, 0) / area;
  }
  const tap = own.taps[request.tap];
  if (request.look === "attention") found.map = attentionOf(model, own.attention[request.block], request.head, token);
  if (request.look === "similarity") found.map = similarityOf(tap, tap.length / grid ** 2, patch);
  if (request.look === "colours") found.colours = coloursOf(tap, axes[request.tap]);
  return found;
}

onmessage = ({ data }) => {
  if (data.models) {
    held = data.models.map((text) => JSON.parse(text));
    for (const one of held) one.stages = one.stages.map(({ config, weights }) => new Model(config, weights));
    return;
  }
  const began = performance.now(), results = held.map((_, index) => answer(index, data));
  postMessage({ id: data.id, results, milliseconds: performance.now() - began });
};
