"""The page around its sections: title, contents, and a policy that lets only its own scripts run."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from importlib.resources import files as package_files
from string import Template

from .. import __version__
from .pieces import text


def document(title: str, lead: str, sections: Mapping[str, str]) -> str:
    """A whole page with a list of its sections. `title` and `lead` are text, `sections` HTML by heading."""
    names = {name: re.sub(r"[^a-z0-9]+", "-", name.lower()) for name in sections}
    body = "\n".join(
        f'<section aria-labelledby="{names[name]}"><h2 id="{names[name]}">{text(name)}</h2>\n{content}\n</section>'
        for name, content in sections.items()
    )
    contents = "".join(f'<li><a href="#{slug}">{text(name)}</a></li>' for name, slug in names.items())
    return filled(title, lead, f'<nav aria-label="Contents"><ul>{contents}</ul></nav>', body)


def filled(title: str, lead: str, contents: str, body: str) -> str:
    """The page around `body`. It runs the scripts it was written with and no others, and loads nothing."""
    scripts = re.findall(r"<script>(.*?)</script>", body, re.DOTALL)
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data: blob:; worker-src blob:; script-src blob: "
    return Template((package_files(__package__) / "page.html").read_text(encoding="utf-8")).substitute(
        policy=policy + " ".join(f"'sha256-{digest}'" for digest in hashes),
        title=text(title),
        lead=text(lead),
        contents=contents,
        body=body,
        version=__version__,
    )
