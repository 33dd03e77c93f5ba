"""A run folder: its files, written and read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from . import __version__
from .data.image_set import ImageSet, Source
from .data.sources import load_source
from .decoder import ReconstructionDecoder
from .encoder import TappedEncoder
from .recipes import Recipe, from_dict, identity
from .repre import RePre
from .runtime import files
from .runtime.errors import UserError
from .runtime.lock import LOCK

RECIPE, METRICS, CHECKPOINT = "recipe.json", "metrics.jsonl", "checkpoint.pt"
ENCODER, DECODER, SUMMARY = "encoder.safetensors", "decoder.safetensors", "summary.json"
SNAPSHOTS, NONFINITE = "snapshots", "nonfinite.pt"

NOTHING, UNFINISHED, FINISHED = range(3)  # what a folder may hold

# what a foreign checkpoint causes
FOREIGN = (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError)


@dataclass(frozen=True)
class Run:
    """A finished or unfinished run read from its folder, with its networks on the CPU and in evaluation mode.

    `metrics`: the lines of metrics.jsonl. `summary`: the contents of summary.json.
    """

    folder: Path
    recipe: Recipe
    model: RePre
    metrics: list[dict[str, Any]]
    summary: dict[str, Any]

    @property
    def encoder(self) -> TappedEncoder:
        """The online encoder, whose taps `decoder` reads."""
        return self.model.framework.online

    @property
    def evaluated(self) -> TappedEncoder:
        """The encoder in encoder.safetensors: the target of DINO, else the online one."""
        return self.model.framework.evaluated

    @property
    def decoder(self) -> ReconstructionDecoder | None:
        """The decoder, or None for a run without reconstruction."""
        return self.model.decoder

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean of each colour in [0, 1], for normalisation."""
        return tuple(self.model.mean.flatten().tolist())

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation of each colour in [0, 1], for normalisation."""
        return tuple(self.model.std.flatten().tolist())

    @property
    def snapshots(self) -> tuple[int, ...]:
        """The steps that `at` knows: 0, the untrained model, those of the snapshots, and the last if the run has any."""
        kept = (self.folder / SNAPSHOTS).glob(f"step-{'[0-9]' * 7}/{ENCODER}")  # no copy of one, "step-0000300 (1)"
        steps = {0} | {int(path.parent.name.removeprefix("step-")) for path in kept}
        if len(steps) > 1 and self.summary.get("finished"):
            steps.add(self.summary["steps"])
        return tuple(sorted(steps))

    def at(self, step: int) -> RePre:
        """The model after `step` steps, one of `snapshots`: its evaluated encoder and its decoder; heads are untrained."""
        if step not in self.snapshots:
            raise UserError(f"step={step}: no snapshot; choose one of {', '.join(map(str, self.snapshots))}")
        model = RePre.from_recipe(self.recipe, self.mean, self.std).eval()
        if step == 0:
            return model
        kept = self.folder / SNAPSHOTS / f"step-{step:07d}"
        load_networks(model, kept if kept.exists() else self.folder)  # the last is the run itself
        return model

    def images(self, most: int = 2000) -> ImageSet:
        """The run's images: those of val/, which training has not seen; without val/, up to `most` training images."""
        source = images_of(replace(self.recipe, train_images=min(most, self.recipe.train_images or most)))
        return source.val or source.train

    @torch.no_grad()
    def reconstruct(self, view: Tensor) -> Tensor:
        """`view` (B, 3, H, W) in [0, 1] -> reconstruction (B, 3, H, W), linear, not clipped."""
        if self.decoder is None:
            raise UserError(
                f"{self.folder}: a run with reconstruction='none' has no decoder; give a run with reconstruction='multi' or 'single'"
            )
        reconstruction: Tensor = self.decoder(self.encoder(self.model.normalise(view)).taps)
        return reconstruction


def images_of(recipe: Recipe) -> Source:
    """The images that a recipe trains and validates on; see `load_source`."""
    return load_source(
        recipe.scale, recipe.data, recipe.image_size, recipe.train_images, recipe.seed, recipe.skip_unreadable,
        recipe.max_pixels,
    )  # fmt: skip


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file of a run folder. Raises UserError if there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path.parent}: not a run folder: {path.name} not found; give the folder of a run") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); change its permissions") from None
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise UserError(f"{path}: damaged, not a JSON object; restore it from a copy, or train into another out=")
    return value


def read_recipe(folder: Path) -> tuple[Recipe, dict[str, Any]]:
    """The recipe of a run folder, and all of recipe.json. Raises UserError if it is missing, foreign or of another version."""
    facts = read_json(folder / RECIPE)
    if "task" in facts:
        raise UserError(f"{folder}: a run of transfer (task={facts['task']}); give a run of pre-training")
    if "framework" not in facts or "mean" not in facts:
        raise UserError(f"{folder / RECIPE}: not written by repre-lite; give the folder of a run")
    try:
        return from_dict(facts), facts
    except UserError as error:
        raise UserError(f"{folder / RECIPE}: {error}{version_note(facts.get('versions'))}") from None


def version_note(versions: Any) -> str:
    """The end of a message about a file that was written under other `versions` than this one; else nothing."""
    version = versions.get("repre_lite") if isinstance(versions, dict) else None
    return f" (written by repre-lite {version}, this is {__version__})" if version not in (None, __version__) else ""


def difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """The name of the first setting in which two recipes differ, None if they are the same."""
    return next((name for name in [*one, *other] if one.get(name) != other.get(name)), None)


def contents(out: Path, wanted: Mapping[str, Any], read: Callable[[], Mapping[str, Any]]) -> int:
    """What a folder holds: NOTHING, or an UNFINISHED or FINISHED run whose settings are `wanted`.

    `read` reads the settings of the run in `out`. Raises UserError for other files, a run of other settings and what `read`
    raises.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"out={out}: is a file; choose another folder")
    leftovers = (LOCK, files.TEMPORARY)  # of a process that was killed before it began
    if not out.exists() or all(path.name.startswith(leftovers) for path in out.iterdir()):
        return NOTHING
    if not (out / RECIPE).exists():
        raise UserError(f"out={out}: holds other files and no run; choose an empty or new folder")
    held = read()
    if (name := difference(wanted, held)) is not None:
        raise UserError(
            f"out={out}: holds a run of another recipe ({name} is {held.get(name)!r} there, {wanted.get(name)!r} here); "
            "choose another folder"
        )
    finished = (out / SUMMARY).exists() and read_json(out / SUMMARY).get("finished", False)
    return FINISHED if finished else UNFINISHED


def checkpoint_of(training: Any, identity: dict[str, Any]) -> dict[str, Any]:
    """Everything that a resumed run needs; random numbers are functions of seed and step.

    `training` has `step`, `model`, `optimiser` and `scaler`; `identity`: what its recipe decides, for `read_checkpoint`.
    """
    return {
        "step": training.step,
        "model": training.model.state_dict(),
        "optimiser": training.optimiser.state_dict(),
        "scaler": training.scaler.state_dict(),
        "recipe": identity,
        "version": __version__,
    }


def read_checkpoint(path: Path, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint of a run whose settings are `wanted`, see `identity`.

    Raises UserError for a damaged or foreign file and for that of another run.
    """
    state = files.load_checkpoint(path)
    if not isinstance(state, dict) or not {"step", "model", "optimiser", "scaler"} <= state.keys():
        raise UserError(f"{path}: not a checkpoint of repre-lite; restore it from a copy, or train into another out=")
    held = state.get("recipe", {})
    if held and (name := difference(held, wanted)) is not None:
        raise UserError(
            f"{path}: the checkpoint of another run ({name} is {held.get(name)!r} there, {wanted.get(name)!r} in {RECIPE}); "
            "give a run folder whose files belong together"
        )
    return state


def load_run(folder: str | Path) -> Run:
    """Read a run folder written by `rl.train`; nothing is written.

    A finished run opens without its checkpoint too, with untrained heads, if the encoder it evaluates is the online one.
    Raises UserError if `folder` holds no run, or neither a checkpoint nor the networks of a finished run.
    """
    folder = Path(folder).absolute()
    recipe, facts = read_recipe(folder)
    summary = read_json(folder / SUMMARY) if (folder / SUMMARY).exists() else {}
    model = RePre.from_recipe(recipe, facts["mean"], facts["std"])
    checkpoint = folder / CHECKPOINT
    if checkpoint.exists():
        state = read_checkpoint(checkpoint, identity(recipe))
        try:
            model.load_state_dict(state["model"])
        except FOREIGN:
            raise misfit(checkpoint, facts) from None
    elif not summary.get("finished"):
        raise UserError(
            f"{folder}: no {CHECKPOINT} yet; wait until the run has reached its first checkpoint, or start it again"
        )
    elif model.framework.evaluated is model.framework.online:
        load_networks(model, folder)
    else:
        raise UserError(
            f"{folder}: no {CHECKPOINT}, so only the target encoder is left of this run; give {folder / ENCODER} instead, or "
            f"restore {CHECKPOINT} from a copy"
        )
    return Run(folder, recipe, model.float().eval(), files.read_jsonl(folder / METRICS), summary)


def load_networks(model: RePre, folder: Path) -> None:
    """Read the evaluated encoder and the decoder of `model` from what `save_networks` wrote. Raises UserError if they do not fit."""
    networks: list[tuple[nn.Module, str]] = [(model.framework.evaluated.backbone, ENCODER)]
    if model.decoder is not None:
        networks.append((model.decoder, DECODER))
    for network, name in networks:
        tensors, _ = files.load_tensors(folder / name)
        try:
            network.load_state_dict(tensors)
        except RuntimeError:
            raise UserError(f"{folder / name}: does not fit {RECIPE}; restore the files of one run") from None


def misfit(checkpoint: Path, facts: dict[str, Any]) -> UserError:
    """The error for a checkpoint whose contents do not fit the model of recipe.json, whose contents are `facts`."""
    return UserError(
        f"{checkpoint}: does not fit {RECIPE}{version_note(facts.get('versions'))}; "
        "restore the checkpoint of this run, or train into another out="
    )


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
