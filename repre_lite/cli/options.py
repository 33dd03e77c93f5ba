"""Options made from the fields of `Recipe`, and messages in their terms."""

from __future__ import annotations

import argparse
import dataclasses
import re
import types
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ..recipes import FIELDS, SCALES, kinds, optional
from ..transfer.settings import FIELDS as TRANSFER

NESTED = ("views", "method", "encoder")  # reached through --set
OTHERS = (
    "out",
    "blocks",
    "seconds",
    "ignore_label",
    "set",
    "scale",
    "data",
    "gpus",
    "reset",
    "protocol",
    "seeds",
    "only",
    "jobs",
    "transfer_data",
    "dry_run",
)  # named in messages, and no field of a recipe
READING = ("pretrain", "plan", "reproduce")  # the verbs with options for unreadable and large images


def flag(name: str) -> str:
    """`batch_size` -> `--batch-size`."""
    return "--" + name.replace("_", "-")


def add_recipe_options(parser: argparse.ArgumentParser, scale: str) -> None:
    """Give `parser` an option for every field of a recipe; those not given stay out of the namespace."""
    parser.add_argument("--scale", choices=tuple(SCALES), default=scale, help=f"the recipe (default {scale})")
    add_settings(parser, FIELDS, kinds(), ("scale", *NESTED))
    parser.add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE", dest="assignments",
        help="a setting of a view, the framework or the timm model, such as views.0.scale=0.25,1, "
        "method.temperature=0.2 or encoder.num_heads=12; may be repeated",
    )  # fmt: skip


def add_settings(
    parser: argparse.ArgumentParser,
    fields: Mapping[str, dataclasses.Field[Any]],
    hints: Mapping[str, Any],
    leave_out: Collection[str],
) -> None:
    """Give `parser` an option for each of some fields made by `setting`, of the types `hints`."""
    for name, field in fields.items():
        if name in leave_out:
            continue
        text = f"{field.metadata['help']} ({_default(name, field)})"
        common: dict[str, Any] = {"dest": name, "default": argparse.SUPPRESS, "help": text.replace("%", "%%")}
        if hints[name] is bool:
            parser.add_argument(flag(name), action=argparse.BooleanOptionalAction, **common)
        else:
            choices = field.metadata["choices"]
            kind = _reader(hints[name])
            parser.add_argument(
                flag(name), type=kind, choices=choices, metavar=None if choices else _metavar(name), **common
            )


def _default(name: str, field: dataclasses.Field[Any]) -> str:
    if name == "framework":
        return "default moco_v3"
    if field.metadata["by"] is not None:
        return f"default: the {field.metadata['by']} decides"
    if isinstance(field.default, tuple):
        return "default " + ",".join(map(str, field.default))
    return f"default {'no' if field.default is False else field.default}".lower()


def _metavar(name: str) -> str:
    return {"data": "FOLDER", "arch": "NAME", "weighting": "FORM"}.get(name, "VALUE")


def _reader(kind: Any) -> Callable[[str], Any]:
    """What turns an argument into a value of a field's type; `none` is None if the type has it."""
    parts = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)

    def read(text: str) -> Any:
        if optional(kind) and text == "none":
            return None
        for part in parts:
            if part is type(None):
                continue
            try:
                if typing.get_origin(part) is tuple:
                    return tuple(typing.get_args(part)[0](item) for item in text.split(","))
                return part(text)
            except ValueError:
                continue
        raise argparse.ArgumentTypeError(f"invalid value {text!r}")

    return read


def in_options(message: str) -> str:
    """A message of the library, which names settings as Python does, in terms of options: `lr=1` -> `--lr 1`."""

    def translated(match: re.Match[str]) -> str:
        name, value = match["name"], match["value"].strip("'\"")
        if name not in FIELDS and name not in TRANSFER and name not in OTHERS:
            return match[0]
        option = flag(name)
        if value in ("True", "False"):
            return option if value == "True" else "--no-" + option[2:]
        return f"{option} {'none' if value == 'None' else value}" if value else option

    message = re.sub(
        r"(?<![\w.-])(?P<name>[a-z_]+)=(?P<value>'[^']*'|\"[^\"]*\"|\([^)]*\)|[^\s,;:()]*)", translated, message
    )
    return re.sub(r"\bset ((?:views|method|encoder)\.)", r"--set \1", message)


def for_verb(message: str, verb: str) -> str:
    """A message of the library without the remedies that a verb has no option for: those of unreadable and large images,
    and smaller batches, which would make other runs than those of a table."""
    if verb == "reproduce" and message.startswith("out of memory"):
        message = message.partition(": ")[0]
        message += (
            ": start several processes with torchrun, which share each batch, or use activation_checkpointing=True or "
            "device='cpu'" if "GPU" in message else ": use fewer jobs= or activation_checkpointing=True"
        )  # fmt: skip
    if verb in READING:
        return message
    message = message.partition(", or use skip_unreadable=True")[0]
    return message.replace("give a larger max_pixels= or scale the image down", "scale the image down")
