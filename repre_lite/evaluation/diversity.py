"""How different the patches of an image are inside an encoder, tap by tap: no labels needed.

Park et al., "What do self-supervised vision transformers learn?" (ICLR 2023): contrastive learning makes tokens and
attention homogeneous and keeps low frequencies; learning from pixels does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..backbone import is_hierarchical, unwrap
from ..data.files import FileImages
from ..data.image_set import ImageSet
from ..encoder import TappedEncoder
from ..runtime import distributed
from ..runtime.progress import Progress
from .attention import attention_blocks, watched
from .collapse import effective_rank, patch_cosine
from .features import at_size

IMAGES = 512  # the most images that are measured
BATCH = 32
PATCHES = 4096  # the most patches of all images whose effective rank is taken
MEASURES = {
    "patch_cosine": "cosine between patches",
    "fourier": "high over zero frequency",
    "effective_rank": "effective rank",
}


@torch.no_grad()
def measure_diversity(
    encoder: TappedEncoder, images: Tensor | FileImages, mean: Sequence[float], std: Sequence[float]
) -> dict[str, list[float] | None]:
    """The measures of an encoder on up to 512 images, uint8 (B, 3, H, W), in evaluation mode; lists from shallow to deep.

    `patch_cosine` (K), see `collapse.patch_cosine`, mean over images; `fourier` (K), see `log_amplitude`;
    `effective_rank` (K), see `collapse.effective_rank`, of the patches of all images together (4,096 of them, evenly
    spread); `attention_nmi`, see `attention_nmi`, of each block, mean over images and heads, or None for a Swin, whose
    tokens attend in windows of their own. Several processes share the images, and each gets all measures.
    """
    weight = next(encoder.parameters())
    shift, scale = (torch.tensor(values, device=weight.device).view(3, 1, 1) for values in (mean, std))
    chosen = spread(len(images), IMAGES)
    batches = -(-len(chosen) // BATCH)
    share = distributed.share(batches)
    mine = chosen[share.start * BATCH : share.stop * BATCH]
    shown = images.only(mine) if isinstance(images, FileImages) else images[mine]
    blocks = [] if is_hierarchical(encoder.backbone) else attention_blocks(unwrap(encoder.backbone))
    caught: list[dict[str, Tensor]] = [{} for _ in blocks]
    values: dict[str, list[Tensor]] = {"patch_cosine": [], "fourier": [], "attention_nmi": []}
    patches: list[list[Tensor]] = [[] for _ in encoder.tap_indices]
    with (
        watched(encoder.backbone, blocks, caught),
        Progress(len(mine), "image", "diversity", delay=2, leave=False) as bar,
    ):
        for part in shown.split(BATCH):
            x = (at_size(part.to(weight.device), encoder.image_size) - shift) / scale
            taps = [tap.float() for tap in encoder(x.to(weight.dtype)).taps]
            values["patch_cosine"].append(torch.stack([patch_cosine(tap) for tap in taps], dim=1))  # (B, K)
            values["fourier"].append(torch.stack([log_amplitude(tap) for tap in taps], dim=1))
            if blocks:
                nmi = [attention_nmi(one["weights"].float()).mean(1) for one in caught]
                values["attention_nmi"].append(torch.stack(nmi, dim=1))  # (B, L)
            for kept, tap in zip(patches, taps, strict=True):
                tokens = tap.flatten(2).transpose(1, 2).flatten(0, 1)  # (B*N, C)
                most = -(-PATCHES * len(part) // len(chosen))
                kept.append(tokens[spread(len(tokens), most)])
            bar.update(len(part))

    def whole(parts: list[Tensor]) -> Tensor:
        return distributed.gather_shares(torch.cat(parts), batches, weight.device)

    found: dict[str, list[float] | None] = {
        name: whole(parts).cpu().double().mean(0).tolist() if parts else None for name, parts in values.items()
    }
    return found | {"effective_rank": [effective_rank(whole(kept)) for kept in patches]}


def spread(count: int, most: int) -> list[int]:
    """Up to `most` whole numbers below `count`, evenly spread, starting at 0."""
    wanted = min(count, most)
    return [index * count // wanted for index in range(wanted)]


def log_amplitude(tap: Tensor) -> Tensor:
    """The log amplitude of the highest diagonal frequency minus that of frequency zero, mean over channels, (B,).

    `tap` (B, C, h, w). The two-dimensional Fourier transform is over the patch grid; the highest frequency is that of a
    checkerboard, (h // 2, w // 2) periods. Natural logarithm of the amplitude plus 1e-6. Low values: little detail (Park
    et al., ICLR 2023, section 3.2, where the curve between these two is plotted).
    """
    h, w = tap.shape[-2:]
    amplitude = (torch.fft.fft2(tap.float()).abs() + 1e-6).log()  # (B, C, h, w)
    difference: Tensor = amplitude[..., h // 2, w // 2] - amplitude[..., 0, 0]  # (B, C)
    return difference.mean(1)


def attention_nmi(weights: Tensor) -> Tensor:
    """Normalised mutual information between query and key, in [0, 1]: I(q, k) / sqrt(H(q) H(k)).

    `weights` (..., T, T): attention after the softmax, whose rows sum to 1, of all tokens; queries count alike. 0 if all
    queries attend alike, 1 if each attends to a token of its own (Park et al., ICLR 2023, section 3.1). -> (...)
    """
    tokens = weights.shape[-2]
    keys = weights.mean(-2)  # (..., T): p(k)
    known, entropy = torch.xlogy(weights, weights).sum(-1).mean(-1), -torch.xlogy(keys, keys).sum(-1)
    information = known + entropy  # H(k) - H(k|q)
    nmi = information / (entropy * torch.log(torch.tensor(float(tokens)))).clamp(min=1e-12).sqrt()
    return nmi.clamp(0, 1)


def score_diversity(
    encoder: TappedEncoder,
    untrained: TappedEncoder | None,
    images: ImageSet,
    device: torch.device,
    mean: Sequence[float],
    std: Sequence[float],
) -> dict[str, Any]:
    """`measure_diversity` of an encoder and of its `untrained` control: entries of summary.json.

    `patch_cosine` is that of the last tap; `diversity` holds all lists; names that end in `_untrained` are the control's.
    """
    results: dict[str, Any] = {}
    for suffix, network in (("", encoder), ("_untrained", untrained)):
        if network is not None:
            found = measure_diversity(network.to(device), images.images, mean, std)
            cosines = found["patch_cosine"]
            assert cosines is not None
            results |= {f"patch_cosine{suffix}": cosines[-1], f"diversity{suffix}": found}
    return results


def table(results: dict[str, Any], indices: Sequence[int]) -> str:
    """What `score_diversity` found as lines of text; `indices`: the tapped blocks or stages."""
    head = "".join(f"{f'tap {index}':>9s}" for index in indices)
    lines = [f"{'':38s}{head}"]
    for name, what in MEASURES.items():
        for suffix, whose in (("", ""), ("_untrained", ", untrained")):
            found = results.get(f"diversity{suffix}")
            if found:
                lines.append(f"{what + whose:38s}" + "".join(f"{value:9.3f}" for value in found[name]))
    for suffix, whose in (("", ""), ("_untrained", ", untrained")):
        found = results.get(f"diversity{suffix}")
        if found and found["attention_nmi"] is None:
            lines.append("attention NMI: left out, a Swin attends in windows")
            break
        if found:
            lines.append(
                f"{'attention NMI by block' + whose:38s} "
                + " ".join(f"{value:.3f}" for value in found["attention_nmi"])
            )
    return "\n".join(lines)
