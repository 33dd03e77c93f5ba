"""Gauges that show a collapsing embedding, or patches that become alike, before the accuracy does."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def embedding_std(embedding: Tensor) -> float:
    """Standard deviation over images of the unit-length embedding (B, D), mean over D, times sqrt(D).

    About 1 if directions spread evenly over the sphere, 0 if all images share one (SimSiam, section 4.1, reads the same
    quantity against 1 / sqrt(D)).
    """
    unit = F.normalize(embedding.float(), dim=1)
    return float(unit.std(dim=0).mean() * unit.shape[1] ** 0.5)


def effective_rank(embedding: Tensor) -> float:
    """How many directions the embedding (B, D) really uses: exp of the entropy of its singular values, in [1, min(B, D)].

    Garrido et al. (2023), RankMe, on centred embeddings.
    """
    centred = embedding.float() - embedding.float().mean(dim=0)
    if centred.device.type == "mps":  # its svdvals takes small matrices only
        centred = centred.cpu()
    values = torch.linalg.svdvals(centred)
    share = values / values.sum().clamp(min=1e-12)
    return float((-(share * share.clamp(min=1e-12).log()).sum()).exp())


def patch_cosine(tap: Tensor) -> Tensor:
    """How alike the patches of one image are: the mean cosine between two different patches of each image, fp32 (B,).

    `tap` (B, C, h, w). 1 if all patches point the same way, 0 if each two are orthogonal; NaN for a single patch.
    Contrastive learning makes the patches of an image alike (Park et al., ICLR 2023, section 3).
    """
    unit = F.normalize(tap.float().flatten(2), dim=1)  # (B, C, N)
    count = unit.shape[2]
    own = unit.square().sum((1, 2))  # (B,), N unless a patch is zero: the pairs of a patch with itself
    return (unit.sum(2).square().sum(1) - own) / (count * (count - 1))
