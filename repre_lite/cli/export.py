"""`repre-lite export`, and an exported encoder read back."""

from __future__ import annotations

import json
from pathlib import Path

import timm

from ..encoder import TappedEncoder
from ..runs import ENCODER
from ..runtime import files
from ..runtime.errors import UserError


def export(source: str, out: str) -> int:
    """`repre-lite export`: the encoder's weights, and beside them the timm name and arguments that load them strictly."""
    target = Path(out)
    if target.suffix != ".safetensors":
        raise UserError(f"--out {out}: give a file name that ends in .safetensors")
    path = Path(source) / ENCODER
    if not path.exists():
        raise UserError(f"{source}: no {ENCODER} there; give the folder of a finished run")
    tensors, metadata = files.load_tensors(path)
    name, arguments = metadata["timm_name"], json.loads(metadata["timm_args"])
    if not target.parent.is_dir():
        raise UserError(f"--out {out}: the folder {target.parent} does not exist; make it first")
    files.save_tensors(target, tensors, metadata)
    files.write_json(target.with_suffix(".json"), {"name": name, "args": arguments})
    shown = "".join(f", {key}={value!r}" for key, value in arguments.items())
    print(f"{name} {json.dumps(arguments)}")
    print(f'timm.create_model("{name}", checkpoint_path="{target}"{shown})')
    return 0


def read_encoder(path: Path) -> tuple[TappedEncoder, TappedEncoder, list[float], list[float]]:
    """An encoder.safetensors as encoder, the same untrained, and the mean and std it was trained with."""
    tensors, metadata = files.load_tensors(path)
    if "timm_name" not in metadata:
        raise UserError(f"{path}: not an encoder of repre-lite; give a run folder or its {ENCODER}")
    size = int(metadata["image_size"])

    def build() -> TappedEncoder:
        return TappedEncoder(timm.create_model(metadata["timm_name"], **json.loads(metadata["timm_args"])), size)

    encoder, untrained = build(), build()
    encoder.backbone.load_state_dict(tensors)
    return encoder, untrained, json.loads(metadata["mean"]), json.loads(metadata["std"])
