"""Images of more than 8 bits: one rule for a folder, and a gradient from black to white stays one."""

import struct

import numpy as np
import pytest
from PIL import Image

from repre_lite.data.levels import Levels
from repre_lite.data.reading import Decoding, read_image
from repre_lite.data.sources import load_source
from repre_lite.data.survey import folder_levels
from repre_lite.runtime.errors import UserError

GRADIENT = np.linspace(0, 1, 12 * 16).reshape(12, 16)
BYTES = (GRADIENT * 255 + 0.5).astype(np.uint8)


def save(path, values, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path, **options)
    return path


def grey(path, decoding=None):
    values = np.asarray(read_image(path, decoding))
    assert (values == values[..., :1]).all()
    return values[..., 0].astype(int)


@pytest.mark.parametrize("top", [1, 100, 255, 256, 1023, 1024, 4095, 16383, 65535])
@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_a_gradient_of_any_depth(top, name, tmp_path):
    path = save(tmp_path / name, (GRADIENT * top + 0.5).astype(np.uint16))
    assert np.abs(grey(path) - BYTES).max() <= 1 + 128 // top


@pytest.mark.parametrize("kind", ["<i4", "<f4", ">u2", ">i4", ">f4", "<i2"])
def test_a_gradient_of_any_type_of_number(kind, tmp_path):
    path = save(tmp_path / "a.tif", (GRADIENT * 30000).astype(kind))
    assert np.abs(grey(path) - BYTES).max() <= 1


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 1.02), (-1, 1), (0, 255), (-1000, 3000), (0, 1e-3)])
def test_a_gradient_of_floating_point_numbers(low, high, tmp_path):
    path = save(tmp_path / "a.tif", (low + GRADIENT * (high - low)).astype(np.float32))
    assert np.abs(grey(path) - BYTES).max() <= 1


def test_what_is_not_a_number_does_not_count(tmp_path):
    values = GRADIENT.astype(np.float32)
    values[3, :4] = np.nan, np.inf, -np.inf, 0.5
    found = grey(save(tmp_path / "a.tif", values))
    assert found[3, :4].tolist() == [0, 255, 0, 128] and found[-1, -1] == 255 and found[0, 0] == 0
    assert (grey(save(tmp_path / "b.tif", np.full((4, 4), np.nan, np.float32))) == 0).all()


def corrected(path, tag, before, after):
    """The TIFF at `path` with another value of a tag of one short number, which Pillow does not write."""
    entry, other = (struct.pack("<HHIHH", tag, 3, 1, value, 0) for value in (before, after))
    data = path.read_bytes()
    assert data.count(entry) == 1
    path.write_bytes(data.replace(entry, other))
    return path


def test_unsigned_numbers_of_32_bits(tmp_path):
    path = save(tmp_path / "a.tif", (GRADIENT * (2**32 - 1)).astype(np.uint32).view(np.int32))
    assert np.abs(grey(corrected(path, 339, 2, 1)) - BYTES).max() <= 1


@pytest.mark.parametrize("top", [255, 4095, 65535])
def test_white_may_be_zero(top, tmp_path):
    path = save(tmp_path / "a.tif", ((1 - GRADIENT) * top).astype(np.uint8 if top == 255 else np.uint16))
    assert np.abs(grey(corrected(path, 262, 1, 0)) - BYTES).max() <= 1


@pytest.mark.parametrize(
    ("said", "kind"), [("-9999", "<f4"), ("-3.4028234663852886e+38", "<f4"), ("65535", "<u2"), ("nan", "<f4")]
)
def test_no_data_is_black_and_does_not_count(said, kind, tmp_path):
    values = (GRADIENT * 2000).astype(kind)
    values[5] = float(said)
    path = save(tmp_path / "a.tif", values, tiffinfo={42113: said})
    expected = np.where(np.arange(12)[:, None] == 5, 0, BYTES)
    assert np.abs(grey(path) - expected).max() <= 1
    assert folder_levels([path]).floating[1] in (2000, 1.0)


def test_constant_images(tmp_path):
    assert (grey(save(tmp_path / "black.png", np.zeros((4, 4), np.uint16))) == 0).all()
    assert (grey(save(tmp_path / "white.png", np.full((4, 4), 700, np.uint16))) == 255).all()


def test_one_rule_for_a_folder(tmp_path):
    dark, bright = GRADIENT * 200, GRADIENT * 4095
    paths = [
        save(tmp_path / f"{i}.png", values.astype(np.uint16)) for i, values in enumerate((dark, bright, bright / 2))
    ]
    paths.append(save(tmp_path / "float.tif", GRADIENT.astype(np.float32) / 2))
    paths.append(save(tmp_path / "grey.png", BYTES // 2))
    levels = folder_levels(paths)
    assert levels == Levels((0.0, 4095.0), (0.0, 0.5))
    tops = [grey(path, Decoding(levels)).max() for path in paths]
    assert tops == [round(200 / 4095 * 255), 255, 127, 255, 127]  # 2047 of 4095; 8 bits stay as they are


def test_a_folder_of_8_bits_has_the_full_range(tmp_path):
    paths = [save(tmp_path / "a.png", BYTES), save(tmp_path / "b.jpg", BYTES)]
    assert folder_levels(paths) == Levels((0.0, 65535.0), (0.0, 1.0))


@pytest.mark.parametrize("size", [16, 112])
def test_a_source_scales_training_and_validation_alike(size, tmp_path, capsys):
    for part, top in (("train", 4095), ("val", 1000)):
        for i in range(2):
            save(tmp_path / part / "a" / f"{i}.png", np.full((20, 20), top // (i + 1), np.uint16))
    source = load_source("folder", tmp_path, size)
    assert source.train.images[:].amax((1, 2, 3)).tolist() == [255, 127]
    assert source.val.images[:].amax((1, 2, 3)).tolist() == [62, 31]
    line = f"{tmp_path / 'train' / 'a'}: integer images; values 0 to 4095 are scaled to 0 to 255\n"
    assert capsys.readouterr().out == line
    assert load_source("folder", tmp_path, size).fingerprint == source.fingerprint


def deep_colour(path, top):
    """A 16-bit RGB PNG, which Pillow reads and does not write."""
    import zlib

    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.stack([GRADIENT * top] * 3, -1).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", 16, 12, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    data = b"".join(struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    return path


def test_sixteen_bit_colour_in_planes_is_refused(tmp_path):
    held = ((256, 16), (257, 12), (258, 16), (259, 1), (262, 2), (277, 3), (284, 2))
    entries = [struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in held]
    entries[2] = struct.pack("<HHII", 258, 3, 3, 200)  # three numbers, at byte 200
    entries += [struct.pack("<HHII", tag, 4, 3, at) for tag, at in ((273, 206), (279, 218))]
    data = b"II*\0" + struct.pack("<IH", 8, 9) + b"".join(sorted(entries)) + bytes(4)
    data = data.ljust(200, b"\0") + struct.pack("<3H", 16, 16, 16) + struct.pack("<6I", 230, 614, 998, 384, 384, 384)
    (tmp_path / "a.tif").write_bytes(data + (GRADIENT * 65535).astype("<u2").tobytes() * 3)
    with pytest.raises(UserError, match=r"a.tif: 16-bit colour in separate planes"):
        read_image(tmp_path / "a.tif")


def test_sixteen_bit_colour_is_read_by_its_upper_half_or_refused(tmp_path):
    whole = deep_colour(tmp_path / "whole" / "a.png", 65535)
    assert np.abs(grey(whole) - BYTES).max() <= 1
    camera = deep_colour(tmp_path / "camera" / "a.png", 4095)
    deep_colour(tmp_path / "camera" / "b.png", 2000)
    message = r"a.png: 16-bit colour whose values use less than a quarter of the range"
    with pytest.raises(UserError, match=message):
        read_image(camera)
    with pytest.raises(UserError, match=message):
        load_source("folder", tmp_path / "camera", 16)
    deep_colour(tmp_path / "camera" / "c.png", 65535)  # a dark image among others is just dark
    assert load_source("folder", tmp_path / "camera", 8).train.images.amax((1, 2, 3)).tolist() == pytest.approx(
        [13, 6, 240], abs=16
    )
