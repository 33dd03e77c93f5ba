"""5 steps of every framework, with and without the branch, in float64; one process or two of `torchrun` alike.

`python two_processes.py OUT.json` writes every logged loss and a few sums that pin all weights down.
"""

import json
import sys

import torch
from small import SMALL, TINY

import repre_lite as rl
from repre_lite.data.sources import load_source
from repre_lite.frameworks import FRAMEWORKS
from repre_lite.runtime import distributed
from repre_lite.training.loop import training_steps


def run(name, reconstruction, source, **method):
    encoder = TINY | ({"dynamic_img_size": True} if name == "dino" else {})
    recipe = rl.recipe(
        "scenes", name, reconstruction=reconstruction, steps=5, batch_size=12, train_images=60, drop_path=0.0,
        precision="fp64", device="cpu", encoder=encoder, method=SMALL[name] | method,
    )  # fmt: skip
    losses, gauges = [], []
    for step in training_steps(recipe, source):
        gauges.append([step.gauges[name] for name in ("embedding_std", "effective_rank", "patch_cosine")])
        losses.append([step.losses["contrastive"], step.losses["reconstruction"], step.losses["total"]])
    state = step.model.state_dict()
    weights = {k: v.double().flatten().tolist() for k, v in state.items() if isinstance(v, torch.Tensor)}
    return {"losses": losses, "gauges": gauges, "weights": weights}


def main(out):
    source = load_source("scenes", None, 32, 60)
    results = {}
    for name in FRAMEWORKS:
        for reconstruction in ("multi",) if name == "none" else ("none", "multi"):
            results[f"{name} {reconstruction}"] = run(name, reconstruction, source)
    results["dino with batch norm"] = run("dino", "multi", source, batch_norm=True)
    if distributed.is_main():
        with open(out, "w") as stream:
            json.dump(results, stream)
    distributed.finish()


if __name__ == "__main__":
    main(sys.argv[1])
