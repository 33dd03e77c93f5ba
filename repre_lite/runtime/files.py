"""Files written atomically and read safely: a crash leaves the old file, and nothing that could run code is unpickled."""

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
from .quantise import restore

TEMPORARY = ".writing-"
RELATIVE_TO = "relative_to"  # in the metadata of a safetensors file


def write_bytes(path: str | Path, data: bytes) -> None:
    """Replace the contents of `path` by `data` atomically. Raises UserError if the disk refuses."""
    path = Path(path)
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=TEMPORARY, dir=path.parent)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o666 & ~umask())
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror or error}); free space or choose another folder"
        ) from None
    finally:
        if temporary is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)


def umask() -> int:
    """The permissions that the user takes from new files."""
    held = os.umask(0)
    os.umask(held)
    return held


def write_text(path: str | Path, text: str) -> None:
    """Replace the contents of `path` by `text` in UTF-8, atomically; what is no text, as in names of files, is escaped."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: str | Path, value: Any) -> None:
    """Replace the contents of `path` by `value` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def finite(record: dict[str, Any]) -> dict[str, Any]:
    """`record` with None for each number that is not finite, which JSON does not have."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}


def append_jsonl(path: str | Path, record: dict[str, Any]) -> None:
    """Append `record` as one line of JSON, a number that is not finite as null. Raises UserError if the disk refuses."""
    line = json.dumps(finite(record))
    try:
        with open(path, "a", encoding="utf-8") as stream:
            stream.write(line + "\n")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); free space or choose another folder") from None


def read_jsonl(path: str | Path) -> list[dict[str, Any]]:
    """The records of a file, none if there is no file. Lines that are not JSON objects, torn by a kill, are left out."""
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return []
    records = []
    for line in text.splitlines():
        with contextlib.suppress(ValueError):
            record = json.loads(line)
            if isinstance(record, dict):
                records.append(record)
    return records


def truncate_jsonl(path: str | Path, keep: Callable[[dict[str, Any]], bool]) -> None:
    """Remove the records for which `keep` is false, and lines that are no records, atomically."""
    kept = [json.dumps(record) for record in read_jsonl(path) if keep(record)]
    write_text(path, "".join(line + "\n" for line in kept))


def save_checkpoint(path: str | Path, state: Any) -> None:
    """`torch.save`, atomically."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_bytes(path, buffer.getvalue())


def load_checkpoint(path: str | Path) -> Any:
    """What `save_checkpoint` wrote, on the CPU: tensors and plain values only. Raises UserError for any other file."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; give the folder of a run that has a checkpoint") from None
    except PermissionError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); change its permissions") from None
    except MemoryError:
        raise
    except Exception:  # a foreign file can fail in any way inside the unpickler
        raise UserError(
            f"{path}: truncated, or not a checkpoint of repre-lite; restore it from a copy, or train into another out="
        ) from None


def save_tensors(path: str | Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file with string metadata, atomically."""
    write_bytes(path, safetensors_bytes(tensors, metadata))


def load_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file. Raises UserError for any other file.

    Quantised tensors are restored. Those of a file whose metadata names another with `RELATIVE_TO`, as a path from its own
    folder, are added to the other's.
    """
    tensors, metadata = _read_tensors(path)
    if RELATIVE_TO in metadata:
        base, _ = _read_tensors(Path(path).parent / metadata[RELATIVE_TO])
        if any(name not in base or base[name].shape != tensor.shape for name, tensor in tensors.items()):
            raise UserError(f"{path}: does not fit {metadata[RELATIVE_TO]}; restore the files of one run")
        tensors = {name: base[name] + tensor for name, tensor in tensors.items()}
    return tensors, metadata


def _read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """`load_tensors`, of one file alone."""
    try:
        with safe_open(str(path), framework="pt") as stream:
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
            return restore(tensors), stream.metadata() or {}
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file; restore it from a copy, or give another run folder or a .safetensors file"
        ) from None
    except (SafetensorError, OSError):
        raise UserError(
            f"{path}: truncated, or not a safetensors file; give one written by a run or by export"
        ) from None


def create(folder: Path) -> Path:
    """Make a folder, and those above it, if it is not there. Raises UserError if that is refused."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"out={folder}: {error.strerror}; choose a folder you may write to") from None
    return folder


def sweep(folder: str | Path) -> None:
    """Remove the unfinished files of a killed process."""
    for temporary in Path(folder).glob(f"{TEMPORARY}*"):
        temporary.unlink(missing_ok=True)
