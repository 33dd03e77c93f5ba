"""What all tests share: few threads, real images if there are any, slow tests only when asked for."""

import os
import shutil
from pathlib import Path

import pytest
import torch

torch.set_num_threads(int(os.environ.get("REPRE_LITE_THREADS", "2")))


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the tests marked slow too")


# The longest files. They come first, so that at the end no process works on one while the others have nothing to do.
LONG = {
    "test_train.py",
    "test_two_processes.py",
    "test_killed_process.py",
    "test_transfer_two_processes.py",
    "test_runner.py",
    "test_browser.py",
    "test_grade.py",
    "test_visuals.py",
    "test_hard_times.py",
    "test_large_images.py",
    "test_cache.py",
}


def pytest_collection_modifyitems(config, items):
    items.sort(key=lambda item: item.path.name not in LONG)
    if not config.getoption("--slow"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="slow; run with --slow"))


def real_images(name: str) -> Path:
    """The folder `name` below REPRE_LITE_DATA; the test is skipped where there is none."""
    place = Path(os.environ.get("REPRE_LITE_DATA") or "nowhere") / name
    if not (place / "train").is_dir():
        pytest.skip(f"REPRE_LITE_DATA is not set or holds no {name}/train: no real images to test with")
    return place


@pytest.fixture(scope="session")
def cifar10() -> Path:
    """A folder of real CIFAR-10 images, train/CLASS/* and val/CLASS/*."""
    return real_images("cifar10")


@pytest.fixture(scope="session")
def imagenet_sample() -> Path:
    """A folder of ImageNet's photographs, train/CLASS/*, one of every class."""
    return real_images("imagenet-sample")


@pytest.fixture(scope="session")
def photographs(tmp_path_factory) -> Path:
    """A tree train/CLASS/*.jpg, val/CLASS/*.jpg of 24 and 8 scenes, no two neighbours of the same size, one lying on its side."""
    from PIL import Image

    import repre_lite as rl

    root = tmp_path_factory.mktemp("photographs")
    for index in range(32):
        part, label = ("val", "train")[index < 24], ("even", "odd")[index % 2]
        picture = Image.fromarray(rl.scenes([index], size=180).images[0].permute(1, 2, 0).numpy())
        folder = root / part / label
        folder.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        exif[0x0112] = 6 if index == 3 else 1
        picture.resize((300 + 8 * (index % 5), 270 + 6 * (index % 7))).save(folder / f"{index:02d}.jpg", exif=exif)
    return root


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


@pytest.fixture(scope="module")
def playwright():
    """Playwright, which starts browsers."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: no browser to test with")
    with api.sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def chromium(playwright):
    """A headless Chromium."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium on this machine: no browser to test with")
    options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    browser = playwright.chromium.launch(executable_path=path, args=options)
    yield browser
    browser.close()


@pytest.fixture(scope="module", params=["chromium", "firefox"])
def browser(request, playwright):
    """A headless browser; Firefox only if `playwright install firefox` was run."""
    if request.param == "chromium":
        yield request.getfixturevalue("chromium")
        return
    if not Path(playwright.firefox.executable_path).exists():
        pytest.skip("no Firefox here: playwright install firefox")
    started = playwright.firefox.launch()
    yield started
    started.close()
