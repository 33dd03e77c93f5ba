"""How good is an encoder: k-nearest neighbours, a linear probe, and gauges of collapse."""

from .collapse import effective_rank, embedding_std
from .features import at_size, extract, extract_shared
from .knn import knn_top1, pixel_features
from .linear import linear_top1

__all__ = [
    "at_size",
    "effective_rank",
    "embedding_std",
    "extract",
    "extract_shared",
    "knn_top1",
    "linear_top1",
    "pixel_features",
]
