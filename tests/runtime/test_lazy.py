"""Names of packages are listed at once and imported when used."""

import subprocess
import sys

import pytest

import repre_lite
from repre_lite.runtime.lazy import lazy


@pytest.mark.parametrize("package", ["", ".data", ".evaluation", ".visualize", ".frameworks"])
def test_listing_imports_neither_torch_nor_matplotlib(package):
    code = f"import sys, repre_lite{package} as p; print(len(dir(p)) > 3, {{'torch', 'matplotlib', 'timm'}} & set(sys.modules))"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "True set()\n", done.stderr


def test_what_is_listed_is_there():
    for package in (repre_lite, repre_lite.data, repre_lite.evaluation, repre_lite.visualize, repre_lite.frameworks):
        for name in dir(package):
            assert getattr(package, name) is not None
        with pytest.raises(AttributeError, match=r"module 'repre_lite.*' has no attribute 'nothing'"):
            package.nothing  # noqa: B018


def test_names_and_modules():
    find, names = lazy("repre_lite.runtime", {"UserError": "errors"}, ["files"])
    assert names() == ["UserError", "files"]
    assert find("UserError") is repre_lite.UserError and find("files").__name__ == "repre_lite.runtime.files"
