"""Cells are run once, whatever happens, and the table does not depend on how."""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from repre_lite import runs
from repre_lite.data import masks, sources
from repre_lite.evaluation import dense, read_source
from repre_lite.reproduce import measures, runner, supervised, workers
from repre_lite.reproduce.command import reproduce, write_table
from repre_lite.reproduce.figures import figure
from repre_lite.reproduce.folders import BROKEN, check, done, folder_of, left, summary_of
from repre_lite.reproduce.grid import table
from repre_lite.reproduce.measures import TRANSFERRED
from repre_lite.reproduce.runner import run_cells
from repre_lite.reproduce.workers import side_by_side
from repre_lite.runs import RECIPE, SUMMARY
from repre_lite.runtime.errors import NonFiniteError, Stopped, UserError
from repre_lite.runtime.lock import locked
from tests.small import SMALL

sys.path.insert(0, str(Path(__file__).parent))
from tiny_grid import MEASURES, TINY_RECIPE, grid, note_gpus, work

ROOT = Path(__file__).resolve().parents[2]
GRID = Path(__file__).with_name("tiny_grid.py")
TABLE = ("local-scenes.md", "local-scenes.csv", "local-scenes.html")


@pytest.fixture(scope="module", autouse=True)
def few_scenes():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "SCENES_VAL", 50)
        patch.setattr(measures, "SCENES", 4)
        patch.setattr(masks, "SCENES_VAL", 10)
        patch.setattr(dense, "ITERATIONS", 2)
        patch.setattr(measures, "TRANSFER", {"steps": 1, "batch_size": 2, "train_images": 4})
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory, few_scenes):
    """The grid run without interruption, in this process."""
    out = tmp_path_factory.mktemp("whole")
    run_cells(grid().cells, out, quiet=True)
    write_table(grid(), out)
    return out


def tables(out):
    return [(out / name).read_text(encoding="utf-8") for name in TABLE]


def written(out):
    """When each file of each cell was last written."""
    return {path.relative_to(out): path.stat().st_mtime_ns for path in (out / "cells").rglob("*") if path.is_file()}


def test_a_killed_grid_resumes_without_doing_a_cell_twice(whole, tmp_path, monkeypatch):
    cells = grid().cells
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, str(GRID), str(tmp_path)], env=environment)
    try:
        while not (done(cells[0], tmp_path) and (folder_of(cells[1], tmp_path) / "recipe.json").exists()):
            assert process.poll() is None
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    finished = [cell.name for cell in cells if done(cell, tmp_path)]
    assert 1 <= len(finished) < len(cells)
    before = written(tmp_path)
    trained, train = [], runner.train
    monkeypatch.setattr(runner, "train", lambda recipe, out, **o: (trained.append(out.name), train(recipe, out, **o)))
    run_cells(cells, tmp_path, quiet=True)
    write_table(grid(), tmp_path)
    assert len(trained) == len(set(trained)) and not set(trained) & set(finished)
    assert all(done(cell, tmp_path) for cell in cells)
    after = written(tmp_path)
    assert all(after[path] == when for path, when in before.items() if path.parts[1] in finished)
    assert tables(tmp_path) == tables(whole)
    run_cells(cells, tmp_path, quiet=True)  # nothing is left
    assert written(tmp_path) == after


def test_two_jobs_give_the_same_table_as_one(whole, tmp_path):
    (tmp_path / "cells").mkdir()
    side_by_side(work, grid().cells, tmp_path, 2)
    write_table(grid(), tmp_path)
    assert tables(tmp_path) == tables(whole)
    assert {path.name for path in (tmp_path / "cells").iterdir()} == {cell.name for cell in grid().cells}
    assert not list(tmp_path.rglob(".lock")) and not multiprocessing.active_children()


def test_jobs_share_the_gpus(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    side_by_side(note_gpus, [], tmp_path, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["5", "7"]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "5,7"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    for count, number, seen in ((4, 1, "1"), (4, 6, "2"), (1, 1, None), (0, 1, None)):
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "environ", dict(os.environ))
            workers._see_one_gpu(number)
            assert os.environ.get("CUDA_VISIBLE_DEVICES") == seen


def test_arms_of_a_seed_begin_alike(whole):
    first = {}
    for cell in grid().cells:
        line = json.loads((folder_of(cell, whole) / "metrics.jsonl").read_text().splitlines()[0])
        first.setdefault(cell.seed, set()).add(line["contrastive"])
    assert all(len(losses) == 1 for losses in first.values()) and first[0] != first[1]


def test_a_cell_that_another_process_is_at_is_left_to_it(tmp_path):
    cells = grid(1).cells[:2]
    folder = folder_of(cells[0], tmp_path)
    folder.mkdir(parents=True)
    with locked(folder):
        run_cells(cells, tmp_path, quiet=True)
    assert left(cells[0], tmp_path) is None and done(cells[1], tmp_path)
    run_cells(cells, tmp_path, quiet=True)
    assert done(cells[0], tmp_path)


def test_measures_are_added_to_trained_cells(whole, monkeypatch):
    monkeypatch.setattr(runner, "train", None)  # not trained again
    cell = next(cell for cell in grid().cells if "multi" in cell.name)
    before = {name: summary_of(cell, whole)[name] for name in MEASURES}
    every = replace(cell, measures=tuple(set(measures.MEASURES) - {"box_map", "mask_map"}))  # which takes long
    assert not done(every, whole)
    run_cells([every], whole, quiet=True)
    found = summary_of(cell, whole)
    gone = measures.missing(every.measures)
    fitting = [protocol for protocol in measures.PROTOCOLS if protocol.fits(cell.recipe)]
    wanted = [key for protocol in fitting for key in protocol.keys if key in every.measures and key not in gone]
    assert done(every, whole) and set(wanted) <= found.keys()
    assert {name: found[name] for name in MEASURES} == before
    assert 0 <= found["linear_top1"] <= 1 and -1 <= found["gradient_cosine"] <= 1


def test_the_supervised_control_starts_where_its_rivals_do_and_transfers(tmp_path, monkeypatch):
    made = table("table3", "scenes", 1, steps=2, device="cpu", **TINY_RECIPE | {"method": SMALL["dino"]})
    control = made.cells[0]
    assert control.supervised and [cell.supervised for cell in made.cells] == [True, False, False]
    started = []
    monkeypatch.setattr(
        supervised,
        "describe_encoder",
        lambda *arguments: started.append(arguments) or runs.describe_encoder(*arguments),
    )
    run_cells([control], tmp_path, quiet=True)
    folder = folder_of(control, tmp_path)
    found = summary_of(control, tmp_path)
    assert found["finished"] and 0 <= found["miou"] <= 1 and 0 <= found["macc"] <= 1
    assert len(started) == 1 and read_source(folder / "encoder.safetensors").description["framework"] == "supervised"
    before = written(tmp_path)
    run_cells([control], tmp_path, quiet=True)
    assert written(tmp_path) == before


def test_a_run_that_breaks_off_is_recorded_and_not_repeated(tmp_path, monkeypatch):
    cells, tried = grid(1).cells[:2], []

    def broken(recipe, out, **options):
        tried.append(out.name)
        raise NonFiniteError("step 1: the loss is not finite <b>", 1)

    monkeypatch.setattr(runner, "train", broken)
    for _ in range(2):
        run_cells(cells, tmp_path, quiet=True)
    assert tried == [cell.name for cell in cells]
    assert "not finite" in summary_of(cells[0], tmp_path)[BROKEN]
    write_table(grid(1), tmp_path)
    page = (tmp_path / "local-scenes.html").read_text(encoding="utf-8")
    assert "failed: step 1: the loss is not finite &lt;b&gt;" in page and "finite <b>" not in page


def test_features_that_are_not_finite_are_the_result_of_a_cell(whole, tmp_path, monkeypatch):
    cell = replace(grid().cells[0], measures=("linear_top1",))
    shutil.copytree(folder_of(cell, whole), folder_of(cell, tmp_path))

    def broken(*features):
        raise NonFiniteError("the encoder's features are not finite")

    monkeypatch.setattr(measures, "linear_top1", broken)
    run_cells([cell], tmp_path, quiet=True)
    assert done(cell, tmp_path) and "features" in summary_of(cell, tmp_path)[BROKEN]


def test_another_recipe_under_the_same_name_is_refused(whole):
    before = written(whole)
    with pytest.raises(UserError, match="another recipe .steps is 3 there, 2 here"):
        run_cells(grid(steps=2).cells, whole, quiet=True)
    assert written(whole) == before


def test_cells_that_were_transferred_to_other_images_are_refused(tmp_path):
    cell = table("table3", "scenes", 1, steps=2, **TINY_RECIPE).cells[0]
    folder = folder_of(cell, tmp_path)
    folder.mkdir(parents=True)
    (folder / RECIPE).write_text(json.dumps(asdict(cell.recipe) | {"mean": [0.5] * 3}))
    (folder / SUMMARY).write_text(json.dumps({"finished": True, "miou": 0.5, "macc": 0.5, TRANSFERRED: "scenes"}))
    check([cell], tmp_path)
    with pytest.raises(UserError, match="was transferred to scenes, not to .*streets; choose another folder"):
        check([replace(cell, transfer_data="streets")], tmp_path)


def test_figure4_leaves_a_run_out_that_broke_off(tmp_path):
    made = table("figure4", "scenes", 1)
    for cell in made.cells:
        folder_of(cell, tmp_path).mkdir(parents=True)
        (folder_of(cell, tmp_path) / SUMMARY).write_text(json.dumps({BROKEN: "the loss is not finite"}))
    assert figure(made, tmp_path) == ""


def test_a_dry_run_lists_cells_and_cost_and_writes_nothing(whole, tmp_path, capsys):
    wanted = {"steps": 3, "seeds": 2, "device": "cpu", "dry_run": True} | TINY_RECIPE
    assert reproduce("local", str(tmp_path / "new"), **wanted) == 0
    said = capsys.readouterr().out
    assert said.count("to do") == 8 and "GFLOP" in said and "GFLOP/s" not in said
    assert not (tmp_path / "new").exists()
    assert reproduce("local", str(whole), only="*multi-?", **wanted) == 0
    said = capsys.readouterr().out
    assert "2 cells" in said and "to do" not in said and "detached" not in said and "single" not in said
    with pytest.raises(UserError, match="only=.*no cell"):
        reproduce("local", str(whole), only="*nothing*", **wanted)


@pytest.mark.parametrize(
    ("changes", "said"), [({"jobs": 0}, "jobs=0"), ({"seeds": 0}, "seeds=0"), ({"steps": 0}, "steps=0")]
)
def test_invalid_input_leaves_nothing(tmp_path, changes, said):
    with pytest.raises(UserError, match=said):
        reproduce("local", str(tmp_path / "new"), **({"seeds": 1} | TINY_RECIPE | changes))
    assert not (tmp_path / "new").exists()


def ended(cells, out):
    """A worker that fails, and one that is stopped."""
    raise Stopped("saved", 15) if cells == "stopped" else UserError(f"no space in {out}")


def test_what_goes_wrong_in_a_worker_is_said():
    assert workers._guarded(ended, "failed", "there") == "no space in there"
    assert workers._guarded(ended, "stopped", "there") == workers.STOPPED
    assert workers._guarded(lambda cells, out: None, (), "there") is None
    assert not multiprocessing.active_children()


def test_memory_that_runs_out_while_a_cell_is_measured_is_one_line(tmp_path, monkeypatch):
    def too_much(*features):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(measures, "knn_top1", too_much)
    (cell, *_) = grid().cells
    with pytest.raises(UserError, match="out of memory on the GPU: start several processes with torchrun"):
        run_cells([cell], tmp_path, quiet=True)
    assert left(cell, tmp_path) == list(MEASURES)  # trained
    monkeypatch.undo()
    run_cells([cell], tmp_path, quiet=True)
    assert done(cell, tmp_path)
