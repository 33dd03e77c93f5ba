"""Formulas of the lessons as SVG, for pages that load nothing: matplotlib's mathtext instead of a script."""

from __future__ import annotations

import html
import io
import re
from functools import cache

from ..visualize.kit.extra import extra

CODE = re.compile(r"(^```.*?^```[^\n]*$|`[^`\n]+`)", re.M | re.S)
FORMULA = re.compile(r"\$\$(.+?)\$\$|(?<![\\$\w])\$(?!\s)([^$]+?)(?<!\s)\$(?![\w$])", re.S)
POINTS = 8.5  # of the text around; mathtext draws in 10, and Computer Modern looks small
FRACTION = re.compile(r"\\[td]?frac(\d)(\d)")  # TeX takes a fraction of two digits without braces
BOUND = re.compile(r"\\([gl])e\b")


def formulas(markdown: str) -> list[str]:
    """The TeX of every formula in a markdown text, code left out."""
    parts = CODE.split(markdown)[::2]
    return [found[1] or found[2] for part in parts for found in FORMULA.finditer(part)]


def draw_formulas(markdown: str) -> str:
    """`markdown` with every `$...$` and `$$...$$` outside code replaced by an SVG that a screen reader reads as its TeX."""
    parts = CODE.split(markdown)
    parts[::2] = [FORMULA.sub(_drawn, part) for part in parts[::2]]
    return "".join(parts)


def _drawn(found: re.Match[str]) -> str:
    tex, shown = found[1] or found[2], bool(found[1])
    picked = "formula shown" if shown else "formula"
    label = html.escape(" ".join(tex.split())).replace("|", "&#124;")
    return f'<span class="{picked}" role="img" aria-label="{label}">{svg(" ".join(tex.split()))}</span>'


@cache
def svg(tex: str) -> str:
    """One formula as an inline SVG in the colour of the text, on its baseline. Raises ValueError for TeX it cannot read."""
    extra("matplotlib")
    from matplotlib import rc_context
    from matplotlib.mathtext import math_to_image

    tex = FRACTION.sub(r"\\frac{\1}{\2}", tex).replace(r"\tfrac", r"\frac")
    tex = BOUND.sub(r"\\\1eq", tex)
    stream = io.BytesIO()
    with rc_context({"svg.fonttype": "path", "svg.hashsalt": tex, "mathtext.fontset": "cm"}):
        depth = math_to_image(f"${tex}$", stream, dpi=72, format="svg")
    drawn = stream.getvalue().decode()
    width, height = (float(number) for number in re.findall(r'(?:width|height)="([\d.]+)pt"', drawn)[:2])
    glyphs = dict(re.findall(r'<path id="([^"]+)" d="([^"]+)"', drawn))
    placed = drawn[drawn.index('<g id="text_1">') : drawn.rindex("</svg>")].removesuffix("</g>\n")
    placed = re.sub(r"<defs>.*?</defs>|<!--.*?-->", "", placed, flags=re.S)
    # a glyph defined once and used elsewhere vanishes where the definition is folded away, so every one is drawn in place
    placed = re.sub(r'<use xlink:href="#([^"]+)"([^>]*)/>', lambda use: _glyph(glyphs[use[1]], use[2]), placed)
    em = [f"{size / POINTS:.3f}em" for size in (width, height, depth)]
    opening = f'<svg aria-hidden="true" width="{em[0]}" height="{em[1]}" viewBox="0 0 {width:g} {height:g}" '
    style = f'style="vertical-align: -{em[2]}; fill: currentColor"'
    return " ".join(f"{opening}{style}>{placed}</svg>".split())


def _glyph(path: str, where: str) -> str:
    return f'<g{where}><path d="{path}" transform="scale(0.015625)"/></g>'
