"""Image files reduced to what their pixels need, for files with metadata that Pillow fails on."""

from __future__ import annotations

import struct
import zlib

PNG = b"\x89PNG\r\n\x1a\n"
# the ancillary chunks that are kept: transparency and EXIF, which holds the orientation
PNG_KEPT = {b"tRNS", b"eXIf"}
# TIFF tags that say how the pixels are stored (TIFF 6.0 and its supplements), and the orientation
TIFF_KEPT = {
    *(
        254,
        256,
        257,
        258,
        259,
        262,
        266,
        273,
        274,
        277,
        278,
        279,
        284,
        292,
        293,
        317,
        320,
        322,
        323,
        324,
        325,
        338,
        339,
    ),
    *(347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532),
}


def without_metadata(data: bytes) -> bytes | None:
    """The PNG, JPEG or TIFF file `data` without text, profiles and other metadata; None for any other format.

    Pixels are not touched, so a file whose pixels are damaged stays damaged.
    """
    if data.startswith(PNG):
        return _png(data)
    if data.startswith(b"\xff\xd8"):
        return _jpeg(data)
    if data[:4] in (b"II*\0", b"MM\0*"):
        return _tiff(data)
    return None


def _png(data: bytes) -> bytes:
    """Critical chunks (upper-case first letter), and PNG_KEPT if their checksum is right."""
    kept, at = [PNG], len(PNG)
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        chunk = data[at : at + size + 12]  # length, kind, contents, checksum
        sound = zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")
        if kind[:1].isupper() or (kind in PNG_KEPT and sound):
            kept.append(chunk)
        at += len(chunk)
    return b"".join(kept)


def _jpeg(data: bytes) -> bytes:
    """All but comments and application segments; JFIF and Adobe stay, which decide on the colours, and EXIF."""
    kept, at = [data[:2]], 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, size = struct.unpack_from(">xBH", data, at)
        if marker == 0xDA:  # the pixels
            break
        segment = data[at : at + 2 + size]
        optional = 0xE0 <= marker <= 0xEF or marker == 0xFE
        if not optional or marker in (0xE0, 0xEE) or segment[4:10] == b"Exif\0\0":
            kept.append(segment)
        at += 2 + size
    return b"".join([*kept, data[at:]])


def _tiff(data: bytes) -> bytes:
    """The first directory alone, with TIFF_KEPT; the space of dropped entries at its end is left unused."""
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, start)
    entries = [data[start + 2 + 12 * i : start + 14 + 12 * i] for i in range(count)]
    kept = [entry for entry in entries if struct.unpack_from(order + "H", entry)[0] in TIFF_KEPT]
    directory = struct.pack(order + "H", len(kept)) + b"".join(kept) + bytes(4)
    return data[:start] + directory + data[start + len(directory) :]
