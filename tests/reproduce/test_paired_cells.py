"""The lines of a table are paired, named apart, and beside the paper's numbers."""

from dataclasses import replace

import pytest

import repre_lite as rl
from repre_lite.recipes import identity
from repre_lite.reproduce import paper
from repre_lite.reproduce.cells import TABLES, primary
from repre_lite.reproduce.grid import table
from repre_lite.reproduce.layouts import FRAMEWORKS
from repre_lite.reproduce.measures import MEASURES, PROTOCOLS
from repre_lite.runtime.errors import UserError

ARM = {
    "reconstruction",
    "hide",
    "fusion",
    "fusion_layers",
    "weighting",
    "decoder_width",
    "decoder_init",
    "reconstruct_views",
}  # what the lines of a pair may differ in


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("scale", ["scenes", "imagenet1k"])
def test_paired_lines_differ_in_the_branch_only(name, scale):
    made = table(name, scale, seeds=2)
    recipes = {(cell.line, cell.seed): identity(cell.recipe) for cell in made.cells}
    assert len({cell.name for cell in made.cells}) == len(made.cells) == 2 * len(made.lines)
    for line in made.lines:
        if line.base is None:
            continue
        for seed in range(2):
            one, base = recipes[line.name, seed], recipes[line.base, seed]
            changed = {key for key in one if one[key] != base[key]}
            assert changed and changed <= ARM and one["seed"] == seed
    assert set(made.measures) <= MEASURES.keys()


@pytest.mark.parametrize("scale", ["scenes", "cifar10", "imagenet1k"])
def test_lines_of_one_name_are_one_run_in_all_tables(scale):
    held = {}
    for name in TABLES:
        for cell in table(name, scale, seeds=1).cells:
            assert held.setdefault(cell.name, identity(cell.recipe)) == identity(cell.recipe)


def test_every_accuracy_of_the_paper_has_a_line():
    for name in ("table1", "table2", "table3", "table4", "table5"):
        made = table(name, "imagenet1k", seeds=1)
        places = {place for line in made.lines for place, _ in line.paper.values()}
        wanted = {place for place in paper.NUMBERS if place[0] == name}
        assert places == wanted
        bases = {line.name: line.paper for line in made.lines}
        for line in made.lines:
            for measure, (place, base) in line.paper.items():
                assert (base is None) == (line.base is None)
                assert line.supervised == place[1][0].startswith("IN Sup")
                assert base is None or bases[line.base][measure][0] == base


def test_the_papers_recipes_at_imagenet1k():
    recipes = {cell.name: cell.recipe for cell in table("table1", "imagenet1k", seeds=1).cells}
    long = recipes["imagenet1k-dino-vit_small-multi-800ep-0"]
    assert (long.epochs, long.arch, long.framework, len(long.views)) == (800, "vit_small", "dino", 12)
    assert len(recipes["imagenet1k-dino-vit_small-multi-0"].views) == 10
    assert recipes["imagenet1k-moby-swin_tiny-none-100ep-0"].epochs == 100
    small = {cell.name: cell.recipe for cell in table("table1", "scenes", seeds=1, steps=30).cells}
    assert small["scenes-moco_v3-vit_micro-multi-600ep-0"].steps == 60
    assert small["scenes-moco_v3-vit_tiny-none-0"].steps == 30


def test_table5_varies_operator_and_depth():
    made = table("table5", "scenes", seeds=1)
    shown = {(line.labels[0], line.labels[1]): line.changes for line in made.lines if line.labels[2] == "ViT-S"}
    assert shown["Transformer", "4"]["fusion"] == "transformer" and shown["Transformer", "4"]["fusion_layers"] == 4
    default = next(line for line in made.lines if line.labels == ("Conv", "2", "ViT-S"))
    assert default.name in {line.name for line in table("table4", "scenes", seeds=1).lines}


def test_the_primary_protocol_is_what_local_runs():
    held = primary()
    for scale in held["scales"]:
        made = table("local", scale)
        assert made.note.startswith("The primary protocol") and len(made.cells) == 8 * 4 and made.level == 0.95
        assert [line.labels[0] for line in made.lines] == list(held["arms"])
        for cell in made.cells:
            recipe = cell.recipe
            assert (recipe.steps, recipe.batch_size, recipe.arch, recipe.precision) == (300, 32, "vit_micro", "fp32")
            assert recipe.peak_lr == 1e-3 and recipe.train_images == 10_000 and recipe.framework == "moco_v3"
        wanted = {*held["measures"], *held["exploratory"]} - ({*held["only_scenes"]} if scale != "scenes" else set())
        assert set(made.measures) == wanted
    defined = {name for names in held["definitions"] for name in names.split(", ")}
    assert defined == {*held["measures"], *held["exploratory"]}
    assert {line.base for line in made.lines[1:]} == {made.lines[0].name} and made.lines[0].base is None
    for changed in (table("local", "scenes", steps=10), table("local", "scenes", 3), table("local", "stl10")):
        assert changed.note.startswith("Exploratory: not the primary protocol")


def test_ablations_are_the_protocols_pair_with_one_choice_changed():
    made = table("ablations", "scenes")
    assert made.note.startswith("Exploratory") and {cell.seed for cell in made.cells} == {0, 1, 2}
    recipes = {cell.line: cell.recipe for cell in made.cells if cell.seed == 0}
    shared = {cell.name for cell in made.cells} & {cell.name for cell in table("local", "scenes").cells}
    assert len(shared) == 4 * 3  # all arms of the protocol
    usual = recipes["local-scenes-moco_v3-vit_micro-multi"]
    for name, recipe in recipes.items():
        assert (recipe.steps, recipe.batch_size) == (3000 if "x10" in name else 300, 32)
        own = rl.recipe("scenes", recipe.framework)
        assert recipe.peak_lr == own.peak_lr and recipe.method == own.method
        if recipe.framework == "moco_v3" and recipe.reconstruction != "detached":
            changed = {key for key, value in identity(recipe).items() if identity(usual)[key] != value}
            choices = [{"fusion", "fusion_layers"}, {"steps", "epochs"}]
            assert len(changed) <= 1 or changed in choices, (name, changed)
    assert {recipe.framework for recipe in recipes.values()} == set(FRAMEWORKS.values())
    assert {cell.recipe.base_lr for cell in table("ablations", "scenes", base_lr=0.5).cells} == {0.5}
    assert table("ablations", "imagenet1k").cells[0].recipe.batch_size == 4096


def test_frameworks_are_those_of_the_paper():
    rows = {place[1][0] for place in paper.NUMBERS if place[0] in ("table1", "table4")}
    assert rows | {"SimSiam"} == FRAMEWORKS.keys()


def test_every_measure_has_one_protocol():
    keys = [key for protocol in PROTOCOLS for key in protocol.keys]
    assert len(keys) == len(set(keys)) and set(keys) <= MEASURES.keys()


def test_unknown_names_are_refused():
    for arguments in (("table9",), ("table1", "mars"), ("table1", "scenes", 0)):
        with pytest.raises(UserError, match="choose one of|give 1 or more"):
            table(*arguments)
    with pytest.raises(UserError, match="transfer_data= is empty; give"):
        table("table3", "scenes", transfer_data="")
    assert replace(table("table1", "scenes", 1), note="x").note == "x"
