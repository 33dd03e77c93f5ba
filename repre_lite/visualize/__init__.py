"""Visuals: what an encoder sees and a decoder reconstructs, computed once, then drawn, described and explored.

`rl.visualize.<TAB>` lists them; each is imported when first used. `kit/` holds the parts they share, `lessons/` the
visuals that only one lesson uses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

from ..runtime.lazy import lazy

_HOME = {
    "Alike": "lessons.alike",
    "Attention": "attention",
    "Balance": "lessons.balance",
    "Bench": "bench",
    "Cost": "lessons.cost",
    "Curves": "curves",
    "DenseProbe": "dense",
    "Embedding": "embedding",
    "Explorer": "explorer",
    "Figure4": "figure4",
    "Inspector": "inspector",
    "Ladder": "ladder",
    "Levels": "levels",
    "Luck": "lessons.luck",
    "Memory": "lessons.memory",
    "PatchSimilarity": "similarity",
    "Reconstructions": "reconstruction",
    "Scrubber": "scrubber",
    "Similarity": "lessons.similarity",
    "TapMixer": "mixer",
    "Truth": "truth",
    "TugOfWar": "tug",
    "ViewPair": "pair",
}
__all__ = ["Page", "Visual", *_HOME]


@runtime_checkable
class Visual(Protocol):
    """What every visual offers. It is a frozen dataclass of arrays, so it can be built and checked by hand.

    `figure` and `describe` take the same arguments, all of them optional, and no network runs in them, except the
    decoder in `TapMixer` and the whole model in `Bench`: without arguments they show the whole, with arguments one selection of it. `widget` moves through the selections.
    """

    @classmethod
    def compute(cls, *args: Any, **options: Any) -> Self:
        """Run the networks, once."""
        ...

    def figure(self, *args: Any, **selection: Any) -> Any:
        """A `kit.drawing.Figure`, which is a matplotlib figure: a notebook shows it, `savefig` saves it."""
        ...

    def describe(self, *args: Any, **selection: Any) -> str:
        """The figure in one sentence with its numbers: what a screen reader gets, and what a test reads."""
        ...

    def widget(self) -> Any:
        """Controls over all selections for a notebook; needs ipywidgets or anywidget."""
        ...


@runtime_checkable
class Page(Visual, Protocol):
    """A visual that can also be explored without a kernel; not all can."""

    def to_html(self, *args: Any, **options: Any) -> str:
        """A fragment of a page that is live from disk, without network. `script=False` leaves the script out, of which a
        page with several visuals needs one (`kit.viewer.page_script`)."""
        ...


if TYPE_CHECKING:
    from .attention import Attention
    from .bench import Bench
    from .curves import Curves
    from .dense import DenseProbe
    from .embedding import Embedding
    from .explorer import Explorer as Explorer
    from .figure4 import Figure4
    from .inspector import Inspector
    from .ladder import Ladder
    from .lessons.alike import Alike
    from .lessons.balance import Balance
    from .lessons.cost import Cost
    from .lessons.luck import Luck
    from .lessons.memory import Memory
    from .lessons.similarity import Similarity
    from .levels import Levels
    from .mixer import TapMixer
    from .pair import ViewPair
    from .reconstruction import Reconstructions
    from .scrubber import Scrubber
    from .similarity import PatchSimilarity
    from .truth import Truth
    from .tug import TugOfWar

    _pages: tuple[type[Page], ...] = (Attention, Bench, Curves, Inspector, Ladder, TapMixer)
    _visuals: tuple[type[Visual], ...] = (
        *_pages, Alike, Balance, Cost, DenseProbe, Embedding, Figure4, Levels, Luck, Memory, PatchSimilarity, Reconstructions,
        Scrubber, Similarity, Truth, TugOfWar, ViewPair,
    )  # fmt: skip


__getattr__, __dir__ = lazy(__name__, _HOME, own=("Page", "Visual"))
