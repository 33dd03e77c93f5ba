"""The page around its sections: title, contents, and a policy that lets only its own scripts run."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files as package_files
from string import Template

from .. import __version__
from .pieces import text


@dataclass(frozen=True)
class Section:
    """A heading and its `content`, HTML. With a `teaser`, one sentence of text, only these two are seen until it is opened;
    a `quiet` heading is for screen readers only."""

    title: str
    content: str
    teaser: str | None = None
    quiet: bool = False

    @property
    def slug(self) -> str:
        """The heading's id."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower())

    def html(self) -> str:
        """The whole section."""
        look = ' class="hidden"' if self.quiet else ""
        heading = f'<h2 id="{self.slug}"{look}>{text(self.title)}</h2>'
        if self.teaser is None:
            inner = f"{heading}\n{self.content}"
        else:
            summary = f"<summary>{heading}<p>{text(self.teaser)}</p></summary>"
            inner = f'<details class="fold">{summary}\n<div class="inside">{self.content}</div></details>'
        return f'<section aria-labelledby="{self.slug}">{inner}\n</section>'


def document(title: str, lead: str, sections: Sequence[Section], kicker: str = "", script: str = "") -> str:
    """A whole page with a list of its sections. `title`, `kicker` above it and `lead` below it are text; `script` makes what
    the sections hold live."""
    contents = "".join(f'<li><a href="#{section.slug}">{text(section.title)}</a></li>' for section in sections)
    shown = [section.html() for section in sections if section.teaser is None]
    folded = [section.html() for section in sections if section.teaser is not None]
    body = "\n".join([*shown, '<div class="folds">', *folded, "</div>", script])
    return filled(title, kicker, lead, f'<nav aria-label="Contents"><ul>{contents}</ul></nav>', body)


def filled(title: str, kicker: str, lead: str, contents: str, body: str) -> str:
    """The page around `body`. It runs the scripts it was written with and no others, and loads nothing."""
    scripts = re.findall(r"<script>(.*?)</script>", body, re.DOTALL)
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data: blob:; worker-src blob:; script-src blob: "
    return Template(_own("page.html")).substitute(
        policy=policy + " ".join(f"'sha256-{digest}'" for digest in hashes),
        style=_own("page.css"),
        title=text(title),
        kicker=text(kicker),
        lead=text(lead),
        contents=contents,
        body=body,
        version=__version__,
    )


def fold_script() -> str:
    """The script that opens a section when a link leads to it, and all of them for the printer."""
    return f"<script>{_own('page.js')}</script>"


def _own(name: str) -> str:
    """A file of this package."""
    return (package_files(__package__) / name).read_text(encoding="utf-8")
