"""An eighth framework is one file and one name."""

import importlib.util
import sys

import pytest
import torch

import repre_lite as rl
from repre_lite import frameworks
from repre_lite.cli.parser import build_parser

EIGHTH = '''
from repre_lite.data.view import View
from repre_lite.frameworks.base import Contrast, Framework, Published, Row
from repre_lite.heads import mlp
from repre_lite.losses import negative_cosine

class Eighth(Framework):
    """A cosine between the projections of two views, one of them stopped."""
    row = Row("none", "none", "none", "none", "second branch", "2", "-1 to 1")
    small = {"base_lr": 1e-3, "weight_decay": 0.01, "method": {"out": 8}}
    published = {arch: Published("this test", {"base_lr": 1e-4, "weight_decay": 0.1, "batch_size": 8})
                 for arch in ("vit_small", "vit_base", "swin_tiny")}
    loss_floor = -1.0

    @classmethod
    def views(cls, size, patch):
        return (View(size), View(size, scale=(0.5, 1.0)))

    def __init__(self, encoder, out=16):
        super().__init__(encoder)
        self.projector = mlp(encoder.width, 16, out, layers=2)

    def contrast(self, features, views):
        z1, z2 = (self.projector(f.pooled) for f in features)
        return Contrast(negative_cosine(z1, z2), z1.detach(), {})
'''


@pytest.fixture
def eighth(tmp_path, monkeypatch):
    file = tmp_path / "eighth.py"
    file.write_text(EIGHTH)
    spec = importlib.util.spec_from_file_location("repre_lite.frameworks.eighth", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(sys.modules, "repre_lite.frameworks.eighth", module)
    monkeypatch.setitem(frameworks.FRAMEWORKS, "eighth", "Eighth")


def test_it_has_recipe_table_and_training_at_32_and_224_pixels(eighth):
    small = rl.recipe("scenes", "eighth", steps=2, batch_size=4, train_images=16)
    assert small.method == {"out": 8} and small.views[1].scale == (0.5, 1.0)
    large = rl.recipe("imagenet1k", "eighth", batch_size=2)
    assert large.base_lr == 1e-4 and [view.size for view in large.views] == [224, 224]
    assert "`eighth`" in frameworks.table()
    for step in rl.training_steps(small):
        assert torch.isfinite(torch.tensor(step.losses["total"]))
    model = rl.RePre.from_recipe(rl.recipe("imagenet1k", "eighth", arch="vit_micro", batch_size=2))
    losses = model([torch.rand(2, 3, 224, 224) for _ in range(2)])
    losses.total.backward()
    assert model.framework.projector[0].weight.grad.abs().sum() > 0


def test_the_command_line_knows_it(eighth):
    assert build_parser().parse_args(["pretrain", "--out", "x", "--framework", "eighth"]).framework == "eighth"
