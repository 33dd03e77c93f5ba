"""Names from outside, such as those of files, classes and runs, as text that can be shown anywhere."""

from __future__ import annotations

import re
from pathlib import Path

# control characters, line and paragraph separators, marks that turn the direction of the text around, lone surrogates
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def plain_text(name: str | Path) -> str:
    r"""A name that can be printed, stored and drawn.

    Bytes of a file name that are not UTF-8 become `\xe9`; characters without a shape of their own become escapes.
    """
    return UNPRINTABLE.sub(lambda found: _escape(found[0]), str(name))


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python reads such a byte
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()
