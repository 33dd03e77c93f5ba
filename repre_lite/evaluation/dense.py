"""What the patches of an encoder know: probes of frozen taps on images with masks, beside the untrained encoder.

A patch has the class of most of its pixels; a predicted class holds for all pixels of a patch, and is compared with the
mask at its own resolution. Raw features favour whatever differs in scale between channels, so every number is also given
with each channel standardised.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..data.masks import IGNORE, MaskSet, MaskSource
from ..encoder import TappedEncoder
from ..runtime import distributed
from ..runtime.errors import UserError
from ..runtime.progress import Progress
from .knn import knn_predict
from .linear import fit_linear
from .patches import Patches, grid_of, place_of, read_patches
from .segmentation_metrics import boundary_counts, ceiling, matrix_of, mean_accuracy, miou, small_classes

# The budget: ViT-S at 224 pixels on CamVid took 5.2 CPU minutes for one encoder, measured on one busy core; the control
# takes as much again.
TRAIN_IMAGES = 1_000
VAL_PATCHES = 100_000  # the most patches to measure on; their images are evenly spread
FIT_PATCHES = 4_096  # of the images that a probe learns from, about the same number of each
KEPT_PIXELS = 2e8  # validation masks with fewer pixels are kept in memory
SHARES = {"1": 1, "1/8": 8, "1/64": 64}  # of the labels: the images whose labels a probe may use
PENALTY = 1e-3  # of the sum of squared weights of the logistic probe, features scaled to a variance of 1
ITERATIONS = 100
NEIGHBOURS = 30
RIDGE = 1e-2  # of the linear probes of orientation and position
CHANNELS = ("raw", "standardised")
BEST: tuple[str, str, str] = ("logistic", "all", "standardised")  # what summary.json holds, with all labels
SCORES = {
    "miou": "mIoU",
    "macc": "mean accuracy",
    "boundary_iou": "boundary IoU",
    "miou_small": "mIoU of small classes",
}
WIDTH = 58  # of the text in a line of the table


@dataclass(frozen=True)
class _Split:
    """The images to learn from with the share of labels that each belongs to, and the images to measure on."""

    train: MaskSet
    val: MaskSet
    chosen: dict[str, Tensor]  # share -> bool (images,)
    quota: dict[str, int]  # share -> patches of each image

    @classmethod
    def of(cls, masks: MaskSource, grid: int) -> _Split:
        train = masks.train.subset(TRAIN_IMAGES)
        chosen, quota = {}, {}
        for share, divisor in SHARES.items():
            names = set(train.subset(max(1, len(train) // divisor)).names)
            chosen[share] = torch.tensor([name in names for name in train.names])
            quota[share] = -(-FIT_PATCHES // len(names))
        most = max(1, min(len(masks.val), VAL_PATCHES // grid**2))
        val = masks.val.at([index * len(masks.val) // most for index in range(most)])
        return cls(train, val, chosen, quota)

    def kept(self) -> list[int]:
        """How many patches of each training image are of use to any probe."""
        return [max(self.quota[share] for share in SHARES if self.chosen[share][i]) for i in range(len(self.train))]

    def rows(self, patches: Patches, share: str) -> Tensor:
        """The patches that a probe with `share` of the labels learns from, int64 (m,)."""
        use = self.chosen[share][patches.image] & (patches.rank < self.quota[share])
        return (use & (patches.labels() != IGNORE)).nonzero()[:, 0]


def score_dense(
    encoder: TappedEncoder,
    untrained: TappedEncoder | None,
    masks: MaskSource,
    device: torch.device,
    mean: Sequence[float],
    std: Sequence[float],
) -> dict[str, Any]:
    """All dense measures of an encoder and of its `untrained` control, as dense.json holds them.

    `images`, `grid`, `classes`, `small` (the names of the small classes), `labelled` (images for each share of the
    labels), `ceiling_miou` (each patch given the class of most of its pixels) and `majority_miou` (all pixels the most
    frequent class) describe the task. `trained` and `untrained` each hold `rows`, see `probe_rows`, `orientation_r2` and
    `position_r2`, one number for each tap. All in [0, 1] (R2 may be negative).
    """
    small = small_classes(masks.train.shares())
    results: dict[str, Any] = {}
    for name, network in (("trained", encoder), ("untrained", untrained)):
        if network is None:
            continue
        split = _Split.of(masks, grid_of(network))
        network = network.to(device)
        train = read_patches(network, split.train, mean, std, split.kept())
        val = read_patches(network, split.val, mean, std)
        if not results:
            classes = masks.train.classes
            majority = torch.full_like(val.labels(), int(masks.train.shares().argmax()))
            results = {
                "images": f"{masks.name}: {len(split.val)} validation images by {len(split.train)} training images",
                "grid": val.grid,
                "classes": list(classes),
                "small": [c for c, is_small in zip(classes, small.tolist(), strict=True) if is_small],
                "labelled": {share: int(split.chosen[share].sum()) for share in SHARES},
                "ceiling_miou": ceiling(val.counts),
                "majority_miou": miou(matrix_of(val.counts, majority)),
            }
        results[name] = {
            "rows": probe_rows(train, val, split, small, device, network.tap_indices),
            "orientation_r2": [ridge_r2(x, train.orientation, y, val.orientation) for x, y in _pairs(train, val)],
            "position_r2": [ridge_r2(x, train.position, y, val.position) for x, y in _pairs(train, val)],
        }
    return results


def _pairs(train: Patches, val: Patches) -> zip[tuple[Tensor, Tensor]]:
    return zip(train.taps, val.taps, strict=True)


def probe_rows(
    train: Patches, val: Patches, split: _Split, small: Tensor, device: torch.device, indices: Sequence[int]
) -> list[dict[str, Any]]:
    """One entry for each probe: `probe` (logistic or knn), `tap` (a block or stage, or "all" side by side), `channels`
    (raw or standardised), `labels` (1, 1/8, 1/64), `miou`, `macc`, `miou_small`, and with all labels `boundary_iou`.
    Several processes share the probes, and each gets all entries."""
    labels, classes = train.labels(), len(split.train.classes)
    taps: dict[int | str, tuple[Tensor, Tensor]] = dict(zip(indices, _pairs(train, val), strict=True))
    work = [(tap, "knn") for tap in taps] + [(tap, "logistic") for tap in [*taps, "all"]]
    chosen = {share: split.rows(train, share) for share in SHARES}
    for share, rows in chosen.items():
        if not len(rows):
            raise UserError(
                f"no patch of the {share} of labelled images has a label; most of their pixels are ignored; "
                "correct the masks or ignore_label="
            )
    found = []
    mine = distributed.share(len(work))
    few = sum(height * width for height, width in split.val.sizes) < KEPT_PIXELS
    truth = [split.val[i][1].short() for i in range(len(split.val))] if few else _Reread(split.val)
    with Progress(len(mine) * len(CHANNELS) * len(SHARES), "probe", "probes", delay=2, leave=False) as bar:
        for tap, probe in work[mine.start : mine.stop]:
            both = taps[tap] if tap in taps else (torch.cat(train.taps, dim=1), torch.cat(val.taps, dim=1))
            for channels in CHANNELS:
                for share, rows in chosen.items():
                    x, y = scaled(both[0][rows].to(device), both[1].to(device), channels, probe)
                    guess = knn if probe == "knn" else logistic
                    predicted = guess(x, labels[rows].to(device), y, classes).cpu()  # (n,)
                    matrix = matrix_of(val.counts, predicted)
                    entry = {"probe": probe, "tap": tap, "channels": channels, "labels": share}
                    scores = {"miou": miou(matrix), "macc": mean_accuracy(matrix)}
                    if small.any():
                        scores["miou_small"] = miou(matrix, small)
                    if share == "1":
                        scores["boundary_iou"] = boundary_iou(predicted, val.grid, truth, classes)
                    found.append(entry | {what: None if math.isnan(score) else score for what, score in scores.items()})
                    bar.update()
    return found if len(work) < distributed.world_size() else distributed.gather_lists(found, device)


def scaled(x: Tensor, y: Tensor, channels: str, probe: str) -> tuple[Tensor, Tensor]:
    """Features to learn from (n, C) and to measure on (m, C) as a probe reads them.

    Standardised: each channel with mean 0 and variance 1 over `x`. Raw: as they are; for the logistic probe moved and
    scaled as a whole, so that its penalty means the same.
    """
    if channels == "standardised":
        shift, scale = x.mean(0), x.std(0).clamp(min=1e-6)
    elif probe == "logistic":
        shift = x.mean(0)
        scale = (x - shift).square().mean().sqrt().clamp(min=1e-6)
    else:
        return x, y
    return (x - shift) / scale, (y - shift) / scale


def logistic(x: Tensor, labels: Tensor, y: Tensor, classes: int) -> Tensor:
    """The classes (m,) that a logistic regression on features `x` (n, C) predicts for `y` (m, C)."""
    with torch.enable_grad():
        layer = fit_linear(x, labels, classes, PENALTY, ITERATIONS)
    with torch.no_grad():
        predicted: Tensor = layer(y).argmax(1)
    return predicted


def knn(x: Tensor, labels: Tensor, y: Tensor, classes: int) -> Tensor:
    """The classes (m,) that the 30 nearest patches `x` (n, C) vote for; see `knn.knn_predict`."""
    return knn_predict(x, labels, y, k=NEIGHBOURS)


class _Reread(Sequence[Tensor]):
    """The masks of a set, read from their files whenever they are needed."""

    def __init__(self, masks: MaskSet) -> None:
        self.masks = masks

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, index: Any) -> Any:
        return self.masks[index][1]


def boundary_iou(predicted: Tensor, grid: int, truth: Sequence[Tensor], classes: int) -> float:
    """Boundary IoU of predicted classes (n,) of the patches of all images; `truth`: their masks (H, W).

    Each class holds for all pixels of its patch.
    """
    totals = torch.zeros(2, classes, dtype=torch.int64)
    for cells, mask in zip(predicted.view(len(truth), -1), truth, strict=True):  # (G*G,), (H, W)
        guess = cells[place_of(mask.shape, grid)]  # (H, W)
        totals += boundary_counts(mask[None].long(), guess[None], classes)
    hits, union = totals.double()
    return float((hits / union).nanmean())


def ridge_r2(x: Tensor, target: Tensor, y: Tensor, truth: Tensor) -> float:
    """The share of variance of `truth` (m, 2) that ridge regression from `y` (m, C) explains, mean over both columns.

    It learns from `x` (n, C) and `target` (n, 2), channels standardised; penalty 0.01 for each patch.
    """
    x, y = (z.double() for z in scaled(x, y, "standardised", "ridge"))
    centre = target.double().mean(0)
    gram = x.T @ x + RIDGE * len(x) * torch.eye(x.shape[1], dtype=x.dtype)
    weights = torch.linalg.solve(gram, x.T @ (target.double() - centre))  # (C, 2)
    wrong = (truth.double() - centre - y @ weights).square().sum(0)
    all_of_it = (truth.double() - truth.double().mean(0)).square().sum(0)
    return float((1 - wrong / all_of_it).mean())


def headline(results: dict[str, Any]) -> dict[str, float]:
    """The entries of summary.json: `dense_miou` of the logistic probe of all taps, standardised channels, all labels."""
    return {
        f"dense_miou{'' if name == 'trained' else '_untrained'}": find(results, name, *BEST)
        for name in ("trained", "untrained")
        if name in results
    }


def find(
    results: dict[str, Any], name: str, probe: str, tap: int | str, channels: str, labels: str = "1", what: str = "miou"
) -> float:
    """One number out of `score_dense`; `name`: trained or untrained."""
    wanted = {"probe": probe, "tap": tap, "channels": channels, "labels": labels}
    row = next(row for row in results[name]["rows"] if wanted.items() <= row.items())
    return math.nan if row[what] is None else float(row[what])


def table(results: dict[str, Any], indices: Sequence[int]) -> str:
    """What `score_dense` found as lines of text; accuracies in per cent."""
    head = "".join(f"{f'tap {index}':>8s}" for index in indices)
    lines = [
        f"{results['images']}, {results['grid']}x{results['grid']} patches",
        f"mIoU at best {100 * results['ceiling_miou']:.1f} % (each patch its own class), "
        f"{100 * results['majority_miou']:.1f} % for the most frequent class",
        f"{'mIoU, %':{WIDTH}s}{head}{'all':>8s}",
    ]
    names = [name for name in ("trained", "untrained") if name in results]
    for probe, what in (("logistic", "logistic probe"), ("knn", "patch k-NN")):
        taps: list[int | str] = [*indices, "all"] if probe == "logistic" else list(indices)
        for channels in CHANNELS:
            for share in SHARES:
                for name in names if share == "1" else names[:1]:
                    labels = "all labels" if share == "1" else f"{share} of the labels"
                    values = (find(results, name, probe, tap, channels, share) for tap in taps)
                    lines.append(_line(f"{what}, {channels}, {labels}", name, values))
    for key, what in (("orientation_r2", "edge orientation, R2 x100"), ("position_r2", "position, R2 x100")):
        lines += [_line(what, name, results[name][key]) for name in names]
    known = next(row for row in results["trained"]["rows"] if row["tap"] == "all" and row["labels"] == "1")
    for name in names:
        best = {what: find(results, name, *BEST, what=key) for key, what in SCORES.items() if key in known}
        shown = ", ".join(f"{what} {100 * value:.1f} %" for what, value in best.items())
        lines.append(f"logistic probe of all taps, standardised{', untrained' * (name == 'untrained')}: {shown}")
    return "\n".join(lines)


def _line(text: str, name: str, values: Iterable[float]) -> str:
    return f"{text + ', untrained' * (name == 'untrained'):{WIDTH}s}" + "".join(
        f"{100 * value:8.1f}" for value in values
    )
