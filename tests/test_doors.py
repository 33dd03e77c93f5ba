"""The ways in: conda, pip, start.py, and what must not stand in any file a stranger clones."""

import ast
import importlib.util
import inspect
import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import repre_lite as rl

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def lines(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    return [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


# -- one list of dependencies


def test_the_conda_door_points_at_pyproject_and_lists_nothing_itself():
    listed = lines("environment.yml")
    entries = [line[2:] for line in listed[listed.index("dependencies:") + 1 :]]
    python = next(entry for entry in entries if entry.startswith("python="))
    editable = next(entry for entry in entries if entry.startswith("-e "))
    assert sorted(entries) == sorted([python, "pip", "pip:", editable])
    assert Requirement("python" + PROJECT["requires-python"]).specifier.contains(python.split("=")[1])
    extras = re.fullmatch(r"-e \.\[([\w,]+)\]", editable)[1].split(",")
    assert {"notebooks", "test"} <= set(extras) <= set(EXTRAS)


def test_constraints_are_the_declared_floor():
    floors = {Requirement(line).name: Requirement(line).specifier for line in PROJECT["dependencies"]}
    pins = [Requirement(line) for line in lines("constraints-v100.txt")]
    assert {pin.name for pin in pins} == {"torch", "torchvision"}
    for pin in pins:
        (version,), (floor,) = pin.specifier, floors[pin.name]
        assert (version.operator, floor.operator) == ("==", ">=")
        assert pin.specifier.contains(floor.version), f"{pin} is not the floor {floor}"


# -- start.py


@pytest.fixture
def start(tmp_path, monkeypatch):
    """start.py as a module that believes it stands in an empty folder, and runs nothing: `ran` holds the commands."""
    spec = importlib.util.spec_from_file_location("start", ROOT / "start.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "HERE", str(tmp_path))
    monkeypatch.setattr(module, "VENV", str(tmp_path / ".venv"))
    monkeypatch.setattr(module, "PYTHON", str(tmp_path / ".venv" / "python"))
    monkeypatch.setattr(module, "STAMP", str(tmp_path / ".venv" / "installed-for.txt"))
    for name in ("pyproject.toml", "constraints-v100.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    module.ran = []

    module.backends = []  # of uv's installations
    monkeypatch.delenv("UV_TORCH_BACKEND", raising=False)

    def run(command, env=None, **_):
        module.ran.append(command)
        if command[:3] == ["uv", "pip", "install"]:
            module.backends.append(env.get("UV_TORCH_BACKEND"))
        (tmp_path / ".venv").mkdir(exist_ok=True)
        (tmp_path / ".venv" / "python").touch()
        return 0

    monkeypatch.setattr(module.subprocess, "check_call", run)
    monkeypatch.setattr(module.subprocess, "call", run)
    monkeypatch.setattr(module, "run", run)
    monkeypatch.setattr(module.subprocess, "check_output", lambda *_, **__: b"8.0\n")
    monkeypatch.setattr(module.shutil, "which", lambda _: None)
    return module


def test_installs_once_and_again_when_the_list_changes(start, tmp_path):
    assert not start.installed("notebooks")
    start.install("notebooks")
    assert start.installed("notebooks")
    assert not start.installed("test,browser")
    with open(tmp_path / "pyproject.toml", "a") as stream:
        stream.write("# changed\n")
    assert not start.installed("notebooks")


def test_what_the_tests_need_covers_the_other_verbs(start):
    assert {extra for extras in start.EXTRAS.values() for extra in extras.split(",")} <= set(EXTRAS)
    assert any(line.startswith("repre-lite[notebooks") for line in EXTRAS["test"])  # why the stamp may say so
    start.install(start.EXTRAS["test"])
    assert all(start.installed(extras) for extras in start.EXTRAS.values())


def test_a_stamp_without_its_python_counts_for_nothing(start, tmp_path):
    start.install("notebooks")
    (tmp_path / ".venv" / "python").unlink()
    assert not start.installed("notebooks")


def test_a_broken_installation_leaves_no_stamp(start, monkeypatch, capsys):
    start.install("notebooks")
    with open(Path(start.HERE) / "pyproject.toml", "a") as stream:
        stream.write("# changed\n")

    def fail(command, **_):
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(start.subprocess, "check_call", fail)
    assert start.main(["demo"]) == 1
    assert not Path(start.STAMP).exists()
    assert "run the same command again" in capsys.readouterr().out


@pytest.mark.parametrize("uv", [None, "uv"])
@pytest.mark.parametrize("volta", [True, False])
def test_install_takes_uv_or_pip_and_the_older_torch_for_volta(start, monkeypatch, uv, volta):
    monkeypatch.setattr(start.shutil, "which", lambda name: uv)
    monkeypatch.setattr(start.subprocess, "check_output", lambda *_, **__: b"8.0\n7.0\n" if volta else b"8.0\n")
    start.install("notebooks")
    venv, install = start.ran
    assert venv[:2] == ([uv, "venv"] if uv else [sys.executable, "-m"])
    assert install[0] == (uv or start.PYTHON)
    assert install[install.index("-e") + 1] == start.HERE + "[notebooks]"
    assert ("-c" in install) == volta


def no_nvidia_smi(*_, **__):
    raise FileNotFoundError


def test_a_machine_without_nvidia_has_no_gpus(start, monkeypatch):
    assert start.nvidia_gpus() == ["8.0"]
    monkeypatch.setattr(start.subprocess, "check_output", no_nvidia_smi)
    assert start.nvidia_gpus() == []


@pytest.mark.parametrize(
    ("platform", "gpu", "asked", "backends"),
    [
        ("linux", False, None, ["cpu"]),
        ("linux", True, None, [None]),
        ("linux", False, "cu128", ["cu128"]),
        ("darwin", False, None, [None]),
        ("win32", False, None, [None]),
    ],
)
def test_uv_installs_the_cpu_build_on_linux_without_a_gpu(start, monkeypatch, platform, gpu, asked, backends):
    monkeypatch.setattr(start.shutil, "which", lambda name: name)
    monkeypatch.setattr(start.sys, "platform", platform)
    if not gpu:
        monkeypatch.setattr(start.subprocess, "check_output", no_nvidia_smi)
    if asked:
        monkeypatch.setenv("UV_TORCH_BACKEND", asked)
    start.install("notebooks")
    assert start.backends == backends
    assert start.installed("notebooks")


def test_without_the_cpu_build_the_default_one_is_installed(start, monkeypatch, capsys):
    monkeypatch.setattr(start.shutil, "which", lambda name: name)
    monkeypatch.setattr(start.sys, "platform", "linux")
    monkeypatch.setattr(start.subprocess, "check_output", no_nvidia_smi)
    run = start.subprocess.call

    def unreachable(command, **options):
        run(command, **options)
        return 1

    monkeypatch.setattr(start.subprocess, "call", unreachable)
    start.install("notebooks")
    assert start.backends == ["cpu", None]
    assert start.ran[-1] == start.ran[-2]
    assert start.installed("notebooks")
    assert "installing the default build" in capsys.readouterr().out


def test_a_verb_installs_the_first_time_only_and_passes_its_options_on(start):
    assert start.main(["demo", "--out", "x"]) == 0
    assert len(start.ran) == 3  # environment, installation, verb
    assert start.main(["demo", "--out", "x"]) == 0
    assert start.ran[2:] == [[start.PYTHON, "-m", "repre_lite", "demo", "--out", "x"]] * 2


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals to a group of processes")
@pytest.mark.parametrize(("status", "wanted"), [(0, 0), (130, 130)])
def test_ctrl_c_waits_for_what_the_verb_saves(tmp_path, status, wanted):
    """A terminal sends it to both; the verb needs a second, as one that finishes its step does."""
    child = (
        "import signal, sys, time, pathlib\n"
        f"def save(*_): time.sleep(1); pathlib.Path('saved').touch(); sys.exit({status})\n"
        "signal.signal(signal.SIGINT, save); pathlib.Path('ready').touch(); time.sleep(60)\n"
    )
    parent = (
        f"import importlib.util, sys\nspec = importlib.util.spec_from_file_location('start', {str(ROOT / 'start.py')!r})\n"
        "start = importlib.util.module_from_spec(spec); spec.loader.exec_module(start)\n"
        f"start.installed, start.PYTHON = (lambda _: True), sys.executable\n"
        f"run, start.run = start.run, lambda command, **options: run([sys.executable, '-c', {child!r}], **options)\n"
        "sys.exit(start.main(['demo']))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], cwd=tmp_path, start_new_session=True)
    deadline = time.monotonic() + 30
    while not (tmp_path / "ready").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(30) == wanted
    assert (tmp_path / "saved").exists()  # in the folder of the caller, whose paths count


def test_test_runs_every_step_even_after_a_failure(start, monkeypatch, capsys):
    ran = []

    monkeypatch.setattr(start.os, "cpu_count", lambda: 2)
    monkeypatch.delenv("REPRE_LITE_THREADS", raising=False)

    def run(command, **options):
        assert options["env"]["REPRE_LITE_FAST"] == "1" and options["env"]["REPRE_LITE_THREADS"] == "1"
        assert "pytest" not in command or command[command.index("-n") + 1] == "2"
        ran.append(command[2])
        return int("mypy" in command)

    monkeypatch.setattr(start, "run", run)
    (Path(start.HERE) / "notebooks").mkdir()
    assert start.run_tests(["-x"]) == 1
    assert ran == ["ruff", "ruff", "mypy", "pytest"]
    (Path(start.HERE) / "notebooks" / "00.ipynb").touch()
    start.run_tests([])
    assert ran[4:] == ["ruff", "ruff", "mypy", "pytest", "pytest"]
    assert capsys.readouterr().out.count("failed: types\n") == 2
    monkeypatch.setattr(start, "run", lambda *_, **__: 0)
    assert start.run_tests([]) == 0


@pytest.mark.parametrize(("version", "status"), [((3, 8, 10), 2), ((3, 10, 99), 2), ((3, 11, 0), 0), ((3, 20, 0), 0)])
def test_an_old_python_is_refused(start, monkeypatch, capsys, version, status):
    monkeypatch.setattr(sys, "version_info", version)
    result = start.main(["setup"])
    monkeypatch.undo()  # pytest too reads the version
    assert result == status
    told = f"needs Python 3.11 or newer, this is {version[0]}.{version[1]}" in capsys.readouterr().err
    assert told == (status == 2)
    assert bool(start.ran) == (status == 0)


def test_the_floor_of_start_is_that_of_the_project():
    assert PROJECT["requires-python"] == ">=3.11" and "(3, 11)" in (ROOT / "start.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("arguments", [[], ["demoo"], ["--help"], ["-h"]])
def test_an_unknown_verb_gets_the_usage(start, capsys, arguments):
    assert start.main(arguments) == (0 if arguments in (["-h"], ["--help"]) else 2)
    said = capsys.readouterr()
    text = said.out if "-h" in str(arguments) else said.err
    assert text.startswith("usage: python start.py demo|test|lab")
    assert start.ran == []


def test_start_needs_the_standard_library_only_and_old_pythons_can_read_it():
    source = (ROOT / "start.py").read_text(encoding="utf-8")
    nodes = list(ast.walk(ast.parse(source, feature_version=(3, 7))))
    imported = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    imported += [node.module for node in nodes if isinstance(node, ast.ImportFrom)]
    assert imported and set(imported) <= set(sys.stdlib_module_names)
    assert not any(isinstance(node, ast.JoinedStr) for node in nodes)  # 3.5 has no f-strings


# -- the package without its extras

EXTRA_MODULES = [
    "matplotlib",
    "IPython",
    "ipywidgets",
    "anywidget",
    "sklearn",
    "scipy",
    "pandas",
    "jupyterlab",
    "pytest",
]
WITHOUT_EXTRAS = f"""
import sys
sys.modules.update(dict.fromkeys({EXTRA_MODULES}))  # an import of these now fails
from repre_lite.cli import main
from repre_lite.data import sources
sources.SCENES_VAL = 40
small = "--steps 2 --batch-size 8 --train-images 40 --arch vit_micro --device cpu".split()
assert main(["pretrain", "--out", sys.argv[1], *small]) == 0
assert main(["evaluate", sys.argv[1]]) == 0
"""


def test_training_and_evaluation_need_the_base_dependencies_only(tmp_path):
    command = [sys.executable, "-c", WITHOUT_EXTRAS, str(tmp_path / "run")]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert {"knn_top1", "linear_top1"} <= set(json.loads((tmp_path / "run" / "summary.json").read_text()))


# -- every text file a stranger clones

# put together here, so that this file passes its own test
REGISTRIES = [a + "." + b for a, b in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("npmjs", "com"))]
PLACES = [
    "/" + "home/\\w",
    "/" + "Users/\\w",
    "/" + "root/",
    r"(?<![\w.~-])/" + r"work/\w",
    r"[A-Za-z]:\\+" + r"Users\\",
]
HOMES = re.compile("|".join(PLACES))


def offences(text):
    found = [host for host in [*REGISTRIES, "yarnpkg" + ".com"] if host in text]
    return found + [match.group() for match in HOMES.finditer(text)]


def tracked():
    try:
        listed = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, stderr=subprocess.DEVNULL).decode()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout: nothing says which files are ours")
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def test_no_registry_host_and_no_home_path_in_any_file():
    files = tracked()
    assert ROOT / "pyproject.toml" in files
    for path in files:
        data = path.read_bytes()
        if b"\0" not in data:
            assert not offences(data.decode("utf-8")), path


def test_offences_are_seen():
    assert offences("--index-url https://" + REGISTRIES[0] + "/simple") == [REGISTRIES[0]]
    for folder in (
        "/" + "home/ann/x",
        "/" + "Users/ann",
        "/" + "root/x",
        "/" + "work/x",
        "C:" + "\\Users\\ann",
        "c:" + "\\\\Users\\\\a",
    ):
        assert offences(f"see {folder}")
    assert not offences(
        "~/x, /data/x, the course's work/, ./work/, /path/work/, the user's home/folder, https://example.org/home"
    )


# -- the package says what its names are


def documented(thing):
    """A docstring of its own, not one inherited or made by dataclass or NamedTuple."""
    doc = (vars(thing) if inspect.isclass(thing) else {"__doc__": thing.__doc__}).get("__doc__")
    return bool(doc) and not doc.startswith(f"{getattr(thing, '__name__', '')}(")


@pytest.mark.parametrize("name", rl.__all__)
def test_every_exported_name_is_there_and_documented(name):
    thing = getattr(rl, name)
    assert documented(thing), name
    assert name in dir(rl)
    if inspect.ismodule(thing):
        own = [t for t in vars(thing).values() if callable(t) and getattr(t, "__module__", None) == thing.__name__]
        for member in own:
            assert member.__name__.startswith("_") or documented(member), f"{name}.{member.__name__}"


def test_a_missing_docstring_is_seen():
    class Bare(list):
        pass

    assert not documented(Bare) and not documented(lambda: None) and documented(documented)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_thing"):
        rl.no_such_thing  # noqa: B018
