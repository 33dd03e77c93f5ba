"""What the encoders see and the decoders reconstruct, on the runs' own images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..data.image_set import ImageSet
from ..evaluation import at_size
from ..runtime.errors import UserError
from ..runtime.randomness import generator
from ..visualize.bench import Bench
from ..visualize.embedding import Embedding
from ..visualize.inspector import Inspector
from ..visualize.kit import palette
from ..visualize.kit.drawing import Figure, absolute_error, legend, shrink
from ..visualize.kit.extra import extra
from ..visualize.kit.live import why_not
from ..visualize.kit.subject import tap_names
from ..visualize.kit.viewer import page_script
from ..visualize.ladder import Ladder
from ..visualize.mixer import TapMixer
from ..visualize.reconstruction import Reconstructions
from .arms import Arm
from .pieces import image, svg, text

SHOWN = 6  # reconstructions of each arm
FITTED = 32  # images for the ladder's readouts and the mixer's means
MOST_PIXELS = 1_000_000  # bytes of all reconstructions before compression: more, and they are shrunk
MOST_RUNS, MOST_WEIGHTS = 3, 4_000_000  # on the bench
MOST_ATTENTION = 600_000  # numbers of attention: more, and only the mean over heads is kept, or nothing


def visual_sections(arms: list[Arm]) -> dict[str, str]:
    """Title -> section. The bench shows several runs, the other live visuals the first that has a decoder."""
    arm = next((arm for arm in arms if arm.runs[0].decoder is not None), arms[0])
    run = arm.runs[0]
    try:
        own = run.images()
    except UserError as error:
        return {"Images": _left_out(error)}
    chosen = torch.randperm(len(own), generator=generator(0, "report"))[:FITTED]
    images = own.images[chosen]  # uint8 (B, 3, H, W)
    whose = f"<p>Of the run {text(run.folder.name)}: {text(arm.name)}.</p>\n"
    sections, live = {"Bench": _or_reason(lambda: bench(arms).to_html(script=False))}, "Bench"
    if sections["Bench"].startswith("<p>"):  # the networks do not run in a page
        live = "Tap mixer"
    if run.decoder is not None:
        seen = at_size(images, run.recipe.image_size)
        with torch.no_grad():
            taps = run.encoder(run.model.normalise(seen)).taps
        names = tap_names(run.encoder)
        sections["Reconstructions"] = "\n".join(
            _reconstructions(each, images[:SHOWN], MOST_PIXELS // len(arms)) for each in arms if each.runs[0].decoder
        )
        if len(seen) > 1:
            ladder = Ladder.compute(run.decoder, taps, seen, names, shown=min(4, len(seen) // 2))
            sections["Decoder ladder"] = whose + ladder.to_html(script=False)
        if live == "Tap mixer":
            sections[live] = whose + TapMixer.compute(run.decoder, taps, seen[0], names).to_html(script=False)
    inspector = _or_reason(lambda: _inspector(Inspector.of_run(run, images[0])))
    sections["Patch inspector"] = whose + inspector + page_script()  # the script comes after the last live visual
    if len(own) >= 8:
        sections["Embedding"] = "\n".join(_embedding(arm, own) for arm in arms)
    return sections


def bench(arms: list[Arm]) -> Bench:
    """The bench with the first runs of the first arms that the page can run on the same images.

    Raises UserError if there is none, or if the weights are too many for a page.
    """
    first, reason = arms[0].runs[0].encoder, why_not(arms[0].runs[0].encoder, arms[0].runs[0].decoder)
    if reason is not None:
        raise UserError(reason)
    runs = [arm.runs[0] for arm in arms]
    like = [
        i
        for i, run in enumerate(runs)
        if (run.encoder.image_size, run.encoder.tap_grids) == (first.image_size, first.tap_grids)
        and why_not(run.encoder, run.decoder) is None
    ][:MOST_RUNS]
    weights = sum(parameter.numel() for i in like for parameter in runs[i].encoder.parameters())
    if weights > MOST_WEIGHTS:
        raise UserError(f"{weights / 1e6:.0f} million weights are too many for a page")
    return Bench.compute([runs[i] for i in like], [arms[i].name for i in like])


def _left_out(reason: object) -> str:
    return f"<p>Left out: {text(str(reason))}.</p>"


def _or_reason(make: Callable[[], str]) -> str:
    """What `make` returns, or the reason why it failed."""
    try:
        return make()
    except UserError as error:
        return _left_out(error)


def _inspector(inspector: Inspector) -> str:
    numbers, heads = sum(block.weights.size for block in inspector.blocks), inspector.blocks[0].heads
    if numbers / heads >= MOST_ATTENTION:
        return _left_out("with this number of patches the attention would make the page too large")
    return inspector.to_html(heads=numbers < MOST_ATTENTION, script=False)


def _reconstructions(arm: Arm, images: Tensor, limit: int) -> str:
    """Views made as in training, reconstructed by the arm's first run; and where its encoder looks."""
    shown = Reconstructions.compute(arm.runs[0], images)
    error = _coloured(absolute_error(shown.reconstructions, shown.views), "cividis", palette.ERROR_RANGE)
    stacks = shrink(limit, shown.views, shown.reconstructions, error)
    names, keys = (
        ["view", "reconstruction", "error"],
        f"The error is dark blue at 0 and yellow from {palette.ERROR_RANGE} on",
    )
    if shown.attention is not None:
        names.append("attention")
        stacks.append(_coloured(shown.attention, "viridis", shown.attention_top))
        keys += f", attention dark at 0 and yellow at {shown.attention_top:.0%}"
    strips = []
    for index, row in enumerate(zip(*stacks, strict=True)):
        made = "".join(image(array, f"{name} {index}") for name, array in zip(names, row, strict=True))
        caption = f"{', '.join(names)}: L1 {shown.l1[index]:.3f}"
        strips.append(f'<figure><div class="strip">{made}</div><figcaption>{caption}</figcaption></figure>')
    said = f"{shown.describe()} {keys}."
    return f'<h3>{text(arm.name)}</h3>\n<p>{text(said)}</p>\n<div class="strips">{"".join(strips)}</div>'


def _coloured(values: np.ndarray, colours: str, top: float) -> np.ndarray:
    """Maps (B, h, w) from 0 to `top` -> (B, h, w, 3) in the colours of matplotlib's map of that name."""
    return np.asarray(extra("matplotlib").colormaps[colours](values / top))[..., :3]


def _embedding(arm: Arm, own: ImageSet) -> str:
    """The maps of the arm's first run."""
    run = arm.runs[0]
    embedding = Embedding.compute(run.evaluated, own, run.mean, run.std)
    figures = []
    for name in embedding.maps:
        figure = Figure(3.6, 4, "constrained")
        handles = embedding.draw(figure.subplots(), name)
        look = {"ncols": 4, "fontsize": 8, "columnspacing": 1, "handletextpad": 0}
        legend(figure, handles, embedding.classes, loc="outside lower center", **look)
        figures.append(svg(figure, embedding.describe(name)))
    said = text(embedding.describe())
    return f'<h3>{text(arm.name)}</h3>\n<p>{said}</p>\n<div class="row">{"".join(figures)}</div>'
