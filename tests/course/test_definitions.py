"""What lessons build from scratch equals the library: their definitions, taken out of the notebooks, on other inputs."""

import ast
import contextlib
import math
from pathlib import Path

import nbformat
import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

import repre_lite as rl
from repre_lite import losses
from repre_lite.decoder import FusionBlock, conv_fusion
from repre_lite.encoder import tap_indices
from repre_lite.evaluation.collapse import patch_cosine
from repre_lite.evaluation.linear import fit_linear
from repre_lite.evaluation.segmentation_metrics import confusion_matrix, miou
from repre_lite.frameworks.base import cosine_to_one, follow
from repre_lite.frameworks.queue import Queue
from repre_lite.transfer.heads import Naive
from repre_lite.visualize.kit.capture import capture

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
LESSONS = sorted(FOLDER.glob("[0-9]*.ipynb"))
TINY = {"embed_dim": 24, "depth": 4, "num_heads": 2}


def definitions(path):
    """The functions and classes of a lesson, stubs left out, in a namespace of their own."""
    space = {"torch": torch, "nn": nn, "F": F, "math": math, "rl": rl, "losses": losses}
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            for node in ast.parse(cell.source).body:
                if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and "NotImplementedError" not in ast.unparse(node):
                    with contextlib.suppress(NameError):  # a default that the lesson computes, such as STEPS
                        exec(ast.unparse(node), space)
    return space


def own(space):
    """The names of what a lesson calls its own."""
    return {name for name in space if name.startswith(("my_", "My"))}


@pytest.fixture
def lesson():
    torch.manual_seed(0)
    return lambda number: definitions(next(FOLDER.glob(f"{number}*.ipynb")))


def same(a, b):
    torch.testing.assert_close(a, b)


# Every name beginning with my_ is compared below, or inside its lesson, in a cell whose output is checked. IN_THE_LESSON
# lists those of which such a cell compares only the results.
COMPARED = {
    "02": {"my_tap_indices"},
    "03": {"MyBlock", "MyDecoder"},
    "04": {"my_info_nce", "my_nt_xent", "my_queue_loss", "my_dino"},
    "05": {"my_simsiam", "my_follow", "my_coefficient", "my_byol", "my_queue", "my_teacher", "my_dino"},
    "06": {"my_total"},
    "08": {"my_patch_cosine", "my_probe"},
    "09": {"my_attention"},
    "11": {"my_miou", "MyHead"},
}
IN_THE_LESSON = {"07": {"my_contrast", "my_update"}}


def checked_inside(path):
    """The own names that stand in cells whose output is checked."""
    cells = nbformat.read(path, as_version=4).cells
    checked = [cell.source for cell in cells if "nbval-check-output" in cell.metadata.get("tags", [])]
    return {node.id for source in checked for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_every_definition_is_compared(path):
    number, names = path.name[:2], own(definitions(path))
    listed = COMPARED.get(number, set()) | IN_THE_LESSON.get(number, set())
    assert listed <= names and names - listed <= checked_inside(path)


def test_02_taps_and_maps(lesson):
    space = lesson("02")
    for depth, taps in ((12, 4), (8, 4), (6, 3)):
        vit = timm.create_model("vit_tiny_patch16_224", img_size=16, patch_size=4, **TINY | {"depth": depth})
        assert tuple(space["my_tap_indices"](depth, taps)) == tap_indices(vit, taps)
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        patches, prefix = vit.forward_intermediates(x, indices=1, return_prefix_tokens=True, intermediates_only=True)[0]
    tokens = torch.cat([prefix, patches.flatten(2).mT], dim=1)
    same(space["to_map"](tokens, grid=4), patches)


def test_03_fusion_block_and_decoder(lesson):
    space = lesson("03")
    mine, theirs = space["MyBlock"](6), FusionBlock(conv_fusion(12, 6, layers=2), grid=4)
    theirs.load_state_dict(mine.state_dict())
    deep, shallow = torch.randn(2, 2, 6, 4, 4)
    same(mine(deep, shallow), theirs(deep, shallow))
    mine, theirs = space["MyDecoder"](6, taps=3), rl.ReconstructionDecoder([6] * 3, [4] * 3, 16)
    for copy, parameter in zip(theirs.parameters(), mine.parameters(), strict=True):
        copy.data = parameter.data.clone()
    taps = list(torch.randn(3, 2, 6, 4, 4))
    same(mine(taps), theirs(taps))


def test_04_contrastive_losses(lesson):
    space = lesson("04")
    q, k, queue = torch.randn(5, 7), torch.randn(5, 7), F.normalize(torch.randn(9, 7), dim=1)
    same(space["my_info_nce"](q, k, 0.3), losses.info_nce(q, k, 0.3))
    same(space["my_nt_xent"](q, k, 0.3), losses.nt_xent(q, k, 0.3))
    same(space["my_queue_loss"](q, k, queue, 0.3), losses.info_nce_queue(q, k, queue, 0.3))
    centre = torch.randn(1, 7)
    both = (space["my_dino"](q, k, centre, 0.1, 0.05) + space["my_dino"](k, q, centre, 0.1, 0.05)) / 2
    same(both, losses.dino_cross_entropy(torch.stack([k, q]), torch.stack([k, q]), centre, 0.1, 0.05))


def test_05_what_keeps_a_framework_from_collapse(lesson):
    space = lesson("05")
    z1, z2, p1, p2 = torch.randn(4, 6, 5)
    predictor = nn.Linear(5, 5)
    expected = (losses.negative_cosine(predictor(z1), z2) + losses.negative_cosine(predictor(z2), z1)) / 2
    same(space["my_simsiam"](z1, z2, predictor), expected)
    squared = [(F.normalize(a, dim=1) - F.normalize(b, dim=1)).square().sum(1).mean() for a, b in ((p1, z2), (p2, z1))]
    same(space["my_byol"](p1, p2, z1, z2), sum(squared))
    online, target = nn.Linear(3, 3), nn.Linear(3, 3)
    expected = space["my_follow"](target.weight.detach().clone(), online.weight.detach(), 0.9)
    follow(target, online, 0.9)
    same(target.weight.detach(), expected)
    for progress in (0.0, 0.3, 1.0):
        assert math.isclose(space["my_coefficient"](0.99, progress), cosine_to_one(0.99, progress))
    queue = Queue(length=7, width=3)
    mine = queue.keys.clone()
    for _ in range(4):
        keys = F.normalize(torch.randn(3, 3), dim=1)
        mine = space["my_queue"](mine, keys)
        queue.push(keys)
    same(mine, queue.keys.roll(-int(queue.next), dims=0))
    s1, s2, t1, t2, centre = torch.randn(5, 6, 5)
    both = (space["my_dino"](s1, t2, centre[:1]) + space["my_dino"](s2, t1, centre[:1])) / 2
    same(both, losses.dino_cross_entropy(torch.stack([s1, s2]), torch.stack([t1, t2]), centre[:1], 0.1, 0.04))
    same(space["my_teacher"](t1, centre[:1], 0.04), ((t1 - centre[:1]) / 0.04).softmax(1))


def test_06_kendalls_form(lesson):
    weighting = losses.UncertaintyWeighting()
    weighting(torch.tensor(2.0), torch.tensor(0.1))
    later, s = torch.tensor([1.5, 0.3]), weighting.log_variances
    same(lesson("06")["my_total"](later, s), weighting(*later))


def test_09_attention(lesson):
    vit = timm.create_model("vit_tiny_patch16_224", img_size=16, patch_size=4, num_classes=0, **TINY).eval()
    x = torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        patches, prefix = vit.forward_intermediates(x, indices=[2], return_prefix_tokens=True, intermediates_only=True)[
            0
        ]
        sequence = torch.cat([prefix, patches.flatten(2).mT], dim=1)
        mine = lesson("09")["my_attention"](vit.blocks[-1], sequence)
    blocks, _ = capture(vit, x[0])
    torch.testing.assert_close(mine[0], torch.from_numpy(blocks[-1].dense()), atol=1e-5, rtol=1e-4)


def test_08_patch_cosine_and_probe(lesson):
    space = lesson("08")
    tap = torch.randn(3, 5, 4, 2) + 1
    same(space["my_patch_cosine"](tap), patch_cosine(tap))
    x, labels = torch.randn(60, 4), torch.arange(60) % 3
    mine, theirs = space["my_probe"](x, labels, classes=3, penalty=0.05), fit_linear(x, labels, 3, penalty=0.05)
    torch.testing.assert_close(mine(x), theirs(x), atol=2e-3, rtol=0)


def test_11_miou_and_head(lesson):
    space = lesson("11")
    truth, guess = torch.randint(11, (4, 8, 8)), torch.randint(11, (4, 8, 8))
    truth[truth == 7], guess[guess == 7] = 0, 0  # a class that occurs nowhere
    assert float(space["my_miou"](truth, guess)) == pytest.approx(miou(confusion_matrix(truth, guess, 11)))
    mine, theirs = space["MyHead"](6, 5, 3), Naive([4, 6], 3, width=5)
    with torch.no_grad():
        for own_one, copied in zip(mine.parameters(), theirs.layers.parameters(), strict=True):
            own_one.copy_(copied)
    maps = [torch.randn(2, 4, 4, 4), torch.randn(2, 6, 4, 4)]
    same(mine(maps[1]), theirs(maps))


# -- the exercises: every solution passes its check


def solved(path):
    """(imports, check, solution's code) of every exercise with a function or class to write."""
    cells = nbformat.read(path, as_version=4).cells
    nodes = [node for cell in cells if cell.cell_type == "code" for node in ast.parse(cell.source).body]
    imports = "\n".join(ast.unparse(node) for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom)))
    for index, cell in enumerate(cells):
        if cell.cell_type == "code" and "raise NotImplementedError" in cell.source:
            text = cells[index + 1].source.split("<summary>Solution")[1]
            yield imports, cell.source.splitlines()[-1], text.split("```python\n")[1].split("```")[0]


EXERCISES = [pytest.param(*found, id=found[1][7:]) for path in LESSONS for found in solved(path)]


@pytest.mark.parametrize(("imports", "check", "solution"), EXERCISES)
def test_a_solution_passes_its_check(imports, check, solution, capsys):
    torch.manual_seed(0)
    exec(f"{imports}\n{solution}\n{check}", {})
    assert capsys.readouterr().out.count("\n") == 1
