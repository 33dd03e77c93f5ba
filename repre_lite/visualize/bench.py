"""The bench: encoders and decoders that run in the page, on the run's images or the reader's own.

The reader weighs each tap, takes it from another image or knocks it out, chooses a block, a head, a patch or a moment of
training, paints on the image, and sees reconstruction, error and attention change. The same numbers come from `describe`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..encoder import Features, TappedEncoder
from ..evaluation import at_size
from ..runs import Run
from ..runtime.errors import UserError
from ..runtime.randomness import generator
from .bench_subject import Subject, packed_subject, subject_of
from .kit import palette
from .kit.capture import capture
from .kit.drawing import Figure, absolute_error, show_image, still
from .kit.live import model_script, why_not
from .kit.subject import has_token, normalising, tap_names
from .kit.viewer import pack_image, to_html, viewer
from .kit.words import BENCH as WORDS
from .kit.words import percent

SHOWN, FITTED = 12, 64  # images on the bench; images that means and colours of taps are taken from
SNAPSHOT_BYTES = 7_000_000  # weights of earlier moments in a page: as many moments as fit, evenly spread


@dataclass(frozen=True)
class Bench:
    """`images` uint8 (S, 3, H, W) with their `labels`; `subjects`, the runs side by side."""

    images: Tensor
    labels: tuple[str, ...]
    subjects: tuple[Subject, ...]

    @classmethod
    @torch.no_grad()
    def compute(
        cls,
        runs: Sequence[Run],
        names: Sequence[str] = (),
        images: Tensor | None = None,
        labels: Sequence[str] = (),
        snapshot_bytes: int = SNAPSHOT_BYTES,
    ) -> Bench:
        """Read `runs`, whose images must be of one size. `images` uint8 (S, 3, h, w): None takes some of the first run's.

        Raises UserError if a run's networks are of a kind that the page does not run, such as a Swin.
        """
        first = runs[0].encoder
        for run in runs:
            reason = why_not(run.encoder, run.decoder)
            if reason is not None:
                raise UserError(f"{run.folder.name}: {reason}; use another visual for this run")
            if not alike(run.encoder, first):
                names = f"{run.folder.name}: image size, grid, depth, heads, class token or taps differ from {runs[0].folder.name}'s"
                raise UserError(f"{names}; choose runs of one encoder, image size and tap_blocks=")
        own = runs[0].images()
        order = torch.randperm(len(own), generator=generator(0, "bench"))
        if images is None:
            chosen = order[:SHOWN]
            images = own.images[chosen]
            if own.labels is not None and not labels:
                labels = [f"{own.classes[int(own.labels[i])]} {n}" for n, i in enumerate(chosen)]
        assert images is not None
        images = (at_size(images, first.image_size) * 255).round().to(torch.uint8)
        fitted = at_size(own.images[order[-FITTED:]], first.image_size)
        names = tuple(names) or tuple(run.recipe.reconstruction for run in runs)
        budget = snapshot_bytes // max(1, sum(1 for run in runs if len(run.snapshots) > 2))
        subjects = tuple(subject_of(run, name, fitted, budget) for run, name in zip(runs, names, strict=True))
        return cls(images, tuple(labels) or tuple(f"image {i}" for i in range(len(images))), subjects)

    @property
    def taps(self) -> tuple[str, ...]:
        """Names of the taps that can be weighed: those that some decoder reads."""
        read = [len(s.stages[-1].decoder.laterals) for s in self.subjects if s.stages[-1].decoder is not None]
        return tap_names(self.subjects[0].stages[-1].encoder)[-max(read) :] if read else ()

    def state(self) -> dict[str, Any]:
        """What is chosen at first."""
        encoder = self.subjects[0].stages[-1].encoder
        backbone: Any = encoder.backbone
        middle, half = len(backbone.blocks) // 2, encoder.tap_grids[0] // 2
        weighed = {f"weight{i}": 1.0 for i in range(len(self.taps))} | {
            f"swap{i}": False for i in range(len(self.taps))
        }
        chosen = {"image": 0, "own": 0, "other": min(1, len(self.images) - 1), "brush": False, "look": "attention"}
        where = {"block": middle, "head": -1, "tap": len(encoder.tap_indices) - 1, "row": half, "column": half}
        return chosen | where | {"token": has_token(encoder), "stage": len(self._steps()) - 1} | weighed

    @torch.no_grad()
    def answers(self, **selection: Any) -> list[dict[str, Any]]:
        """What the page shows for a state, for each run: with a decoder `image` (H, W, 3), `error` (H, W) and `l1`; `map`
        (h, w), or `colours` (h, w, 3)."""
        state = self.state() | selection
        view, other = (self.images[state[key]][None].float() / 255 for key in ("image", "other"))  # (1, 3, H, W)
        return [self._answer(subject, state, view, other) for subject in self.subjects]

    def _answer(self, subject: Subject, state: dict[str, Any], view: Tensor, other: Tensor) -> dict[str, Any]:
        stage = subject.at(self._steps()[state["stage"]])
        normalise = normalising(subject.mean, subject.std)
        own, found = stage.encoder(normalise(view)), dict[str, Any]()
        if stage.decoder is not None:
            made = stage.decoder(_mixed(self, subject, state, own, stage.encoder(normalise(other))))
            found["image"] = np.asarray(made[0].permute(1, 2, 0))
            found["error"] = absolute_error(found["image"], np.asarray(view[0].permute(1, 2, 0)))
            found["l1"] = float(found["error"].mean())
        if state["look"] == "attention":
            block = capture(stage.encoder.backbone, normalise(view)[0])[0][state["block"]]
            token = 0 if state["token"] else block.prefix + state["row"] * block.grid[1] + state["column"]
            rows = block.dense()[:, token, block.prefix :]  # (heads, N)
            found["map"] = (rows.mean(0) if state["head"] < 0 else rows[state["head"]]).reshape(block.grid)
        elif state["look"] == "similarity":
            tap = F.normalize(own.taps[state["tap"]][0], dim=0)  # (C, h, w)
            found["map"] = np.asarray(torch.einsum("chw,c->hw", tap, tap[:, state["row"], state["column"]]))
        else:
            middle, directions, low, high = subject.axes[state["tap"]]
            projected = (own.taps[state["tap"]][0].permute(1, 2, 0) - middle) @ directions.T  # (h, w, 3)
            found["colours"] = np.asarray(((projected - low) / (high - low)).clamp(0, 1))
        return found

    def figure(self, **selection: Any) -> Figure:
        """One row a run: the image, its reconstruction, the error and where the encoder looks."""
        state, answers = self.state() | selection, self.answers(**selection)
        figure = Figure(8.4, 2.2 * len(answers))
        axes = figure.subplots(len(answers), 4, squeeze=False)
        for line, subject, found in zip(axes, self.subjects, answers, strict=True):
            show_image(line[0], np.asarray(self.images[state["image"]].permute(1, 2, 0)), "image")
            moment = subject.at(self._steps()[state["stage"]]).step
            line[0].set_ylabel(subject.name + f"\n{WORDS['at'].format(step=moment)}" * (len(self._steps()) > 1))
            if "image" in found:
                show_image(line[1], found["image"].clip(0, 1), "reconstruction")
                show_image(line[2], found["error"], f"error {found['l1']:.3f}", **palette.error_map())
            if "map" in found:
                top = max(float(each["map"].max()) for each in answers)
                look = palette.attention_map(top) if state["look"] == "attention" else palette.signed_map()
                show_image(line[3], found["map"], state["look"], **look)
            else:
                show_image(line[3], found["colours"], state["look"])
            for axis in line[1 : 1 if "image" in found else 3]:
                axis.set_axis_off()
        return figure

    def describe(self, **selection: Any) -> str:
        """One state in words, those of the page."""
        state = self.state() | selection
        return self._say(state, self.answers(**selection)) if not state["own"] else WORDS["mine"]

    def widget(self) -> Any:
        """The bench in a notebook; needs anywidget."""
        return viewer("bench", self._data(), self.state(), self.describe)

    def to_html(self, script: bool = True) -> str:
        """The bench as a fragment of a page: the networks are in it."""
        said = self.describe()
        return to_html("bench", self._data(), self.state(), "Bench", said, script, still(self.figure(), said))

    def _steps(self) -> tuple[int, ...]:
        return tuple(sorted({step for subject in self.subjects for step in subject.steps}))

    def _data(self) -> dict[str, Any]:
        encoder = self.subjects[0].stages[-1].encoder
        backbone: Any = encoder.backbone
        scripts = (model_script(), (files(__package__) / "kit" / "worker.js").read_text(encoding="utf-8"))
        return {
            "script": "\n".join(scripts),
            "models": [packed_subject(subject) for subject in self.subjects],
            "images": pack_image(np.asarray(self.images.permute(0, 2, 3, 1)) / 255),
            "labels": self.labels,
            "taps": self.taps,
            "names": tap_names(encoder),
            "blocks": len(backbone.blocks),
            "heads": backbone.blocks[0].attn.num_heads,
            "steps": self._steps(),
            "size": encoder.image_size,
            "grid": encoder.tap_grids[0],
            "token": has_token(encoder),
            "range": palette.ERROR_RANGE,
            "expected": self.describe(),
            "words": WORDS,
        }

    def _say(self, state: dict[str, Any], answers: list[dict[str, Any]]) -> str:
        """kinds/bench.js says the same."""
        labels, taps, names = self.labels, self.taps, tap_names(self.subjects[0].stages[-1].encoder)
        parts = [WORDS["which"].format(image=labels[state["image"]])]
        weights = [state[f"weight{i}"] for i in range(len(taps))]
        amounts = [tap if weight == 1 else f"{tap} × {weight:.2f}" for tap, weight in zip(taps, weights, strict=True)]
        for key, swapped in (("from", False), ("swapped", True)):
            used = [amounts[i] for i in range(len(taps)) if weights[i] > 0 and state[f"swap{i}"] == swapped]
            if used:
                parts.append(WORDS[key].format(taps=", ".join(used), other=labels[state["other"]]))
        if 0 in weights:
            parts.append(WORDS["out"].format(taps=", ".join(t for t, w in zip(taps, weights, strict=True) if w == 0)))
        errors = [f"{s.name} {a['l1']:.3f}" for s, a in zip(self.subjects, answers, strict=True) if "l1" in a]
        if errors:
            parts.append(WORDS["errors"].format(errors=", ".join(errors)))
        token = state["token"] and state["look"] != "similarity"  # patches are compared with a patch
        where = WORDS["token"] if token else WORDS["place"].format(**state)
        head = WORDS["mean"] if state["head"] < 0 else WORDS["one"].format(**state)
        numbers = []
        for subject, found in zip(self.subjects, answers, strict=True):
            values = found.get("map")
            if values is None:
                numbers.append(subject.name)
            elif state["look"] == "attention":
                numbers.append(f"{subject.name} {percent(values.max())} %")
            else:
                numbers.append(f"{subject.name} {(values.sum() - 1) / (values.size - 1):.2f}")
        facts = {"where": where, "head": head, "block": state["block"], "tap": names[state["tap"]]}
        parts.append(WORDS[state["look"]].format(**facts, numbers=", ".join(numbers)))
        return " ".join(parts)


def alike(one: TappedEncoder, other: TappedEncoder) -> bool:
    """Whether two encoders fit on one bench: images of one size, taps at the same places, as many blocks and heads."""
    return _kind(one) == _kind(other)


def _kind(encoder: TappedEncoder) -> tuple[Any, ...]:
    heads = [block.attn.num_heads for block in getattr(encoder.backbone, "blocks", ())]
    return encoder.image_size, encoder.tap_grids, encoder.tap_indices, heads, has_token(encoder)


def _mixed(bench: Bench, subject: Subject, state: dict[str, Any], own: Features, other: Features) -> list[Tensor]:
    """The taps of a state: each at its weight between the mean over images and itself, or the other image's."""
    shift, mixed = len(own.taps) - len(bench.taps), []
    for i, mean in enumerate(subject.means):
        weighed = i >= shift
        tap = (other if weighed and state[f"swap{i - shift}"] else own).taps[i]
        weight = state[f"weight{i - shift}"] if weighed else 1.0
        mixed.append(torch.lerp(mean.view(1, -1, 1, 1).expand_as(tap), tap, float(weight)))
    return mixed
