"""Reading an encoder from what `evaluate`, `transfer` and `export` take.

A run folder, an exported folder, an encoder file, the name of a timm model with pretrained weights, or `random`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import timm
from torch import Tensor

from ..data.image_set import Source
from ..data.listing import say_once
from ..data.sources import load_source
from ..encoder import TappedEncoder, build_encoder
from ..recipes import Recipe, from_dict
from ..repre import IMAGENET_MEAN, IMAGENET_STD, RePre
from ..runs import ENCODER, RECIPE, load_run
from ..runtime import files
from ..runtime.errors import UserError
from ..runtime.randomness import fork
from ..runtime.weights import load_whole
from .pretrained import load_pretrained, normalisation

RANDOM = "random"
ACCEPTED = (
    "a run folder",
    "an exported folder",
    "a .safetensors file",
    "the name of a timm model with pretrained weights",
)
WEIGHTS, CONFIG = "model.safetensors", "config.json"  # the names of a hub's model folder


@dataclass(frozen=True)
class EncoderSource:
    """An encoder and how to use it.

    `encoder` is on the CPU, in evaluation mode; `mean` and `std` normalise its images. `recipe` is how it was trained,
    None if that is not known. `run` is the run folder, None if the encoder comes from elsewhere. `description` is the
    metadata of its file: timm name and arguments, image size, framework. `random`: the encoder itself is untrained, so it
    needs no control. `steps`, `finished`: how far the run was trained, as its summary.json says.
    """

    name: str
    encoder: TappedEncoder
    mean: tuple[float, ...]
    std: tuple[float, ...]
    recipe: Recipe | None
    run: Path | None
    description: dict[str, str]
    random: bool = False
    steps: int | None = None
    finished: bool = True

    def untrained(self) -> TappedEncoder:
        """The same encoder as it was initialised, the control of every protocol; the same at every call.

        Without a recipe it is drawn from seed 0, with timm's initialisation.
        """
        return _initialised(self.recipe, self.description, self.mean, self.std)

    def images(self, scale: str | None = None, data: str | None = None, train_images: int | None = None) -> Source:
        """The images to evaluate on: those of `scale` and `data`, by default those of the recipe.

        `data` without a scale is a folder of images, unless the recipe says more. `train_images` limits the training
        images; by default as many as the recipe has. Raises UserError if nothing says which images.
        """
        held, size = self.recipe, self.encoder.image_size
        if held is None:
            scale = scale or ("folder" if data is not None else None)
            if scale is None:
                raise UserError(f"{self.name}: contains no recipe; choose the images with scale= and data=")
            return load_source(scale, data, size, train_images)
        return load_source(
            scale or held.scale,
            held.data if data is None and scale in (None, held.scale) else data,
            size,
            held.train_images if train_images is None else train_images,
            held.seed,
            held.skip_unreadable,
            held.max_pixels,
        )


def read_source(
    source: str | Path, arch: str | None = None, image_size: int | None = None, seed: int = 0
) -> EncoderSource:
    """Read an encoder from a run folder, from a folder or a `.safetensors` file that `export` wrote, or from timm.

    A timm name, such as `vit_small_patch16_224.dino`, means its pretrained weights, downloaded by timm; `image_size` may
    differ from theirs. `random` is the untrained encoder `arch`, for images of `image_size` pixels (224, or 32 for a
    `_micro` one), drawn from `seed`, with timm's initialisation. A file or folder of the same name comes first. Raises
    UserError if `source` is none of these, is damaged, or holds weights that are not finite, and for options that it has
    no use for.
    """
    path, name = Path(source), str(source)
    if name == RANDOM and not path.exists():
        return _random(arch, image_size, seed)
    if arch is not None:
        raise UserError(f"arch={arch} applies only to the source random; leave it out for {name}")
    if not path.exists() and timm.is_model(name):
        read = _from_timm(name, image_size)
    elif not path.exists():
        raise UserError(
            f"{name}: no such file or folder, and no timm model of that name; give {', '.join(ACCEPTED)}, "
            "or random with arch="
        )
    elif image_size is not None:
        raise UserError(f"image_size={image_size} applies only to a timm name or random; leave it out for {name}")
    elif (path / CONFIG).is_file() and not (path / RECIPE).exists():
        read = _read_file(path / WEIGHTS, name)
    elif path.is_dir():
        run = load_run(path)
        read = EncoderSource(name, run.evaluated, run.mean, run.std, run.recipe, path, {})
        steps, finished = run.summary.get("steps"), run.summary.get("finished", False)
        read = replace(read, steps=steps, finished=finished)
    else:
        read = _read_file(path, name)
    check_finite(read.encoder.state_dict(), read.name)
    return read


def _random(arch: str | None, image_size: int | None, seed: int) -> EncoderSource:
    """The untrained encoder `arch`, the control of any other."""
    if arch is None:
        raise UserError(f"{RANDOM}: choose the encoder with arch=, such as arch=vit_micro")
    usual = 32 if arch.endswith("_micro") else 224
    with fork(seed, "encoder"):
        encoder = build_encoder(arch, usual if image_size is None else image_size).eval()
    description = _describe(encoder, IMAGENET_MEAN, IMAGENET_STD)
    return EncoderSource(f"{RANDOM} {arch}", encoder, IMAGENET_MEAN, IMAGENET_STD, None, None, description, random=True)


def _from_timm(name: str, image_size: int | None) -> EncoderSource:
    encoder = load_pretrained(name, image_size)
    mean, std = normalisation(encoder)
    return EncoderSource(name, encoder, mean, std, None, None, _describe(encoder, mean, std))


def _describe(encoder: TappedEncoder, mean: tuple[float, ...], std: tuple[float, ...]) -> dict[str, str]:
    """What a file of the encoder's weights would have as metadata."""
    return {
        "timm_name": encoder.timm_name,
        "timm_args": json.dumps(encoder.timm_args | {"num_classes": 0}),
        "image_size": str(encoder.image_size),
        "mean": json.dumps(mean),
        "std": json.dumps(std),
    }


def check_finite(tensors: dict[str, Tensor], name: str) -> None:
    """Raise UserError, beginning with `name`, if a weight is NaN or infinite."""
    ruined = [key for key, tensor in tensors.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if ruined:
        raise UserError(
            f"{name}: the weights are not finite ({ruined[0]} and {len(ruined) - 1} more of {len(tensors)} tensors); "
            "train again with a lower lr= or a larger warmup_epochs="
        )


def _read_file(path: Path, name: str) -> EncoderSource:
    tensors, description = files.load_tensors(path)
    recipe = _recipe(description)
    try:
        mean, std = (tuple(json.loads(description[key])) for key in ("mean", "std"))
        encoder = _initialised(recipe, description, mean, std)
    except (KeyError, ValueError, TypeError, RuntimeError):  # whatever a foreign file holds
        raise UserError(
            f"{name}: not an encoder of repre-lite; give a run folder, its {ENCODER}, or what export wrote"
        ) from None
    load_whole(encoder.backbone, tensors, name)
    return EncoderSource(name, encoder, mean, std, recipe, None, description)


def _recipe(description: dict[str, str]) -> Recipe | None:
    """The recipe in a file's metadata; None if it is not there or of another version."""
    try:
        return from_dict(json.loads(description["recipe"]))
    except (KeyError, TypeError, AttributeError, ValueError):
        return None


def _initialised(
    recipe: Recipe | None, description: dict[str, str], mean: tuple[float, ...], std: tuple[float, ...]
) -> TappedEncoder:
    """The encoder of a recipe, or the one that a file's metadata describes, before any training."""
    if recipe is not None:
        return RePre.from_recipe(recipe, mean, std).framework.evaluated.eval()
    if "recipe" in description:
        say_once(
            "the recipe in this file is of another version, so the untrained control has timm's initialisation and seed 0, "
            "not those of the training"
        )
    arguments = json.loads(description["timm_args"])
    with fork(0, "encoder"):
        backbone = timm.create_model(description["timm_name"], **arguments)
    encoder = TappedEncoder(backbone, int(description["image_size"]))
    encoder.timm_name, encoder.timm_args = description["timm_name"], arguments
    return encoder.eval()
