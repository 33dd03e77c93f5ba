"""The best a linear readout can draw of a map: the shape of the decoder's head, fitted in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

RIDGE = 1e-2  # of the mean variance of a channel


@dataclass(frozen=True)
class Readout:
    """`weight` (C, 3*P*P) and `bias` (3*P*P,): every vector of a map draws its own P x P pixels."""

    weight: Tensor
    bias: Tensor

    @classmethod
    @torch.no_grad()
    def fit(cls, maps: Tensor, pictures: Tensor) -> Readout:
        """Ridge regression, in float64, of `pictures` (B, 3, H, W) on `maps` (B, C, h, w)."""
        x = maps.permute(0, 2, 3, 1).flatten(0, 2).double()  # (B*h*w, C)
        y = F.pixel_unshuffle(pictures, pictures.shape[-1] // maps.shape[-1])  # (B, 3*P*P, h, w)
        y = y.permute(0, 2, 3, 1).flatten(0, 2).double()  # (B*h*w, 3*P*P)
        centre, mean = x.mean(0), y.mean(0)
        x = x - centre
        covariance = x.T @ x  # (C, C)
        covariance.diagonal().add_(RIDGE * covariance.diagonal().mean())
        weight = torch.linalg.solve(covariance, x.T @ (y - mean))  # (C, 3*P*P)
        return cls(weight, mean - centre @ weight)

    def draw(self, maps: Tensor) -> Tensor:
        """`maps` (B, C, h, w) -> (B, 3, H, W)."""
        drawn = maps.permute(0, 2, 3, 1).double() @ self.weight + self.bias  # (B, h, w, 3*P*P)
        return F.pixel_shuffle(drawn.permute(0, 3, 1, 2), round((len(self.bias) / 3) ** 0.5)).float()
