"""The exercises' checkers: right answers in several styles pass, typical wrong ones hear a hint of their own."""

import pytest
import torch

from repre_lite.course import checks
from repre_lite.course.checks.comparing import same
from repre_lite.course.checks.exercise import Exercise, Fill, Open, Prediction

EXERCISES = {name: check for name, check in vars(checks).items() if name.startswith("check_")}
RIGHT = [pytest.param(c, a, id=f"{n}-{i}") for n, c in EXERCISES.items() for i, a in enumerate(c.right)]
WRONG = [pytest.param(c, *w, id=f"{n}-{i}") for n, c in EXERCISES.items() for i, w in enumerate(c.mistakes())]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize(("check", "answer"), RIGHT)
def test_a_right_answer_in_any_style_is_accepted_with_one_line(check, answer, capsys):
    check(answer)
    assert capsys.readouterr().out == check.solved + "\n"


@pytest.mark.parametrize(("check", "answer", "hint"), WRONG)
def test_a_typical_wrong_answer_gets_its_own_hint(check, answer, hint):
    with pytest.raises(AssertionError) as refused:
        check(answer)
    assert str(refused.value) == hint


@pytest.mark.parametrize("check", EXERCISES.values(), ids=EXERCISES)
def test_every_check_is_a_table_and_says_what_is_asked(check):
    assert isinstance(check, Exercise)
    assert check.__doc__ == check.task and len(check.right) >= 3
    hints = {hint for _, hint in check.mistakes()}
    assert len(hints) >= (3 if isinstance(check, Open) else 5)
    for said in (*hints, check.solved):
        assert not said.startswith(("expected", "got")) and len(said) >= 15


@pytest.mark.parametrize("check", EXERCISES.values(), ids=EXERCISES)
def test_a_stub_is_not_attempted(check):
    with pytest.raises(NotImplementedError):
        check(...)
    if not isinstance(check, Prediction):
        with pytest.raises(NotImplementedError, match="yet"):
            check(unwritten)


def unwritten(*_, **__):
    raise NotImplementedError("not yet")


@pytest.mark.parametrize(
    "check", [check for check in EXERCISES.values() if isinstance(check, Fill)], ids=lambda check: check.solved[:20]
)
def test_an_unusual_wrong_answer_gets_a_hint_too(check):
    with pytest.raises(AssertionError, match="return|In this order"):
        check(lambda *_: None)
    with pytest.raises(TypeError, match="function itself"):
        check(torch.ones(3))
    with pytest.raises(ZeroDivisionError):  # the reader's own error, with its line
        check(lambda *_: 1 / 0)


def test_an_unusual_wrong_value_of_the_right_shape():
    with pytest.raises(AssertionError, match="Four steps"):
        checks.check_info_nce(lambda q, k, temperature: 0 * (q + k).sum())
    with pytest.raises(AssertionError, match=r"shape is \(2,\), but it should be \(\)"):
        checks.check_uncertainty_total(lambda losses, s: losses + 0 * s)
    with pytest.raises(AssertionError, match="returns a float"):
        checks.check_uncertainty_total(lambda losses, s: losses.sum().item())
    with pytest.raises(AssertionError, match="returns a str; return a tensor$"):  # where no gradient is compared
        checks.check_iou(lambda matrix: "many")
    with pytest.raises(AssertionError, match=r"the shape is \(2,\), but it should be \(3,\)"):
        checks.check_iou(lambda matrix: [0.5, 0.5])


def test_a_gradient_that_is_cut_is_named():
    right = checks.check_info_nce.right[0]
    for cut, name in ((lambda q, k, t: right(q.detach(), k, t), "reach q"), (lambda *a: right(*a).detach(), "reach q")):
        with pytest.raises(AssertionError, match=name):
            checks.check_info_nce(cut)
    with pytest.raises(AssertionError, match="reach weight"):
        fused = checks.check_fusion_block.right[0]
        checks.check_fusion_block(lambda deep, shallow, weight, bias: fused(deep, shallow, weight.detach(), bias))


@pytest.mark.parametrize(
    ("check", "answer", "words"),
    [
        (checks.check_changed_vectors, "many", "is a number"),
        (checks.check_changed_vectors, 17, "Ask of one block"),
        (checks.check_reached_parts, 2, "a set of names"),
        (checks.check_reached_parts, "decoder", "a set of names"),
        (checks.check_reached_parts, set(), "Follow the loss"),
        (checks.check_kept, None, "is a number"),
        (checks.check_kept, float("nan"), "Each block keeps one half"),
    ],
)
def test_a_prediction_of_another_kind(check, answer, words):
    with pytest.raises(AssertionError, match=words):
        check(answer)


def test_typical_wrong_predictions_are_told_apart():
    for check in EXERCISES.values():
        if isinstance(check, Prediction):
            close = [w for w in check.wrong if not check.fault(w.answer)]
            assert close == [], check.task


def test_a_checker_leaves_the_random_numbers_alone():
    before = torch.random.get_rng_state()
    for check in (checks.check_train_step, checks.check_reached_parts, checks.check_changed_vectors):
        check(check.right[0])
    assert torch.equal(torch.random.get_rng_state(), before)


# -- comparing


def test_compare_says_what_differs(capsys):
    x = torch.ones(2, 3)
    assert checks.compare("same", x, x.double() + 1e-7) is None  # the last line of a cell shows nothing more
    checks.compare("shape", x, x.T)
    checks.compare("value", x, x + 0.5)
    checks.compare("nan", x * float("nan"), x)
    checks.compare("wide", x, x + 0.5, tolerance=0.6)
    assert capsys.readouterr().out.splitlines() == [
        "same: shapes ok, max diff < 1e-05",
        "shape: shape (2, 3), expected (3, 2)",
        "value: shapes ok, max diff 0.5, expected below 1e-05",
        "nan: shapes ok, max diff nan, expected below 1e-05",
        "wide: shapes ok, max diff < 0.6",
    ]


def test_compare_takes_plain_numbers(capsys):
    checks.compare("number", 0.5, torch.tensor(0.5))
    checks.compare("list", [1.0, 2.0], torch.tensor([1.0, 2.0]))
    assert capsys.readouterr().out.count("shapes ok") == 2


def test_what_counts_as_the_same():
    x = torch.tensor([1.0, 2.0])
    assert same(x, x.double()) and same(([x], 1), [(x,), 1]) and same(ValueError("a"), ValueError("a"))
    assert not same(x, x[:1]) and not same(x, [1.0, 2.0]) and not same(x, None)
    assert not same(ValueError("a"), ValueError("b")) and not same(ValueError("a"), TypeError("a"))
    assert not same(x * float("nan"), x)
