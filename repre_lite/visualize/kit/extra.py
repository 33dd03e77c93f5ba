"""Packages that come with the extra `notebooks`, imported when first used."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from ...runtime.errors import UserError


class MissingExtraError(UserError, ImportError):
    """A package of an extra is not installed."""


def extra(name: str) -> ModuleType:
    """The module `name`, such as "ipywidgets" or "sklearn.manifold". Raises MissingExtraError if it is not installed."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{error.name} is not installed: pip install 'repre-lite[notebooks]' installs what figures and widgets need"
        ) from None
