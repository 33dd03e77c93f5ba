"""The doctor on metrics made by hand: one case for every sentence, and none where all is well."""

import json
import math

import pytest

import repre_lite as rl
from repre_lite.cli import main
from repre_lite.cli.options import in_options
from repre_lite.evaluation import diagnose, examine
from repre_lite.evaluation.doctor import EARLY
from repre_lite.frameworks import FRAMEWORKS

STEPS = 100


def path(first, last, steps=STEPS):
    """A measure that falls or rises quickly at first, as losses do."""
    return [last + (first - last) * math.exp(-5 * i / steps) for i in range(steps)]


# what a framework's loss does in a healthy run, from its first step to its last
LOSSES = {"simclr": (4, 2), "byol": (4, 1), "simsiam": (0, -0.7), "moco_v2": (4, 6.5), "moco_v3": (2.8, 1.5),
          "moby": (13, 15), "dino": (5.8, 6.5), "none": (None, None)}  # fmt: skip
CHANCE = {"simclr": 4.14, "moco_v2": 8.3, "moco_v3": 2.8, "moby": 16.6, "dino": 6.93}


def run(framework="moco_v3", loss=None, error=(0.35, 0.2), spread=(0.9, 0.9), rank=(20, 12), steps=STEPS, **changes):
    """Metrics and recipe.json of a run; `changes` are further measures (sequences of two or lists) and settings."""
    recipe = rl.recipe("scenes", framework, steps=STEPS, **{k: v for k, v in changes.items() if not k.startswith("_")})
    facts = json.loads(json.dumps(vars(recipe), default=vars)) | {"total_steps": STEPS, "image_count": 1000}
    first, last = loss or LOSSES[framework]
    measures = {"embedding_std": path(*spread), "effective_rank": path(*rank)}
    if framework != "none":
        measures["contrastive"] = path(first, last)
    if framework in CHANCE:
        measures["loss_over_chance"] = [value / CHANCE[framework] for value in path(first, last)]
    if changes.get("reconstruction") != "none":
        measures["reconstruction"] = path(*error)
    for name in ("contrastive", "reconstruction"):
        floor = recipe.framework == "simsiam" and name == "contrastive"
        measures[f"weight_{name}"] = [0.5 / max(1e-9, value + floor) for value in measures.get(name, [])]
    measures |= {name[1:]: values for name, values in changes.items() if name.startswith("_")}
    metrics = [{"step": i + 1} | {k: v[i] for k, v in measures.items() if v} for i in range(steps)]
    return metrics, facts


def kinds(metrics, facts, ruined=False):
    return [finding.kind for finding in diagnose(metrics, facts, ruined)]


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("reconstruction", ["multi", "single", "none", "detached"])
def test_a_healthy_run_is_healthy(framework, reconstruction):
    if framework == "none" and reconstruction in ("none", "detached"):
        return
    spread = (0.6, 0.05) if framework == "none" else (0.9, 0.8)  # nothing spreads the embedding without contrast
    assert kinds(*run(framework, spread=spread, reconstruction=reconstruction)) == ["healthy"]


def test_a_collapse_is_a_spread_near_zero_or_hardly_a_direction():
    found = diagnose(*run("byol", loss=(4, 0.01), spread=(0.8, 0.02)))
    assert [finding.kind for finding in found] == ["collapsed"]
    assert "spread of 0.0" in found[0].shows and "batch of 64" in found[0].shows and "batch_size=64" in found[0].remedy
    assert kinds(*run("byol", spread=(0.8, 0.15))) == ["collapsed"]  # it began far above
    assert kinds(*run("byol", spread=(0.3, 0.15))) == ["healthy"]
    assert kinds(*run("byol", rank=(20, 1.5))) == ["collapsed"]
    assert kinds(*run("byol", rank=(5, 1.5), batch_size=8)) == ["healthy"]  # few images span few directions


def test_a_learning_rate_that_is_set_itself_is_the_one_to_change():
    usual = rl.recipe("scenes", "byol").peak_lr
    found = diagnose(*run("byol", spread=(0.8, 0.02), lr=1.0))
    assert found[0].remedy == f"try lr={usual:g}, the recipe's default, instead of 1"
    found = diagnose(*run("byol", spread=(0.8, 0.02), lr=usual))
    assert found[0].remedy.startswith(f"lower lr={usual:g},")


def test_a_remedy_is_the_setting_that_is_far_from_the_recipes_own():
    found = diagnose(*run("byol", spread=(0.8, 0.02), method={"momentum": 0.0}))
    assert found[0].remedy == "try set method.momentum=0.99, the recipe's default, instead of 0"
    found = diagnose(*run("simclr", loss=(4.14, 4.13), method={"temperature": 100.0}))
    assert [finding.kind for finding in found] == ["contrast at chance"] and "temperature=0.2" in found[0].remedy
    found = diagnose(*run("moco_v3", loss=(2.8, 2.79), method={"temperature": 100.0}))  # the constructor's own
    assert "temperature=0.2," in found[0].remedy


def test_chance_is_not_what_is_below_it():
    assert kinds(*run("simclr", loss=(4.2, 4.13))) == ["contrast at chance"]
    assert kinds(*run("simclr", loss=(4.2, 3.8))) == ["healthy"]


def test_reconstruction_only():
    metrics, facts = run(
        "simclr", weighting="fixed:0,1", _weight_contrastive=[0.0] * STEPS, _weight_reconstruction=[1.0] * STEPS
    )
    assert kinds(metrics, facts) == ["reconstruction only"]
    even = [1.0] * STEPS
    assert kinds(*run("simclr", weighting="fixed:1,1", _weight_contrastive=even, _weight_reconstruction=even)) == [
        "healthy"
    ]
    assert kinds(*run("byol", loss=(4, 3.95))) == ["reconstruction only"]
    assert kinds(*run("simsiam", loss=(0, -0.01))) == ["reconstruction only"]
    assert kinds(*run("byol", loss=(4, 3.95), error=(0.35, 0.34))) == [
        "healthy"
    ]  # neither falls, but the embedding moves


def test_log_variances_at_their_bound_or_swinging():
    top = math.exp(5) / 2
    found = diagnose(*run("moco_v3", loss=(2.8, 0.001), _weight_contrastive=path(0.2, top + 20)[:60] + [top] * 40))
    assert [finding.kind for finding in found] == ["log-variances"] and "stays at its upper limit, 74.2" in found[
        0
    ].shows
    swings = [10.0 ** (4 * math.sin(i)) for i in range(STEPS)]
    found = diagnose(*run("moco_v3", weighting_lr=5.0, _weight_reconstruction=swings))
    assert [finding.kind for finding in found] == ["log-variances"] and "weighting_lr=0.01" in found[0].remedy


def test_a_rate_too_high():
    assert kinds(*run("simclr", loss=(4.1, 4.4))) == ["learning rate too high"]  # worse than a guess
    falls_and_rises = path(4, 1)[:50] + path(1.0, 3.9, 50)
    assert kinds(*run("byol", _contrastive=falls_and_rises)) == ["learning rate too high"]
    a_little = path(4, 1)[:50] + path(1.0, 2.2, 50)
    assert kinds(*run("byol", _contrastive=a_little)) == ["healthy"]
    assert kinds(*run("byol", base_lr=0.4, _contrastive=a_little)) == ["learning rate too high"]
    found = diagnose(*run("moby", base_lr=0.4, rank=(20, 2.5)))
    assert [finding.kind for finding in found] == ["learning rate too high"] and "try base_lr=0.004" in found[0].remedy
    assert "100 times" in found[0].shows
    fast = run("simclr", base_lr=0.8, loss=(4.14, 4.13), rank=(0, 0))
    bare = [{name: value for name, value in record.items() if name != "effective_rank"} for record in fast[0]]
    assert "chance" in diagnose(bare, fast[1])[0].shows  # a rank that was not logged is not mentioned
    assert (
        "rank went from" in diagnose(*run("simsiam", base_lr=0.2, rank=(20, 2.5)))[0].shows
    )  # without a level of chance
    assert kinds(
        *run("none", loss=(None, None), error=(0.3, 0.3), _reconstruction=path(0.4, 0.1)[:50] + [0.5] * 50)
    ) == ["learning rate too high"]


def test_a_step_that_was_not_finite():
    metrics, facts = run("moco_v3", steps=5)
    found = diagnose(metrics, facts, ruined=True)
    assert found[0].kind == "learning rate too high" and "is not finite after step 5" in found[0].shows
    assert "nonfinite.pt" in diagnose([], facts, ruined=True)[0].shows


def test_a_rate_too_low():
    still = {"error": (0.35, 0.348), "spread": (0.9, 0.9), "rank": (20, 20.1)}
    for framework in ("byol", "moco_v3", "simsiam"):
        begun = LOSSES[framework][0]
        assert kinds(*run(framework, loss=(begun, begun + 0.01), **still)) == ["learning rate too low"]
    assert kinds(*run("moco_v2", **still)) == ["learning rate too low"]  # its loss rises as the queue fills
    found = diagnose(*run("moco_v3", loss=(2.8, 2.8), base_lr=1e-9, error=(0.35, 0.32), rank=(20, 21)))
    assert [finding.kind for finding in found] == ["learning rate too low"] and "base_lr=0.004" in found[0].remedy
    found = diagnose(*run("moby", clip_norm=1e-9, _gradient_scale=[1e-10] * STEPS))
    assert [finding.kind for finding in found] == ["learning rate too low"] and "clip_norm=5" in found[0].remedy
    found = diagnose(*run("moby", _gradient_scale=[1e-10] * STEPS))  # with the recipe's own limit
    assert "switch it off with clip_norm=None" in found[0].remedy
    assert rl.recipe("scenes", "moby", clip_norm=None).clip_norm is None


def test_images_that_repeat():
    metrics, facts = run("simclr")
    many = {"sampled": 1000, "distinct": 32, "copies": 30.25}
    found = diagnose(metrics, facts | {"repeats": many})
    assert [finding.kind for finding in found] == ["images repeat"] and "only 32 of 1,000 sampled" in found[0].shows
    assert kinds(metrics[:1], facts | {"repeats": many}) == ["images repeat"]  # known before the first step
    for few in ({"sampled": 1000, "distinct": 990, "copies": 0.02}, {"sampled": 2000, "distinct": 1999, "copies": 0.6}):
        assert kinds(metrics, facts | {"repeats": few}) == ["healthy"]


def test_views_that_are_alike():
    metrics, facts = run("simclr")
    same = {
        "scale": [1.0, 1.0],
        "ratio": [1.0, 1.0],
        "flip": 0.0,
        "jitter_p": 0.0,
        "grey": 0.0,
        "blur": 0.0,
        "solarise": 0.0,
    }
    views = [view | same for view in facts["views"]]
    found = diagnose(metrics, facts | {"views": views})
    assert [finding.kind for finding in found] == ["views alike"]
    assert in_options(found[0].remedy) == "--set views.0.scale=0.2,1 and --set views.1.scale=0.2,1"
    assert kinds(metrics, facts | {"views": [views[0] | {"flip": 0.5}] * 2}) == ["healthy"]


def test_patches_that_are_one_vector():
    found = diagnose(*run(_patch_cosine=path(0.9992, 0.9999)))
    assert [finding.kind for finding in found] == ["patches alike"] and "0.99" in found[0].shows
    found = diagnose(*run(_patch_cosine=path(0.92, 0.988)))
    assert found[0].kind == "healthy" and "became more alike at the last tap (cosine 0.9" in found[0].shows
    assert "became less alike" in diagnose(*run(_patch_cosine=path(0.92, 0.5)))[0].shows


def test_too_early_and_incomplete():
    metrics, facts = run("byol", spread=(0.01, 0.01))
    assert kinds(metrics[:12], facts) == ["too early"]
    assert kinds(metrics[:40], facts) == ["collapsed"]
    assert kinds(metrics, {}) == ["collapsed"]
    bare = [{"step": record["step"], "loss": 1.0, "contrastive": None} for record in metrics]
    assert kinds(bare, {"framework": "byol"}) == ["healthy"]


ILL = {  # runs that make the rules speak, each with every measure and setting
    "rate, at chance": ("simclr", {"loss": (4.14, 4.13), "base_lr": 0.4}),
    "rate, narrow": ("moby", {"base_lr": 0.4, "rank": (20, 2.5)}),
    "rate, rising": ("byol", {"_contrastive": path(4, 1)[:50] + path(1.0, 3.9, 50)}),
    "collapsed": ("byol", {"spread": (0.8, 0.02), "_patch_cosine": path(0.9992, 0.9999)}),
    "reconstruction only": ("byol", {"loss": (4, 3.95)}),
    "unweighted": ("simclr", {"weighting": "fixed:0,1", "_weight_contrastive": [0.0] * STEPS}),
    "bounded": ("moco_v3", {"loss": (2.8, 0.001), "_weight_contrastive": [80.0] * STEPS}),
    "still": ("moco_v3", {"clip_norm": 5.0, "loss": (2.8, 2.8), "error": (0.35, 0.35), "rank": (20, 20), "_gradient_scale": [1e-10] * STEPS}),
    "healthy": ("dino", {"_patch_cosine": path(0.9, 0.5)}),
}  # fmt: skip


@pytest.mark.parametrize(("framework", "changes"), ILL.values(), ids=ILL)
def test_a_rule_that_lacks_a_number_leaves_it_out(framework, changes):
    """Without any one or two of the measures, in all steps or the first ones, or any setting: a sentence, never an error."""
    metrics, facts = run(framework, **changes)

    def said(metrics, facts):
        found = [str(finding).replace("off with clip_norm=None", "") for finding in diagnose(metrics, facts)]
        return bool(found) and not any(word in sentence for sentence in found for word in ("None", "nan"))

    for name in facts:
        assert said(metrics, {key: value for key, value in facts.items() if key != name}), name
    measures = sorted(metrics[-1].keys() - {"step"})
    for gone in [{a, b} for a in measures for b in measures]:
        for until in (STEPS, STEPS - 40):
            bare = [
                {key: None if key in gone and record["step"] <= until else value for key, value in record.items()}
                for record in metrics
            ]
            assert said(bare, facts), (gone, until)


def test_a_sentence_has_its_remedy():
    found = diagnose(*run("byol", spread=(0.8, 0.02)))[0]
    assert str(found) == f"collapsed: {found.shows}; {found.remedy}"


@pytest.fixture
def folder(tmp_path):
    """A run folder with a recipe and metrics only."""
    metrics, facts = run("simclr", loss=(4.14, 4.135), method={"temperature": 100.0})
    facts |= {"mean": [0.5] * 3, "std": [0.25] * 3}
    (tmp_path / "recipe.json").write_text(json.dumps(facts))
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in metrics))
    return tmp_path


def test_the_verb(folder, capsys):
    assert main(["doctor", str(folder)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("contrast at chance: ") and "--set method.temperature=0.2" in said and said.count("\n") == 1
    assert [finding.kind for finding in examine(folder)] == ["contrast at chance"]
    (folder / "nonfinite.pt").touch()
    assert examine(folder)[0].kind == "learning rate too high"


def test_the_verb_refuses_in_one_line(folder, tmp_path, capsys):
    (folder / "metrics.jsonl").unlink()
    for place, words in (
        (folder, "nothing has been logged yet; wait for the first step, or resume the run"),
        (tmp_path / "none", "not a run folder: recipe.json not found; give the folder of a run"),
    ):
        assert main(["doctor", str(place)]) == 2
        said = capsys.readouterr().err
        assert words in said and said.count("\n") == 1


def test_a_finished_run_without_metrics_is_not_told_to_wait(folder, capsys):
    (folder / "metrics.jsonl").unlink()
    (folder / "summary.json").write_text('{"finished": true}')
    assert main(["doctor", str(folder)]) == 2
    said = capsys.readouterr().err
    assert "metrics.jsonl of this finished run is missing or empty; restore it" in said and said.count("\n") == 1


def test_a_run_that_does_not_know_its_length_is_too_early_to_judge():
    assert [finding.kind for finding in diagnose([{"step": 1, "contrastive": 1.0}], {})] == [EARLY]
