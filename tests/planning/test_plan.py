"""The plan: figures that follow from one another, and one clear line for what does not fit."""

import dataclasses

import pytest

import repre_lite as rl
from repre_lite.cli import main
from repre_lite.planning import plan as planning
from repre_lite.planning.gpus import GIB, GPU, parse_gpus
from repre_lite.planning.images import image_count
from repre_lite.planning.plan import (
    MOMENTARY,
    RESERVE,
    build_plan,
    measure_here,
    measure_input,
    measure_step,
)
from repre_lite.repre import RePre

TINY = {"embed_dim": 32, "depth": 4, "num_heads": 2}
RECIPE = rl.recipe("scenes", "moco_v3", encoder=TINY, method={"hidden": 64, "out": 32}, batch_size=64)


@pytest.fixture(scope="module")
def plan():
    return build_plan(RECIPE, 2, GPU("small", 1e12, 2 * GIB, "fp16"))


def test_gpus_by_name():
    number, gpu = parse_gpus("8xV100")
    assert (number, gpu.name, gpu.memory, gpu.half) == (8, "V100-16GB", 16 * GIB, "fp16")
    assert parse_gpus("64xv100-32gb")[1].memory == 32 * GIB
    assert parse_gpus("H200")[0] == 1 and parse_gpus("2x4090")[1].name == "RTX4090" == parse_gpus("rtx4090")[1].name
    for wrong in ("8xK80", "0xV100", "V100x8", ""):
        with pytest.raises(rl.UserError, match="gpus=.*V100-32GB"):
            parse_gpus(wrong)


def test_parameters_and_what_they_take(plan):
    model = RePre.from_recipe(RECIPE)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert sum(plan.parameters.values()) == sum(p.numel() for p in model.parameters())
    assert plan.parameters["decoder"] == sum(p.numel() for p in model.decoder.parameters())
    assert plan.memory["optimiser"] == 2 * plan.memory["gradients"] == 8 * trained
    assert plan.memory["weights"] == 4 * (sum(plan.parameters.values()) - plan.parameters["target"])
    assert plan.memory["images"] == 10_000 * 3 * 32 * 32


def test_the_largest_batch_fills_the_memory(plan):
    for batch, each in (
        (plan.largest_batch, plan.activations),
        (plan.largest_batch_checkpointed, plan.activations_checkpointed),
    ):
        used = RESERVE + sum(plan.memory.values()) + MOMENTARY * each * batch
        assert 2 * GIB - 8 * MOMENTARY * each < used <= 2 * GIB
    assert plan.largest_batch < plan.largest_batch_checkpointed


def test_advice_says_which_batch_is_reachable(plan):
    assert plan.advice() == "batch 64 fits"
    most, saving = plan.largest_batch, plan.largest_batch_checkpointed
    wants = dataclasses.replace(plan, recipe=dataclasses.replace(RECIPE, batch_size=2 * most + 2))
    assert wants.advice().endswith("fits with activation checkpointing") and wants.checkpointing
    wants = dataclasses.replace(plan, recipe=dataclasses.replace(RECIPE, batch_size=4 * saving))
    assert f"the largest that fits is {2 * saving}, with activation checkpointing; or use 4 of these" in wants.advice()
    full = dataclasses.replace(plan, gpu=GPU("tiny", 1e12, GIB))
    assert full.largest_batch == 0 and "smaller encoder" in full.advice()


def test_speed_and_hours_follow_from_the_operations(plan):
    slow = dataclasses.replace(plan, gpu=GPU("slow", 1e9, 2 * GIB))
    rate = slow.images_per_second(0.5)
    assert rate == pytest.approx(2 * 1e9 * 0.5 / plan.flops)
    assert slow.steps == 5 * (10_000 // 64)
    assert slow.hours(rate) == pytest.approx(slow.steps * 64 / rate / 3600)
    assert plan.images_per_second(0.5) < 2 * 1e12 * 0.5 / plan.flops  # the host cannot launch as fast


def test_images_are_counted(tmp_path):
    assert image_count(rl.recipe("imagenet1k")) == 1_281_167
    with pytest.raises(rl.UserError, match="data="):
        image_count(rl.recipe("folder"))
    for name in ("a", "b"):
        (tmp_path / f"{name}.png").write_bytes(b"")
    assert image_count(rl.recipe("folder", data=str(tmp_path), batch_size=2)) == 2
    with pytest.raises(rl.UserError, match="batch_size=256"):
        image_count(rl.recipe("folder", data=str(tmp_path)))
    for scale in ("imagenet1k", "cifar10"):  # a tree of one's own, not the public set
        for i in range(5):
            (tmp_path / scale / "train" / "a").mkdir(parents=True, exist_ok=True)
            (tmp_path / scale / "train" / "a" / f"{i}.png").write_bytes(b"")
        assert image_count(rl.recipe(scale, data=str(tmp_path / scale), batch_size=2)) == 5
    with pytest.raises(rl.UserError, match="no such folder"):
        image_count(rl.recipe("imagenet1k", data=str(tmp_path / "nowhere")))


def test_what_does_not_fit_the_gpus():
    with pytest.raises(rl.UserError, match="batch_size=64 cannot be split over 3"):
        build_plan(RECIPE, 3, parse_gpus("V100")[1])
    with pytest.raises(rl.UserError, match="precision=bf16"):
        build_plan(dataclasses.replace(RECIPE, precision="bf16"), 1, parse_gpus("V100")[1])


def test_real_steps_are_taken():
    rate, batch, device = measure_step(dataclasses.replace(RECIPE, device="cpu", batch_size=8), count=2)
    assert rate > 0 and batch == 8 and "thread" in device


def test_the_batch_is_the_share_of_one_gpu(plan, monkeypatch):
    seen = []

    def measured(recipe):
        seen.append((recipe.batch_size, recipe.activation_checkpointing))
        return 100.0, recipe.batch_size, "a GPU"

    monkeypatch.setattr(planning, "measure_step", measured)
    assert "100.0 images/s in 20 steps of 32 on a GPU" in measure_here(plan)
    measure_here(dataclasses.replace(plan, activations=plan.gpu.memory // 20))  # only with checkpointing do 32 fit
    small = dataclasses.replace(plan, activations=plan.gpu.memory, activations_checkpointed=plan.gpu.memory // 60)
    measure_here(small)  # 8 or 16 of them fit at best
    assert seen == [(32, False), (32, True), (small.largest_batch_checkpointed, True)] and 8 <= seen[-1][0] < 32


def test_input_is_measured_for_large_images_only(tmp_path):
    images = rl.scenes(range(4), size=128).images
    from torchvision.io import write_png

    (tmp_path / "train" / "one").mkdir(parents=True)
    for number, image in enumerate(images):
        write_png(image, str(tmp_path / "train" / "one" / f"{number}.png"))
    options = {"data": str(tmp_path), "batch_size": 4, "encoder": TINY, "method": RECIPE.method}
    rates = measure_input(rl.recipe("folder", image_size=128, **options))
    assert set(rates) == {"decode", "cached"} and min(rates.values()) > 0
    assert measure_input(rl.recipe("folder", image_size=32, **options)) == {}


def test_the_verb(capsys):
    assert main(["plan", "--scale", "scenes", "--gpus", "2xV100", "--batch-size", "8192", "--device", "cpu"]) == 0
    shown = capsys.readouterr().out
    for part in ("parameters", "GFLOP per image", "largest batch per GPU", "batch 8192 fits", "images/s", "hours"):
        assert part in shown
    assert main(["plan", "--gpus", "8xK80"]) == 2
    assert "K80" in capsys.readouterr().err
