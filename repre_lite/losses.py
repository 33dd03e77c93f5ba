"""The paper's losses as plain functions on tensors (equations 1 to 3, DINO's), and how two are balanced (equation 4)."""

from __future__ import annotations

import math

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
    """Equation 2: mean over images of -<p/|p|, z/|z|>, no gradient to `z`; `p`, `z` (B, D); in [-1, 1]."""
    return -F.cosine_similarity(p, z.detach(), dim=1).mean()


def nt_xent(
    z1: Tensor,
    z2: Tensor,
    temperature: float,
    all1: Tensor | None = None,
    all2: Tensor | None = None,
    offset: int = 0,
) -> Tensor:
    """SimCLR's loss: each of 2B embeddings against its partner, all others as negatives; mean over the 2B anchors.

    `z1`, `z2` (B, D), scaled to unit length here. Under several processes `all1`, `all2` (M, D) are those of all
    processes, and row `offset` of them is the first of `z1`, `z2`. Result >= 0.
    """
    all1, all2 = z1 if all1 is None else all1, z2 if all2 is None else all2
    anchors, others = F.normalize(torch.cat([z1, z2]), dim=1), F.normalize(torch.cat([all1, all2]), dim=1)
    first = offset + torch.arange(len(z1), device=z1.device)  # (B,): where z1 stands among the others
    second = first + len(all1)
    itself, partner = torch.cat([first, second]), torch.cat([second, first])  # (2B,) each
    logits = anchors @ others.T / temperature  # (2B, 2M)
    return F.cross_entropy(logits.scatter(1, itself[:, None], float("-inf")), partner)


def pixel_l1(reconstruction: Tensor, view: Tensor) -> Tensor:
    """Equation 3: mean absolute difference of the reconstruction and the augmented view before normalisation.

    Both (B, 3, H, W), the view in [0, 1], the reconstruction linear and not clipped. Result >= 0. Raises UserError if
    the shapes differ, or if the view holds whole numbers, 0 to 255.
    """
    if not view.is_floating_point():
        raise UserError(f"the view has dtype {view.dtype}; give floats in [0, 1], such as view / 255")
    if reconstruction.shape != view.shape:
        raise UserError(
            f"reconstruction {tuple(reconstruction.shape)} and view {tuple(view.shape)} differ in shape; "
            "give the decoder's output and the view its taps come from"
        )
    return (reconstruction - view).abs().mean()


def dino_cross_entropy(
    student: Tensor, teacher: Tensor, centre: Tensor, student_temperature: float, teacher_temperature: float | Tensor
) -> Tensor:
    """DINO's loss: cross-entropy of every student view with every teacher view except its own; mean over the pairs.

    `student` (S, B, D) and `teacher` (T, B, D) outputs of the head for S >= T views, the first T of both from the same
    views; `centre` (1, D). No gradient to the teacher. Result >= 0, ln(D) if both are uniform.
    """
    target = ((teacher.detach() - centre) / teacher_temperature).softmax(-1)  # (T, B, D)
    prediction = (student / student_temperature).log_softmax(-1)  # (S, B, D)
    pairs = [-(t * s).sum(-1).mean() for i, t in enumerate(target) for j, s in enumerate(prediction) if i != j]
    return torch.stack(pairs).mean()


class UncertaintyWeighting(nn.Module):
    """Equation 4 with learned weights, after Kendall et al. (2018): sum over both losses of (exp(-s) L + s) / 2.

    s is a log-variance, one per loss. The paper prints only "lambda1 L1 + lambda2 L2, lambda learnable"; minimised as
    it stands, that drives both weights to zero and below, so the log term s / 2 of Kendall et al. is added. At
    rest s = log L, so each weight exp(-s) / 2 goes as 1 / L and the total may fall below zero: look at the two raw
    losses.

    Both losses must be >= 0 (RePre shifts those that are not). The first batch with finite losses in training mode sets s = log L.
    `floor` bounds s below, so that the weight of a loss going to zero stays finite: it never exceeds exp(-floor) / 2.
    Computed in fp32 or better whatever autocast says; train s without weight decay and at a learning rate of its own
    (`ReconstructionBranch.parameter_groups`, `training.optim`).
    """

    initialised: Tensor

    def __init__(self, floor: float = -5.0) -> None:
        super().__init__()
        self.floor = floor
        self.log_variances = nn.Parameter(torch.zeros(2))
        # 1 if s is set; a number and not a bool, since helpers average buffers too: any above 0 counts
        self.register_buffer("initialised", torch.zeros(()))

    def forward(self, contrastive: Tensor, reconstruction: Tensor) -> Tensor:
        """Two scalars >= 0 -> the scalar to minimise.

        Raises UserError for a loss below zero on a CPU; elsewhere the host does not wait to look at it. Raises UserError in
        training mode for log-variances in a half format, whose steps are too coarse for them: they would stand still.
        """
        self.check_unsharded()
        if self.training and self.log_variances.dtype.itemsize < 4:
            raise UserError(
                f"log-variances of {self.log_variances.dtype} do not move by a hundredth; keep the weighting in fp32, "
                "branch.weighting.float(), before the optimiser is made"
            )
        losses = torch.stack([contrastive, reconstruction]).to(self.log_variances.dtype)  # (2,)
        if losses.is_cpu and not torch.compiler.is_compiling():
            check_not_negative(losses)
        if self.training:  # a loss of validation starts nothing, and one process may compute it alone
            self._start(losses.detach())
        s = self.log_variances
        return ((-s).exp() * losses + s).sum() / 2

    @torch.no_grad()
    def _start(self, losses: Tensor) -> None:
        """Set s = log L from the first finite losses (2,), equal on all processes; keep s above the floor."""
        losses = all_mean(losses)
        first = losses.isfinite().all() & (self.initialised == 0)
        s = torch.where(first, losses.clamp(min=1e-8).log(), self.log_variances)
        self.log_variances.copy_(s.clamp(min=self.floor))
        self.initialised.masked_fill_(first, 1)

    def check_unsharded(self) -> None:
        """Raise UserError if FSDP shards the log-variances: it would forget what the first batch sets them to."""
        if hasattr(self.log_variances, "full_tensor"):
            raise UserError(
                "the log-variances are sharded by FSDP, which would forget the values they start at; shard the encoder "
                "alone, and wrap the branch in DistributedDataParallel"
            )

    @property
    def weights(self) -> Tensor:
        """(2,): what the contrastive and the reconstruction loss are multiplied by now."""
        self.check_unsharded()
        return (-self.log_variances.detach().clamp(min=self.floor)).exp() / 2


def check_not_negative(losses: Tensor) -> None:
    """Raise UserError if a loss (2,) is below zero by more than fp16 rounding: Equation 4 has no minimum there."""
    if not losses.is_meta and bool((losses < -1e-3).any()):
        contrastive, reconstruction = losses.tolist()
        raise UserError(
            f"learned weights need losses >= 0, not {contrastive:.3g} (contrastive) and {reconstruction:.3g} "
            "(reconstruction); give the lowest value of the contrastive loss as loss_floor=, -1 for a negative cosine"
        )


class FixedWeighting(nn.Module):
    """Equation 4 with constant weights, the alternative: the paper learns them to avoid searching for these."""

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
    if kind != "fixed" or len(weights) != 2 or not all(0 <= weight < math.inf for weight in weights):
        raise UserError(f"weighting={text}: give uncertainty, or fixed:L1,L2 with two numbers >= 0, such as fixed:1,1")
    if not any(weights):
        raise UserError(f"weighting={text} leaves nothing to learn; give one weight above 0, such as fixed:1,1")
    return FixedWeighting(*weights)
