"""Run the tests with the oldest torch that the library supports, the last one with kernels for a V100.

python scripts/check_v100_floor.py [--python 3.12] [--folder DIR] [--index URL] [-- PYTEST OPTIONS]

Creates a separate environment from constraints-v100.txt (several GB, minutes; with uv if found, else venv and pip),
reports whether that torch has kernels for compute capability 7.0, and runs the test suite in it. The checkout's
.venv is not touched. Arguments after -- go to pytest, such as `-- -x tests/test_losses.py`. REPRE_LITE_DATA is passed on.
Exit status: pytest's; 1 if the kernels are missing or an installation fails.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
CONSTRAINTS = HERE / "constraints-v100.txt"
VOLTA = "sm_70"
# the flags are compiled in, so they can be read on a machine without a GPU
ASK = (
    "import torch, torchvision, timm; print(torch.__version__, torchvision.__version__, timm.__version__);"
    "print(getattr(torch._C, '_cuda_getArchFlags', lambda: None)() or 'none')"
)


def make_environment(place: Path, python: str, index: str | None) -> Path:
    """A new environment in `place` with the package, its test extra and the pinned torch; returns its interpreter."""
    interpreter = place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    uv = shutil.which("uv")
    if not interpreter.exists():
        make = [uv, "venv", "-q", "--python", python, str(place)] if uv else [python, "-m", "venv", str(place)]
        subprocess.check_call(make)
    installer = (
        [uv, "pip", "install", "--python", str(interpreter)] if uv else [str(interpreter), "-m", "pip", "install"]
    )
    extra = ["--extra-index-url", index] if index else []
    subprocess.check_call([*installer, "-q", "-c", str(CONSTRAINTS), "-e", f"{HERE}[test]", *extra])
    return interpreter


def check_versions(interpreter: Path, cpu: bool) -> bool:
    """Print what was installed; whether it is what the constraints ask for, with kernels for a V100 (not for `cpu`)."""
    versions, flags = subprocess.check_output([str(interpreter), "-c", ASK], text=True).splitlines()[-2:]
    print(f"torch, torchvision, timm: {versions}\ncompiled for: {flags}", flush=True)
    pins = [line.split("==")[1].strip() for line in CONSTRAINTS.read_text().splitlines() if "==" in line[:40]]
    if [version.split("+")[0] for version in versions.split()[:2]] != pins:
        print(f"{CONSTRAINTS.name} asks for {', '.join(pins)}", file=sys.stderr)
        return False
    if VOLTA not in flags.split() and not cpu:
        print(f"this torch holds no kernels for a V100 ({VOLTA})", file=sys.stderr)
        return False
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="the interpreter, or with uv a version such as 3.12")
    parser.add_argument("--folder", type=Path, help="keep the environment here and use it again (default: temporary)")
    parser.add_argument("--index", help="a further package index, such as https://download.pytorch.org/whl/cu126")
    parser.add_argument("--cpu", action="store_true", help="do not ask for V100 kernels (a torch built for CPUs)")
    parser.add_argument("--only-install", action="store_true", help="stop before the tests")
    parser.add_argument("pytest", nargs="*", metavar="-- PYTEST OPTIONS", help="handed to pytest")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="v100-floor-", ignore_cleanup_errors=True) as temporary:
        try:
            interpreter = make_environment(options.folder or Path(temporary), options.python, options.index)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"the environment could not be made: {error}", file=sys.stderr)
            return 1
        right = check_versions(interpreter, options.cpu)
        if options.only_install:
            return 0 if right else 1
        tests = subprocess.call([str(interpreter), "-m", "pytest", *options.pytest], cwd=HERE)
        return tests if right else tests or 1


if __name__ == "__main__":
    sys.exit(main())
