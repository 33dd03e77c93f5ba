"""Names of a package that are imported when first used, and listed by `dir` and tab completion before."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from typing import Any


def lazy(
    package: str, home: Mapping[str, str], modules: Collection[str] = (), own: Collection[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """A package's `__getattr__` and `__dir__`.

    `package`: its `__name__`; `home`: each name -> the module in the package that defines it; `modules`: those of its
    modules that are listed beside the names; `own`: names that the package defines itself, listed too.
    """

    def find(name: str) -> Any:
        if name in home:
            return getattr(import_module(f".{home[name]}", package), name)
        if name in modules:
            return import_module(f".{name}", package)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def names() -> list[str]:
        return sorted({*home, *modules, *own})

    return find, names
