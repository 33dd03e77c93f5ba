"""The model card of an exported encoder: what it is, how it was trained, how to load it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import timm
import torch

from .. import __version__
from ..data.naming import named
from ..recipes import identity
from ..runs import RECIPE, read_json
from ..runtime.text import plain_text

if TYPE_CHECKING:
    from .source import EncoderSource

RESULTS = {
    "knn_top1": "k-NN top-1",
    "knn_top1_untrained": "k-NN top-1, same encoder untrained",
    "linear_top1": "linear probe top-1",
    "linear_top1_untrained": "linear probe top-1, same encoder untrained",
}
REPRE = "[RePre](https://arxiv.org/abs/2201.06857)"
USAGE = """```python
import timm
import torch
from PIL import Image

model = timm.create_model("local-dir:{name}", pretrained=True).eval()  # from a hub: "hf-hub:USER/{name}"
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
image = Image.open("image.png").convert("RGB")
with torch.no_grad():
    features = model(transform(image).unsqueeze(0))  # (1, {width})
```"""


def model_card(source: EncoderSource, name: str, summary: dict[str, Any]) -> str:
    """README.md of a model folder called `name`: front matter as hubs read it, then Markdown.

    `summary` is that of the run; its accuracies are shown if it has any.
    """
    encoder, recipe = source.encoder, source.recipe
    said = source.description.get("framework")  # of a supervised encoder the recipe is that of its rivals
    framework = said if said == "supervised" or recipe is None else recipe.framework
    reconstruction = recipe.reconstruction if recipe is not None else source.description.get("reconstruction", "none")
    branch = "" if reconstruction in ("none", "detached") else f" with the pixel-reconstruction branch of {REPRE}"
    tags = ["image-feature-extraction", "timm"]
    if framework is not None:
        tags += ["repre-lite", "supervised" if framework == "supervised" else "self-supervised-learning"]
        tags += [framework.replace("_", "-")] * (framework not in ("none", "supervised"))
    size, count = encoder.image_size, sum(parameter.numel() for parameter in encoder.backbone.parameters())
    facts = {
        "architecture": f"`{encoder.timm_name}` with `{json.dumps(encoder.timm_args)}`",
        "parameters": f"{count / 1e6:.2f} million",
        "input": f"3 x {size} x {size}, RGB, mean {_numbers(source.mean)}, standard deviation {_numbers(source.std)}",
        "output": f"{encoder.width} features",
    }
    held = read_json(source.run / RECIPE) if source.run is not None else {}
    by = f"repre-lite {held.get('versions', {}).get('repre_lite', '')}".rstrip()
    how = "pixel reconstruction alone" if framework == "none" else f"`{framework}`{branch}"
    learned = {
        None: "exported by repre-lite, which does not know who trained it, on what, and under which licence",
        "supervised": f"trained with labels by {by}, as a control",
    }.get(framework, f"pre-trained without labels by {by}: {how}")
    parts = [
        "---",
        "library_name: timm",
        *["license: mit"] * (framework is not None),
        "pipeline_tag: image-feature-extraction",
        "tags:",
        *(f"- {tag}" for tag in tags),
        "---",
        f"# {name}",
        "",
        f"An image encoder, {learned}. It has no classifier; its "
        "output is a feature vector for k-NN, a linear probe or fine-tuning.",
        "",
        *_table("model", facts),
    ]
    if recipe is not None:
        steps = summary.get("steps") or recipe.steps
        most = f"at most {recipe.train_images:,}" if recipe.train_images else "all"
        images = f"{held['image_count']:,}" if "image_count" in held else most
        training = {
            "framework": f"`{framework}`",
            "reconstruction": f"`{reconstruction}`",
            "images": f"`{named(recipe.scale, held.get('origin'))}`, {images}",
            "length": f"{steps} steps" if steps else f"{recipe.epochs} epochs",
            "batch size": str(recipe.batch_size),
            "seed": str(recipe.seed),
        }
        parts += [
            *_table("training", training),
            "<details><summary>The whole recipe</summary>",
            "",
            "```json",
            json.dumps(identity(recipe), indent=2),
            "```",
            "",
            "</details>",
            "",
        ]
    known = {label: f"{100 * summary[key]:.1f} %" for key, label in RESULTS.items() if summary.get(key) is not None}
    if known:
        where = summary.get("evaluated_on")
        parts += _table("result", ({"images": plain_text(where)} if where else {}) | known)
    parts += [
        "## How to load it",
        "",
        USAGE.format(name=name, width=encoder.width),
        "",
        f"Exported with repre-lite {__version__}, torch {torch.__version__} and timm {timm.__version__}.",
        "",
        "## Licence",
        "",
        "The code of repre-lite is under the MIT licence. It does not determine the licence of these weights, which may "
        "depend on the training images: change `license` above if they require another.",
        "",
    ]
    return "\n".join(parts)


def _numbers(values: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{value:.4f}" for value in values) + ")"


def _table(head: str, rows: dict[str, str]) -> list[str]:
    return [f"| {head} | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items()), ""]
