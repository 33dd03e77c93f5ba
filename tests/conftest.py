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
