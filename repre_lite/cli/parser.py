"""The command line, `repre-lite VERB`: options in, one clear line where they cannot be."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from ..recipes import FRAMEWORKS, SCALES
from ..runtime.errors import UserError


def _width(text: str) -> int | str:
    """A number of channels, or a word that the recipe knows."""
    return int(text) if text.lstrip("-").isdigit() else text


# Option -> (type, choices or None, help). Defaults live in the recipe, so that the scale can have its own.
RECIPE_OPTIONS: dict[str, tuple[Any, Sequence[str] | None, str]] = {
    "framework": (str, tuple(FRAMEWORKS), "contrastive framework; none is reconstruction alone (default moco_v3)"),
    "arch": (str, None, "vit_micro vit_tiny vit_small vit_base swin_micro swin_tiny, or a timm ViT or Swin"),
    "reconstruction": (
        str,
        ("multi", "single", "none", "detached"),
        "which taps are reconstructed from (default multi)",
    ),
    "size": (str, ("full", "small"), "small: the CPU-sized form of the scale (default for scenes)"),
    "epochs": (int, None, "passes over the pictures"),
    "steps": (int, None, "optimiser steps; shortens the run and its schedules"),
    "batch-size": (int, None, "pictures a step, over all processes"),
    "image-size": (int, None, "pixels"),
    "patch-size": (int, None, "pixels"),
    "train-images": (int, None, "use only so many training pictures"),
    "lr": (float, None, "learning rate for 256 pictures; the one used follows the batch"),
    "weight-decay": (float, None, "AdamW weight decay"),
    "warmup-epochs": (float, None, "linear warm-up"),
    "seed": (int, None, "seed of every random draw (default 0)"),
    "device": (str, ("auto", "cpu", "cuda", "mps"), "default auto"),
    "precision": (str, ("auto", "fp32", "fp16", "bf16", "fp64"), "default auto"),
    "checkpoint-every": (int, None, "steps between checkpoints (default about twenty a run)"),
    "snapshots": (int, None, "keep the encoder and decoder so many times along the run (default 0)"),
    "images": (
        str,
        ("decode", "cached"),
        "pictures above 96 pixels: decoded each time, or once into data/cache or REPRE_LITE_CACHE (default decode)",
    ),
    "workers": (int, None, "processes that read pictures above 96 pixels (default 4; 0: none besides)"),
    "decoder-width": (
        _width,
        None,
        "light: a few per cent of a step; full: the encoder's; or channels (default light)",
    ),
    "fusion": (str, ("conv", "transformer"), "the decoder's fusion layers (default conv)"),
    "fusion-layers": (int, None, "fusion layers a block (default 2)"),
    "taps": (int, None, "levels tapped, K (default 4; a Swin: its stages)"),
    "weighting": (str, None, "uncertainty, or fixed:L1,L2 (default uncertainty)"),
}


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one line and status 2."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{self.prog}: {message}; see {self.prog} --help")


def build_parser() -> argparse.ArgumentParser:
    """The whole command line; imports no torch."""
    parser = Parser("repre-lite", description="RePre: contrastive pre-training that also redraws the picture.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    demo = verbs.add_parser("demo", help="the main job, offline: train on the scenes, evaluate, draw")
    demo.add_argument("--out", default="runs/demo", help="run folder, overwritten (default runs/demo)")
    demo.add_argument("--steps", type=int, default=None, help="optimiser steps (default: about three CPU minutes)")
    demo.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="default auto")
    demo.set_defaults(run="repre_lite.cli.demo:demo")

    pretrain = verbs.add_parser("pretrain", help="pre-train an encoder")
    pretrain.add_argument("--scale", choices=tuple(SCALES), default="scenes", help="the recipe (default scenes)")
    pretrain.add_argument("--data", help="pictures; left out, scenes are drawn and CIFAR and STL downloaded into data/")
    pretrain.add_argument("--out", required=True, help="run folder; an unfinished run there goes on")
    for name, (kind, choices, text) in RECIPE_OPTIONS.items():
        pretrain.add_argument(f"--{name}", type=kind, choices=choices, default=None, help=text)
    pretrain.add_argument("--compile", action="store_true", help="compile the step (CUDA; slower to start)")
    pretrain.add_argument(
        "--activation-checkpointing",
        action="store_true",
        help="larger batches in the same memory, for about a sixth more computing",
    )
    pretrain.add_argument("--skip-unreadable", action="store_true", help="count unreadable pictures and go on")
    pretrain.set_defaults(run="repre_lite.cli.verbs:pretrain")

    evaluate = verbs.add_parser("evaluate", help="k-NN and linear probe, beside the untrained encoder")
    evaluate.add_argument("source", metavar="SOURCE", help="a run folder, an exported folder or an encoder file")
    evaluate.add_argument(
        "--protocol", nargs="+", choices=("knn", "linear"), default=["knn", "linear"], help="default both"
    )
    evaluate.add_argument("--scale", choices=tuple(SCALES), help="pictures of another scale than the run's")
    evaluate.add_argument("--data", help="labelled pictures; left out, those of the run")
    evaluate.add_argument("--train-images", type=int, help="use only so many training pictures")
    evaluate.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="default auto")
    evaluate.set_defaults(run="repre_lite.cli.verbs:evaluate")

    export = verbs.add_parser("export", help="write the encoder for timm")
    export.add_argument("source", metavar="RUN", help="a run folder")
    export.add_argument(
        "--out",
        required=True,
        metavar="FOLDER",
        help="a new folder for timm's local-dir: and for model hubs; or FILE.safetensors, with name and arguments in FILE.json",
    )
    export.set_defaults(run="repre_lite.evaluation.export:export")

    report = verbs.add_parser("report", help="one or several runs as one HTML page, live and offline")
    report.add_argument(
        "runs", nargs="+", metavar="RUN", help="run folders; those that differ only in seed are averaged"
    )
    report.add_argument("--out", metavar="FILE.html", help="the page (default RUN/report.html for one run)")
    report.set_defaults(run="repre_lite.report:report")

    plan = verbs.add_parser("plan", help="what a run takes, before it is paid for: memory, input, hours")
    plan.add_argument("--scale", choices=tuple(SCALES), default="imagenet1k", help="the recipe (default imagenet1k)")
    plan.add_argument("--gpus", default="8xV100", help="number and name, such as 8xV100-32GB (default 8xV100)")
    plan.add_argument("--measure", action="store_true", help="also take 20 real steps on this machine")
    plan.add_argument("--data", help="pictures to count and, with --measure, to read")
    for name, (kind, choices, text) in RECIPE_OPTIONS.items():
        plan.add_argument(f"--{name}", type=kind, choices=choices, default=None, help=text)
    plan.add_argument("--activation-checkpointing", action="store_true", help="plan with it")
    plan.set_defaults(run="repre_lite.planning.plan:plan")

    lab = verbs.add_parser(
        "lab",
        help="JupyterLab on a private copy of the course",
        epilog="Other options go to JupyterLab: --port=8888 --ip=0.0.0.0 --allow-root",
    )
    lab.add_argument("--reset", metavar="NN", help="take lesson NN afresh (the changed one is kept beside it)")
    lab.add_argument("--no-browser", action="store_true", help="do not open a browser")
    lab.set_defaults(run="repre_lite.course.lab:lab")
    return parser
