// The encoder and the decoder in plain JavaScript, forward only: a timm ViT with taps, and the convolutional decoder. live.py
// packs their weights; images are (3, H, W) in [0, 1], maps and tokens are rows of channels, all of them Float32Array.

/** y = x W' + b. x (rows, inputs), W (outputs, inputs), b (outputs) or nothing -> y (rows, outputs). Four outputs at a time. */
function linear(x, rows, weight, bias) {
  const [outputs] = weight.shape, inputs = weight.values.length / outputs, w = weight.values;
  const y = new Float32Array(rows * outputs);
  for (let row = 0; row < rows; row++) {
    const from = row * inputs, to = row * outputs;
    let o = 0;
    for (; o + 3 < outputs; o += 4) {
      const w0 = o * inputs, w1 = w0 + inputs, w2 = w1 + inputs, w3 = w2 + inputs;
      let a = 0, b = 0, c = 0, d = 0;
      for (let i = 0; i < inputs; i++) {
        const v = x[from + i];
        a += v * w[w0 + i];
        b += v * w[w1 + i];
        c += v * w[w2 + i];
        d += v * w[w3 + i];
      }
      y[to + o] = a;
      y[to + o + 1] = b;
      y[to + o + 2] = c;
      y[to + o + 3] = d;
    }
    for (; o < outputs; o++) {
      let a = 0;
      for (let i = 0; i < inputs; i++) a += x[from + i] * w[o * inputs + i];
      y[to + o] = a;
    }
    if (bias) for (o = 0; o < outputs; o++) y[to + o] += bias.values[o];
  }
  return y;
}

/** Layer norm of every row; `at` holds weight and bias, or is nothing. */
function layerNorm(x, width, at, eps) {
  if (!at.weight) return x;
  const y = new Float32Array(x.length), { values: weight } = at.weight, { values: bias } = at.bias;
  for (let from = 0; from < x.length; from += width) {
    let mean = 0, square = 0;
    for (let i = 0; i < width; i++) mean += x[from + i];
    mean /= width;
    for (let i = 0; i < width; i++) square += (x[from + i] - mean) ** 2;
    const scale = 1 / Math.sqrt(square / width + eps);
    for (let i = 0; i < width; i++) y[from + i] = (x[from + i] - mean) * scale * weight[i] + bias[i];
  }
  return y;
}

/** GELU in place, with the error function of Abramowitz and Stegun, 7.1.26 (off by at most 1.5e-7). */
function gelu(x) {
  for (let i = 0; i < x.length; i++) {
    const z = Math.abs(x[i]) / Math.SQRT2, t = 1 / (1 + 0.3275911 * z);
    const tail = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
    const erf = 1 - tail * Math.exp(-z * z);
    x[i] *= 0.5 * (1 + (x[i] < 0 ? -erf : erf));
  }
  return x;
}

/** x += y, each row of y scaled by `gamma` (LayerScale) if there is one. */
function add(x, y, gamma) {
  const width = gamma ? gamma.values.length : 0;
  for (let i = 0; i < x.length; i++) x[i] += gamma ? y[i] * gamma.values[i % width] : y[i];
}

/** The patches of an image (3, H, W) as rows of 3 P P values, in the order of a convolution's weight. */
function patches(image, size, patch) {
  const grid = size / patch, rows = new Float32Array(image.length);
  let at = 0;
  for (let gy = 0; gy < grid; gy++)
    for (let gx = 0; gx < grid; gx++)
      for (let c = 0; c < 3; c++)
        for (let y = 0; y < patch; y++)
          for (let x = 0; x < patch; x++) rows[at++] = image[(c * size + gy * patch + y) * size + gx * patch + x];
  return rows;
}

/** The inverse for the decoder's head: rows of 3 P P values to an image (3, H, W), as PyTorch's pixel_shuffle does. */
const unpatch = (rows, size, patch) => {
  const grid = size / patch, image = new Float32Array(3 * size * size);
  let at = 0;
  for (let gy = 0; gy < grid; gy++)
    for (let gx = 0; gx < grid; gx++)
      for (let c = 0; c < 3; c++)
        for (let y = 0; y < patch; y++)
          for (let x = 0; x < patch; x++) image[(c * size + gy * patch + y) * size + gx * patch + x] = rows[at++];
  return image;
};

/** A 3x3 convolution with padding 1 and a ReLU on a map of grid x grid rows. */
function convRelu(map, grid, channels, at) {
  const columns = new Float32Array(grid * grid * channels * 9);
  for (let y = 0; y < grid; y++)
    for (let x = 0; x < grid; x++)
      for (let k = 0; k < 9; k++) {
        const sy = y + Math.floor(k / 3) - 1, sx = x + (k % 3) - 1;
        if (sy < 0 || sx < 0 || sy >= grid || sx >= grid) continue;
        const from = (sy * grid + sx) * channels, to = (y * grid + x) * channels * 9 + k;
        for (let c = 0; c < channels; c++) columns[to + c * 9] = map[from + c];
      }
  const out = linear(columns, grid * grid, at.weight, at.bias);
  for (let i = 0; i < out.length; i++) if (out[i] < 0) out[i] = 0;
  return out;
}

/** Two maps of the same grid side by side: rows of a's channels, then b's. */
function concatenate(a, wide, b, narrow) {
  const rows = a.length / wide, out = new Float32Array(a.length + b.length);
  for (let row = 0; row < rows; row++) {
    out.set(a.subarray(row * wide, (row + 1) * wide), row * (wide + narrow));
    out.set(b.subarray(row * narrow, (row + 1) * narrow), row * (wide + narrow) + wide);
  }
  return out;
}

/** Bytes in base64 as numbers of a type. */
const numbers = ({ dtype, data }) =>
  new { uint8: Uint8Array, float32: Float32Array }[dtype](Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0)).buffer);

/** A packed tensor as {shape, values}; small integers times the scale of their row. */
function tensor(packed) {
  const { shape, scales } = packed, stored = numbers(packed);
  if (!scales) return { shape, values: stored };
  const scale = numbers(scales), values = new Float32Array(stored.length), row = stored.length / scale.length;
  for (let i = 0; i < values.length; i++) values[i] = (stored[i] - 128) * scale[Math.floor(i / row)];
  return { shape, values };
}

/** `config` and `weights` as live.py packs them. */
class Model {
  constructor(config, weights) {
    Object.assign(this, config);
    this.weights = Object.fromEntries(Object.entries(weights).map(([name, packed]) => [name, tensor(packed)]));
    this.tokens = this.grid ** 2 + this.prefix; // prefix: class token and registers
  }

  /** Weight and bias of a layer. */
  at(name) {
    return { weight: this.weights[`${name}.weight`], bias: this.weights[`${name}.bias`] };
  }

  /** An image (3, H, W) in [0, 1] -> {pooled (C), taps: K maps (h w, C), attention: of each block (heads, T, T)}. */
  encode(image) {
    const { width, grid, prefix, tokens, eps } = this, normalised = new Float32Array(image.length), area = image.length / 3;
    for (let i = 0; i < image.length; i++) {
      const c = Math.floor(i / area);
      normalised[i] = (image[i] - this.mean[c]) / this.std[c];
    }
    const { weight, bias } = this.at("patch_embed.proj");
    const x = new Float32Array(tokens * width); // (T, C)
    x.set(linear(patches(normalised, this.size, this.patch), grid * grid, weight, bias), prefix * width);
    if (this.start) x.set(this.weights.start.values); // class token and registers, positions included
    for (let i = 0; i < grid * grid * width; i++) x[prefix * width + i] += this.weights.positions.values[i];
    let state = layerNorm(x, width, this.at("norm_pre"), eps);
    const taps = [], attention = [];
    for (let block = 0; block < this.depth; block++) {
      attention.push(this.block(state, `blocks.${block}`));
      if (this.taps.includes(block)) taps.push(state.slice(prefix * width));
    }
    state = layerNorm(state, width, this.at("norm"), eps);
    return { pooled: this.pool(state), taps, attention };
  }

  /** One block, in place; returns its attention (heads, T, T). */
  block(x, name) {
    const { width, heads, tokens, eps } = this, each = width / heads, scale = each ** -0.5;
    let y = layerNorm(x, width, this.at(`${name}.norm1`), eps);
    const qkv = linear(y, tokens, this.weights[`${name}.attn.qkv.weight`], this.weights[`${name}.attn.qkv.bias`]); // (T, 3 C)
    const shares = new Float32Array(heads * tokens * tokens), mixed = new Float32Array(tokens * width);
    for (let head = 0; head < heads; head++)
      for (let row = 0; row < tokens; row++) {
        const q = row * 3 * width + head * each, to = (head * tokens + row) * tokens;
        let highest = -Infinity, total = 0;
        for (let other = 0; other < tokens; other++) {
          const k = other * 3 * width + width + head * each;
          let dot = 0;
          for (let i = 0; i < each; i++) dot += qkv[q + i] * qkv[k + i];
          shares[to + other] = dot * scale;
          if (shares[to + other] > highest) highest = shares[to + other];
        }
        for (let other = 0; other < tokens; other++) total += shares[to + other] = Math.exp(shares[to + other] - highest);
        for (let other = 0; other < tokens; other++) {
          const share = (shares[to + other] /= total), v = other * 3 * width + 2 * width + head * each;
          for (let i = 0; i < each; i++) mixed[row * width + head * each + i] += share * qkv[v + i];
        }
      }
    let at = this.at(`${name}.attn.proj`);
    add(x, linear(mixed, tokens, at.weight, at.bias), this.weights[`${name}.ls1.gamma`]);
    y = layerNorm(x, width, this.at(`${name}.norm2`), eps);
    at = this.at(`${name}.mlp.fc1`);
    y = gelu(linear(y, tokens, at.weight, at.bias));
    at = this.at(`${name}.mlp.fc2`);
    add(x, linear(y, tokens, at.weight, at.bias), this.weights[`${name}.ls2.gamma`]);
    return shares;
  }

  /** What timm's classifier reads: the class token, or the mean over patches. */
  pool(state) {
    const { width, prefix } = this;
    if (this.pooling === "token") return state.slice(0, width);
    const mean = new Float32Array(width), first = prefix * width;
    for (let i = first; i < state.length; i++) mean[(i - first) % width] += state[i] / (state.length - first) * width;
    return layerNorm(mean, width, this.at("fc_norm"), this.eps);
  }

  /** K taps (h w, C), shallow to deep -> the reconstruction (3, H, W), linear, not clipped. */
  decode(taps) {
    const { grid, decoder } = this, rows = grid * grid;
    const levels = taps.slice(-decoder.read).map((tap, i) => {
      const { weight, bias } = this.at(`laterals.${i}`);
      return weight ? linear(tap, rows, weight, bias) : tap;
    });
    let deep = levels.pop(), channels = deep.length / rows;
    for (let block = 0; block < decoder.blocks; block++) {
      const shallow = levels.pop();
      if (shallow) {
        deep = concatenate(deep, channels, shallow, shallow.length / rows);
        channels = deep.length / rows;
      }
      for (let layer = 0; layer < decoder.layers; layer++) {
        deep = convRelu(deep, grid, channels, this.at(`fusion.${block}.${layer}`));
        channels = deep.length / rows;
      }
    }
    const { weight, bias } = this.at("head");
    return unpatch(linear(deep, rows, weight, bias), this.size, this.size / grid);
  }
}
