"""Tables from made-up summaries: numbers, intervals, verdicts, the paper's column, and escaping."""

import csv
import json
from dataclasses import replace

import pytest

from repre_lite.reproduce.folders import folder_of
from repre_lite.reproduce.grid import table
from repre_lite.reproduce.tables import html, markdown, notes, results, write
from repre_lite.runtime.text import plain_text


def fill(made, out, values):
    """Give every cell for which `values(cell)` has entries a summary."""
    for cell in made.cells:
        if found := values(cell):
            folder = folder_of(cell, out)
            folder.mkdir(parents=True)
            (folder / "summary.json").write_text(json.dumps({"finished": True} | found))


def rows(text, heading):
    """The cells of the Markdown table under a heading."""
    lines = text.split(f"## {heading}\n\n")[1].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in (lines[0], *lines[2:])]


def moco(cell):
    """Linear accuracies of MoCo v3 with ViT-S by seed: differences of .01, .02, .03."""
    if not cell.line.startswith(("scenes-moco_v3-vit_micro", "imagenet1k-moco_v3-vit_small")) or "600ep" in cell.line:
        return None
    accuracy = {"none": 0.70, "multi": 0.71 + 0.01 * cell.seed, "single": 0.72}[cell.line.split("-")[3]]
    return {"linear_sgd_top1" if cell.line.startswith("imagenet1k") else "linear_top1": accuracy}


def test_table1_has_the_papers_layout(tmp_path):
    made = table("table1", "scenes", 3)
    fill(made, tmp_path, moco)
    head, *body = rows(markdown(made, results(made, tmp_path), tmp_path), "linear probe top-1")
    assert head == [
        "Base",
        "Arch.",
        "Epoch",
        "without",
        "with RePre",
        "difference",
        "paper: difference",
        "verdict",
        "seeds",
    ]
    assert len(body) == 17
    found = next(row for row in body if row[:3] == ["MoCo v3", "ViT-S", "300"])
    # mean .02, s .01, t(2) = 4.303: half = .0248
    assert found[3:] == ["70.0 % ± 0.0", "72.0 % ± 1.0", "+2.00 [-0.48, +4.48]", "+0.7", "exploratory", "3"]
    doubtful = next(row for row in body if row[:3] == ["DINO", "ViT-B", "800"])
    assert doubtful[5:] == ["–", "+1.0 (1)", "–", "0"]
    assert "(1) printed as 1.1, but 79.2 - 78.2 is 1.0" in notes(made, results(made, tmp_path), tmp_path)


def test_the_papers_values_stand_at_imagenet1k_only(tmp_path):
    made = table("table4", "imagenet1k", 3)
    fill(made, tmp_path, moco)
    head, *body = rows(
        markdown(made, results(made, tmp_path), tmp_path), "linear evaluation top-1, the framework's published protocol"
    )
    assert head[3:] == ["ours", "paper", "difference", "paper: difference", "verdict", "seeds"]
    single = next(row for row in body if row[:3] == ["MoCo v3", "ViT-S", "single"])
    assert single[3:] == ["72.0 % ± 0.0", "72.8", "+2.00 [+2.00, +2.00]", "+0.3", "exploratory", "3"]
    small = table("table4", "scenes", 3)
    fill(small, tmp_path, moco)
    text = markdown(small, results(small, tmp_path), tmp_path)
    assert "72.8" not in text and "+0.3" in text


def test_a_value_of_the_paper_that_cannot_be_right_is_marked_without_a_difference(tmp_path):
    made = table("table2", "imagenet1k", 1)
    fill(made, tmp_path, lambda cell: {"box_map": 0.4, "mask_map": 0.3, "transferred_to": "coco"})
    held = results(made, tmp_path)
    text = markdown(made, held, tmp_path)
    alone = [result for result in held if result.line.base is None and result.paper is not None and result.doubt]
    assert alone and all(f"| {result.paper:g} (" in text for result in alone)
    assert "Segmentation and detection were learned on coco." in text
    assert "Supervised: timm's encoders, trained on all of ImageNet-1K with labels." in text


@pytest.mark.parametrize(
    ("scale", "changes", "said"),
    [
        ("stl10", {}, "size full)"),
        ("scenes", {"size": "full"}, "size full)"),
        ("scenes", {"seeds": 2}, "(seeds 2)"),
    ],
)
def test_the_note_names_what_is_not_the_protocol(scale, changes, said, tmp_path):
    note = table("local", scale, **changes).note
    assert said in note and "None" not in note


def test_lower_is_better_for_errors_and_cosines_have_no_verdict(tmp_path):
    made = table("local", "scenes", 8)

    def values(cell):
        arm = cell.line.split("-")[4]
        low = {"detached": 0.05, "single": 0.06, "multi": 0.04, "multi_hide_0.5": 0.05}[arm] + 1e-4 * cell.seed
        return {"reconstruction_error": low, "patch_cosine": 10 * low, "boundary_iou": low}

    fill(made, tmp_path, values)
    text = markdown(made, results(made, tmp_path), tmp_path)
    assert [row[3] for row in rows(text, "reconstruction error (L1)")[1:]] == [
        "–",
        "loss",
        "gain",
        "no difference shown",
    ]
    cosines = rows(text, "cosine between patches of an image, last tap")[1:]
    assert [row[3] for row in cosines] == ["–", "higher", "lower", "no difference shown"]
    assert [row[3] for row in rows(text, "dense probe boundary IoU")[1:]] == ["–", *["exploratory"] * 3]


@pytest.mark.parametrize(
    ("name", "seeds", "verdict"), [("table4", 7, "exploratory"), ("table4", 8, "gain"), ("local", 3, "exploratory")]
)
def test_fewer_pairs_than_fixed_beforehand_are_exploratory(name, seeds, verdict, tmp_path):
    made = table(name, "scenes", seeds)
    measure = "linear_top1" if name == "table4" else "knn_top1"
    fill(made, tmp_path, lambda cell: {measure: 0.7 + 0.01 * ("multi" in cell.line)})
    held = results(made, tmp_path)
    verdicts = {result.verdict for result in held if "multi" in result.line.name and result.found.n}
    assert verdicts == {verdict}
    assert any(note.startswith("Exploratory: fewer than 8") for note in notes(made, held, tmp_path)) == (seeds < 8)


def test_csv_holds_plain_numbers(tmp_path):
    made = table("table4", "scenes", 3)
    fill(made, tmp_path, moco)
    paths = write(made, tmp_path)
    assert [path.name for path in paths] == [f"table4-scenes.{suffix}" for suffix in ("md", "csv", "html", "cells.csv")]
    with open(paths[1], newline="", encoding="utf-8") as stream:
        lines = list(csv.DictReader(stream))
    found = next(line for line in lines if line["cells"] == "scenes-moco_v3-vit_micro-multi")
    assert float(found["difference"]) == pytest.approx(0.02) and float(found["low"]) == pytest.approx(
        -0.00484, abs=1e-5
    )
    assert found["verdict"] == "exploratory" and found["paper_difference"] == "0.7" and found["paper"] == ""
    missing = next(line for line in lines if line["cells"].startswith("scenes-moby"))
    assert missing["mean"] == missing["difference"] == missing["verdict"] == "" and missing["seeds"] == "0"
    with open(paths[3], newline="", encoding="utf-8") as stream:
        cells = {line["cell"]: line for line in csv.DictReader(stream)}
    assert {name for name in cells if "byol" in name} == set()
    for seed, value in enumerate((0.71, 0.72, 0.73)):
        held = cells[f"scenes-moco_v3-vit_micro-multi-{seed}"]
        assert held["seed"] == str(seed) and float(held["linear_top1"]) == pytest.approx(value)


def test_a_cell_that_broke_off_counts_nowhere(tmp_path):
    made = table("table4", "scenes", 3)
    fill(
        made,
        tmp_path,
        lambda cell: {"error": "a|b", "linear_top1": 0.0} if cell.name.endswith("vit_micro-multi-0") else moco(cell),
    )
    held = results(made, tmp_path)
    multi = next(result for result in held if result.line.name == "scenes-moco_v3-vit_micro-multi")
    assert set(multi.values) == {1, 2} and multi.found.n == 2
    assert "scenes-moco_v3-vit_micro-multi-0 failed: a|b" in notes(made, held, tmp_path)


def test_html_and_markdown_escape_what_they_are_given(tmp_path):
    made = table("local", "scenes", 1)
    odd = "<script>alert(1)</script> & | \x07"
    lines = tuple(replace(line, labels=(odd,)) for line in made.lines)
    made = replace(made, lines=lines, title=odd, note=odd)
    fill(made, tmp_path, lambda cell: {"knn_top1": 0.5, "error": odd} if "single" in cell.name else {"knn_top1": 0.5})
    held = results(made, tmp_path)
    page = html(made, held, tmp_path)
    assert "<script>" not in page and "&lt;script&gt;alert(1)&lt;/script&gt; &amp; |" in page
    assert "://" not in page and plain_text(odd) != odd and "\x07" not in page
    assert "& \\|" in markdown(made, held, tmp_path)


def test_an_empty_grid_says_so(tmp_path):
    made = table("table5", "scenes", 1)
    text = markdown(made, results(made, tmp_path), tmp_path)
    assert "0 of 14 cells are finished" in text and "##" not in text
    assert "0 of 14 cells" in html(made, [], tmp_path)
