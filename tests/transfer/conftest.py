"""Small encoders and small sets of images that the tests of transfer share."""

import numpy as np
import pytest
from grey import save_grey
from PIL import Image
from small import TINY, TINY_SWIN

import repre_lite as rl
from repre_lite.runs import ENCODER, save_networks


def encoder_file(folder, arch, arguments):
    """The path of an untrained encoder of the simplest framework, as a run writes it."""
    recipe = rl.recipe(
        "scenes", "simsiam", arch=arch, encoder=arguments, method={"out": 16, "bottleneck": 8}, decoder_width=8
    )
    save_networks(rl.RePre.from_recipe(recipe, (0.5,) * 3, (0.25,) * 3), recipe, folder)
    return str(folder / ENCODER)


@pytest.fixture(scope="session")
def vit(tmp_path_factory):
    return encoder_file(tmp_path_factory.mktemp("vit"), "vit_micro", TINY)


@pytest.fixture(scope="session")
def swin(tmp_path_factory):
    return encoder_file(tmp_path_factory.mktemp("swin"), "swin_micro", TINY_SWIN)


@pytest.fixture(scope="session")
def street(tmp_path_factory):
    """A tree of 6 + 3 images of three sizes with masks: class 0 dark, class 1 bright, and 255 on the first row."""
    root = tmp_path_factory.mktemp("street")
    draw = np.random.default_rng(0)
    for part, count in (("train", 6), ("val", 3)):
        for folder in ("images", "labels"):
            (root / folder / part).mkdir(parents=True)
        for i in range(count):
            height, width = ((40, 53), (37, 41), (64, 48))[i % 3]
            mask = np.zeros((height, width), dtype=np.uint8)
            mask[:, : width // 3 + i] = 1
            pixels = draw.integers(0, 60, (height, width, 3)) + 180 * mask[..., None]
            mask[0] = 255
            Image.fromarray(pixels.astype(np.uint8)).save(root / "images" / part / f"{i}.png")
            Image.fromarray(mask).save(root / "labels" / part / f"{i}.png")
    (root / "classes.txt").write_text("dark\nbright\n")
    return root


@pytest.fixture
def voc(tmp_path):
    """A set that nobody has seen: two classes, no lists of parts, an odd size."""
    root = tmp_path / "tools"
    (root / "Annotations").mkdir(parents=True)
    for i in range(6):
        save_grey(root / "JPEGImages" / f"photo{i}.png", (41, 29))
        objects = "".join(
            f"<object><name>{name}</name><difficult>{hard}</difficult><bndbox><xmin>3</xmin><ymin>5</ymin>"
            f"<xmax>{20 + i}</xmax><ymax>25</ymax></bndbox></object>" for name, hard in (("saw", 0), ("axe", i % 2))
        )  # fmt: skip
        size = "<size><width>41</width><height>29</height><depth>3</depth></size>"
        text = f"<annotation><filename>photo{i}.png</filename>{size}{objects}</annotation>"
        (root / "Annotations" / f"photo{i}.xml").write_text(text)
    return root
