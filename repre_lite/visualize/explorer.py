"""All visuals of a run as tabs, each computed when its tab is first opened."""

from __future__ import annotations

import html
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..data.image_set import ImageSet
from ..data.views import Views
from ..evaluation import at_size
from ..hide import hidden_patches
from ..runs import CHECKPOINT, Run, load_run
from ..runtime.errors import UserError
from ..runtime.randomness import generator
from ..runtime.text import plain_text
from .attention import Attention
from .embedding import Embedding
from .inspector import Inspector
from .kit.extra import extra
from .kit.subject import tap_names
from .ladder import Ladder
from .levels import Levels
from .mixer import TapMixer
from .pair import ViewPair
from .scrubber import Scrubber
from .tug import TugOfWar

if TYPE_CHECKING:
    from . import Visual

BATCH = 32  # images besides the one looked at: for means, readouts and gradients


class Explorer:
    """`Explorer(run).widget()`: everything there is to see of a run, or its folder, on one image.

    `image`: uint8 (3, H, W), such as `subject.photograph` reads; None takes one of the run's own. `makers`: name of each
    tab -> what computes its visual; a run without decoder, snapshots or second loss has fewer tabs.
    """

    def __init__(self, run: Run | str | Path, image: Tensor | None = None) -> None:
        """Read the run; nothing is computed yet."""
        self.run = run if isinstance(run, Run) else load_run(run)
        self.image = image
        self._views = Views(self.run.recipe.views, self.run.recipe.seed)
        self._opened: dict[str, Visual] = {}
        self.makers = self._makers()

    def _makers(self) -> dict[str, Callable[[], Visual]]:
        run, encoder, decoder = self.run, self.run.encoder, self.run.decoder
        names = tap_names(encoder)
        makers: dict[str, Callable[[], Visual]] = {
            "attention": lambda: Attention.compute(encoder, self.seen[0][0], self.seen[1][0]),
            "patches": lambda: Inspector.of_run(run, self.images[0]),
        }
        if decoder is not None:
            makers["tap mixer"] = lambda: TapMixer.compute(decoder, self.taps, self.seen[0][0], names)
            makers["ladder"] = lambda: Ladder.compute(decoder, self.taps, self.seen[0], names)
        makers["levels"] = lambda: Levels.compute(encoder, *self.seen)
        if len(self._views.views) > 1:
            makers["view pair"] = lambda: ViewPair.compute(self._views, self.images[0], encoder.tap_grids[0])
        makers["embedding"] = lambda: Embedding.compute(run.evaluated, self.own, run.mean, run.std, count=400)
        if decoder is not None and not run.model.detached and run.recipe.framework != "none":
            makers["tug of war"] = self._tug_of_war
        if len(run.snapshots) > 1:
            makers["time"] = lambda: Scrubber.compute({run.folder.name: run}, self.seen[0][0])
        return makers

    def _tug_of_war(self) -> TugOfWar:
        if not (self.run.folder / CHECKPOINT).exists():
            raise UserError(
                f"{self.run.folder.name}: no {CHECKPOINT}, so the heads are untrained and their gradients would say nothing; "
                "open a run of your own"
            )
        views = self._views(self.images, 0, torch.arange(1 + BATCH))
        recipe, online = self.run.recipe, self.run.encoder
        grid = online.image_size // online.patch
        rows = torch.arange(1 + BATCH)
        hidden = hidden_patches(recipe.seed, 0, rows, recipe.hide, grid) if recipe.hide else None
        return TugOfWar.compute(self.run.model, views, self.run.metrics, hidden)

    def tab(self, name: str) -> Visual:
        """The visual of a tab, computed once. Raises UserError for a name that is not among `makers`."""
        if name not in self.makers:
            raise UserError(f"no tab {name!r} for this run; there are {', '.join(self.makers)}")
        if name not in self._opened:
            self._opened[name] = self.makers[name]()
        return self._opened[name]

    def describe(self) -> str:
        """What there is to see, in one sentence."""
        recipe = self.run.recipe
        return f"{self.run.folder.name}, {recipe.framework} with {recipe.arch}, as {', '.join(self.makers)}."

    def widget(self) -> Any:
        """The tabs; the first is open. A visual that this run cannot give says why."""
        widgets = extra("ipywidgets")
        names = list(self.makers)
        tabs = widgets.Tab([widgets.VBox() for _ in names], titles=names, selected_index=0)

        def show(*_: Any) -> None:
            box = tabs.children[tabs.selected_index]
            if not box.children:
                try:
                    box.children = (self.tab(names[tabs.selected_index]).widget(),)
                except UserError as error:
                    box.children = (widgets.HTML(html.escape(plain_text(str(error)))),)

        tabs.observe(show, names="selected_index")
        show()
        return tabs

    @cached_property
    def own(self) -> ImageSet:
        """The run's own images."""
        return self.run.images()

    @cached_property
    def images(self) -> Tensor:
        """uint8 (1 + BATCH, 3, H, W): the image looked at, then others of the run's own."""
        order = torch.randint(len(self.own), (1 + BATCH,), generator=generator(0, "explorer"))
        chosen = self.own.images[order]
        if self.image is not None:
            chosen[:1] = (255 * at_size(self.image[None], chosen.shape[-1])).round().to(torch.uint8)
        return chosen

    @cached_property
    def seen(self) -> tuple[Tensor, Tensor]:
        """`images` as the encoder sees them outside of training, in [0, 1], and normalised."""
        shown = at_size(self.images, self.run.recipe.image_size)
        return shown, self.run.model.normalise(shown)

    @cached_property
    def taps(self) -> tuple[Tensor, ...]:
        """K maps (1 + BATCH, C_i, h_i, w_i) of `seen`: one forward for mixer and ladder."""
        with torch.no_grad():
            taps: tuple[Tensor, ...] = self.run.encoder(self.seen[1]).taps
        return taps
