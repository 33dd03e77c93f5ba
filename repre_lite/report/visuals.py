"""What the encoders see and the decoders reconstruct, on the runs' own images."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..data.image_set import ImageSet
from ..evaluation import at_size
from ..evaluation.diversity import MEASURES
from ..evaluation.results import DENSE
from ..runs import Run
from ..runtime.errors import UserError
from ..runtime.randomness import generator
from ..visualize import Visual
from ..visualize.bench import SNAPSHOT_BYTES, Bench, alike
from ..visualize.dense import DenseProbe
from ..visualize.embedding import Embedding
from ..visualize.inspector import Inspector
from ..visualize.kit import palette
from ..visualize.kit.drawing import Figure, absolute_error, legend, shrink, svg
from ..visualize.kit.extra import extra
from ..visualize.kit.live import why_not
from ..visualize.kit.subject import tap_names
from ..visualize.ladder import Ladder
from ..visualize.mixer import TapMixer
from ..visualize.reconstruction import Reconstructions
from ..visualize.similarity import PatchSimilarity
from .arms import Arm
from .document import Section
from .pieces import image, plot, table, text

SHOWN = 6  # reconstructions of each arm
LIKE = 16  # images whose patches are compared
FITTED = 32  # images for the ladder's readouts and the mixer's means
MOST_PIXELS = 1_000_000  # bytes of all reconstructions before compression: more, and they are shrunk
MOST_RUNS, MOST_WEIGHTS = 3, 4_000_000  # on the bench
INVITATION = (
    "Encoder and decoder run in this page. The decoder reconstructs an image from the taps: features that the encoder holds at "
    "several depths. Choose an image, open or paint your own; then leave a tap out, or take it from another image, and see "
    "what it carried."
)
MOST_ATTENTION = 600_000  # numbers of attention: more, and only the mean over heads is kept, or nothing


def visual_sections(arms: list[Arm]) -> list[Section]:
    """What can be looked at; the first section is open. The bench shows several runs, the other live visuals the first that
    has a decoder."""
    arm = next((arm for arm in arms if arm.runs[0].decoder is not None), arms[0])
    run = arm.runs[0]
    try:
        own = run.images()
    except UserError as error:
        return [Section("Bench", _left_out(error))]
    chosen = torch.randperm(len(own), generator=generator(0, "report"))[:FITTED]
    images = own.images[chosen]  # uint8 (B, 3, H, W)
    whose = f"<p>Of the run {text(run.folder.name)}: {text(arm.name)}.</p>\n"
    try:
        made = bench(arms).to_html(script=False) + left_off_the_bench(arms)
        sections = [Section("Bench", f'<p class="intro">{INVITATION}</p>\n{made}')]
    except UserError as error:
        sections = [Section("Bench", _left_out(error))]
    seen = at_size(images, run.recipe.image_size)
    patches = _or_reason(lambda: _similarity(arms, images[:LIKE])) + "".join(map(_by_tap, arms))
    dense = [(each, each.runs[0]) for each in arms if (each.runs[0].folder / DENSE).exists()]
    if run.decoder is not None:
        with torch.no_grad():
            taps = run.encoder(run.model.normalise(seen)).taps
        names = tap_names(run.encoder)
        if "repre-lite-visual" not in sections[0].content:  # the networks do not run in a page
            mixer = TapMixer.compute(run.decoder, taps, seen[0], names)
            sections = [Section("Tap mixer", sections[0].content + whose + mixer.to_html(script=False))]
        strips = [
            _reconstructions(each, images[:SHOWN], MOST_PIXELS // len(arms)) for each in arms if each.runs[0].decoder
        ]
        sections.append(
            Section(
                "Reconstructions", "\n".join(strips), f"{SHOWN} views, what the decoder makes of them, and its error"
            )
        )
        if len(seen) > 1:
            ladder = Ladder.compute(run.decoder, taps, seen, names, shown=min(4, len(seen) // 2))
            sections.append(
                Section(
                    "Decoder ladder",
                    whose + ladder.to_html(script=False),
                    "What each fusion block adds, from the deepest tap to the shallowest",
                )
            )
    sections.append(
        Section(
            "Patch similarity", patches, "How different the patches of an image are, at every tap and over training"
        )
    )
    if dense:
        made = "\n".join(f"<h3>{text(each.name)}</h3>\n{_or_reason(partial(_dense, one))}" for each, one in dense)
        sections.append(
            Section(
                "Dense predictions", made, "What each patch predicts: classes beside the truth, and accuracy by depth"
            )
        )
    inspector = _or_reason(lambda: _inspector(Inspector.of_run(run, images[0])))
    sections.append(
        Section(
            "Patch inspector",
            whose + inspector,
            "One patch: what it attends to, what attends to it, and what resembles it",
        )
    )
    if len(own) >= 8:
        maps = "\n".join(_embedding(arm, own) for arm in arms)
        sections.append(Section("Embedding", maps, "Images as points; similar features lie close together"))
    return sections


def bench(arms: list[Arm], snapshot_bytes: int = SNAPSHOT_BYTES) -> Bench:
    """The bench with the first runs of the first arms that the page can run on the same images.

    Raises UserError with the reason of the first arm if there is none.
    """
    shown, reasons = _fitting(arms)
    if not shown:
        raise UserError(next(iter(reasons.values())))
    return Bench.compute([arm.runs[0] for arm in shown], [arm.short for arm in shown], snapshot_bytes=snapshot_bytes)


def left_off_the_bench(arms: list[Arm]) -> str:
    """Which arms the bench does not show, and why; nothing if it shows all or none."""
    shown, reasons = _fitting(arms)
    if not shown or not reasons:
        return ""
    return f"<p>Not on the bench: {text('; '.join(f'{name}, {why}' for name, why in reasons.items()))}.</p>"


def _fitting(arms: list[Arm]) -> tuple[list[Arm], dict[str, str]]:
    """The arms that share a bench, and the reasons of the others by name."""
    shown, reasons, weights = list[Arm](), dict[str, str](), 0
    for arm in arms:
        run = arm.runs[0]
        own = sum(parameter.numel() for parameter in run.encoder.parameters())
        reason = why_not(run.encoder, run.decoder)
        if reason is None and own > MOST_WEIGHTS:
            reason = f"{own / 1e6:.1f} million weights are too many for a page; choose a smaller encoder"
        elif reason is None and shown and not alike(run.encoder, shown[0].runs[0].encoder):
            reason = f"its encoder, image size or taps differ from {shown[0].short}'s"
        elif reason is None and (len(shown) == MOST_RUNS or weights + own > MOST_WEIGHTS):
            reason = "there is no room for more networks in a page"
        if reason is None:
            shown.append(arm)
            weights += own
        else:
            reasons[arm.short] = reason
    return shown, reasons


def _left_out(reason: object) -> str:
    return f"<p>Not shown: {text(str(reason))}.</p>"


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


def _plot(visual: Visual, name: str) -> str:
    """A visual in words and drawn; on a narrow page the figure scrolls by itself."""
    said = visual.describe()
    drawn = svg(visual.figure(), said)
    return f"<p>{text(said)}</p>\n{plot(drawn, name)}"


def _similarity(arms: list[Arm], images: Tensor) -> str:
    """The first runs whose images have the size and whose taps have the places of the first run's; on uint8 `images`."""

    def kind(arm: Arm) -> object:
        encoder = arm.runs[0].evaluated
        return encoder.image_size, tap_names(encoder), encoder.tap_grids

    like = [arm for arm in arms if kind(arm) == kind(arms[0])][:MOST_RUNS]
    seen = at_size(images, like[0].runs[0].recipe.image_size)
    return _plot(PatchSimilarity.compute({arm.short: arm.runs[0] for arm in like}, seen), "Patch similarity")


def _by_tap(arm: Arm) -> str:
    """What `evaluate` measured of the taps of an arm's first run, as a table; nothing if it did not."""
    summary = arm.runs[0].summary
    found = [
        (suffix, summary[f"diversity{suffix}"]) for suffix in ("", "_untrained") if f"diversity{suffix}" in summary
    ]
    rows = [
        [f"{what}{', untrained' * bool(suffix)}", *(f"{value:.3f}" for value in values[name])]
        for name, what in MEASURES.items()
        for suffix, values in found
    ]
    names = tap_names(arm.runs[0].evaluated)
    return table(f"By tap: {arm.name}", ["measure", *names], rows) if rows else ""


def _dense(run: Run) -> str:
    shown = DenseProbe.of_run(run)
    return _plot(shown, "Dense predictions")


def _reconstructions(arm: Arm, images: Tensor, limit: int) -> str:
    """Views made as in training, reconstructed by the arm's first run; and where its encoder looks."""
    shown = Reconstructions.compute(arm.runs[0], images)
    error = _coloured(absolute_error(shown.reconstructions, shown.views), "cividis", palette.ERROR_RANGE)
    stacks = shrink(limit, shown.views, shown.reconstructions, error)
    names, keys = (
        ["view", "reconstruction", "error"],
        f"The error is dark blue at 0 and yellow at {palette.ERROR_RANGE} and above",
    )
    if shown.attention is not None:
        names.append("attention")
        stacks.append(_coloured(shown.attention, "viridis", shown.attention_top))
        keys += f", attention dark at 0 and yellow at {100 * shown.attention_top:.2g} %"
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
