"""The numbers that the paper prints: tables 1 to 5 and the gains named beside them, in per cent as printed.

Each number has its table, row and column. What cannot be right, or could not be read, says so in `doubt`; the tests compare
every printed gain with the two numbers it is a difference of.
"""

from __future__ import annotations

from dataclasses import dataclass

Place = tuple[str, tuple[str, ...], str]  # table, row, column

BASE, REPRE, TOP1 = "Acc%", "Acc w/ RePre", "Top-1 Acc(%)"
BOX, MASK, MIOU, MACC = "mAPbbox", "mAPmask", "mIoU", "mAcc(%)"
GAINS_CLAIMED = (0.5, 1.1)  # section 1: "improve top-1 accuracy by 0.5~1.1%"


@dataclass(frozen=True)
class Number:
    """A number of a table. `value` is None if it could not be read; `doubt`: why it is not to be trusted, "" if it is."""

    table: str
    row: tuple[str, ...]
    column: str
    value: float | None
    doubt: str = ""


@dataclass(frozen=True)
class Gain:
    """A difference that the paper prints, in points: of the number at `place` to the one at `base`, said in `source`."""

    place: Place
    base: Place
    printed: float
    source: str
    doubt: str = ""

    @property
    def computed(self) -> float | None:
        """The difference of the two numbers, rounded as the paper rounds; None if one could not be read."""
        value, base = NUMBERS[self.place].value, NUMBERS[self.base].value
        return None if value is None or base is None else round(value - base, 1)


# Table 1: framework, architecture, epochs, without RePre, with RePre, printed gain.
_TABLE1 = (
    ("SimCLR", "ViT-S", "300", 69.0, 69.7, 0.7),
    ("BYOL", "ViT-S", "300", 71.4, 72.2, 0.8),
    ("MoCo v2", "ViT-S", "300", 71.6, 72.1, 0.5),
    ("MoCo v2", "ViT-S", "800", 72.7, 73.4, 0.7),
    ("MoCo v3", "ViT-S", "300", 72.5, 73.2, 0.7),
    ("MoCo v3", "ViT-S", "600", 73.4, 73.9, 0.5),
    ("MoBY", "ViT-S", "300", 72.8, 73.9, 1.1),
    ("DINO", "ViT-S", "300", 75.9, 76.7, 0.8),
    ("DINO", "ViT-S", "800", 77.0, 77.9, 0.9),
    ("SimCLR", "ViT-B", "300", 73.9, 74.4, 0.5),
    ("BYOL", "ViT-B", "300", 73.9, 74.8, 0.9),
    ("MoCo v3", "ViT-B", "300", 76.5, 77.2, 0.7),
    ("MoCo v3", "ViT-B", "600", 76.7, 77.5, 0.8),
    ("DINO", "ViT-B", "800", 78.2, 79.2, 1.1),
    ("MoCo v3", "Swin-T", "300", 75.4, 76.4, 1.0),  # 75.4 is "our reimplementation"
    ("MoBY", "Swin-T", "100", 70.9, 71.8, 0.9),
    ("MoBY", "Swin-T", "300", 75.0, 76.1, 1.1),
)

_LOST = "table 2 could not be read in the text of the paper; only the gains of section 4.2 are known"
_FRAGMENT = (
    "of table 2 only the fragment '38.4 39.8' could be read; the supervised Swin-T is published with 43.7 box and 39.8 mask "
    "mAP (Liu et al., 2021)"
)
_TABLE2 = ("IN Sup.", "MoBY", "MoBY w/ RePre", "DINO", "DINO w/ RePre")

# Table 3: method, mIoU, mAcc; Cityscapes, SETR, ViT-S after 300 epochs.
_TABLE3 = (("IN Supervised", 71.33, 80.30), ("DINO", 72.96, 81.32), ("DINO w/ RePre", 73.40, 81.95))

# Table 4: framework, architecture, then without reconstruction, from the last layer (single), from four (multi).
_TABLE4 = (
    ("MoCo v3", "ViT-S", 72.5, 72.8, 73.2),
    ("MoBY", "ViT-S", 72.8, 73.1, 73.9),
    ("MoCo v3", "Swin-T", 75.4, 75.7, 76.4),
    ("MoBY", "Swin-T", 75.0, 75.4, 76.1),
)

# Table 5: operator, fusion layers, then ViT-S, Swin-T; MoCo v3.
_TABLE5 = (
    ("w/o decoder", "–", 72.5, 75.4),
    ("Conv", "1", 73.0, 76.1),
    ("Conv", "2", 73.2, 76.4),
    ("Conv", "4", 73.2, 76.2),
    ("Transformer", "1", 71.8, 74.6),
    ("Transformer", "2", 72.0, 75.2),
    ("Transformer", "4", 71.4, 74.5),
)


def _numbers() -> list[Number]:
    held = []
    for *row, base, repre, _ in _TABLE1:
        where = tuple(map(str, row))
        held += [Number("table1", where, BASE, float(base)), Number("table1", where, REPRE, float(repre))]
    for name in _TABLE2:
        supervised = name == "IN Sup."
        held.append(Number("table2", (name,), BOX, 38.4 if supervised else None, _FRAGMENT if supervised else _LOST))
        held.append(Number("table2", (name,), MASK, 39.8 if supervised else None, _FRAGMENT if supervised else _LOST))
    for name, miou, macc in _TABLE3:
        held += [Number("table3", (name,), MIOU, miou), Number("table3", (name,), MACC, macc)]
    for framework, arch, *values in _TABLE4:
        for arm, value in zip(("none", "single", "multi"), values, strict=True):
            held.append(Number("table4", (framework, arch, arm), TOP1, value))
    for operator, layers, *values in _TABLE5:
        for arch, value in zip(("ViT-S", "Swin-T"), values, strict=True):
            held.append(Number("table5", (operator, layers, arch), TOP1, value))
    return held


NUMBERS: dict[Place, Number] = {(number.table, number.row, number.column): number for number in _numbers()}


def _gains() -> list[Gain]:
    held = []
    for *row, _, _, printed in _TABLE1:
        where = tuple(map(str, row))
        wrong = where == ("DINO", "ViT-B", "800")
        doubt = "printed as 1.1, but 79.2 - 78.2 is 1.0" if wrong else ""
        held.append(Gain(("table1", where, REPRE), ("table1", where, BASE), float(printed), "table 1", doubt))
    for name, box, mask in (("MoBY", 1.2, 0.7), ("DINO", 0.9, 1.3)):
        for column, printed in ((BOX, box), (MASK, mask)):
            one: Place = ("table2", (f"{name} w/ RePre",), column)
            held.append(Gain(one, ("table2", (name,), column), printed, "section 4.2", _LOST))
    for framework, arch, printed in (("MoCo v3", "ViT-S", 0.7), ("MoCo v3", "Swin-T", 1.0), ("MoBY", "ViT-S", 1.1),
                                     ("MoBY", "Swin-T", 1.1)):  # fmt: skip
        one = ("table4", (framework, arch, "multi"), TOP1)
        held.append(Gain(one, ("table4", (framework, arch, "none"), TOP1), printed, "section 4.3"))
    for arch, printed in (("ViT-S", 0.7), ("Swin-T", 1.0)):
        one = ("table5", ("Conv", "2", arch), TOP1)
        held.append(Gain(one, ("table5", ("w/o decoder", "–", arch), TOP1), printed, "section 4.3"))
    return held


GAINS: tuple[Gain, ...] = tuple(_gains())


def difference(place: Place, base: Place) -> tuple[float | None, str]:
    """What the paper reports for the number at `place` over the one at `base`, in points, and the doubt about it.

    From the two numbers; if they could not be read, the gain that the paper names; None if it names none. Raises KeyError
    for a place that no table has.
    """
    value, held = NUMBERS[place], NUMBERS[base]
    named = next((gain for gain in GAINS if (gain.place, gain.base) == (place, base)), None)
    doubt = "; ".join(dict.fromkeys(text for text in (value.doubt, held.doubt, named.doubt if named else "") if text))
    if value.value is not None and held.value is not None:
        return round(value.value - held.value, 2), doubt
    return (named.printed if named else None), doubt
