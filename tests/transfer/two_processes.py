"""Three steps of each task in float64, and the protocols of `evaluate`; one process or two of `torchrun` alike.

`python two_processes.py SOURCE DATA OUT.json` writes every loss, the scores and a few sums that pin all weights down.
"""

import json
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from repre_lite.data import masks, sources
from repre_lite.evaluation import dense, kept, read_source, supervised
from repre_lite.evaluation.kept import Keeper
from repre_lite.evaluation.protocols import run_protocols
from repre_lite.runtime import distributed
from repre_lite.runtime.errors import Stopped
from repre_lite.transfer import objects
from repre_lite.transfer.loop import Transfer
from repre_lite.transfer.settings import transfer_recipe


def evaluation(source, folder):
    """What the protocols find, and how many images went through the encoder in this process."""
    sources.SCENES_VAL, masks.SCENES_VAL, masks.SCENES_TRAIN, dense.ITERATIONS, dense.SHARES = 40, 7, 9, 3, {"1": 1}
    supervised._top1 = lambda scores, task: float(scores.double().abs().mean())  # any change of the layer shows
    read, seen = read_source(source), []
    read.encoder.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    names = ("knn", "linear-sgd", "finetune", "diversity", "dense")
    found = run_protocols(read, names, torch.device("cpu"), "scenes", train_images=12, epochs=3)
    return {"found": found, "seen": sum(seen), "resumed": resumed(read, folder)}


def resumed(read, folder):
    """What fine-tuning finds that a signal to one process stopped, so that all had to agree on a step."""
    images = read.images("scenes", train_images=12)
    task = supervised.Task(images.labelled, images.val, read.mean, read.std, 3, keeper=Keeper(folder))

    @contextmanager
    def collected_signals():
        yield [int(signal.SIGTERM)] if distributed.rank() == distributed.world_size() - 1 else []

    kept.collected_signals, real = collected_signals, kept.collected_signals
    try:
        supervised.finetune_top1(read.encoder, task)
    except Stopped:
        kept.collected_signals = real
        distributed.barrier()
        assert list(folder.glob("finetune-*.pt"))
        top1 = supervised.finetune_top1(read.encoder, task)
        distributed.barrier()
        task.keeper.forget()
        return top1


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
    results["evaluation"] = evaluation(source, Path(out).parent)
    if distributed.is_main():
        with open(out, "w") as stream:
            json.dump(results, stream)
    distributed.finish()


if __name__ == "__main__":
    main(*sys.argv[1:])
