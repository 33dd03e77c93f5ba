"""The lines of each table: the paper's rows, or ours, as changes to the recipe of a scale."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..recipes import SCALES
from . import paper
from .cells import Line, primary
from .paper import Place

EPOCHS = 300  # of the paper's usual run; at other scales its longer ones are longer by the same factor
FRAMEWORKS = {
    "SimCLR": "simclr",
    "BYOL": "byol",
    "MoCo v2": "moco_v2",
    "MoCo v3": "moco_v3",
    "MoBY": "moby",
    "DINO": "dino",
    "SimSiam": "simsiam",  # which the paper describes and does not train
}
# The paper's encoders, and what stands for them: at 224 pixels, at fewer, and at the size of a CPU.
ENCODERS = {
    "ViT-S": ("vit_small", "vit_tiny", "vit_micro"),
    "ViT-B": ("vit_base", "vit_small", "vit_tiny"),
    "Swin-T": ("swin_tiny", "swin_micro", "swin_micro"),
}


class Namer:
    """Lines of one scale: what stands for the paper's encoders, and names that tell the runs apart."""

    def __init__(self, scale: str, size: str, prefix: str = "") -> None:
        """`prefix`: of the names of all lines, which sets recipes of their own apart."""
        self.scale, self.small, self.prefix = scale, size == "small", prefix
        self.linear = "linear_sgd_top1" if scale == "imagenet1k" else "linear_top1"  # as published; without tuning
        self.pixels = 32 if self.small else SCALES[scale]["image_size"]

    def arch(self, named: str) -> str:
        """What stands for an encoder of the paper."""
        return ENCODERS[named][2 if self.small else 0 if self.pixels == 224 else 1]

    def line(
        self,
        labels: Sequence[str],
        framework: str,
        arch: str,
        arm: str,
        epochs: str = str(EPOCHS),
        base: str | None = None,
        paper: Mapping[str, tuple[Place, Place | None]] | None = None,
        **changes: Any,
    ) -> Line:
        """A line; `framework` and `arch` as the paper calls them. `arm`: what else tells its runs apart."""
        length = int(epochs) / EPOCHS
        parts = [self.prefix + self.scale, FRAMEWORKS[framework], self.arch(arch), arm.replace(" ", "_")]
        parts += [f"{epochs}ep"] if epochs != str(EPOCHS) else []
        values = {"framework": FRAMEWORKS[framework], "arch": self.arch(arch), "length": length} | changes
        return Line("-".join(parts), tuple(labels), values, base, paper or {})


Built = tuple[str, tuple[str, ...], tuple[Line, ...], tuple[str, ...], dict[str, Any]]


def _pair(namer: Namer, row: tuple[str, ...], framework: str, arch: str, epochs: str = "300") -> list[Line]:
    """A row of table 1: the framework without the branch, and with it."""
    base, repre = (("table1", row, column) for column in (paper.BASE, paper.REPRE))
    none = namer.line(row, framework, arch, "none", epochs, paper={namer.linear: (base, None)}, reconstruction="none")
    multi = namer.line(
        row, framework, arch, "multi", epochs, none.name, {namer.linear: (repre, base)}, reconstruction="multi"
    )
    return [none, multi]


def _rows_of_table1() -> list[tuple[str, ...]]:
    return [row for held, row, column in paper.NUMBERS if held == "table1" and column == paper.BASE]


def _table1(namer: Namer) -> Built:
    rows = _rows_of_table1()
    lines = [line for row in rows for line in _pair(namer, row, *row)]
    title = "Table 1: linear evaluation with and without RePre"
    return title, ("Base", "Arch.", "Epoch"), tuple(lines), (namer.linear, "knn_top1"), {"beside": True}


def _figure3(namer: Namer) -> Built:
    rows = [row for row in _rows_of_table1() if row[2] == str(EPOCHS)]
    lines = [line for row in rows for line in _pair(namer, row, *row)]
    title = "Figure 3: improvement by RePre, by framework and encoder"
    return title, ("Base", "Arch.", "Epoch"), tuple(lines), (namer.linear, "knn_top1"), {"beside": True}


def _transfer(namer: Namer, name: str, arch: str, frameworks: Sequence[str], columns: Mapping[str, str]) -> Built:
    """Tables 2 and 3. `columns`: measure -> the paper's column."""
    control = ("IN Sup." if name == "table2" else "IN Supervised",)
    places = {measure: ((name, control, column), None) for measure, column in columns.items()}
    recipe = namer.line(control, frameworks[0], arch, "supervised", paper=places, reconstruction="none")
    held = [replace(recipe, supervised=True)]
    for framework in frameworks:
        base, repre = (framework,), (f"{framework} w/ RePre",)
        none = namer.line(
            base, framework, arch, "none", reconstruction="none",
            paper={measure: ((name, base, column), None) for measure, column in columns.items()},
        )  # fmt: skip
        held += [none, namer.line(
            repre, framework, arch, "multi", base=none.name, reconstruction="multi",
            paper={measure: ((name, repre, column), (name, base, column)) for measure, column in columns.items()},
        )]  # fmt: skip
    task = "object detection and instance segmentation" if name == "table2" else "semantic segmentation"
    title = f"{name.replace('table', 'Table ')}: transfer to {task}"
    return title, ("Method",), tuple(held), tuple(columns), {}


def _table2(namer: Namer) -> Built:
    return _transfer(namer, "table2", "Swin-T", ("MoBY", "DINO"), {"box_map": paper.BOX, "mask_map": paper.MASK})


def _table3(namer: Namer) -> Built:
    return _transfer(namer, "table3", "ViT-S", ("DINO",), {"miou": paper.MIOU, "macc": paper.MACC})


def _table4(namer: Namer) -> Built:
    held: list[Line] = []
    for framework, arch in (("MoCo v3", "ViT-S"), ("MoBY", "ViT-S"), ("MoCo v3", "Swin-T"), ("MoBY", "Swin-T")):
        places = {arm: ("table4", (framework, arch, arm), paper.TOP1) for arm in ("none", "single", "multi")}
        base = namer.line((), framework, arch, "none").name
        for arm, place in places.items():
            against = None if arm == "none" else places["none"]
            held.append(namer.line(
                (framework, arch, arm), framework, arch, arm, base=base if against else None, reconstruction=arm,
                paper={namer.linear: (place, against)},
            ))  # fmt: skip
    title = "Table 4: the last layer's features against those of four"
    return title, ("Method", "Arch.", "Features"), tuple(held), (namer.linear, "knn_top1", "reconstruction_error"), {}


def _table5(namer: Namer) -> Built:
    held: list[Line] = []
    for arch in ("ViT-S", "Swin-T"):
        nothing = ("table5", ("w/o decoder", "–", arch), paper.TOP1)
        none = namer.line(
            ("w/o decoder", "–", arch), "MoCo v3", arch, "none", reconstruction="none",
            paper={namer.linear: (nothing, None)},
        )  # fmt: skip
        held.append(none)
        for operator, fusion in (("Conv", "conv"), ("Transformer", "transformer")):
            for layers in (1, 2, 4):
                arm = "multi" if (fusion, layers) == ("conv", 2) else f"multi {fusion}{layers}"
                place = ("table5", (operator, str(layers), arch), paper.TOP1)
                held.append(namer.line(
                    (operator, str(layers), arch), "MoCo v3", arch, arm, base=none.name, reconstruction="multi",
                    fusion=fusion, fusion_layers=layers, paper={namer.linear: (place, nothing)},
                ))  # fmt: skip
    title = "Table 5: the decoder's fusion layers"
    return (
        title,
        ("Operator", "Layer Num.", "Arch."),
        tuple(held),
        (namer.linear, "knn_top1", "reconstruction_error"),
        {},
    )


def _figure4(namer: Namer) -> Built:
    single = namer.line(("last layer",), "MoCo v3", "ViT-S", "single", reconstruction="single")
    multi = namer.line(("multi-hierarchy",), "MoCo v3", "ViT-S", "multi", base=single.name, reconstruction="multi")
    measures = ("attention_iou",) * (namer.scale == "scenes") + ("knn_top1",)
    return "Figure 4: where the class token looks, and t-SNE", ("Features",), (single, multi), measures, {}


def _local(namer: Namer) -> Built:
    held = primary()
    names = {value: name for name, value in FRAMEWORKS.items()}
    framework = names[held["framework"]]
    base = namer.line((), framework, "ViT-S", held["base"]).name
    lines = tuple(
        namer.line((arm,), framework, "ViT-S", arm, base=None if arm == held["base"] else base, **changes)
        for arm, changes in held["arms"].items()
    )
    scenes = namer.scale == "scenes"
    measures = [m for m in (*held["measures"], *held["exploratory"]) if scenes or m not in held["only_scenes"]]
    return "What the branch changes inside the encoder", ("Arm",), lines, tuple(measures), {}


LAYOUTS: dict[str, Callable[[Namer], Built]] = {
    "table1": _table1,
    "table2": _table2,
    "table3": _table3,
    "table4": _table4,
    "table5": _table5,
    "figure3": _figure3,
    "figure4": _figure4,
    "local": _local,
}
