"""Encoders from a run or by name, and photographs from a file, an upload or scikit-learn."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from timm.data import resolve_model_data_config
from torch import Tensor

from ...backbone import is_hierarchical
from ...data.reading import read_image, square, to_rgb
from ...encoder import TappedEncoder, build_encoder
from ...repre import IMAGENET_MEAN, IMAGENET_STD
from ...runs import RECIPE, Run, load_run
from ...runtime.errors import UserError
from .extra import extra

PHOTOGRAPHS = ("china", "flower")  # these two come with scikit-learn


def tap_names(encoder: TappedEncoder) -> tuple[str, ...]:
    """ "block 2" for each tap of a ViT, "stage 0" for each of a Swin, shallow to deep."""
    level = "stage" if is_hierarchical(encoder.backbone) else "block"
    return tuple(f"{level} {index}" for index in encoder.tap_indices)


def has_token(encoder: TappedEncoder) -> bool:
    """Whether there is a class token."""
    return getattr(encoder.backbone, "cls_token", None) is not None


def last_step(run: Run) -> int:
    """How many steps the networks of a run have been trained for; of an unfinished run, those of its checkpoint."""
    return int(run.summary.get("steps", run.metrics[-1]["step"] if run.metrics else 0))


def open_encoder(
    source: Run | TappedEncoder | str | Path, image_size: int | None = None, pretrained: bool = False
) -> tuple[TappedEncoder, Callable[[Tensor], Tensor]]:
    """An encoder in evaluation mode, and the normalisation from images in [0, 1] to its input.

    `source`: a run or its folder (the online encoder, whose taps the decoder reads); an encoder; or a name that
    `build_encoder` knows, untrained, or, with `pretrained`, any timm name, whose weights timm fetches. `image_size` in
    pixels goes with a name; None means 224, or the size the weights were trained with. Raises UserError for an unknown
    name, and if the weights cannot be fetched.
    """
    if isinstance(source, (str, Path)) and (Path(source) / RECIPE).exists():
        source = load_run(source)
    if isinstance(source, Run):
        return source.encoder.eval(), source.model.normalise
    if isinstance(source, TappedEncoder):
        return source.eval(), normalising(IMAGENET_MEAN, IMAGENET_STD)
    if not pretrained:
        return build_encoder(str(source), image_size or 224).eval(), normalising(IMAGENET_MEAN, IMAGENET_STD)
    name = str(source)
    if not timm.is_model_pretrained(name):
        raise UserError(f"arch={name}: timm has no pretrained weights of that name; see timm.list_pretrained()")
    arguments: dict[str, Any] = {} if image_size is None else {"img_size": image_size}
    try:
        backbone = timm.create_model(name, pretrained=True, num_classes=0, **arguments)
    except Exception as error:  # the network, the disk, the server: each with errors of its own
        raise UserError(
            f"arch={name}: the weights could not be fetched ({type(error).__name__}); go online once, or use a run"
        ) from None
    config = resolve_model_data_config(backbone)
    encoder = TappedEncoder(backbone, image_size or config["input_size"][-1])
    return encoder.eval(), normalising(config["mean"], config["std"])


def normalising(mean: Sequence[float], std: Sequence[float]) -> Callable[[Tensor], Tensor]:
    """The function that maps (..., 3, H, W) in [0, 1] to (x - `mean`) / `std`, three numbers each."""
    shift, scale = (torch.tensor(three).view(3, 1, 1) for three in (mean, std))
    return lambda view: (view - shift) / scale


def photograph(source: str | Path | bytes, size: int) -> Tensor:
    """An image as uint8 (3, size, size), its central square: a file, the bytes of an upload, or "china" or "flower".

    Raises UserError if it cannot be read.
    """
    if isinstance(source, bytes):
        try:
            image = to_rgb(Image.open(io.BytesIO(source)))
        except Exception as error:  # Pillow's plugins raise errors of any type on damaged files
            raise UserError(f"the upload is not a readable image ({type(error).__name__}); choose another") from None
    elif source in PHOTOGRAPHS:
        image = Image.fromarray(extra("sklearn.datasets").load_sample_image(f"{source}.jpg"))
    else:
        image = read_image(Path(source))
    return torch.from_numpy(np.asarray(square(image, size)).transpose(2, 0, 1).copy())
