"""The best linear reconstruction from one map: a head of the decoder's form, fitted in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

RIDGE = 1e-2  # of the mean variance of a channel


@dataclass(frozen=True)
class Readout:
    """`weight` (C, 3*P*P) and `bias` (3*P*P,): the vector at each place of a map gives P x P pixels."""

    weight: Tensor
    bias: Tensor

    @classmethod
    @torch.no_grad()
    def fit(cls, maps: Tensor, images: Tensor) -> Readout:
        """Ridge regression, in float64, of `images` (B, 3, H, W) on `maps` (B, C, h, w)."""
        x = maps.permute(0, 2, 3, 1).flatten(0, 2).double()  # (B*h*w, C)
        y = F.pixel_unshuffle(images, images.shape[-1] // maps.shape[-1])  # (B, 3*P*P, h, w)
        y = y.permute(0, 2, 3, 1).flatten(0, 2).double()  # (B*h*w, 3*P*P)
        centre, mean = x.mean(0), y.mean(0)
        x = x - centre
        covariance = x.T @ x  # (C, C)
        covariance.diagonal().add_(RIDGE * covariance.diagonal().mean())
        weight = torch.linalg.solve(covariance, x.T @ (y - mean))  # (C, 3*P*P)
        return cls(weight, mean - centre @ weight)

    def reconstruct(self, maps: Tensor) -> Tensor:
        """`maps` (B, C, h, w) -> images (B, 3, H, W), float32."""
        pixels = maps.permute(0, 2, 3, 1).double() @ self.weight + self.bias  # (B, h, w, 3*P*P)
        return F.pixel_shuffle(pixels.permute(0, 3, 1, 2), round((len(self.bias) / 3) ** 0.5)).float()
