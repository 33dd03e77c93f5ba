"""The decoder ladder: the picture after each fusion block, from deep to shallow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..decoder import ReconstructionDecoder
from ..runtime.errors import UserError
from .kit.panel import shrink, strip
from .kit.readout import Readout
from .kit.viewer import pack_picture, to_html, viewer
from .reconstruction import ERROR_RANGE

PAGE_BYTES = 1_500_000  # what the pictures of a page may take


@dataclass(frozen=True)
class Ladder:
    """`views` (S, H, W, 3) in [0, 1] and, for each, `pictures` (S, R, H, W, 3) of the R rungs, linear, not clipped; `names`
    of the rungs; `fitted`, the number of pictures the readouts were fitted on."""

    views: np.ndarray
    pictures: np.ndarray
    names: tuple[str, ...]
    fitted: int

    @classmethod
    @torch.no_grad()
    def compute(
        cls,
        decoder: ReconstructionDecoder,
        taps: Sequence[Tensor],
        views: Tensor,
        names: Sequence[str] = (),
        shown: int = 4,
    ) -> Ladder:
        """`taps`: K maps (B, C_i, h_i, w_i) of `views` (B, 3, H, W) in [0, 1]; the first `shown` pictures are shown.

        A rung is the map after a fusion block, so R = K - 1. Only the last map is made for the decoder's head, and is drawn
        by it: the last rung is the decoder's output. The others are drawn by a linear readout of the head's form, fitted
        in closed form (least squares) on the B - `shown` pictures that are not shown: what of the pixels can be read
        from that map linearly. Raises UserError without pictures to fit on.
        """
        if len(views) <= shown:
            raise UserError(f"{len(views)} pictures of which {shown} are shown: give some more to fit the readouts on")
        decoder.eval()
        names = tuple(names) or tuple(f"tap {i + 1}" for i in range(len(taps)))
        maps = decoder.stages(taps)
        rungs = [Readout.fit(each[shown:], views[shown:]).draw(each[:shown]) for each in maps[:-1]]
        rungs.append(decoder.draw(maps[-1][:shown]))
        pictures = torch.stack(rungs, dim=1).permute(0, 1, 3, 4, 2).cpu().numpy()  # (S, R, H, W, 3)
        if decoder.mode == "multi":
            rung_names = (f"{names[-1]} + {names[-2]}", *(f"+ {name}" for name in names[-3::-1]))
        else:  # nothing is added to the deepest tap
            rung_names = tuple(f"fusion block {i + 1}" for i in range(len(maps)))
        return cls(views[:shown].permute(0, 2, 3, 1).cpu().numpy(), pictures, rung_names, len(views) - shown)

    @property
    def l1(self) -> np.ndarray:
        """Mean absolute error of each rung, (S, R)."""
        return np.abs(self.pictures - self.views[:, None]).mean((2, 3, 4))

    @property
    def psnr(self) -> np.ndarray:
        """Peak signal-to-noise ratio in dB of each rung, clipped to [0, 1], (S, R)."""
        return -10 * np.log10(np.square(self.pictures.clip(0, 1) - self.views[:, None]).mean((2, 3, 4)))

    def figure(self, picture: int = 0) -> Any:
        """One picture: the view, then every rung above its error map (fixed range), with L1 and PSNR."""
        from matplotlib import pyplot as plt

        rungs = len(self.names)
        figure, axes = plt.subplots(2, rungs + 1, figsize=(1.6 * (rungs + 1) + 0.7, 3.9), layout="compressed")
        strip(axes[0][0], self.views[picture], "view")
        axes[1][0].axis("off")
        for rung, name in enumerate(self.names):
            drawn = self.pictures[picture, rung].clip(0, 1)
            strip(axes[0][rung + 1], drawn, name)
            error = np.abs(drawn - self.views[picture]).mean(-1)
            shown = strip(axes[1][rung + 1], error, cmap="cividis", vmin=0, vmax=ERROR_RANGE)
            axes[1][rung + 1].set_xlabel(
                f"L1 {self.l1[picture, rung]:.3f}\n{self.psnr[picture, rung]:.1f} dB", fontsize=9
            )
            by = "decoder's head" if rung == rungs - 1 else "linear readout"
            axes[0][rung + 1].set_xlabel(by, fontsize=8)
        axes[1][1].set_ylabel("error", fontsize=10)
        figure.colorbar(shown, ax=axes[1], fraction=0.02, label="|error|")
        plt.close(figure)
        return figure

    def describe(self, picture: int = 0, rung: int | None = None) -> str:
        """The ladder of one picture, or one rung of it, in one sentence."""
        if rung is None:
            errors = ", ".join(f"{name} {error:.3f}" for name, error in zip(self.names, self.l1[picture], strict=True))
            return (
                f"Picture {picture} from deep to shallow, mean absolute error: {errors}; the last is drawn by the "
                f"decoder's head, the others by linear readouts fitted on {self.fitted} other pictures."
            )
        by = "the decoder's own head" if rung == len(self.names) - 1 else f"a readout fitted on {self.fitted} others"
        return (
            f"Picture {picture}, rung {rung + 1} of {len(self.names)}, {self.names[rung]}, drawn by {by}: mean absolute "
            f"error {self.l1[picture, rung]:.3f}, {self.psnr[picture, rung]:.1f} dB."
        )

    def widget(self) -> Any:
        """Sliders over rungs and pictures."""
        return viewer("ladder", self._data(), self._state, self.describe)

    def to_html(self, script: bool = True) -> str:
        """The same, live without kernel or network."""
        return to_html("ladder", self._data(), self._state, "Decoder ladder", self.describe(), script)

    @property
    def _state(self) -> dict[str, Any]:
        return {"picture": 0, "rung": len(self.names) - 1}

    def _data(self) -> dict[str, Any]:
        views, pictures = shrink(PAGE_BYTES, self.views, self.pictures)
        return {
            "names": self.names,
            "views": pack_picture(views),
            "pictures": pack_picture(pictures),
            "range": ERROR_RANGE,
            "sentences": [[self.describe(p, r) for r in range(len(self.names))] for p in range(len(self.views))],
        }
