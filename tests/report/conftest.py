"""Runs of four steps for the report, few images, and a parser of pages."""

import functools
from html.parser import HTMLParser

import pytest

import repre_lite as rl
from repre_lite.data import sources
from repre_lite.report import page
from repre_lite.visualize.embedding import Embedding

VOID = {"meta", "img", "br", "link", "input", "path", "use", "hr"}


class Page(HTMLParser):
    """Every tag with its attributes, and whether all are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="package")
def runs(tiny_runs):
    return {name: rl.load_run(folder) for name, folder in tiny_runs.items()}


@pytest.fixture(scope="package")
def small():
    """Few images and quick maps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "SCENES_VAL", 40)
        patch.setattr(Embedding, "compute", functools.partial(Embedding.compute, perplexities=(5,)))
        yield


@pytest.fixture(scope="package")
def text(runs, small):
    return page([runs["none-0"], runs["multi-0"], runs["multi-1"]])


@pytest.fixture(scope="session")
def parsed():
    """`parsed(text)`: the page's tags; fails if one is not closed."""
    return Page
