"""Three steps of each task in float64; one process or two of `torchrun` alike.

`python two_processes.py SOURCE DATA OUT.json` writes every loss, the scores and a few sums that pin all weights down.
"""

import json
import sys

import torch
from torch import nn

from repre_lite.runtime import distributed
from repre_lite.transfer import objects
from repre_lite.transfer.loop import Transfer
from repre_lite.transfer.settings import transfer_recipe


def main(source, data, out):
    common = {
        "steps": 3,
        "batch_size": 4,
        "precision": "fp64",
        "device": "cpu",
        "workers": 0,
        "head_width": 8,
        "lr": 1e-3,
    }
    results = {}
    objects.SCENES_VAL = 3
    for task in ("segmentation", "detection"):
        changes = (
            {"crop": 24, "short_side": 32, "data": data}
            if task == "segmentation"
            else {"train_images": 8, "regions": 8}
        )
        scale = "folder" if task == "segmentation" else "scenes"
        run = Transfer(transfer_recipe(source, task, scale, **common, **changes))
        losses = [run.report(values) for values in run.steps()]
        weights = nn.utils.parameters_to_vector(run.model.parameters()).detach()
        buffers = [x.double().flatten() for x in run.model.state_dict().values()]
        sums = torch.cat([weights[::97], torch.cat(buffers)[::89]]).tolist()
        run.model.eval()
        scores = run.task.evaluate(run.device, run.precision, quiet=True)
        results[task] = {"losses": losses, "weights": sums, "scores": scores}
    if distributed.is_main():
        with open(out, "w") as stream:
            json.dump(results, stream)
    distributed.finish()


if __name__ == "__main__":
    main(*sys.argv[1:])
