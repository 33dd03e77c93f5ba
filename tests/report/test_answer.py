"""The answer on top: one sentence and a few large numbers, beside their controls."""

import dataclasses
import json
import re

import pytest

import repre_lite as rl
from repre_lite.report.answer import answer, kicker, lead, title
from repre_lite.report.arms import group
from repre_lite.runs import Run


def with_summary(run, **values):
    return Run(run.folder, run.recipe, run.model, [], values)


def test_one_run_beside_its_controls(runs):
    arms = group([with_summary(runs["multi-0"], steps=4, finished=True, knn_top1=0.8, knn_top1_untrained=0.6, knn_top1_pixels=0.5,
                               patch_cosine=0.9, patch_cosine_untrained=0.7, wall_seconds=90)])  # fmt: skip
    assert title(arms) == "moco_v3 with reconstruction on scenes"
    assert kicker(arms) == "1 run · framework moco_v3, arch vit_micro, reconstruction multi"
    assert lead(arms) == (
        "vit_micro, trained by moco_v3 with RePre (reconstruction from several taps) for 4 steps: k-NN top-1 80.0 %, "
        "against 60.0 % for the untrained encoder and 50.0 % for raw pixels."
    )
    made = answer(arms)
    assert re.findall(r'class="big">(.*?)<small> (.*?)</small>', made) == [("80.0", "%"), ("0.90", ""), ("1.5", "min")]
    assert re.findall(r"--share:([\d.]+)", made) == ["0.800", "0.600", "0.500", "0.900", "0.700"]


def test_two_arms_and_their_difference(runs):
    values = {"none-0": 0.5, "multi-0": 0.56, "multi-1": 0.6}
    made = group(
        [
            with_summary(runs[name], steps=4, finished=name != "multi-1", linear_top1=value)
            for name, value in values.items()
        ]
    )
    assert "not finished: multi-1" in kicker(made)
    assert lead(made) == (
        "vit_micro, trained by moco_v3 for 4 steps: linear probe top-1 50.0 % with reconstruction none, 58.0 ± 2.8 % with "
        "reconstruction multi. With reconstruction multi it is 6.0 points higher in one pair of runs, which decides nothing."
    )
    assert "highest: reconstruction multi" in answer(made) and "58.0 ± 2.8" in answer(made)


def recipe_run(run, folder=None, summary=None, **changes):
    return Run(folder or run.folder, dataclasses.replace(run.recipe, **changes), run.model, [], summary or {})


def test_what_differs_between_arms_is_not_said_of_all(runs):
    run = runs["multi-0"]
    longer = group([recipe_run(run, summary={"steps": n, "knn_top1": 0.5}, steps=n) for n in (4, 9)])
    assert lead(longer) == (
        "vit_micro, trained by moco_v3: k-NN top-1 50.0 % with steps 4, 50.0 % with steps 9. With steps 9 it is the same in "
        "one pair of runs, which decides nothing."
    )
    assert "the highest of several" in answer(longer)
    alone = recipe_run(
        run, framework="none", method={}, views=run.recipe.views[:1], summary={"steps": 4, "knn_top1": 0.5}
    )
    assert lead(group([alone])).startswith("vit_micro, trained by reconstruction from several taps for 4 steps: k-NN")
    pairs = [recipe_run(run, seed=seed, reconstruction=arm, summary={"knn_top1": value, "steps": 4})
             for seed, arm, value in ((0, "none", 0.5), (1, "none", 0.5), (0, "multi", 0.49), (1, "multi", 0.53))]  # fmt: skip
    assert lead(group(pairs)).endswith("it is 1.0 points higher on average over 2 pairs of runs, from -1.0 to +3.0.")


def test_other_frameworks_are_named_without_what_follows_from_them(runs):
    run = runs["multi-0"]
    simclr = rl.recipe("scenes", "simclr", steps=4, views=run.recipe.views)
    usual = rl.recipe("scenes", "moco_v3", steps=4, base_lr=0.1)
    other = rl.recipe("scenes", "simclr", steps=4, method={"temperature": 0.7})
    made = group([Run(run.folder, recipe, run.model, [], {}) for recipe in (usual, other)])
    assert [arm.name for arm in made] == [
        "framework moco_v3, base_lr 0.1, method.temperature default", "framework simclr, base_lr 0.004, method.temperature 0.7",
    ]  # fmt: skip
    shorts = ["moco_v3, base_lr 0.1, temperature default", "simclr, base_lr 0.004, temperature 0.7"]
    assert [arm.short for arm in made] == shorts
    assert all(
        len(arm.short) <= 60 and "{" not in arm.name
        for arm in group([run, recipe_run(run, views=simclr.views[:1] * 2)])
    )


def test_untrained_encoders_that_differ_are_two_controls(runs):
    run = runs["multi-0"]
    held = [recipe_run(run, encoder_init=init, summary={"knn_top1": 0.5, "knn_top1_untrained": low, "steps": 4})
            for init, low in (("timm", 0.2), ("moco_v3", 0.4))]  # fmt: skip
    said = lead(group(held))
    assert "20.0 % for untrained encoder, timm and 40.0 % for untrained encoder, moco_v3" in said


def test_images_that_differ(runs, tmp_path):
    """Runs of two folders are two arms, and accuracies of other images than those of training say so."""
    run, folders = runs["multi-0"], []
    facts = json.loads((run.folder / "recipe.json").read_text())
    for name in ("cats", "dogs"):
        folders.append(tmp_path / name)
        folders[-1].mkdir()
        (folders[-1] / "recipe.json").write_text(json.dumps(facts | {"fingerprint": name}))
    made = group(
        [
            recipe_run(run, folder, {"reconstruction_l1": 0.1}, scale="folder", data=f"/d/{folder.name}")
            for folder in folders
        ]
    )
    assert [arm.name for arm in made] == ["images cats", "images dogs"]
    with pytest.raises(rl.UserError, match="the same recipe, images and seed; give one of them"):
        group([run, run])
    where = {"evaluated_on": "folder: 6 validation images by 12 training images", "steps": 4, "knn_top1": 1.0}
    one = group([recipe_run(run, summary=where)])
    assert "k-NN top-1 on folder 100.0 %" in lead(one) and "Accuracies: folder: 6 validation images" in answer(one)
    both = group(
        [
            recipe_run(run, summary=where),
            recipe_run(run, reconstruction="none", summary=where | {"evaluated_on": "scenes: 1"}),
        ]
    )
    assert "points" not in lead(both) and "do not compare" in answer(both)


def test_nothing_measured_and_only_online(runs):
    nothing = group([with_summary(runs["multi-0"])])
    assert lead(nothing).endswith("no accuracy has been measured yet; run repre-lite evaluate.")
    run = runs["multi-0"]
    online = group([Run(run.folder, run.recipe, run.model, [{"step": 1, "online_knn_top1": 0.25}], {"steps": 1})])
    assert "online k-NN top-1 25.0 %" in lead(online) and "online k-NN top-1" in answer(online)


def test_an_accuracy_of_an_unfinished_measure_is_not_below_its_axis(runs):
    """A cosine below 0 has no bar."""
    made = answer(group([with_summary(runs["multi-0"], patch_cosine=-0.2)]))
    assert "-0.20" in made and "--share:0.000" in made
