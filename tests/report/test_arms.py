"""Which runs belong together."""

from repre_lite.report.arms import group


def test_runs_that_differ_only_in_the_seed_are_one_arm(runs):
    arms = group(list(runs.values()))
    assert [arm.name for arm in arms] == ["reconstruction multi", "reconstruction none"]
    assert [[run.recipe.seed for run in arm.runs] for arm in arms] == [[0, 1], [0]]
    assert [arm.name for arm in group([runs["multi-0"]])] == ["framework moco_v3, arch vit_micro, reconstruction multi"]
