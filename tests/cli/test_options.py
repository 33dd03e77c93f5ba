"""Options made from the fields of a recipe, and messages put into their terms."""

import io
import os
import re
import subprocess
import sys

import pytest
from PIL import Image

from repre_lite.cli import main
from repre_lite.cli.options import NESTED, flag, for_verb, in_options
from repre_lite.cli.parser import build_parser
from repre_lite.data.reading import Decoding, read_image
from repre_lite.recipes import FIELDS
from repre_lite.runtime.errors import UserError


def parsed(*arguments):
    return vars(build_parser().parse_args(["pretrain", "--out", "x", *arguments]))


def test_every_field_has_an_option_whose_help_says_its_default(capsys):
    for verb in ("pretrain", "plan"):
        with pytest.raises(SystemExit):
            build_parser().parse_args([verb, "--help"])
        text = re.sub(r"\s+", " ", capsys.readouterr().out)
        for name in FIELDS:
            assert name in NESTED or flag(name) in text, name
        assert text.count("decides)") >= 10 and "(default none)" in text and "--set" in text
    for verb in ("demo", "evaluate", "export", "report", "lab"):
        with pytest.raises(SystemExit):
            build_parser().parse_args([verb, "--help"])
        for line in re.findall(r"\n  --[\s\S]*?(?=\n  --|\Z)", capsys.readouterr().out):
            assert "default" in line or "--out" in line, line


def test_only_what_is_given_reaches_the_recipe():
    given = parsed(
        "--clip-norm", "none", "--betas", "0.9,0.95", "--decoder-width", "24", "--no-clip-each", "--tap-blocks", "1,3"
    )
    wanted = {"clip_norm": None, "betas": (0.9, 0.95), "decoder_width": 24, "clip_each": False, "tap_blocks": (1, 3)}
    assert {name: given[name] for name in wanted} == wanted
    assert not set(FIELDS) & set(given) - set(wanted) - {"scale"}
    assert parsed("--reconstruction", "none")["reconstruction"] == "none"
    assert parsed("--weighting", "fixed:1,0.5", "--decoder-width", "full")["decoder_width"] == "full"


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("patch_size=8 does not divide image_size=33; change one of them",
         "--patch-size 8 does not divide --image-size 33; change one of them"),
        ("try lower lr=, larger warmup_epochs= or precision='fp32'",
         "try lower --lr, larger --warmup-epochs or --precision fp32"),
        ("use skip_unreadable=True", "use --skip-unreadable"),
        ("clip_norm=None", "--clip-norm none"),
        ("a=b and method.temperature=1 stay", "a=b and method.temperature=1 stay"),
        ("set views.0.zoom: a view has size", "--set views.0.zoom: a view has size"),
        ("betas=(0.9, 1.0): give two numbers", "--betas (0.9, 1.0): give two numbers"),
    ],
)  # fmt: skip
def test_messages_name_options(message, shown):
    assert in_options(message) == shown


def test_any_name_can_be_printed(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    assert main(["fly"]) == 2
    print("caf\udce9 \u00d7", flush=True)  # a name that is not UTF-8, and a sign that the encoding lacks
    assert stream.buffer.getvalue() == b"caf\\udce9 \\xd7" + os.linesep.encode()


def test_help_and_import_do_not_import_torch():
    code = (
        "import sys, repre_lite, repre_lite.cli as c\n"
        "try: c.main(['pretrain', '--help'])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules and 'timm' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_a_verb_is_not_told_of_options_that_it_lacks(tmp_path):
    (tmp_path / "0.png").write_bytes(b"no image")
    Image.new("1", (20, 20)).save(tmp_path / "1.png")
    for name, decoding, rest in (
        ("0.png", None, "; repair or remove it"),
        ("1.png", Decoding(max_pixels=300), " exceeds limit of 300 pixels; scale the image down"),
    ):
        with pytest.raises(UserError) as told:
            read_image(tmp_path / name, decoding)
        assert for_verb(str(told.value), "pretrain") == for_verb(str(told.value), "reproduce") == str(told.value)
        assert for_verb(str(told.value), "evaluate").endswith(rest)


def test_a_table_that_needs_more_memory_is_not_told_to_change_its_recipes():
    said = "out of memory on the GPU: try a smaller batch_size=, activation_checkpointing=True or a smaller arch="
    assert for_verb(said, "pretrain") == for_verb(said, "transfer") == said
    assert for_verb(said, "reproduce").startswith("out of memory on the GPU: start several processes with torchrun")
    on_cpu = for_verb(said.replace("GPU", "CPU"), "reproduce")
    assert on_cpu == "out of memory on the CPU: use fewer jobs= or activation_checkpointing=True"
