"""How good an encoder is: k-nearest neighbours, a linear probe, gauges of collapse, a doctor; and reading and exporting encoders.

Names are imported when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..runtime.lazy import lazy

_HOME = {
    "Finding": "symptoms",
    "diagnose": "doctor",
    "examine": "doctor",
    "effective_rank": "collapse",
    "embedding_std": "collapse",
    "patch_cosine": "collapse",
    "measure_diversity": "diversity",
    "export_encoder": "export",
    "at_size": "features",
    "extract": "features",
    "extract_shared": "features",
    "knn_top1": "knn",
    "pixel_features": "knn",
    "fit_linear": "linear",
    "linear_top1": "linear",
    "score_encoder": "score",
    "SegmentationScore": "segmentation_metrics",
    "confusion_matrix": "segmentation_metrics",
    "mean_accuracy": "segmentation_metrics",
    "miou": "segmentation_metrics",
    "EncoderSource": "source",
    "read_source": "source",
}

if TYPE_CHECKING:
    from .collapse import effective_rank as effective_rank
    from .collapse import embedding_std as embedding_std
    from .collapse import patch_cosine as patch_cosine
    from .diversity import measure_diversity as measure_diversity
    from .doctor import diagnose as diagnose
    from .doctor import examine as examine
    from .export import export_encoder as export_encoder
    from .features import at_size as at_size
    from .features import extract as extract
    from .features import extract_shared as extract_shared
    from .knn import knn_top1 as knn_top1
    from .knn import pixel_features as pixel_features
    from .linear import fit_linear as fit_linear
    from .linear import linear_top1 as linear_top1
    from .score import score_encoder as score_encoder
    from .segmentation_metrics import SegmentationScore as SegmentationScore
    from .segmentation_metrics import confusion_matrix as confusion_matrix
    from .segmentation_metrics import mean_accuracy as mean_accuracy
    from .segmentation_metrics import miou as miou
    from .source import EncoderSource as EncoderSource
    from .source import read_source as read_source
    from .symptoms import Finding as Finding


__getattr__, __dir__ = lazy(__name__, _HOME)
