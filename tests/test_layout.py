"""The house rules that a reader relies on: which room may use which, how long a file may be, which words it uses."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "repre_lite"
MOST_LINES = 300

# From the base layer up: a package imports from the layers below its own only, and never from its neighbours.
FLOORS = [
    ["runtime"],
    ["backbone", "initialise", "hide", "losses", "data"],
    ["encoder", "heads"],
    ["decoder", "frameworks"],
    ["recipes"],
    ["repre"],
    ["runs"],
    ["evaluation"],
    ["training", "transfer", "visualize"],
    ["report", "planning", "course"],
    ["reproduce"],
    ["cli"],
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
DOORS = {"__init__", "__main__"}  # of the package: they lead everywhere
ONLY = {("frameworks", "data"): {"data.view"}}  # what a framework knows of data: the View type


class WithoutTypes(ast.NodeTransformer):
    """Leaves out `if TYPE_CHECKING:`: what only an annotation names is not used."""

    def visit_If(self, node: ast.If) -> ast.AST | None:
        return None if getattr(node.test, "id", "") == "TYPE_CHECKING" else self.generic_visit(node)


def imports(source: str, path: Path) -> set[str]:
    """Dotted names inside the package that the file `path`, relative to the package, imports, such as `data.view`."""
    found = set()
    for node in ast.walk(WithoutTypes().visit(ast.parse(source))):
        if isinstance(node, ast.ImportFrom) and node.level:
            here = path.parts[: len(path.parts) - node.level]
            there = [*here, *node.module.split(".")] if node.module else list(here)
            found |= {".".join([*there, name.name]) for name in node.names} if not there else {".".join(there)}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "repre_lite":
            there = node.module.split(".")[1:]
            found |= {".".join(there)} if there else {name.name for name in node.names}
        elif isinstance(node, ast.Import):
            found |= {name.name.partition(".")[2] for name in node.names if name.name.split(".")[0] == "repre_lite"}
    return found - {"", "__version__"}


def wrong_way(source: str, path: Path) -> list[str]:
    """The imports of a file that point upward, sideways or past what its room may know."""
    room = path.with_suffix("").parts[0]
    wrong = []
    for name in sorted(imports(source, path)):
        other = name.split(".")[0]
        below = FLOOR[other] < FLOOR[room]
        if other != room and not (below and name in ONLY.get((room, other), {name})):
            wrong.append(name)
    return wrong


def modules() -> list[Path]:
    return sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def test_every_room_has_a_floor():
    rooms = {path.with_suffix("").parts[0] for path in modules()} - DOORS
    assert rooms <= set(FLOOR), "give the new room a floor in FLOORS"


@pytest.mark.parametrize("path", [path for path in modules() if path.stem not in DOORS or len(path.parts) > 1], ids=str)
def test_imports_point_down(path):
    assert wrong_way((PACKAGE / path).read_text(encoding="utf-8"), path) == []


@pytest.mark.parametrize(
    ("path", "source", "expected"),
    [
        ("data/cache.py", "from ..encoder import encode", ["encoder"]),
        ("data/cache.py", "from .. import repre", ["repre"]),
        ("data/cache.py", "from .reading import read_image", []),
        ("data/cache.py", "from . import reading", []),
        ("runtime/files.py", "import repre_lite.data.cache", ["data.cache"]),
        ("visualize/mixer.py", "from ..training.loop import steps", ["training.loop"]),
        ("visualize/kit/panel.py", "from ...runs import Run", []),
        ("visualize/kit/panel.py", "def f():\n    from repre_lite.cli import main", ["cli"]),
        ("frameworks/byol.py", "from ..data.view import View", []),
        ("frameworks/byol.py", "from ..data.sources import load_source", ["data.sources"]),
        ("encoder.py", "from .decoder import ReconstructionDecoder", ["decoder"]),
        ("encoder.py", "from .runtime.errors import UserError\nimport torch", []),
        ("initialise.py", "if TYPE_CHECKING:\n    from .encoder import TappedEncoder", []),
        ("initialise.py", "if torch:\n    from .encoder import TappedEncoder", ["encoder"]),
    ],
)
def test_an_import_that_points_up_is_seen(path, source, expected):
    assert wrong_way(source, Path(path)) == expected


@pytest.mark.parametrize("path", modules(), ids=str)
def test_no_file_is_too_long(path):
    assert len((PACKAGE / path).read_text(encoding="utf-8").splitlines()) <= MOST_LINES


# -- words

WORDS = re.compile(r"\b(pictures?|go(es)? on(?! to\b)|so many|kept along the way|(is|are|be) told)\b", re.IGNORECASE)
ALLOWED = [r"^read_picture = read_image", r"^ +picture = image\b"]  # outside scripts call these
EXEMPT = {"CHANGELOG.md"}  # it names what was renamed


def slips(text: str) -> list[str]:
    """Lines that use a word outside the vocabulary."""
    return [
        f"{number}: {line.strip()}"
        for number, line in enumerate(text.splitlines(), 1)
        if WORDS.search(line) and not any(re.search(allowed, line) for allowed in ALLOWED)
    ]


def prose() -> list[Path]:
    """What a user or reader sees of the project, lessons aside."""
    files = [path for path in PACKAGE.rglob("*") if path.suffix in (".py", ".js", ".html")]
    others = [*ROOT.glob("*.md"), ROOT / "start.py", ROOT / "data" / "README.md", *ROOT.glob("examples/*.py")]
    return sorted([*files, *others])


@pytest.mark.parametrize("path", prose(), ids=lambda path: str(path.relative_to(ROOT)))
def test_words_are_those_of_the_vocabulary(path):
    if str(path.relative_to(ROOT)) not in EXEMPT:
        assert slips(path.read_text(encoding="utf-8")) == []


def test_slips_are_seen():
    assert slips("the picture\nPictures,\nit goes on with\nso many steps\nread_picture = read_image") == [
        "1: the picture",
        "2: Pictures,",
        "3: it goes on with",
        "4: so many steps",
    ]
    assert not slips("depicted, the mirage goes onto the disk, go on to lesson 03")


def test_no_two_test_files_have_one_name():
    """Without packages pytest imports test files by their base names."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
