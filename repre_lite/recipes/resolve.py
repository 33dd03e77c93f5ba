"""A recipe from a scale, a framework and overrides.

It is put together in layers, later ones win: the scale, the framework's settings for small images, at 224 pixels the
framework's published settings for the architecture, the caller's overrides. What follows from these (views, the
arguments of the timm model) is filled in last.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..data.view import View
from ..frameworks import framework_class
from ..runtime.errors import UserError
from .recipe import FIELDS, SIZES, Recipe, check_values
from .scales import SCALES, SMALL

if TYPE_CHECKING:
    from ..frameworks import Framework

NEAREST = ("vit_small", "vit_base", "swin_tiny")


def recipe(scale: str = "scenes", framework: str = "moco_v3", size: str | None = None, **overrides: Any) -> Recipe:
    """The recipe of a scale and a framework, with `overrides` of any field of `Recipe`.

    `size` is "full" or "small"; None means small for the scenes and full for the others. Overrides of `method` and
    `encoder` are merged into the recipe's; None switches a setting off (`clip_norm=None`). Raises UserError for an
    unknown name or a value out of range, before anything is loaded.
    """
    if scale not in SCALES:
        raise UserError(f"scale={scale!r}: choose one of {', '.join(SCALES)}")
    unknown = sorted(set(overrides) - set(FIELDS))
    if unknown:
        raise UserError(f"a recipe has no setting {unknown[0]!r}; its settings are the fields of repre_lite.Recipe")
    check_values(overrides)
    cls = framework_class(framework)
    size = size or ("small" if scale == "scenes" else "full")
    if size not in SIZES:
        raise UserError(f"size={size!r}: choose one of {', '.join(SIZES)}")

    values: dict[str, Any] = {"scale": scale, "size": size, "framework": framework}
    values |= SCALES[scale] | (SMALL if size == "small" else {}) | dict(cls.small)
    if size == "full":  # batches are up to eight times as large; a choice of ours, not measured
        values["base_lr"] /= 4
    views: Callable[[int, int], tuple[View, ...]] = cls.views
    if size == "full" and SCALES[scale]["image_size"] == 224:
        published, views = _published(cls, overrides.get("arch", values["arch"]), overrides.get("epochs"))
        values |= published
        if scale != "imagenet1k":  # a tenth of the images: the scale's own length and batch
            values |= {name: SCALES[scale][name] for name in ("epochs", "batch_size", "warmup_epochs")}

    _check_method(cls, overrides.get("method", {}))
    merged = {name: values.get(name, {}) | overrides[name] for name in ("method", "encoder") if name in overrides}
    values |= overrides | merged
    check_values(values)
    if values.get("lr") is not None:
        given = overrides.get("base_lr")
        if given is not None and not math.isclose(given * values["batch_size"] / 256, values["lr"], rel_tol=1e-6):
            raise UserError(f"lr={values['lr']:g} and base_lr={given:g}: two learning rates; give one of them")
        values["base_lr"] = values["lr"] * 256 / values["batch_size"]
    if "views" not in overrides:
        patch = patch_side(values["arch"], values["image_size"], values.get("patch_size"))
        values["views"] = views(values["image_size"], patch)
    return _several_sizes(Recipe(**values))


def _published(
    cls: type[Framework], arch: str, epochs: int | None
) -> tuple[dict[str, Any], Callable[[int, int], tuple[View, ...]]]:
    """The published settings and views of a framework on an architecture, and for a number of epochs if it has its own.

    Other ViTs take ViT-S's and other Swins Swin-T's, without the arguments of the timm model: 12 heads belong to the width
    of ViT-S.
    """
    nearest = arch if arch in NEAREST else "swin_tiny" if "swin" in arch else "vit_small"
    found = cls.published.get(f"{nearest}/{epochs}", cls.published[nearest])
    values = dict(found.values)
    if nearest != arch:
        values.pop("encoder", None)
    return values, found.views or cls.views


@functools.cache
def patch_side(arch: str, image_size: int, patch_size: int | None) -> int:
    """The side of an encoder's patches in pixels, asked from the built model. Raises UserError if it cannot be built."""
    import torch

    from ..encoder import build_encoder

    with torch.device("meta"):
        return build_encoder(arch, image_size, patch_size).patch


def _several_sizes(held: Recipe) -> Recipe:
    """Views smaller than the images need an encoder that takes both sizes. Raises UserError for one that is not whole patches."""
    if all(view.size == held.image_size for view in held.views):
        return held
    patch = patch_side(held.arch, held.image_size, held.patch_size)
    for index, view in enumerate(held.views):
        if view.size % patch:
            raise UserError(f"set views.{index}.size={view.size}: give a multiple of the patch size, {patch} pixels")
    several: dict[str, Any] = {"strict_img_size": False} if "swin" in held.arch else {"dynamic_img_size": True}
    return dataclasses.replace(held, encoder=several | held.encoder)


def method_settings(cls: type[Framework]) -> dict[str, Any]:
    """The framework's own settings and their defaults, from its constructor."""
    parameters = inspect.signature(cls).parameters
    return {name: parameter.default for name, parameter in parameters.items() if name != "encoder"}


def _check_method(cls: type[Framework], given: Mapping[str, Any]) -> None:
    """Raise UserError for a setting that the framework does not have, and for a value it cannot have."""
    known = method_settings(cls)
    for name, value in given.items():
        if name not in known:
            raise UserError(f"method.{name}: {cls.__name__} has no such setting; it has {', '.join(known) or 'none'}")
        if (wanted := _misfit(name, value, known[name])) is not None:
            raise UserError(f"set method.{name}={value}: give {wanted}")


def _misfit(name: str, value: Any, default: Any) -> str | None:
    """What a framework's setting must be, by its `default`, if `value` is not that."""
    if isinstance(default, bool):
        return None if isinstance(value, bool) else "true or false"
    if isinstance(default, float):
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if "momentum" in name:
            return None if number and 0 <= value <= 1 else "a number from 0 to 1"
        return None if number and value > 0 else "a number above 0"
    if value is None and default is None:
        return None
    least = 0 if default in (0, 1) else 1  # numbers of epochs; 0 switches them off
    whole = isinstance(value, int) and not isinstance(value, bool)
    return None if whole and value >= least else f"a whole number, {least} or more"


def override(held: Recipe, assignments: Iterable[str]) -> Recipe:
    """The recipe with assignments such as `method.temperature=0.2` or `views.0.scale=0.25,1` applied.

    A path is `method.NAME`, `encoder.NAME` or `views.INDEX.NAME`. Values are Python literals; commas make a tuple, `none`
    is None. Raises UserError for an unknown path.
    """
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        place, *names = path.split(".")
        if not equals or place not in ("method", "encoder", "views") or len(names) != (2 if place == "views" else 1):
            raise UserError(f"set {assignment}: give method.NAME=VALUE, encoder.NAME=VALUE or views.INDEX.NAME=VALUE")
        value = _literal(text)
        if place == "views":
            held = dataclasses.replace(held, views=_changed_view(held.views, names[0], names[1], value))
        else:
            if place == "method":
                _check_method(framework_class(held.framework), {names[0]: value})
            changed: Any = {place: getattr(held, place) | {names[0]: value}}
            held = dataclasses.replace(held, **changed)
    return _several_sizes(held)


def _changed_view(views: tuple[View, ...], index: str, name: str, value: Any) -> tuple[View, ...]:
    """`views` with one value of one view changed."""
    known = [field.name for field in dataclasses.fields(View)]
    if not index.isdecimal() or int(index) >= len(views) or name not in known:
        raise UserError(f"set views.{index}.{name}: views are 0 to {len(views) - 1}, and a view has {', '.join(known)}")
    try:
        changed = dataclasses.replace(views[int(index)], **{name: value})
    except UserError as error:  # which names the field alone
        raise UserError(f"set views.{index}.{name}={value}: {str(error).partition(': ')[2]}") from None
    except TypeError:
        raise UserError(
            f"set views.{index}.{name}={value}: the wrong kind of value; give one such as {getattr(views[0], name)}"
        ) from None
    return (*views[: int(index)], changed, *views[int(index) + 1 :])


def _literal(text: str) -> Any:
    """A Python literal, `none`, or else the text itself."""
    if text.lower() in ("none", "true", "false"):
        return {"none": None, "true": True, "false": False}[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
