"""A missing package of an extra ends in one clear line, on every surface."""

import subprocess
import sys

import pytest

import repre_lite as rl
from repre_lite.visualize.kit.extra import extra

WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
import numpy as np, torch
import repre_lite as rl
"""


def python(code, missing=(), **environment):
    import os

    command = [sys.executable, "-c", WITHOUT.format(missing=tuple(missing)) + code]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, timeout=300)


def test_a_missing_package_is_named_with_the_remedy():
    with pytest.raises(rl.UserError, match="no_such_package is not installed: pip install 'repre-lite"):
        extra("no_such_package.part")
    with pytest.raises(ImportError):  # for callers that can do without
        extra("no_such_package")


@pytest.mark.parametrize(
    ("missing", "code"),
    [
        ("ipywidgets", "rl.visualize.Balance().widget()"),
        ("ipywidgets", "rl.visualize.Memory(9).widget()"),
        ("anywidget", "rl.visualize.Attention.compute(rl.build_encoder('vit_micro', 32), *torch.rand(2, 3, 32, 32)).widget()"),
        ("matplotlib", "rl.visualize.Balance().figure()"),
    ],
)  # fmt: skip
def test_without_a_package_of_the_extra(missing, code):
    done = python(f"try:\n    {code}\nexcept rl.UserError as error:\n    print(error)", [missing])
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{missing} is not installed: pip install") and done.stdout.count("\n") == 1


def test_figures_need_no_backend():
    """MPLBACKEND as a notebook's terminal leaves it, without the package that it names; and no window system."""
    code = "print(rl.visualize.Balance().figure()._repr_png_()[1:4])\nprint('matplotlib.pyplot' in sys.modules)"
    done = python(code, ["matplotlib_inline"], MPLBACKEND="module://matplotlib_inline.backend_inline")
    assert done.stdout == "b'PNG'\nFalse\n", done.stderr


def test_tab_completion_imports_nothing_heavy():
    code = "import repre_lite.visualize as v\nprint('TapMixer' in dir(v), 'Explorer' in dir(rl.visualize))\nprint({'matplotlib', 'ipywidgets', 'timm', 'sklearn'} & set(sys.modules))"  # fmt: skip
    done = python(code)
    assert done.stdout == "True True\nset()\n", done.stderr
