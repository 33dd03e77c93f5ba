"""A training step of our loop, without the views, against a bare loop written below: what the library itself costs.

python benchmarks/step.py [--rounds 15] [--device cuda] [--json results/step.json]

MoCo v3 without reconstruction, vit_micro at 32 pixels and vit_small at 224 (published heads). The bare loop has the same
timm ViT and the same heads, starts from the same weights and sees the same views: two online and two target forwards,
InfoNCE, fused AdamW, foreach moving average, and nothing else. That both then do the same work is checked: their losses
after all rounds must agree. A ratio is our time by the bare loop's in the same round; operations are those dispatched in
one step, views of the same memory left out; `report` is what reading and logging a step adds, in steps, and happens about once in 50 of a long run.
Operations are counted once more for vit_tiny (patch 4, 32 pixels) with both views in one forward pass, as on a GPU.
`--device cuda` has not been tested; both loops compute in fp32 there.
"""

from __future__ import annotations

import argparse
import copy
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import timm
import torch
from measure import alternate, count_operations, head, pin, ratios, shown, spread, write
from torch import Tensor, nn
from torch.nn import functional as F

import repre_lite as rl
from repre_lite.data.image_set import ImageSet, Source
from repre_lite.data.sources import IMAGENET
from repre_lite.frameworks import base
from repre_lite.frameworks.moco_v3 import MoCoV3
from repre_lite.recipes import Recipe
from repre_lite.runtime.device import pick_device
from repre_lite.training.loop import Training, steps

CLAIM, OPERATIONS = 1.03, 750
FOREVER = 10**6  # steps of the schedules, so that rate and momentum hardly move


class WithoutViews(Training):
    fixed: list[Tensor]

    def make_views(self) -> list[Tensor]:
        return self.fixed


def mlp(*widths: int) -> nn.Sequential:
    """Linear maps without bias, batch norm after each, the last one's without scale and shift, ReLU between."""
    parts: list[nn.Module] = []
    for number, (width, out) in enumerate(itertools.pairwise(widths)):
        last = number == len(widths) - 2
        parts += [nn.Linear(width, out, bias=False), nn.BatchNorm1d(out, affine=not last)]
        parts += [] if last else [nn.ReLU(inplace=True)]
    return nn.Sequential(*parts)


def bare_loop(training: Training) -> Callable[[], Tensor]:
    """One step of MoCo v3 in plain PyTorch, from the weights of `training` and on its views; returns the loss."""
    recipe, held = training.recipe, cast(MoCoV3, training.model.framework)
    encoder: Any = held.online
    vit: Any = timm.create_model(encoder.timm_name, **({"num_classes": 0} | encoder.timm_args))
    hidden, out, width = recipe.method["hidden"], 256, encoder.width
    device = training.device
    online = nn.Sequential(vit, mlp(width, hidden, hidden, out)).to(device)
    predictor = mlp(out, hidden, out).to(device)
    vit.load_state_dict(encoder.backbone.state_dict())
    online[1].load_state_dict(held.projector.state_dict())
    predictor.load_state_dict(held.predictor.state_dict())
    for fixed in (vit.pos_embed, *vit.patch_embed.parameters()):
        fixed.requires_grad_(False)
    target = copy.deepcopy(online).requires_grad_(False)
    trained = [p for module in (online, predictor) for p in module.parameters() if p.requires_grad]
    rate, temperature, momentum = recipe.peak_lr, held.temperature, held.momentum
    optimiser = torch.optim.AdamW(trained, lr=rate, weight_decay=recipe.weight_decay, fused=True)
    followed, followers = ([p.detach() for p in network.parameters()] for network in (online, target))
    labels = torch.arange(recipe.batch_size, device=device)
    mean, std = training.model.mean, training.model.std
    views = training.make_views()

    def one_way(q: Tensor, k: Tensor) -> Tensor:
        logits = F.normalize(q, dim=1) @ F.normalize(k, dim=1).T / temperature
        return 2 * temperature * F.cross_entropy(logits, labels)

    def step() -> Tensor:
        v1, v2 = ((view - mean) / std for view in views)
        q1, q2 = predictor(online(v1)), predictor(online(v2))
        with torch.no_grad():
            k1, k2 = target(v1), target(v2)
        loss = one_way(q1, k2) + one_way(q2, k1)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        torch._foreach_lerp_(followers, followed, 1 - momentum)
        return loss.detach()

    return step


def prepare(recipe: Recipe) -> Training:
    """Our loop on fixed views."""
    images = rl.scenes(range(2 * recipe.batch_size), size=recipe.image_size).images
    training = WithoutViews(recipe, Source("scenes", ImageSet(images, None, ()), None, *IMAGENET, 0, ""))
    training.fixed = [half.to(training.device).float() / 255 for half in images.chunk(2)]
    return training


def count_together(recipe: Recipe) -> int:
    """Operations of our step where both views share a forward pass, whatever the device."""
    held, base.together = base.together, lambda view: True
    stepping = steps(prepare(recipe))
    next(stepping)
    counted = count_operations(lambda: next(stepping))
    base.together = held
    return counted


def cell(recipe: Recipe, rounds: int) -> dict[str, Any]:
    """Our step and the bare one in turn."""
    training = prepare(recipe)
    losses: dict[str, list[Tensor]] = {"bare": [], "ours": []}
    bare, stepping = bare_loop(training), steps(training)
    candidates: dict[str, Callable[[], None]] = {
        "bare": lambda: losses["bare"].append(bare()),
        "ours": lambda: losses["ours"].append(next(stepping)[0].total.detach()),
    }
    seconds = alternate(candidates, rounds, device=training.device)
    first = {name: [round(float(loss), 6) for loss in values[:4]] for name, values in losses.items()}
    if any(abs(ours - bare) > 1e-3 * bare for ours, bare in zip(*first.values(), strict=True)):
        raise SystemExit(f"the two loops do not do the same: their first losses are {first}")
    operations = {name: count_operations(run) for name, run in candidates.items()}
    last, views = next(stepping)
    reporting = alternate({"report": lambda: training.report(last, views, 0.0)}, rounds, device=training.device)[
        "report"
    ]
    return {
        "batch_size": recipe.batch_size,
        "ratio": ratios(seconds["ours"], seconds["bare"]),
        "seconds": {name: spread(times) for name, times in seconds.items()},
        "operations": operations,
        "report_in_steps": ratios(reporting, seconds["bare"]),
        "first_losses": first,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    core = pin()
    common: dict[str, Any] = {"reconstruction": "none", "steps": FOREVER, "warmup_epochs": 0, "precision": "fp32"}
    common["device"] = options.device
    recipes = {
        "vit_micro, 32 px": rl.recipe("scenes", "moco_v3", size="small", **common),
        "vit_small, 224 px": rl.recipe("imagenet1k", "moco_v3", batch_size=4, **common),
    }
    table: dict[str, Any] = head(core, pick_device(options.device)) | {
        "claim_at_most": CLAIM,
        "rounds": options.rounds,
    }
    print(f"{'':18s} batch  our step by the bare one   operations ours, bare   seconds bare   report")
    for name, recipe in recipes.items():
        table[name] = made = cell(recipe, options.rounds)
        counts = f"{made['operations']['ours']}, {made['operations']['bare']}"
        print(
            f"{name:18s} {made['batch_size']:5d}  {shown(made['ratio']):25s}   {counts:22s}"
            f"  {made['seconds']['bare']['median']:12.3f} {made['report_in_steps']['median']:8.3f}",
            flush=True,
        )
    print(f"claimed: at most {CLAIM}")
    counted = count_together(rl.recipe("cifar10", "moco_v3", batch_size=8, **(common | {"device": "cpu"})))
    table["views together, vit_tiny, 32 px"] = {"operations": counted, "claim_at_most": OPERATIONS}
    print(f"views together, vit_tiny, 32 px: {counted} operations, claimed at most {OPERATIONS}")
    write(options.json, table)


if __name__ == "__main__":
    main()
