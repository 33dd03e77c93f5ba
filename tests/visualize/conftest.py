"""What the views are shown: an untrained run on a ViT and on a Swin, and six pictures."""

from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session", params=["vit_micro", "swin_micro"])
def run(request):
    """Encoder and decoder as they are drawn, on 32 pixels."""
    import repre_lite as rl
    from repre_lite.repre import RePre
    from repre_lite.runs import Run

    recipe = rl.recipe("scenes", arch=request.param, decoder_width=8, method={"hidden": 16, "out": 8})
    return Run(Path("nowhere"), recipe, RePre.from_recipe(recipe).eval(), [], {})


@pytest.fixture(scope="session")
def views():
    return torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="session")
def taps(run, views):
    with torch.no_grad():
        return run.encoder(run.model.normalise(views)).taps
