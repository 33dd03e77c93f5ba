"""Where a number comes from: date, hardware and versions, for the head of every table."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import numpy
import timm
import torch
import torchvision

from .. import __version__
from .device import describe_device


def versions() -> dict[str, str]:
    """The versions that may change a number."""
    return {
        "repre_lite": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "timm": timm.__version__,
        "numpy": numpy.__version__,
    }


def provenance(device: torch.device | None = None) -> dict[str, Any]:
    """Date, hardware, processor cores, torch threads and versions; of the CPU if no `device` is given."""
    return {
        "date": datetime.date.today().isoformat(),
        "hardware": describe_device(device or torch.device("cpu")),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "versions": versions(),
    }


def git_commit() -> str | None:
    """The commit of the checkout that this package was loaded from, if it is one."""
    here = Path(__file__)

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=here.parent, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)  # not the checkout of a project in whose folder it is installed
        return git("rev-parse", "HEAD")
    except (OSError, subprocess.CalledProcessError):
        return None
