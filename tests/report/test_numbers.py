"""Tables: means, spreads, differences paired by seed."""

import html
import re

from repre_lite.report.arms import group
from repre_lite.report.numbers import recipes, summary
from repre_lite.runs import Run


def with_summary(run, **values):
    return Run(run.folder, run.recipe, run.model, [], values)


def cells(text):
    """The rows of every table, as lists of what their cells say."""
    rows = re.findall(r"<tr>(.*?)</tr>", text)
    return [[html.unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)] for row in rows]


def test_means_spreads_and_paired_differences(runs):
    none, one, two = (
        with_summary(runs[name], knn_top1=knn, reconstruction_l1=l1, peak_memory_bytes=2e9)
        for name, knn, l1 in (("none-0", 0.5, None), ("multi-0", 0.56, 0.1), ("multi-1", 0.60, 0.2))
    )
    rows = cells(summary(group([none, one, two])))
    assert ["k-NN top-1", "50.0 %", "58.0 % ± 2.8 %"] in rows
    assert ["reconstruction L1, last batch", "–", "0.1500 ± 0.0707"] in rows
    assert ["peak memory in MB", "2000", "2000 ± 0"] in rows
    assert ["k-NN top-1", "+6.0 points", "seed 0: +6.0 points"] in rows  # seed 1 has no partner
    assert not any(row[0].startswith("reconstruction L1") and len(row) == 3 and "seed" in row[2] for row in rows)
    both = cells(summary(group([one, two, none])))
    assert ["k-NN top-1", "-6.0 points", "seed 0: -6.0 points"] in both
    found = {"linear_sgd_top1": 0.4, "finetune_top1_untrained": 0.3, "dense_miou": 0.25, "patch_cosine_untrained": 0.5}
    evaluated = cells(summary(group([with_summary(runs["none-0"], **found)])))
    assert ["linear probe by SGD, top-1", "40.0 %"] in evaluated and ["mIoU of patch probes", "25.0 %"] in evaluated
    assert ["fine-tuned top-1, untrained", "30.0 %"] in evaluated
    assert ["cosine between patches, untrained", "0.500"] in evaluated
    alone = summary(group([none]))
    assert "no standard deviation" in alone and "Difference" not in alone
    assert "no seed in common" in summary(group([none, two]))
    assert "Nothing has been measured yet" in summary(group([with_summary(none)]))


def test_recipe_fields_that_differ_come_first(runs):
    rows = cells(recipes(group(list(runs.values()))))
    assert [row[0] for row in rows[1:3]] == ["seed", "reconstruction"] or rows[1][0] == "reconstruction"
    assert ["reconstruction", "multi", "none"] in rows and ["seed", "[0, 1]", "[0]"] in rows
    assert any(row[0] == "lr" for row in rows)
