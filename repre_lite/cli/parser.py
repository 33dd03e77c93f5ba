"""The verbs of the command line and their options; imports no torch."""

from __future__ import annotations

import argparse
from typing import NoReturn

from ..recipes import SCALES
from ..runtime.errors import UserError
from ..transfer import settings as transfer_settings
from ..transfer.settings import TASKS
from .options import add_recipe_options, add_settings
from .reproduce import add_reproduce

DEVICES = ("auto", "cpu", "cuda", "mps")
PROTOCOLS = ("knn", "linear", "linear-sgd", "finetune", "diversity", "dense")
SOURCE = (
    "a run folder, an exported folder, an encoder file, the name of a timm model with pretrained weights, or random: an "
    "untrained encoder"
)


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one line and exit status 2."""

    def error(self, message: str) -> NoReturn:
        """Raise UserError instead of printing the usage."""
        raise UserError(f"{message}; see {self.prog} --help")


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = Parser("repre-lite", description="RePre: contrastive pre-training with a pixel-reconstruction branch.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=Parser)

    demo = verbs.add_parser("demo", help="the whole pipeline, offline: train on the scenes, evaluate, plot")
    demo.add_argument("--out", default="runs/demo", help="run folder, overwritten (default runs/demo)")
    demo.add_argument("--steps", type=int, default=None, help="optimiser steps (default 300 on a CPU, 2000 on a GPU)")
    demo.add_argument("--device", choices=DEVICES, default="auto", help="where to compute (default auto)")
    demo.set_defaults(run="repre_lite.cli.demo:demo")

    pretrain = verbs.add_parser("pretrain", help="pre-train an encoder")
    pretrain.add_argument("--out", required=True, help="run folder; an unfinished run of the same recipe is resumed")
    add_recipe_options(pretrain, "scenes")
    pretrain.set_defaults(run="repre_lite.cli.verbs:pretrain")

    evaluate = verbs.add_parser("evaluate", help="measure an encoder, beside the same encoder untrained")
    evaluate.add_argument(
        "source",
        metavar="SOURCE",
        help=SOURCE,
    )
    evaluate.add_argument(
        "--protocol",
        nargs="+",
        choices=PROTOCOLS,
        default=["knn", "linear"],
        help="what to measure; linear-sgd: the framework's published linear protocol; finetune: the whole encoder; diversity: how different the patches of an image are, tap by tap; dense: "
        "probes of patches on images with masks (default knn linear)",
    )
    evaluate.add_argument("--scale", choices=tuple(SCALES), help="images of another scale (default: the run's)")
    evaluate.add_argument(
        "--data",
        metavar="FOLDER",
        help="labelled images (default: the run's); for dense: a folder with images/ and labels/",
    )
    evaluate.add_argument(
        "--ignore-label",
        type=int,
        default=255,
        metavar="ID",
        help="dense: id of the mask pixels to ignore (default 255)",
    )
    evaluate.add_argument(
        "--train-images", type=int, metavar="N", help="use only N training images (default: the run's)"
    )
    evaluate.add_argument(
        "--blocks",
        type=int,
        metavar="N",
        help="the linear probe reads the class tokens of the last N blocks, as DINO's protocol does with N = 4 "
        "(default: the pooled feature)",
    )
    evaluate.add_argument(
        "--epochs",
        type=int,
        metavar="N",
        help="epochs of linear-sgd and finetune (default: as published, but at most 10 for images below 96 pixels)",
    )
    evaluate.add_argument(
        "--arch",
        metavar="NAME",
        help="encoder for the source random: vit_micro, vit_tiny ... or a timm name (default: the source's own)",
    )
    evaluate.add_argument(
        "--image-size",
        type=int,
        metavar="PIXELS",
        help="image size for a timm name or random (default: that of the weights, or of the scale)",
    )
    evaluate.add_argument("--seed", type=int, default=0, help="seed of a random encoder (default 0)")
    evaluate.add_argument("--device", choices=DEVICES, default="auto", help="where to compute (default auto)")
    evaluate.set_defaults(run="repre_lite.cli.verbs:evaluate")

    transfer = verbs.add_parser("transfer", help="segmentation or detection on an encoder, frozen or fine-tuned")
    transfer.add_argument("source", metavar="SOURCE", help=SOURCE)
    transfer.add_argument(
        "--task", choices=TASKS, required=True, help=transfer_settings.FIELDS["task"].metadata["help"]
    )
    transfer.add_argument("--out", required=True, help="run folder; an unfinished run of the same recipe is resumed")
    scales = tuple(dict.fromkeys(scale for task in TASKS for scale in transfer_settings.SCALES[task]))
    transfer.add_argument(
        "--scale", choices=scales, default="folder",
        help="the recipe (default folder); cityscapes is for segmentation, coco for detection: published schedules that "
        "nobody has run with this code",
    )  # fmt: skip
    add_settings(transfer, transfer_settings.FIELDS, transfer_settings.kinds(), ("task", "scale", "source"))
    transfer.set_defaults(run="repre_lite.cli.transfer:transfer")

    export = verbs.add_parser("export", help="write the encoder for timm")
    export.add_argument(
        "source", metavar="RUN", help=SOURCE.partition(", or random")[0].replace(", the name", ", or the name")
    )
    export.add_argument(
        "--out",
        required=True,
        metavar="FOLDER",
        help="a new folder, for timm's local-dir: and for model hubs; or FILE.safetensors, with timm's name and "
        "arguments in FILE.json",
    )
    export.set_defaults(run="repre_lite.evaluation.export:export")

    report = verbs.add_parser("report", help="one or several runs as one HTML page, interactive and offline")
    report.add_argument(
        "runs", nargs="+", metavar="RUN", help="run folders; those that differ only in seed are averaged"
    )
    report.add_argument("--out", metavar="FILE.html", help="the page (default RUN/report.html for one run)")
    report.add_argument(
        "--bench-only", action="store_true", help="only the bench, where the model is live (default no)"
    )
    report.set_defaults(run="repre_lite.report:report")

    doctor = verbs.add_parser("doctor", help="what the metrics of a run show, in sentences")
    doctor.add_argument("run_folder", metavar="RUN", help="a run folder, finished or not")
    doctor.set_defaults(run="repre_lite.cli.verbs:doctor")

    add_reproduce(verbs)

    plan = verbs.add_parser("plan", help="what a run needs, before you pay for it: memory, input, hours")
    add_recipe_options(plan, "imagenet1k")
    plan.add_argument("--gpus", default="8xV100", help="number and name, such as 8xV100-32GB (default 8xV100)")
    plan.add_argument("--measure", action="store_true", help="also take 20 real steps on this machine (default no)")
    plan.set_defaults(run="repre_lite.planning.plan:plan")

    lab = verbs.add_parser(
        "lab",
        help="JupyterLab on a private copy of the course",
        epilog="Other options are passed on to JupyterLab: --port=8888 --ip=0.0.0.0 --allow-root",
    )
    lab.add_argument(
        "--reset", metavar="NN", help="restore lesson NN; your changed copy is kept beside it (default: none)"
    )
    lab.add_argument("--no-browser", action="store_true", help="do not open a browser (default no)")
    lab.set_defaults(run="repre_lite.course.lab:lab")

    grade = verbs.add_parser("grade", help="run the exercises of students' notebooks; this executes what they wrote")
    grade.add_argument("notebooks", nargs="+", metavar="NOTEBOOK", help="notebooks of the course, filled in")
    grade.add_argument("--out", default="grades.csv", help="the table to write (default grades.csv)")
    grade.add_argument(
        "--seconds", type=int, default=300, metavar="N", help="time limit of each notebook, in seconds (default 300)"
    )
    grade.set_defaults(run="repre_lite.course.grade:grade")
    return parser
