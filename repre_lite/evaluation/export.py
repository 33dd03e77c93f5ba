"""`repre-lite export`: a trained encoder for timm, as a folder that a model hub takes or as one file."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, cast

import timm
import torch

from ..data.loading import file_side
from ..runs import SUMMARY, describe_encoder, plain_tensors, read_json
from ..runtime import files
from ..runtime.errors import UserError, first_line
from .card import model_card
from .source import ACCEPTED, CONFIG, RANDOM, WEIGHTS, EncoderSource, read_source

CARD = "README.md"
FOREIGN = (".bin", ".ckpt", ".json", ".onnx", ".pkl", ".pt", ".pth", ".zip")  # file formats that are not written


def export(source: str, out: str) -> int:
    """`repre-lite export`: write the encoder of `source` to `out`, and print how timm loads it."""
    target = Path(out)
    if target.suffix in FOREIGN:
        raise UserError(f"out={out}: give a folder, or a file name that ends in .safetensors")
    if source == RANDOM and not Path(source).exists():
        raise UserError(
            f"{RANDOM}: an untrained encoder is not exported; give {', '.join(ACCEPTED[:-1])} or {ACCEPTED[-1]}"
        )
    read = read_source(source)
    if target.suffix == ".safetensors":
        export_file(read, target)
        name, arguments = read.encoder.timm_name, read.encoder.timm_args
        shown = "".join(f", {key}={value!r}" for key, value in arguments.items())
        print(f'timm.create_model("{name}", checkpoint_path="{target.as_posix()}", num_classes=0{shown})')
    else:
        export_encoder(read, target)
        print(f'timm.create_model("local-dir:{target.as_posix()}", pretrained=True)')
    return 0


def export_file(source: EncoderSource, out: str | Path) -> None:
    """Write the weights to `out`, a `.safetensors` file, and timm's name and arguments beside it to a `.json` file."""
    target = Path(out)
    if not target.parent.is_dir():
        raise UserError(f"out={out}: the folder {target.parent} does not exist; create it first")
    if target.is_dir():
        raise UserError(f"out={out}: a folder of that name exists; choose another file name")
    encoder = source.encoder
    files.save_tensors(target, plain_tensors(encoder.backbone), _description(source))
    arguments = encoder.timm_args | {"num_classes": 0}
    files.write_json(target.with_suffix(".json"), {"name": encoder.timm_name, "args": arguments})


def export_encoder(source: EncoderSource, out: str | Path) -> None:
    """Write a folder that `timm.create_model("local-dir:OUT", pretrained=True)` loads, with a model card.

    It holds `config.json`, `model.safetensors` and `README.md`, as model hubs expect them. `out` must be new or empty.
    The folder appears at once and complete: an interruption leaves no part of it.
    """
    target = Path(out)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"out={out}: exists and is not an empty folder; choose another folder")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=files.TEMPORARY, dir=target.parent))
    except OSError as error:
        raise UserError(f"out={out}: {error.strerror}; choose a folder you may write to") from None
    try:
        tensors = plain_tensors(source.encoder.backbone)
        files.save_tensors(temporary / WEIGHTS, tensors, _description(source))
        files.write_json(temporary / CONFIG, hub_config(source))
        summary = read_json(source.run / SUMMARY) if source.run and (source.run / SUMMARY).exists() else {}
        files.write_text(temporary / CARD, model_card(source, target.resolve().name, summary))
        _check(temporary, tensors)
        os.chmod(temporary, 0o777 & ~files.umask())  # a temporary folder is its owner's alone
        if target.exists():
            target.rmdir()  # Windows does not rename onto an empty folder
        os.rename(temporary, target)
    except OSError as error:
        raise UserError(f"out={out}: {error.strerror}; choose another folder") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def hub_config(source: EncoderSource) -> dict[str, Any]:
    """What timm's config.json holds: architecture, arguments, and how images are prepared."""
    encoder, arguments = source.encoder, source.encoder.timm_args
    size, timm_config = encoder.image_size, cast(dict[str, Any], encoder.backbone.pretrained_cfg)
    flexible = arguments.get("dynamic_img_size", False) or arguments.get("strict_img_size") is False
    return {
        "architecture": encoder.timm_name,
        "num_classes": 0,
        "num_features": encoder.width,
        "model_args": arguments,
        "pretrained_cfg": {
            "num_classes": 0,
            "input_size": [3, size, size],
            "fixed_input_size": not flexible,
            "interpolation": "bicubic",  # as `reading.square` resizes image files
            "crop_pct": size / file_side(size),  # as `at_size` crops them
            "crop_mode": "center",
            "mean": list(source.mean),
            "std": list(source.std),
            "first_conv": timm_config["first_conv"],
            "classifier": timm_config["classifier"],
        },
    }


def _description(source: EncoderSource) -> dict[str, str]:
    """The metadata of the file of weights."""
    held = source.description
    if source.recipe is not None:
        held = describe_encoder(source.encoder, source.recipe, source.mean, source.std)
    return held | {"format": "pt"}  # what other libraries look for


def _check(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Raise UserError unless timm loads exactly `tensors` from `folder`."""
    try:
        loaded = timm.create_model(f"local-dir:{folder}", pretrained=True).state_dict()
    except (OSError, RuntimeError, TypeError, ValueError) as error:  # OSError: timm asks a hub for part of the weights
        raise UserError(
            f"timm {timm.__version__} does not load this encoder from a folder ({first_line(error)}); "
            "export to a .safetensors file"
        ) from None
    if loaded.keys() != tensors.keys() or not all(torch.equal(loaded[name], tensors[name]) for name in tensors):
        raise UserError(f"timm {timm.__version__} changes the weights it loads; export to a .safetensors file")
