"""A recipe is a complete description of a run; a scale is a named recipe, of which anything can be overridden."""

from __future__ import annotations

from .recipe import FIELDS, HOW, Recipe, from_dict, identity, kinds, optional
from .resolve import override, recipe
from .scales import SCALES

__all__ = ["FIELDS", "HOW", "SCALES", "Recipe", "from_dict", "identity", "kinds", "optional", "override", "recipe"]
