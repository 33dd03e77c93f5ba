"""The decoder ladder: the reconstruction after each fusion block, from deep to shallow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..decoder import ReconstructionDecoder
from ..runtime.errors import UserError
from .kit import palette
from .kit.drawing import Figure, absolute_error, show_image, shrink
from .kit.readout import Readout
from .kit.viewer import pack_image, to_html, viewer

PAGE_BYTES = 1_500_000  # limit of the images of a page


@dataclass(frozen=True)
class Ladder:
    """`views` (S, H, W, 3) in [0, 1] and, for each, `reconstructions` (S, R, H, W, 3) of the R rungs, linear, not clipped;
    `names` of the rungs; `fitted`, the number of images the readouts were fitted on."""

    views: np.ndarray
    reconstructions: np.ndarray
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
        """`taps`: K maps (B, C_i, h_i, w_i) of `views` (B, 3, H, W) in [0, 1]; the first `shown` of them are shown.

        A rung is the map after a fusion block, so R = K - 1. Only the last map is made for the decoder's head: the last
        rung is the decoder's output. The others are reconstructed by a linear readout of the head's form, fitted in
        closed form (least squares) on the B - `shown` views that are not shown: the part of the pixels that can be read
        from that map linearly. Raises UserError without views to fit on.
        """
        if len(views) <= shown:
            raise UserError(
                f"{len(views)} views, of which {shown} are shown; give more, so that some are left to fit the readouts on"
            )
        decoder.eval()
        names = tuple(names) or tuple(f"tap {i + 1}" for i in range(len(taps)))
        maps = decoder.stages(taps)
        rungs = [Readout.fit(each[shown:], views[shown:]).reconstruct(each[:shown]) for each in maps[:-1]]
        rungs.append(decoder.draw(maps[-1][:shown]))
        reconstructions = torch.stack(rungs, dim=1).permute(0, 1, 3, 4, 2).cpu().numpy()  # (S, R, H, W, 3)
        if decoder.mode == "multi":
            rung_names = (f"{names[-1]} + {names[-2]}", *(f"+ {name}" for name in names[-3::-1]))
        else:  # nothing is added to the deepest tap
            rung_names = tuple(f"fusion block {i + 1}" for i in range(len(maps)))
        return cls(views[:shown].permute(0, 2, 3, 1).cpu().numpy(), reconstructions, rung_names, len(views) - shown)

    @property
    def l1(self) -> np.ndarray:
        """Mean absolute error of each rung, (S, R)."""
        return np.asarray(np.abs(self.reconstructions - self.views[:, None]).mean((2, 3, 4)))

    @property
    def psnr(self) -> np.ndarray:
        """Peak signal-to-noise ratio in dB of each rung, clipped to [0, 1], (S, R)."""
        squared = np.square(self.reconstructions.clip(0, 1) - self.views[:, None]).mean((2, 3, 4))
        return np.asarray(-10 * np.log10(squared))

    def figure(self, image: int = 0, rung: int | None = None) -> Figure:
        """One view, then every rung, or one, above its error map, with L1 and PSNR."""
        chosen = range(len(self.names)) if rung is None else [rung]
        figure = Figure(1.6 * (len(chosen) + 1) + 0.7, 3.9)
        axes = figure.subplots(2, len(chosen) + 1)
        show_image(axes[0][0], self.views[image], "view")
        axes[1][0].axis("off")
        for column, index in enumerate(chosen, 1):
            made = self.reconstructions[image, index].clip(0, 1)
            show_image(axes[0][column], made, self.names[index])
            shown = show_image(axes[1][column], absolute_error(made, self.views[image]), **palette.error_map())
            axes[1][column].set_xlabel(f"L1 {self.l1[image, index]:.3f}\n{self.psnr[image, index]:.1f} dB", fontsize=9)
            by = "decoder's head" if index == len(self.names) - 1 else "linear readout"
            axes[0][column].set_xlabel(by, fontsize=8)
        axes[1][1].set_ylabel("error", fontsize=10)
        figure.colorbar(shown, ax=axes[1], fraction=0.02, label="|error|")
        return figure

    def describe(self, image: int = 0, rung: int | None = None) -> str:
        """The ladder of one view, or one rung of it, in one sentence."""
        if rung is None:
            errors = ", ".join(f"{name} {error:.3f}" for name, error in zip(self.names, self.l1[image], strict=True))
            return (
                f"Image {image} from deep to shallow, mean absolute error: {errors}; the last is reconstructed by the "
                f"decoder's head, the others by linear readouts fitted on {self.fitted} other images."
            )
        by = "the decoder's own head" if rung == len(self.names) - 1 else f"a readout fitted on {self.fitted} others"
        return (
            f"Image {image}, rung {rung + 1} of {len(self.names)}, {self.names[rung]}, reconstructed by {by}: mean "
            f"absolute error {self.l1[image, rung]:.3f}, {self.psnr[image, rung]:.1f} dB."
        )

    def widget(self) -> Any:
        """Sliders over rungs and images."""
        return viewer("ladder", self._data(), self._state, self.describe)

    def to_html(self, script: bool = True) -> str:
        """The same, live without kernel or network."""
        return to_html("ladder", self._data(), self._state, "Decoder ladder", self.describe(), script)

    @property
    def _state(self) -> dict[str, Any]:
        return {"image": 0, "rung": len(self.names) - 1}

    def _data(self) -> dict[str, Any]:
        views, reconstructions = shrink(PAGE_BYTES, self.views, self.reconstructions)
        return {
            "names": self.names,
            "views": pack_image(views),
            "reconstructions": pack_image(reconstructions),
            "range": palette.ERROR_RANGE,
            "sentences": [[self.describe(p, r) for r in range(len(self.names))] for p in range(len(self.views))],
        }
