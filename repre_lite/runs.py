"""A run folder: what is in it, and reading it back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .data.image_set import ImageSet
from .data.sources import load_source
from .decoder import ReconstructionDecoder
from .encoder import TappedEncoder
from .recipes import Recipe, from_dict, identity
from .repre import RePre
from .runtime import files
from .runtime.errors import UserError

RECIPE, METRICS, CHECKPOINT = "recipe.json", "metrics.jsonl", "checkpoint.pt"
ENCODER, DECODER, SUMMARY = "encoder.safetensors", "decoder.safetensors", "summary.json"
SNAPSHOTS = "snapshots"


@dataclass(frozen=True)
class Run:
    """A finished or unfinished run read from its folder, its networks on the CPU and in evaluation mode.

    `encoder` is the online one, the taps of which `decoder` reads; `evaluated` is the one encoder.safetensors holds
    (DINO's target, else the online one). `metrics` are the lines of metrics.jsonl, `summary` that of summary.json.
    """

    folder: Path
    recipe: Recipe
    model: RePre
    metrics: list[dict[str, Any]]
    summary: dict[str, Any]

    @property
    def encoder(self) -> TappedEncoder:
        return self.model.framework.online

    @property
    def evaluated(self) -> TappedEncoder:
        return self.model.framework.evaluated

    @property
    def decoder(self) -> ReconstructionDecoder | None:
        return self.model.decoder

    @property
    def mean(self) -> tuple[float, ...]:
        return tuple(self.model.mean.flatten().tolist())

    @property
    def std(self) -> tuple[float, ...]:
        return tuple(self.model.std.flatten().tolist())

    @property
    def snapshots(self) -> tuple[int, ...]:
        """The steps `at` can go back to: 0, the untrained model, and those the run was asked to keep."""
        kept = (self.folder / SNAPSHOTS).glob(f"step-*/{ENCODER}")
        return (0, *sorted(int(path.parent.name.removeprefix("step-")) for path in kept))

    def at(self, step: int) -> RePre:
        """The model after `step` steps, one of `snapshots`: its evaluated encoder and its decoder; heads untrained."""
        model = RePre.from_recipe(self.recipe, self.mean, self.std).eval()
        if step == 0:
            return model
        folder = self.folder / SNAPSHOTS / f"step-{step:07d}"
        model.framework.evaluated.backbone.load_state_dict(files.load_tensors(folder / ENCODER)[0])
        if model.decoder is not None:
            model.decoder.load_state_dict(files.load_tensors(folder / DECODER)[0])
        return model

    def images(self, most: int = 2000) -> ImageSet:
        """The run's own images: those of val/, which training has not seen; without val/, up to `most` training ones."""
        held = self.recipe
        count = min(most, held.train_images or most)
        source = load_source(
            held.scale, held.data, held.image_size, count, held.seed, held.skip_unreadable, held.max_pixels
        )
        return source.val or source.train

    @torch.no_grad()
    def reconstruct(self, view: Tensor) -> Tensor:
        """`view` (B, 3, H, W) in [0, 1] -> the decoder's picture (B, 3, H, W), linear, not clipped."""
        if self.decoder is None:
            raise UserError(f"{self.folder}: trained with --reconstruction none, so it has no decoder")
        return self.decoder(self.encoder(self.model.normalise(view)).taps)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; UserError where it is missing or torn."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path.parent}: no {path.name} there, so it is no run folder; give the folder of a run"
        ) from None
    except (ValueError, UnicodeDecodeError):
        raise UserError(f"{path}: not readable as JSON; the run folder is damaged, train into another --out") from None


def load_run(folder: str | Path) -> Run:
    """Read a run folder written by `rl.train`. Raises UserError where it is none, or holds no checkpoint yet."""
    folder = Path(folder)
    resolved = read_json(folder / RECIPE)
    checkpoint = folder / CHECKPOINT
    if not checkpoint.exists():
        raise UserError(f"{folder}: no {CHECKPOINT} yet; let the run reach its first checkpoint")
    recipe = from_dict(resolved)
    model = RePre.from_recipe(recipe, resolved["mean"], resolved["std"])
    state = files.load_checkpoint(checkpoint)
    try:
        model.load_state_dict(state["model"])
    except (KeyError, IndexError, TypeError, RuntimeError):  # whatever a foreign file holds
        raise UserError(
            f"{checkpoint}: not a checkpoint of this run; give a run folder whose files belong together"
        ) from None
    metrics = files.read_jsonl(folder / METRICS) if (folder / METRICS).exists() else []
    summary = read_json(folder / SUMMARY) if (folder / SUMMARY).exists() else {}
    return Run(folder, recipe, model.float().eval(), metrics, summary)


def merge_summary(folder: str | Path, values: dict[str, Any]) -> None:
    """Add or replace entries of summary.json, atomically."""
    path = Path(folder) / SUMMARY
    files.write_json(path, (read_json(path) if path.exists() else {}) | values)


def save_networks(model: RePre, recipe: Recipe, folder: str | Path) -> None:
    """Write encoder.safetensors, described in its metadata, and decoder.safetensors."""
    folder, evaluated = Path(folder), model.framework.evaluated
    mean, std = model.mean.flatten().tolist(), model.std.flatten().tolist()
    metadata = describe_encoder(evaluated, recipe, mean, std)
    files.save_tensors(folder / ENCODER, plain_tensors(evaluated.backbone), metadata)
    if model.decoder is not None:
        files.save_tensors(folder / DECODER, plain_tensors(model.decoder), {"mode": model.decoder.mode})


def describe_encoder(
    encoder: TappedEncoder, recipe: Recipe, mean: Sequence[float], std: Sequence[float]
) -> dict[str, str]:
    """The metadata of a file of encoder weights: what builds it, untrained too, and what its images need."""
    return {
        "timm_name": encoder.timm_name,
        "timm_args": json.dumps(encoder.timm_args | {"num_classes": 0}),
        "image_size": str(recipe.image_size),
        "mean": json.dumps(list(mean)),
        "std": json.dumps(list(std)),
        "framework": recipe.framework,
        "reconstruction": recipe.reconstruction,
        "recipe": json.dumps(identity(recipe)),
    }


def plain_tensors(module: nn.Module) -> dict[str, Tensor]:
    """The state of a module as safetensors takes it: on the CPU, floats in fp32, no memory shared."""
    return {
        name: (t.detach().float() if t.is_floating_point() else t.detach()).cpu().contiguous().clone()
        for name, t in module.state_dict().items()
    }
