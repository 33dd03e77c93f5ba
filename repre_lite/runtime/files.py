"""Files that are either the old one or the new one, never half of either; nothing is unpickled that could run code."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from .errors import UserError

TEMPORARY = ".writing-"


def write_bytes(path: str | Path, data: bytes) -> None:
    """Replace `path` by `data` in one step: a crash leaves the old file. UserError where the disk refuses."""
    path = Path(path)
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=TEMPORARY, dir=path.parent)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror or error}); free space or choose another folder"
        ) from None
    finally:
        if temporary is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)


def _umask() -> int:
    held = os.umask(0)
    os.umask(held)
    return held


def write_text(path: str | Path, text: str) -> None:
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2) + "\n")


def append_jsonl(path: str | Path, record: dict[str, Any]) -> None:
    """Add one line; numbers that are not finite become null, which JSON has."""
    line = json.dumps({k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()})
    try:
        with open(path, "a", encoding="utf-8") as stream:
            stream.write(line + "\n")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); free space or choose another folder") from None


def read_jsonl(path: str | Path) -> list[dict[str, Any]]:
    """All records; a last line torn by a kill is left out."""
    lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    records = []
    for number, line in enumerate(lines):
        try:
            records.append(json.loads(line))
        except ValueError:
            if number + 1 < len(lines):
                raise UserError(f"{path}: line {number + 1} is not JSON; remove the file or that line") from None
    return records


def truncate_jsonl(path: str | Path, keep: Callable[[dict[str, Any]], bool]) -> None:
    """Keep only the records for which `keep` holds."""
    kept = [json.dumps(record) for record in read_jsonl(path) if keep(record)] if Path(path).exists() else []
    write_text(path, "".join(line + "\n" for line in kept))


def save_checkpoint(path: str | Path, state: Any) -> None:
    """`torch.save`, atomically."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_bytes(path, buffer.getvalue())


def load_checkpoint(path: str | Path) -> Any:
    """Tensors and plain values only (`weights_only=True`), on the CPU; UserError for anything else."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: not there; give the folder of a run that reached a checkpoint") from None
    except Exception:  # a foreign file can fail in any way inside the unpickler
        raise UserError(
            f"{path}: truncated, or not a checkpoint of repre-lite; remove it to start the run afresh"
        ) from None


def save_tensors(path: str | Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """A safetensors file with string metadata, atomically."""
    write_bytes(path, safetensors_bytes(tensors, metadata))


def load_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file; UserError where it is none."""
    try:
        with safe_open(str(path), framework="pt") as stream:
            return {name: stream.get_tensor(name) for name in stream.keys()}, stream.metadata() or {}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; give a run folder or a .safetensors file") from None
    except (SafetensorError, OSError):
        raise UserError(
            f"{path}: truncated, or not a safetensors file; give one that `export` or a run wrote"
        ) from None


def sweep(folder: str | Path) -> None:
    """Remove what a killed process was writing."""
    for temporary in Path(folder).glob(f"{TEMPORARY}*"):
        temporary.unlink(missing_ok=True)
