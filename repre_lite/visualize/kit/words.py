"""The wording of the bench and of curves, in one place for Python and the browser. Braces are filled with the state and its
numbers."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Context
from typing import Any

BENCH: dict[str, Any] = {
    "images": "images of the run",
    "source": "your image",
    "file": "open a file …",
    "photograph": "take a photograph …",
    "paint": "paint",
    "ink": "colour to paint with",
    "unreadable": "The browser cannot read this file as an image.",
    "broken": "The model stopped. Reload the page.",
    "taps": "taps that the decoder reads",
    "swap": "from the other",
    "presets": "choose taps",
    "all": "all taps",
    "only": "only {tap}",
    "alone": "no decoder",
    "other": "other image",
    "look": "where it looks",
    "show": "show",
    "looks": {"attention": "attention", "similarity": "similarity of patches", "colours": "features as colours"},
    "block": "block",
    "head": "head",
    "tap": "tap",
    "time": "training step",
    "step": "step",
    "at": "step {step}",
    "image": "image",
    "hint": "Click to choose a patch, drop an image, or paint.",
    "reconstruction": "reconstruction",
    "error": "error",
    "l1": "error {l1}",
    "note": "k-NN {knn_top1:.1%}",
    "starting": "The model is starting.",
    "which": "Image: {image}.",
    "mine": "Your own image; it stays in this page.",
    "from": "Reconstructed from {taps}.",
    "swapped": "Taken from {other}: {taps}.",
    "out": "Knocked out: {taps}.",
    "errors": "Mean absolute error: {errors}.",
    "token": "class token",
    "place": "patch in row {row}, column {column}",
    "mean": "mean over heads",
    "one": "head {head}",
    "attention": "Attention of the {where} in block {block}, {head}; most on one patch: {numbers}.",
    "similarity": "Cosine of the {where} with the other patches at {tap}, on average: {numbers}.",
    "colours": "Features at {tap}, their three principal components as red, green and blue: {numbers}.",
}

CURVES: dict[str, str] = {
    "step": "step",
    "smooth": "smoothing",
    "hint": "Point at a curve, or use the arrow keys, to read its values.",
    "smoothed": "smoothed {value}",
    "value": "{name} {value}",
    "said": "{title} after step {step}: {values}.",
}


def short(value: float) -> str:
    """A number with three digits, as `short` in canvas.js writes it."""
    if 0 < abs(value) < 1e-6:
        return f"{value:.3g}".replace("e-0", "e-")
    rounded = Context(prec=3, rounding=ROUND_HALF_UP).create_decimal_from_float(value)
    return f"{rounded.normalize() + 0:f}"


def percent(share: float) -> str:
    """A share in per cent without the sign: whole, or one digit if it is below one, as `percent` in canvas.js writes it."""
    value = 100 * float(share)
    return f"{value:.0f}" if value >= 0.95 or value == 0 else f"{value:.1g}"
