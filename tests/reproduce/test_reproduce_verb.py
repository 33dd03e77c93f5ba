"""The verb: its options reach the recipes, what is wrong is one line, and figures come with their tables."""

import json
import math

import pytest

from repre_lite.cli import main
from repre_lite.planning import images as planning
from repre_lite.reproduce import command, differences, progress
from repre_lite.reproduce.figures import figure
from repre_lite.reproduce.folders import folder_of
from repre_lite.reproduce.grid import table


@pytest.fixture
def planned(monkeypatch):
    """What `--dry-run` is given, instead of its text."""
    held = []
    monkeypatch.setattr(command, "plan", lambda *arguments: held.append(arguments) or "planned")
    return held


def test_options_reach_the_recipes(planned, tmp_path, capsys):
    out = ["--out", str(tmp_path / "new"), "--dry-run"]
    options = [
        "--steps",
        "40",
        "--train-images",
        "500",
        "--size",
        "small",
        "--device",
        "cpu",
        "--transfer-data",
        "masks",
        "--workers",
        "3",
        "--images",
        "cached",
        "--activation-checkpointing",
        "--skip-unreadable",
        "--max-pixels",
        "900000000",
    ]
    assert (
        main(["reproduce", "table3", "--scale", "cifar10", "--seeds", "2", "--only", "*dino*multi*", *options, *out])
        == 0
    )
    ((made, cells, folder),) = planned
    assert [cell.name for cell in cells] == [f"cifar10-dino-vit_micro-multi-{seed}" for seed in (0, 1)]
    for cell in cells:
        recipe = cell.recipe
        assert (recipe.steps, recipe.train_images, recipe.size, recipe.device) == (40, 500, "small", "cpu")
        assert (recipe.workers, recipe.images, recipe.activation_checkpointing) == (3, "cached", True)
        assert (recipe.skip_unreadable, recipe.max_pixels) == (True, 900_000_000)
        assert cell.transfer_data == "masks"
    assert made.name == "table3" and folder == tmp_path / "new" and not folder.exists()
    assert capsys.readouterr().out == "planned\n"


def test_defaults_are_the_primary_protocol(planned):
    assert main(["reproduce", "local", "--dry-run"]) == 0
    assert planned[0][0] == table("local", "scenes") and len(planned[0][1]) == 32


def test_how_a_table_is_run_does_not_make_it_another(planned):
    assert main(["reproduce", "local", "--workers", "0", "--activation-checkpointing", "--dry-run"]) == 0
    assert planned[0][0].note == table("local", "scenes").note
    assert main(["reproduce", "local", "--images", "cached", "--dry-run"]) == 0
    assert planned[1][0].note == "Exploratory: not the primary protocol (images)."


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["local", "--only", "nothing"], "--only nothing: no cell matches; --dry-run lists the cells"),
        (["local", "--jobs", "0"], "--jobs 0"),
        (["local", "--seeds", "0"], "--seeds 0"),
        (["table9"], "invalid choice: 'table9'"),
        (["table3", "--scale", "imagenet1k"], "table3 needs --transfer-data, the folder of Cityscapes"),
    ],
)
def test_what_is_wrong_is_one_line(arguments, said, tmp_path, capsys):
    assert main(["reproduce", *arguments, "--out", str(tmp_path / "new")]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not (tmp_path / "new").exists()


def test_figure3_shows_every_framework(tmp_path):
    pytest.importorskip("matplotlib")
    made = table("figure3", "scenes", 3)
    assert figure(made, tmp_path) == ""
    for cell in made.cells:
        folder = folder_of(cell, tmp_path)
        folder.mkdir(parents=True)
        value = 0.7 + 0.01 * cell.seed * ("multi" in cell.name)
        (folder / "summary.json").write_text(json.dumps({"finished": True, "linear_top1": value, "knn_top1": value}))
    shown = figure(made, tmp_path)
    assert all(f"{line.labels[0]} {line.labels[1]}" in shown for line in made.lines)
    page = next(path for path in command.write_table(made, tmp_path) if path.suffix == ".html")
    assert '<div class="plot" role="region" aria-label="Improvements" tabindex="0"><figure><svg' in page.read_text(
        "utf-8"
    )
    assert figure(table("table1", "scenes", 1), tmp_path) == ""


def test_the_page_of_local_shows_what_each_arm_gains(tmp_path):
    """`multi` gains 1, 2 and 3 points, which is 2 +- 2.484; `single` 2 each time, which is shown; `multi hide` broke off."""
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    made = table("local", "scenes", 3)
    arms = {line.name: line.labels[0] for line in made.lines}
    assert figure(made, tmp_path) == ""
    for cell in made.cells:
        folder = folder_of(cell, tmp_path)
        folder.mkdir(parents=True)
        gain = {"multi": cell.seed + 1, "single": 2, "multi hide 0.5": math.nan}.get(arms[cell.line], 0)
        held = {"finished": True, "knn_top1": 0.5 + 0.01 * gain + 0.1 * cell.seed, "patch_cosine": 0.9}
        (folder / "summary.json").write_text(json.dumps(held))
    paths = {path.suffix: path for path in command.write_table(made, tmp_path)}
    page = paths[".html"].read_text("utf-8")
    assert 'aria-label="Differences"' in page and "k-NN top-1</text>" in page.replace("<!-- ", "").replace(
        " -->", "</text>"
    )
    read = differences.read(tmp_path / "local-scenes.csv")
    found = {one.labels[0]: one for one in read if one.measure == "knn_top1"}
    assert {one.measure for one in read} == {"knn_top1", "patch_cosine"} and all(one.pairs == 3 for one in read)
    multi = found["multi"]
    assert (multi.mean, multi.low, multi.high) == pytest.approx((2, 2 - 2.48414, 2 + 2.48414), abs=1e-4)
    assert found["single"].shown and not multi.shown
    axis = Figure().subplots()
    differences.draw(axis, read)
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["k-NN top-1"]
    marks = {line.get_marker(): line for line in axis.lines if len(line.get_xdata()) == 1}
    assert marks["o"].get_xdata()[0] == pytest.approx(2) and marks["s"].get_xdata()[0] == pytest.approx(2)
    faces = [marks[name].get_markerfacecolor() for name in "os"]
    assert faces[0] == marks["o"].get_color() and faces[1] == "none"  # filled, hollow
    bars = [list(line.get_xdata()) for line in axis.lines if len(line.get_xdata()) == 2]
    assert [multi.low, multi.high] in bars


def test_the_page_of_the_ablations_shows_what_each_choice_changes(tmp_path):
    """Eight pairs of MoCo v3 that differ by 2 points each; one pair of SimCLR, which has a mark and no interval."""
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    made = table("ablations", "scenes", 8)
    assert figure(made, tmp_path) == ""
    finished = {"local-scenes-moco_v3-vit_micro-detached": 8, "local-scenes-moco_v3-vit_micro-multi": 8,
                "local-scenes-simclr-vit_micro-detached": 1, "local-scenes-simclr-vit_micro-multi": 1}  # fmt: skip
    for cell in (cell for cell in made.cells if cell.seed < finished.get(cell.line, 0)):
        folder = folder_of(cell, tmp_path)
        folder.mkdir(parents=True)
        gain = (0.02 + 0.001 * (-1) ** cell.seed) * cell.line.endswith("multi")
        held = {"finished": True, "knn_top1": 0.5 + gain, "dense_miou": 0.4, "patch_cosine": 0.9 - gain}
        (folder / "summary.json").write_text(json.dumps(held))
    paths = {path.suffix: path for path in command.write_table(made, tmp_path)}
    page = paths[".html"].read_text("utf-8")
    assert 'aria-label="Choices"' in page and "framework: SimCLR" in page and "framework: BYOL" not in page
    found = differences.read(tmp_path / "ablations-scenes.csv")
    measures = ("knn_top1", "patch_cosine")
    axes = Figure().subplots(1, 2)
    differences.draw_choices(axes, found, measures, 8)
    for axis, sign in zip(axes, (2, -0.02), strict=True):
        marks = {line.get_ydata()[0]: line for line in axis.lines if len(line.get_xdata()) == 1}
        assert marks[0].get_xdata()[0] == pytest.approx(sign) and marks[1].get_xdata()[0] == pytest.approx(1.05 * sign)
        assert marks[0].get_markerfacecolor() == differences.MANY[0].colour  # filled: the interval excludes 0
        assert marks[1].get_markerfacecolor() == "none" and marks[1].get_color() == differences.FEW[0].colour
        bars = [
            line for line in axis.lines if len(line.get_xdata()) == 2 and line.get_ydata()[0] == line.get_ydata()[1]
        ]
        assert [list(line.get_ydata()) for line in bars] == [[0, 0]]


def test_an_interval_much_wider_than_the_others_runs_off_with_an_arrow():
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    found = [differences.Difference("knn_top1", ("choice", str(row)), 3, row, row - 1, row + 1) for row in range(4)]
    found.append(differences.Difference("knn_top1", ("choice", "wide"), 3, 2, -50, 3.5))
    axis = Figure().subplots()
    differences.draw_choices([axis], found, ("knn_top1",), 8)
    low, high = axis.get_xlim()
    assert -2 < low < -1 and 4 < high < 5
    arrows = [line for line in axis.lines if line.get_marker() in ("<", ">")]
    assert [(line.get_marker(), *line.get_xdata(), *line.get_ydata()) for line in arrows] == [("<", low, 4)]


def test_a_folder_is_counted_once_however_many_cells_there_are(monkeypatch, tmp_path):
    for name in ("train/a", "val/a"):
        (tmp_path / "tree" / name).mkdir(parents=True)
        for number in range(10):
            (tmp_path / "tree" / name / f"{number}.jpg").touch()
    listed, list_tree = [], planning.list_tree
    monkeypatch.setattr(planning, "list_tree", lambda *place: listed.append(place) or list_tree(*place))
    monkeypatch.setattr(progress, "step_flops", lambda recipe: 10**9)
    made = table("table4", "cifar10", 3, data=str(tmp_path / "tree"), batch_size=4, epochs=3)
    begun = folder_of(made.cells[0], tmp_path)
    begun.mkdir(parents=True)
    (begun / "recipe.json").write_text(json.dumps({"total_steps": 6}), encoding="utf-8")
    (begun / "metrics.jsonl").write_text('{"step": 3}\n', encoding="utf-8")
    assert set(progress.lengths(made.cells).values()) == {6}
    text = command.plan(made, made.cells, tmp_path)
    with progress.watched(made.cells, tmp_path):
        pass
    assert "6 steps" in text and "50% trained" in text
    assert len(listed) == 3  # one for each line above, not one for each of the 36 cells
