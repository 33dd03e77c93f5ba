"""Names that can be shown stay, the others are escaped."""

import os
import sys

import pytest

from repre_lite.runtime.text import plain_text


def test_what_cannot_be_shown_is_escaped():
    assert plain_text("caf\udce9") == "caf\\xe9" and plain_text("a\nb\x1b") == "a\\nb\\x1b"
    assert plain_text("\u202egnp.exe") == "\\u202egnp.exe" and plain_text("\ud800") == "\\ud800"


@pytest.mark.parametrize(
    "name",
    ["naïve", "日本", "a b", "🙂", "x_y $ <", "", "می‌خواهم", "👩‍💻", "back\\slash", "Grün <b> $x$ _a", "New\xa0York"],
)
def test_names_keep_their_script(name):
    assert plain_text(name) == name == plain_text(plain_text(name))


@pytest.mark.skipif(sys.platform != "linux", reason="names of bytes that are not UTF-8 exist on Linux only")
@pytest.mark.parametrize("raw", [b"caf\xe9", b"\xff\xfe", "naïve".encode() + b"\x80"])
def test_file_names_of_any_bytes_can_be_written(raw):
    shown = plain_text(os.fsdecode(raw))
    assert shown == raw.decode("utf-8", "backslashreplace") and shown.encode()
