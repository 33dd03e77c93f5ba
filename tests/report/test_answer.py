"""The answer on top: one sentence and a few large numbers, beside their controls."""

import re

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
    assert "best: reconstruction multi" in answer(made) and "58.0 ± 2.8" in answer(made)


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
