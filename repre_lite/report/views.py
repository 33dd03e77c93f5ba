"""What the runs see and draw, on pictures of their own."""

from __future__ import annotations

import html

import numpy as np
import torch
from torch import Tensor

from ..data.image_set import ImageSet
from ..encoder import is_hierarchical
from ..evaluation import at_size
from ..runtime.errors import UserError
from ..runtime.randomness import generator
from ..visualize.embedding import Embedding
from ..visualize.inspector import Inspector
from ..visualize.kit.panel import shrink
from ..visualize.kit.viewer import page_script
from ..visualize.ladder import Ladder
from ..visualize.mixer import TapMixer
from ..visualize.reconstruction import ERROR_RANGE, Reconstructions
from .arms import Arm
from .pieces import image, svg

SHOWN = 6  # reconstructions of each arm
FITTED = 32  # pictures that the ladder's readouts are fitted on and the mixer's means are taken over
MOST_PIXELS = 1_000_000  # bytes of all reconstructions before compression: more, and they are shrunk
MOST_ATTENTION = 600_000  # numbers of attention: more, and only the mean over heads travels, or nothing


def view_sections(arms: list[Arm]) -> dict[str, str]:
    """Name -> section. The live views are those of the first run that has a decoder."""
    arm = next((arm for arm in arms if arm.runs[0].decoder is not None), arms[0])
    run = arm.runs[0]
    try:
        pictures = run.images()
    except UserError as error:
        return {"Pictures": f"<p>Left out, since the run's own are not to be had here: {html.escape(str(error))}</p>"}
    chosen = torch.randperm(len(pictures), generator=generator(0, "report"))[:FITTED]
    images = pictures.images[chosen]  # uint8 (B, 3, H, W)
    views = at_size(images, run.recipe.image_size)
    normalised = run.model.normalise(views)
    whose = f"<p>Of the run {html.escape(run.folder.name)}: {html.escape(arm.name)}.</p>\n"
    sections: dict[str, str] = {}
    if run.decoder is not None:
        with torch.no_grad():
            taps = run.encoder(normalised).taps
        level = "stage" if is_hierarchical(run.encoder.backbone) else "block"
        names = [f"{level} {index}" for index in run.encoder.tap_indices]
        ladder = Ladder.compute(run.decoder, taps, views, names, shown=min(4, len(views) // 2))
        sections["Reconstructions"] = "\n".join(
            _reconstructions(each, images[:SHOWN], MOST_PIXELS // len(arms)) for each in arms if each.runs[0].decoder
        )
        sections["Decoder ladder"] = whose + ladder.to_html(script=False)
        sections["Tap mixer"] = whose + TapMixer.compute(run.decoder, taps, views[0], names).to_html(script=False)
    inspector = Inspector.of_run(run, images[0])
    numbers, heads = sum(block.weights.size for block in inspector.blocks), inspector.blocks[0].heads
    live = "<p>Left out: the attention of so many patches would make a heavy page.</p>"
    if numbers / heads < MOST_ATTENTION:
        live = inspector.to_html(heads=numbers < MOST_ATTENTION, script=False)
    sections["Patch inspector"] = whose + live + page_script()  # the script comes after the last live view
    if len(pictures) >= 8:
        sections["Embedding"] = "\n".join(_embedding(arm, pictures) for arm in arms)
    return sections


def _reconstructions(arm: Arm, images: Tensor, limit: int) -> str:
    """Views made as in training and redrawn by the arm's first run."""
    from matplotlib import colormaps

    shown = Reconstructions.compute(arm.runs[0], images)
    error = colormaps["cividis"](np.abs(shown.pictures - shown.views).mean(-1) / ERROR_RANGE)[..., :3]
    strips = []
    for index, three in enumerate(zip(*shrink(limit, shown.views, shown.pictures, error), strict=True)):
        names = (f"{name} {index}" for name in ("view", "redrawn", "error"))
        row = "".join(image(array, name) for array, name in zip(three, names, strict=True))
        told = f"view, redrawn, error: L1 {shown.l1[index]:.3f}"
        strips.append(f'<figure><div class="strip">{row}</div><figcaption>{told}</figcaption></figure>')
    said = f"{shown.describe()} The error is dark blue at 0 and yellow from {ERROR_RANGE} on."
    return f'<h3>{html.escape(arm.name)}</h3>\n<p>{said}</p>\n<div class="strips">{"".join(strips)}</div>'


def _embedding(arm: Arm, pictures: ImageSet) -> str:
    """The maps of the arm's first run."""
    from matplotlib import pyplot as plt

    run = arm.runs[0]
    embedding = Embedding.compute(run.evaluated, pictures, run.mean, run.std)
    figures = []
    for name in embedding.maps:
        figure, axis = plt.subplots(figsize=(3.6, 4), layout="constrained")
        embedding.draw(axis, name)
        handles, classes = axis.get_legend_handles_labels()
        figure.legend(handles, classes, loc="outside lower center", ncols=4, fontsize=8, frameon=False,
                      columnspacing=1, handletextpad=0)  # fmt: skip
        figures.append(svg(figure, embedding.describe(name)))
    said = html.escape(embedding.describe())
    return f'<h3>{html.escape(arm.name)}</h3>\n<p>{said}</p>\n<div class="row">{"".join(figures)}</div>'
