"""Each protocol beside its controls: the encoder, its untrained self, raw pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..data.image_set import ImageSet, Source
from ..encoder import TappedEncoder
from ..runtime.errors import NonFiniteError
from ..runtime.progress import say
from .class_tokens import check_blocks
from .features import extract_shared
from .knn import knn_top1, pixel_features
from .linear import LEAST, linear_top1


def score_encoder(
    encoder: TappedEncoder,
    untrained: TappedEncoder | None,
    source: Source,
    protocols: Sequence[str],
    device: torch.device,
    mean: Sequence[float],
    std: Sequence[float],
    blocks: int | None = None,
) -> dict[str, float]:
    """Accuracies in [0, 1] by name, of an encoder and of its `untrained` control (names that end in `_untrained`).

    Without a control (None) those of the encoder alone. `protocols`: "knn", "linear" or both. `blocks`: the linear probe
    reads the class tokens of that many last blocks, 4 in the published results of DINO with ViT-S; None: the pooled
    feature. `linear_blocks` says so in the results. A protocol that `source` does not allow is left out, and a line
    printed that says why. Raises UserError if features are not finite.
    """
    found = scores(encoder, untrained, source, protocols, device, mean, std, blocks)
    return {name: value for one in found for name, value in one.items()}


def scores(
    encoder: TappedEncoder,
    untrained: TappedEncoder | None,
    source: Source,
    protocols: Sequence[str],
    device: torch.device,
    mean: Sequence[float],
    std: Sequence[float],
    blocks: int | None = None,
) -> Iterator[dict[str, float]]:
    """`score_encoder`, one protocol after the other with its controls, each as soon as it is done."""
    reason = unfit(source)
    if reason:
        say(f"{reason}, so k-NN and linear probe are skipped")
        return
    train, val = source.labelled, source.val
    assert train is not None and val is not None and train.labels is not None and val.labels is not None
    linear = "linear" in protocols
    if linear and len(train) < LEAST:
        say(f"{len(train)} labelled training images, so the linear probe is skipped; it needs {LEAST} or more")
        linear = False
    if linear and blocks is not None:
        check_blocks(encoder.backbone, blocks)
    networks = {"": encoder} if untrained is None else {"": encoder, "_untrained": untrained}
    pooled: dict[str, list[Tensor]] = {}  # on the CPU, so that a GPU holds those of one encoder only

    def features(suffix: str, blocks: int | None = None) -> list[Tensor]:
        network = networks[suffix].to(device)
        return [finite(extract_shared(network, part.images, mean, std, blocks)) for part in (train, val)]

    if "knn" in protocols:
        found: dict[str, float] = {}
        for suffix in networks:
            x, x_val = features(suffix)
            found[f"knn_top1{suffix}"] = knn_top1(x, train.labels, x_val, val.labels)
            if linear and blocks is None:
                pooled[suffix] = [x.cpu(), x_val.cpu()]
        if isinstance(train.images, Tensor) and isinstance(val.images, Tensor):
            x, x_val = pixel_features(train.images), pixel_features(val.images)
            found["knn_top1_pixels"] = knn_top1(x, train.labels, x_val, val.labels)
        yield found
    if linear:
        found = {} if blocks is None else {"linear_blocks": blocks}
        for suffix in networks:
            x, x_val = (part.to(device) for part in pooled.pop(suffix, None) or features(suffix, blocks))
            found[f"linear_top1{suffix}"], _ = linear_top1(x, train.labels, x_val, val.labels)
        yield found


def unfit(source: Source) -> str | None:
    """Why the images of `source` cannot be classified; None if they can."""

    def labelled(part: ImageSet | None) -> bool:
        return part is not None and part.labels is not None

    if not labelled(source.labelled):
        return "no labels: the images are not in train/CLASS/*"
    if not labelled(source.val):
        return "no labelled val/ images"
    assert source.labelled is not None and source.labelled.labels is not None
    if len(source.labelled.labels.unique()) < 2:
        return "all training images are of one class"
    return None


def finite(features: Tensor) -> Tensor:
    """`features` (B, C) themselves. Raises NonFiniteError if a number in them is NaN or infinite."""
    ruined = int((~features.isfinite().all(dim=1)).sum())
    if ruined:
        raise NonFiniteError(
            f"the encoder's features of {ruined} of {len(features)} images are not finite; train again with a lower lr= "
            "or precision='fp32'"
        )
    return features
