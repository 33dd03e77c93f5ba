"""The class tokens that DINO's linear probe reads."""

import pytest
import timm
import torch
from small import TINY

from repre_lite.encoder import build_encoder, encode
from repre_lite.evaluation.class_tokens import last_class_tokens
from repre_lite.runtime.errors import UserError


def test_last_class_tokens_are_normed_outputs_of_the_last_blocks():
    """DINO's get_intermediate_layers: the final norm after each of the last blocks, the class token of each."""
    backbone = timm.create_model(
        "vit_tiny_patch16_224", num_classes=0, img_size=32, patch_size=8, **TINY | {"depth": 5}
    )
    backbone.eval()
    view = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    seen = []
    for block in backbone.blocks:
        block.register_forward_hook(lambda m, i, o: seen.append(o))
    tokens = last_class_tokens(backbone, view, blocks=3)
    expected = torch.cat([backbone.norm(output)[:, 0] for output in seen[-3:]], dim=1)
    assert torch.equal(tokens, expected) and tokens.shape == (2, 96)
    assert torch.allclose(tokens[:, -32:], encode(backbone, view, ()).pooled)
    beside = backbone.norm(seen[-1])[:, 1:].mean(1)  # eval_linear.py's avgpool_patchtokens
    with_patches = last_class_tokens(backbone, view, 1, patches=True)
    assert torch.allclose(with_patches, torch.cat([tokens[:, -32:], beside], dim=1), atol=1e-6)
    for blocks in (0, 6):
        with pytest.raises(UserError, match="blocks="):
            last_class_tokens(backbone, view, blocks)
    with pytest.raises(UserError, match="no class token"):
        last_class_tokens(build_encoder("swin_micro", 32).backbone, view)
