"""What the reconstruction branch adds to a training step: operations, parameters, memory and time, beside the paper's 4 %.

python benchmarks/overhead.py [--rounds 9] [--no-time] [--device cuda] [--json results/overhead.json]

Operations are counted, forward and backward, for every framework, encoder, decoder width and number of fusion layers.
That a step with the branch is the step without it plus the branch is checked for MoCo v3. Memory is what the forward
pass keeps for the backward pass in half precision, against the same of a MoCo v3 step without the branch. Time is the
median ratio of a whole step of MoCo v3 (views, losses, backward, optimiser, target) with the branch to one without, in
the same round. `--device cuda` has not been tested.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import torch
from measure import alternate, head, pin, ratios, shown, write

import repre_lite as rl
from repre_lite.data.image_set import ImageSet, Source
from repre_lite.data.sources import IMAGENET
from repre_lite.decoder import ReconstructionDecoder, light_width
from repre_lite.encoder import TappedEncoder, build_encoder
from repre_lite.frameworks import FRAMEWORKS
from repre_lite.planning.costs import Remembered, activations, step_flops
from repre_lite.recipes import Recipe
from repre_lite.runtime import flops
from repre_lite.runtime.device import pick_device
from repre_lite.training.loop import Training, steps

PAPER = 0.04
CLAIMED = {"vit": 0.04, "swin": 0.06}  # of a MoCo v3, BYOL or MoBY step, at the default width and layers
# encoder: scale, size, batch that is timed
CASES = {
    "vit_micro": ("scenes", "small", 64),
    "vit_tiny": ("cifar10", "full", 32),
    "vit_small": ("imagenet1k", "full", 4),
    "vit_base": ("imagenet1k", "full", 2),
    "swin_tiny": ("imagenet1k", "full", 2),
}
LAYERS = (1, 2, 4)
COUNTED = [name for name in FRAMEWORKS if name != "none"]


def recipe_of(arch: str, framework: str = "moco_v3", **overrides: Any) -> Recipe:
    scale, size, _ = CASES[arch]
    return rl.recipe(scale, framework, size=size, arch=arch, **overrides)


def widths(encoder: TappedEncoder) -> dict[str, int | None]:
    """Light is the default; half that of the encoder's shallowest tap; full the encoder's own, without laterals."""
    return {"light": light_width(encoder), "half": encoder.tap_widths[0] // 2, "full": None}


def branch(encoder: TappedEncoder, width: int | None, layers: int) -> dict[str, int]:
    """Operations, parameters and half-precision bytes kept, of one decoder and its loss, per image."""
    batch, size = 2, encoder.image_size
    with torch.device("meta"):
        decoder = ReconstructionDecoder.for_encoder(encoder, layers=layers, width=width)
        taps = [
            torch.zeros(batch, c, g, g, requires_grad=True)
            for c, g in zip(encoder.tap_widths, encoder.tap_grids, strict=True)
        ]
        view = torch.zeros(batch, 3, size, size)

    def loss() -> torch.Tensor:
        return (decoder(taps) - view).abs().mean()

    counted = flops.count(lambda: loss().backward())
    decoder, view, taps = decoder.half(), view.half(), [tap.detach().half().requires_grad_() for tap in taps]
    with Remembered(decoder) as kept:
        loss()
    return {"flops": counted // batch, "parameters": flops.parameters(decoder), "kept_bytes": kept.total // batch}


def count(arch: str) -> dict[str, Any]:
    """Everything that is counted for one encoder."""
    plain = recipe_of(arch, reconstruction="none")
    with torch.device("meta"):
        encoder = build_encoder(plain.arch, plain.image_size, plain.patch_size)
    step = {name: step_flops(recipe_of(arch, name, reconstruction="none")) for name in COUNTED}
    _, kept, _ = activations(plain)
    decoders = {}
    for name, width in widths(encoder).items():
        for layers in LAYERS:
            costs = branch(encoder, width, layers)
            share = {framework: round(costs["flops"] / whole, 4) for framework, whole in step.items()}
            decoders[f"{name}, {layers}"] = {
                "width": width,
                "share_of_step": share,
                "share_of_memory": round(costs["kept_bytes"] / kept, 4),
            } | costs
    whole = step_flops(recipe_of(arch))
    if whole != step["moco_v3"] + decoders["light, 2"]["flops"]:
        raise SystemExit(f"{arch}: a step with the branch has {whole} operations, which is not the sum of its parts")
    return {
        "image_size": plain.image_size,
        "encoder_parameters": flops.parameters(encoder),
        "step_flops": step,
        "kept_bytes": kept,
        "decoders": decoders,
    }  # fmt: skip


def timed(arch: str, rounds: int, device: torch.device) -> dict[str, Any]:
    """Whole steps of MoCo v3 without the branch, with the light one and with the full one, in turn."""
    batch = CASES[arch][2]
    common: dict[str, Any] = {"batch_size": batch, "steps": 10**6, "warmup_epochs": 0, "device": device.type}
    plain = recipe_of(arch, reconstruction="none", **common)
    images = rl.scenes(range(batch), size=plain.image_size).images
    recipes = {"none": plain} | {
        width: dataclasses.replace(plain, reconstruction="multi", decoder_width=width) for width in ("light", "full")
    }
    stepping = {
        name: steps(Training(recipe, Source("scenes", ImageSet(images, None, ()), None, *IMAGENET, 0, "")))
        for name, recipe in recipes.items()
    }
    seconds = alternate({name: (lambda s=s: next(s)) for name, s in stepping.items()}, rounds, 1, device)  # type: ignore[misc]
    return {"batch_size": batch} | {width: ratios(seconds[width], seconds["none"]) for width in ("light", "full")}


def show(arch: str, made: dict[str, Any]) -> None:
    print(f"\n{arch} at {made['image_size']} pixels: branch, % of a step's operations by framework; parameters; memory")
    print(f"{'width, layers':14s}" + "".join(f"{name:>9s}" for name in COUNTED) + f"{'million':>9s}{'% kept':>8s}")
    for name, costs in made["decoders"].items():
        shares = "".join(f"{100 * costs['share_of_step'][framework]:9.1f}" for framework in COUNTED)
        print(f"{name:14s}{shares}{costs['parameters'] / 1e6:9.2f}{100 * costs['share_of_memory']:8.1f}")
    limit = CLAIMED["swin" if "swin" in arch else "vit"]
    worst = max(made["decoders"]["light, 2"]["share_of_step"][name] for name in ("moco_v3", "byol", "moby"))
    print(
        f"default (light, 2): at most {worst:.1%} of a MoCo v3, BYOL or MoBY step; claimed {limit:.0%}, the paper's {PAPER:.0%}"
    )
    if "time" in made:
        print(
            f"time of a step, batch {made['time']['batch_size']}: light {shown(made['time']['light'])}, full {shown(made['time']['full'])}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--archs", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--no-time", action="store_true", help="count only")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where steps are timed")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    device = pick_device(options.device)
    core = pin()
    table: dict[str, Any] = head(core, device) | {
        "paper": PAPER,
        "claimed_at_most": CLAIMED,
        "rounds": options.rounds,
    }
    for arch in options.archs:
        table[arch] = made = count(arch)
        if not options.no_time:
            made["time"] = timed(arch, options.rounds, device)
        show(arch, made)
        write(options.json, table)


if __name__ == "__main__":
    main()
