"""What all tests share: few threads, real pictures where there are some, slow tests only when asked for."""

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(int(os.environ.get("REPRE_LITE_THREADS", "2")))


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the tests marked slow too")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--slow"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="slow; run with --slow"))


@pytest.fixture(scope="session")
def cifar10() -> Path:
    """A folder of real CIFAR-10 pictures, train/CLASS/* and val/CLASS/*."""
    place = os.environ.get("REPRE_LITE_DATA")
    if not place or not (Path(place) / "cifar10" / "train").is_dir():
        pytest.skip("REPRE_LITE_DATA is not set or holds no cifar10/train: no real pictures to test with")
    return Path(place) / "cifar10"


@pytest.fixture(scope="session")
def tiny_runs(tmp_path_factory) -> dict[str, Path]:
    """Run folders of four steps on scenes: two seeds with RePre, one of them twice kept along the way, and one without."""
    import repre_lite as rl
    from repre_lite.data import sources

    root = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "SCENES_VAL", 200)
        for name, changes in {
            "multi-0": {"snapshots": 2},
            "multi-1": {"seed": 1},
            "none-0": {"reconstruction": "none"},
        }.items():
            small = {"decoder_width": 8, "method": {"hidden": 16, "out": 8}, "train_images": 64, "batch_size": 8}
            rl.train(rl.recipe("scenes", steps=4, **small, **changes), root / name, quiet=True)
    return {folder.name: folder for folder in sorted(root.iterdir())}
