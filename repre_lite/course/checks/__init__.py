"""The checks of the exercises: each prints one line for a right answer, and for a wrong one raises what to look at.

One file for each lesson; `exercise` holds what a check is made of.
"""

from .ablations import check_half_width, check_own_ablation, check_three_gains
from .attention import check_kept, check_object_score, check_rollout
from .collapse import check_follow, check_left_in_queue, check_protection, check_push
from .comparing import compare
from .contrast import check_collapsed_nt_xent, check_info_nce, check_own_contrast
from .decoder import check_fusion_block, check_own_fusion, check_reached_pixels
from .inside import check_own_diversity, check_patch_cosine, check_shifted_cosine
from .scaling import check_comparison, check_missing_keys, check_shard_loss
from .start import check_colourful, check_join, check_room
from .step import check_chance, check_reached_parts, check_train_step
from .taps import check_changed_vectors, check_tap_indices, check_to_map
from .transfer import check_iou, check_own_head, check_small_box
from .views import check_nothing_shared, check_overlap, check_own_view
from .weights import check_own_weighting, check_settled_weight, check_uncertainty_total

__all__ = [
    "check_chance",
    "check_changed_vectors",
    "check_collapsed_nt_xent",
    "check_colourful",
    "check_comparison",
    "check_follow",
    "check_fusion_block",
    "check_half_width",
    "check_info_nce",
    "check_iou",
    "check_join",
    "check_kept",
    "check_left_in_queue",
    "check_missing_keys",
    "check_nothing_shared",
    "check_object_score",
    "check_overlap",
    "check_own_ablation",
    "check_own_contrast",
    "check_own_diversity",
    "check_own_fusion",
    "check_own_head",
    "check_own_view",
    "check_own_weighting",
    "check_patch_cosine",
    "check_protection",
    "check_push",
    "check_reached_parts",
    "check_reached_pixels",
    "check_rollout",
    "check_room",
    "check_settled_weight",
    "check_shard_loss",
    "check_shifted_cosine",
    "check_small_box",
    "check_tap_indices",
    "check_three_gains",
    "check_to_map",
    "check_train_step",
    "check_uncertainty_total",
    "compare",
]
