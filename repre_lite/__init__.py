"""repre-lite: contrastive pre-training of ViT and Swin with a pixel-reconstruction branch (RePre), to learn from and to use.

Names are imported when first used, so that `repre-lite --help` and `import repre_lite` do not wait for torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .runtime.lazy import lazy

__version__ = "0.2.0.dev0"

_HOME = {
    "build_encoder": "encoder",
    "encode": "encoder",
    "Features": "encoder",
    "TappedEncoder": "encoder",
    "ReconstructionDecoder": "decoder",
    "build_framework": "frameworks",
    "RePre": "repre",
    "ReconstructionBranch": "repre",
    "Recipe": "recipes",
    "recipe": "recipes",
    "View": "data.view",
    "scenes": "data.scenes",
    "training_steps": "training.loop",
    "train": "training.train",
    "Stopped": "runtime.errors",
    "Run": "runs",
    "load_run": "runs",
    "artefact": "course.artefacts",
    "UserError": "runtime.errors",
}
_MODULES = ("losses", "heads", "frameworks", "visualize", "course", "evaluation", "transfer", "data", "runtime")

if TYPE_CHECKING:
    import repre_lite.course as course
    import repre_lite.visualize as visualize

    from . import data, evaluation, frameworks, heads, losses, runtime, transfer
    from .course.artefacts import artefact
    from .data.scenes import scenes
    from .data.view import View
    from .decoder import ReconstructionDecoder
    from .encoder import Features, TappedEncoder, build_encoder, encode
    from .frameworks import build_framework
    from .recipes import Recipe, recipe
    from .repre import ReconstructionBranch, RePre
    from .runs import Run, load_run
    from .runtime.errors import Stopped, UserError
    from .training.loop import training_steps
    from .training.train import train

__all__ = [*_HOME, *_MODULES]


__getattr__, __dir__ = lazy(__name__, _HOME, _MODULES, own=("__version__",))
