"""The paper's losses as plain functions on tensors (equations 1 to 3, DINO's), and how two are balanced (equation 4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .runtime.distributed import all_mean
from .runtime.errors import UserError


def info_nce(q: Tensor, k: Tensor, temperature: float, offset: int = 0) -> Tensor:
    """Equation 1: the softmax over one positive and all other keys, as a cross-entropy; mean over queries.

    `q` (B, D), `k` (M, D) with M >= B, both scaled to unit length here; the positive of query i is key `offset` + i
    (the diagonal; under several processes the offset is rank * B). Result >= 0, no 2T factor.
    """
    logits = F.normalize(q, dim=1) @ F.normalize(k, dim=1).T / temperature  # (B, M)
    return F.cross_entropy(logits, torch.arange(offset, offset + len(q), device=q.device))


def info_nce_queue(q: Tensor, k: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """Equation 1 with a queue of negatives (MoCo v2, MoBY): the positive of query i is key i; mean over queries.

    `q`, `k` (B, D); `queue` (K, D) of unit length, without gradient. Result >= 0.
    """
    q, k = F.normalize(q, dim=1), F.normalize(k, dim=1)
    positive = (q * k).sum(1, keepdim=True)  # (B, 1)
    logits = torch.cat([positive, q @ queue.T], dim=1) / temperature  # (B, 1 + K)
    return F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.long, device=q.device))


def negative_cosine(p: Tensor, z: Tensor) -> Tensor:
    """Equation 2: mean over pictures of -<p/|p|, z/|z|>, no gradient to `z`; `p`, `z` (B, D); in [-1, 1]."""
    return -F.cosine_similarity(p, z.detach(), dim=1).mean()


def nt_xent(
    z1: Tensor,
    z2: Tensor,
    temperature: float,
    all1: Tensor | None = None,
    all2: Tensor | None = None,
    offset: int = 0,
) -> Tensor:
    """SimCLR's loss: each of the 2B embeddings against its partner and all others as negatives; mean over the 2B anchors.

    `z1`, `z2` (B, D), scaled to unit length here. Under several processes `all1`, `all2` (M, D) hold everybody's, in
    which row `offset` is the first of `z1`, `z2`. Result >= 0.
    """
    all1, all2 = z1 if all1 is None else all1, z2 if all2 is None else all2
    anchors, others = F.normalize(torch.cat([z1, z2]), dim=1), F.normalize(torch.cat([all1, all2]), dim=1)
    first = offset + torch.arange(len(z1), device=z1.device)  # (B,): where z1 stands among the others
    second = first + len(all1)
    itself, partner = torch.cat([first, second]), torch.cat([second, first])  # (2B,) each
    logits = anchors @ others.T / temperature  # (2B, 2M)
    return F.cross_entropy(logits.scatter(1, itself[:, None], float("-inf")), partner)


def pixel_l1(picture: Tensor, view: Tensor) -> Tensor:
    """Equation 3: mean absolute difference of the reconstruction and the augmented view before normalisation.

    Both (B, 3, H, W), the view in [0, 1], the reconstruction linear and not clipped. Result >= 0.
    """
    return (picture - view).abs().mean()


def dino_cross_entropy(
    student: Tensor, teacher: Tensor, centre: Tensor, student_temperature: float, teacher_temperature: float | Tensor
) -> Tensor:
    """DINO's loss: cross-entropy of every student view with every teacher view except its own; mean over the pairs.

    `student` (S, B, D) and `teacher` (T, B, D) outputs of the head for S >= T views, the first T of both from the same
    views; `centre` (1, D). No gradient to the teacher. Result >= 0, ln(D) where both are uniform.
    """
    target = ((teacher.detach() - centre) / teacher_temperature).softmax(-1)  # (T, B, D)
    prediction = (student / student_temperature).log_softmax(-1)  # (S, B, D)
    pairs = [-(t * s).sum(-1).mean() for i, t in enumerate(target) for j, s in enumerate(prediction) if i != j]
    return torch.stack(pairs).mean()


class UncertaintyWeighting(nn.Module):
    """Equation 4 with learned weights, after Kendall et al. (2018): sum over both losses of (exp(-s) L + s) / 2.

    s is a log-variance, one a loss. The paper prints only "lambda1 L1 + lambda2 L2, lambda learnable"; minimised as it
    stands that drives both weights to zero and below, so the log term s / 2 of Kendall et al. belongs to it. At rest
    s = log L, so each weight exp(-s) / 2 goes as 1 / L and the total may fall below zero: look at the two raw losses.

    Both losses must be >= 0 (RePre shifts those that are not). The first batch sets s = log L. `floor` bounds s below,
    so that the weight of a loss going to zero stays finite: it never exceeds exp(-floor) / 2. Outside autocast
    (fp32), without weight decay, with a learning rate of its own (`training.optim`).
    """

    def __init__(self, floor: float = -5.0) -> None:
        super().__init__()
        self.floor = floor
        self.log_variances = nn.Parameter(torch.zeros(2))
        self.started = False

    def forward(self, contrastive: Tensor, reconstruction: Tensor) -> Tensor:
        """Two scalars >= 0 -> the scalar to minimise."""
        losses = torch.stack([contrastive, reconstruction]).to(self.log_variances.dtype)  # (2,)
        with torch.no_grad():
            if not self.started:
                self.log_variances.copy_(all_mean(losses.detach()).clamp(min=1e-8).log())
                self.started = True
            self.log_variances.clamp_(min=self.floor)
        s = self.log_variances
        return ((-s).exp() * losses + s).sum() / 2

    @property
    def weights(self) -> Tensor:
        """(2,): what the contrastive and the reconstruction loss are multiplied by now."""
        return (-self.log_variances.detach().clamp(min=self.floor)).exp() / 2

    def get_extra_state(self) -> dict[str, bool]:
        return {"started": self.started}

    def set_extra_state(self, state: dict[str, bool]) -> None:
        self.started = state["started"]


class FixedWeighting(nn.Module):
    """The two losses under weights that stay: the alternative the paper wants to avoid searching for."""

    def __init__(self, contrastive: float = 1.0, reconstruction: float = 1.0) -> None:
        super().__init__()
        self.weights: Tensor
        self.register_buffer("weights", torch.tensor([contrastive, reconstruction]), persistent=False)

    def forward(self, contrastive: Tensor, reconstruction: Tensor) -> Tensor:
        """Two scalars -> their weighted sum."""
        return self.weights[0] * contrastive + self.weights[1] * reconstruction


def build_weighting(text: str) -> UncertaintyWeighting | FixedWeighting:
    """`uncertainty`, or `fixed:L1,L2` with the weights of the contrastive and the reconstruction loss."""
    if text == "uncertainty":
        return UncertaintyWeighting()
    kind, _, numbers = text.partition(":")
    try:
        weights = [float(number) for number in numbers.split(",")]
    except ValueError:
        weights = []
    if kind != "fixed" or len(weights) != 2 or min(weights) < 0:
        raise UserError(
            f"--weighting {text}: give uncertainty, or fixed:L1,L2 with two numbers >= 0, such as fixed:1,1"
        )
    return FixedWeighting(*weights)
