"""Encoders with timm's pretrained weights."""

from __future__ import annotations

import contextlib
import logging
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any, cast

import timm
import torch

from ..backbone import square
from ..encoder import TappedEncoder
from ..runtime.errors import UserError, first_line

PATIENCE = 5.0  # seconds until a host counts as unreachable


def load_pretrained(name: str, image_size: int | None = None) -> TappedEncoder:
    """timm's model `name`, such as `vit_small_patch16_224.dino`, with its pretrained weights and with taps, on the CPU.

    `image_size` in pixels: None means that of the weights; for another one timm resamples the position embedding. Raises
    UserError for a name without weights, for a model that is neither ViT nor Swin, for an image size that it does not
    take, and if the weights cannot be downloaded.
    """
    found = None
    with contextlib.suppress(RuntimeError):  # a tag that the model does not have
        found = timm.get_pretrained_cfg(name)
    if found is None or not found.has_weights:
        others = timm.list_pretrained(name.partition(".")[0] + "*")
        hint = f"; choose {others[0]}" if others else f"; give random with arch={name} for the untrained encoder"
        raise UserError(f"{name}: timm has no pretrained weights under this name{hint}")
    size = square(found.input_size[-1] if image_size is None else image_size)
    arguments: dict[str, Any] = {} if size == found.input_size[-1] else {"img_size": size}
    try:
        with torch.device("meta"):  # what does not fit is found out before anything is downloaded
            TappedEncoder(timm.create_model(name, num_classes=0, **arguments), size)
    except UserError:
        raise
    except (AssertionError, ValueError, TypeError, RuntimeError) as error:
        raise UserError(
            f"{name} does not take image_size={size}: {first_line(error)}; choose another image_size="
        ) from None
    _check_reachable(name, found)
    try:
        with _silent("huggingface_hub"):
            backbone = timm.create_model(name, pretrained=True, num_classes=0, **arguments)
    except Exception as error:  # whatever a download or a damaged file raises
        raise _unloadable(name, first_line(error)) from None
    encoder = TappedEncoder(backbone, size)
    encoder.timm_name, encoder.timm_args = name.partition(".")[0], arguments
    return encoder.eval()


def normalisation(encoder: TappedEncoder) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each colour in [0, 1] that timm names for the weights of `encoder`."""
    held = cast(dict[str, Any], encoder.backbone.pretrained_cfg)
    return tuple(held["mean"]), tuple(held["std"])


def _check_reachable(name: str, found: Any) -> None:
    """Raise UserError if the weights have to come from a hub whose address does not resolve: the hub's client would try
    for minutes. Behind a proxy nothing can be said."""
    if not found.hf_hub_id or found.file or urllib.request.getproxies():
        return
    from huggingface_hub import constants, try_to_load_from_cache

    files = [found.hf_hub_filename] if found.hf_hub_filename else ["model.safetensors", "pytorch_model.bin"]
    if constants.HF_HUB_OFFLINE or any(
        isinstance(try_to_load_from_cache(found.hf_hub_id, file), str) for file in files
    ):
        return
    address = urllib.parse.urlsplit(constants.ENDPOINT)
    try:
        with socket.create_connection((address.hostname or "", address.port or 443), PATIENCE):
            pass
    except OSError as error:
        raise _unloadable(name, error.strerror or str(error)) from None


def _unloadable(name: str, reason: str) -> UserError:
    return UserError(
        f"{name}: its weights cannot be loaded ({reason}); timm downloads them once, so run this once with a network "
        "connection, or copy the cache of a machine that has them"
    )


@contextlib.contextmanager
def _silent(name: str) -> Iterator[None]:
    """Inside, the logger `name` keeps its warnings, such as one for each retry, to itself."""
    logger = logging.getLogger(name)
    held = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(held)
