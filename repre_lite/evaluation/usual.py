"""Settings of a run that are far from those its scale and framework choose by themselves: where a remedy looks first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..frameworks import framework_class
from ..recipes import from_dict, recipe
from ..recipes.resolve import method_settings
from ..runtime.errors import UserError

FAR = 5.0  # times as large or as small


def usual(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that the scale and the framework of recipe.json choose by themselves, `flat`; {} if it is incomplete."""
    try:
        held = from_dict(dict(facts))
        own = recipe(
            held.scale, held.framework, held.size, arch=held.arch, image_size=held.image_size, views=held.views,
            batch_size=held.batch_size,
        )  # fmt: skip
    except (UserError, KeyError):
        return {}
    return flat(vars(own)) | {"lr": own.peak_lr}


def flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with those of the framework beside them, under names such as `method.temperature`."""
    method = method_settings(framework_class(settings["framework"])) if settings.get("framework") else {}
    method |= settings.get("method") or {}
    return {**settings, **{f"method.{name}": value for name, value in method.items()}}


def far(facts: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """A remedy that takes the first of some settings that is far from the usual one back to it; None if none is."""
    here, there = flat(facts), usual(facts)
    for name in names:
        if name == "base_lr" and here.get("lr") is not None:  # it decides, and base_lr has no effect
            name = "lr"
        if name in here and name in there and differs(name, here[name], there[name]):
            said = "set " * name.startswith("method.")
            return f"try {said}{name}={_short(there[name])}, the recipe's default, instead of {_short(here[name])}"
    return None


def ratio(facts: Mapping[str, Any], name: str) -> float:
    """How many times as large as usual a setting is; 1 if that is unknown. Of base_lr: the learning rate itself if it is set."""
    name = "lr" if name == "base_lr" and facts.get("lr") is not None else name
    here, there = facts.get(name), usual(facts).get(name)
    return here / there if isinstance(here, int | float) and isinstance(there, int | float) and there else 1.0


def differs(name: str, here: Any, there: Any) -> bool:
    """Whether two values of a setting are far apart; coefficients of averages are compared by what they leave to 1."""
    numbers = [here, there]
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in numbers):
        return bool(here != there)
    if "momentum" in name:
        numbers = [1 - value for value in numbers]
    low, high = sorted(map(abs, numbers))
    return high > FAR * low and not math.isclose(high, low, abs_tol=1e-12)


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value).lower()
