"""The embedding map on features whose classes are known."""

import base64
import html

import numpy as np
import pytest
import torch

import repre_lite as rl
from repre_lite.data.image_set import ImageSet
from repre_lite.runtime.errors import UserError
from repre_lite.visualize.embedding import Embedding
from repre_lite.visualize.kit.drawing import png

PNG = b"\x89PNG\r\n\x1a\n"
SIZES = {"count": 60, "perplexities": (4, 500)}


@pytest.fixture(scope="module")
def encoder():
    return rl.build_encoder("vit_micro", image_size=32).eval()


def flat(classes, each):
    """Pictures of one grey level a class: classes that nobody can miss."""
    labels = torch.arange(classes * each) % classes
    noise = torch.randint(0, 6, (len(labels), 3, 1, 1), generator=torch.Generator().manual_seed(0))
    images = ((labels * 240 // classes)[:, None, None, None] + noise).to(torch.uint8).expand(-1, 3, 32, 32)
    return ImageSet(images, labels, tuple(f"grey <{i}>" for i in range(classes)))


@pytest.fixture(scope="module")
def embedding(encoder):
    return Embedding.compute(encoder, flat(6, 10), (0.5,) * 3, (0.25,) * 3, **SIZES)


def test_maps_lie_in_the_unit_square_and_keep_neighbours(embedding):
    assert list(embedding.maps) == ["PCA", "t-SNE 4", f"t-SNE {59 / 3:g}"]  # a perplexity above (n - 1) / 3 cannot be
    for name, places in embedding.maps.items():
        assert places.shape == (60, 2)
        low, high = places.min(0), places.max(0)
        assert (high - low).max() == pytest.approx(1, abs=1e-5) and np.allclose((low + high) / 2, 0.5, atol=1e-5)
        assert 0.8 < embedding.trust[name] <= 1
    assert embedding.knn > 0.9
    assert embedding.thumbnails.shape == (60, 32, 32, 3) and embedding.thumbnails.max() <= 1
    greys = [embedding.thumbnails[embedding.labels == label].mean() for label in range(6)]
    assert greys == sorted(greys)  # thumbnails, labels and names stay together
    assert embedding.classes == tuple(f"grey <{i}>" for i in range(6))


def test_random_labels_are_not_found(encoder):
    images = flat(6, 20)
    shuffled = images.labels[torch.randperm(120, generator=torch.Generator().manual_seed(1))]
    view = Embedding.compute(encoder, ImageSet(images.images, shuffled, images.classes), (0.5,) * 3, (0.25,) * 3,
                             count=120, perplexities=())  # fmt: skip
    assert view.knn < 0.5 and list(view.maps) == ["PCA"]


def test_so_many_classes_are_drawn_with_all_their_images(encoder):
    images = flat(12, 8)
    view = Embedding.compute(encoder, images, (0.5,) * 3, (0.25,) * 3, most=5, perplexities=())
    assert len(view.classes) == 5 and len(view.labels) == 40 and set(view.labels) == set(range(5))
    again = Embedding.compute(encoder, images, (0.5,) * 3, (0.25,) * 3, most=5, perplexities=())
    other = Embedding.compute(encoder, images, (0.5,) * 3, (0.25,) * 3, most=5, perplexities=(), seed=1)
    assert view.classes == again.classes != other.classes
    assert len(Embedding.compute(encoder, images, (0.5,) * 3, (0.25,) * 3, most=None, perplexities=()).classes) == 12


def test_without_labels_and_with_too_few(encoder):
    images = flat(1, 12)
    view = Embedding.compute(encoder, ImageSet(images.images, None, ()), (0.5,) * 3, (0.25,) * 3, perplexities=(2,))
    assert view.classes == ("image",) and png(view.figure()).startswith(PNG)
    with pytest.raises(UserError, match="needs 8 images or more, not 7"):
        Embedding.compute(encoder, flat(1, 7), (0.5,) * 3, (0.25,) * 3)


def test_figure_and_sentences(embedding):
    figure = embedding.figure()
    titles = [axis.get_title() for axis in figure.axes]
    assert [title.split(",")[0] for title in titles] == [*embedding.maps, list(embedding.maps)[-1]]
    assert f"{embedding.knn:.0%}" in figure.get_suptitle() and png(figure).startswith(PNG)
    assert "60 images of 6 classes" in embedding.describe() and f"{embedding.knn:.0%}" in embedding.describe()
    for name in embedding.maps:
        assert embedding.describe(name).startswith(name) and f"{embedding.trust[name]:.3f}" in embedding.describe(name)
        assert "10 images of class grey <2>" in embedding.describe(name, 2)


def test_widget_moves_through_everything(embedding):
    box = embedding.widget()
    seen = set()
    for name in embedding.maps:
        for only in range(-1, 6):
            for thumbnails in (False, True):
                values = {"map": name, "only": only, "thumbnails": thumbnails}
                for key, value in values.items():
                    box.controls[key].value = value
                assert html.unescape(box.sentence.value) == embedding.describe(
                    name, None if only < 0 else only, thumbnails
                )
                image = base64.b64decode(box.image.value.split("base64,")[1].split('"')[0])
                assert image.startswith(PNG)
                seen.add(image)
    assert len(seen) == len(embedding.maps) * 7 * 2
    assert all(control.description for control in box.controls.values())
