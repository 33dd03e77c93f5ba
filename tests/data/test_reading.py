"""Image files of every kind as upright RGB, with the right values, or one clear line."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, features

from repre_lite.data.metadata import without_metadata
from repre_lite.data.reading import Decoding, read_image, to_rgb, upright_size
from repre_lite.runtime.errors import UserError

RED = (200, 30, 40)
CORNERS = np.array(
    [[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[255, 255, 0], [0, 255, 255], [9, 9, 9]]], np.uint8
)  # (2, 3, 3)
UPRIGHT = {  # EXIF 2.32, tag 274: row 0 and column 0 of the stored pixels are the sides named there
    1: CORNERS,
    2: CORNERS[:, ::-1],
    3: CORNERS[::-1, ::-1],
    4: CORNERS[::-1],
    5: CORNERS.transpose(1, 0, 2),
    6: CORNERS[::-1].transpose(1, 0, 2),
    7: CORNERS[::-1, ::-1].transpose(1, 0, 2),
    8: CORNERS[:, ::-1].transpose(1, 0, 2),
}


def save(path, image, **options):
    image.save(path, **options)
    return path


def chunk(kind, contents):
    return struct.pack(">I", len(contents)) + kind + contents + struct.pack(">I", zlib.crc32(kind + contents))


def png(image, *chunks, late=False):
    """A PNG file with more chunks, before or after the pixels."""
    stream = io.BytesIO()
    image.save(stream, "PNG")
    data = stream.getvalue()
    at = len(data) - 12 if late else 33
    return data[:at] + b"".join(chunks) + data[at:]


@pytest.mark.parametrize(
    ("mode", "name", "tolerance"),
    [
        ("RGB", "a.png", 0),
        ("P", "a.png", 0),
        ("P", "a.gif", 0),
        ("RGBA", "a.png", 0),
        ("RGBA", "a.webp", 6),
        ("CMYK", "a.jpg", 6),
        ("CMYK", "a.tif", 0),
        ("YCbCr", "a.tif", 3),
        ("LAB", "a.tif", 3),
        ("RGB", "a.bmp", 0),
        ("RGB", "a.jp2", 3),
        ("RGB", "a.tga", 0),
        ("RGB", "a.qoi", 0),
        ("RGB", "a.pcx", 0),
        ("RGB", "a.sgi", 0),
        ("RGB", "a.ppm", 0),
        ("RGB", "a.avif", 4),
        ("RGB", "a.jfif", 4),
    ],
)
def test_every_mode_and_format_is_read_as_rgb(mode, name, tolerance, tmp_path):
    from PIL import ImageCms

    image = Image.new("RGB", (18, 14), RED)
    if mode == "LAB":
        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(image, *profiles, outputMode="LAB")
    try:
        path = save(tmp_path / name, image.quantize() if mode == "P" else image.convert(mode))
    except (KeyError, OSError, ValueError) as error:
        pytest.skip(f"Pillow here does not write it: {error}")
    found = read_image(path)
    assert found.mode == "RGB" and found.size == (18, 14) and upright_size(path) == (14, 18)
    assert np.abs(np.asarray(found).astype(int) - RED).max() <= tolerance


@pytest.mark.parametrize(("mode", "value", "expected"), [("L", 77, 77), ("1", 1, 255), ("LA", (77, 255), 77)])
def test_grey_is_the_same_in_all_channels(mode, value, expected, tmp_path):
    path = save(tmp_path / "a.png", Image.new(mode, (4, 3), value))
    assert (np.asarray(read_image(path)) == expected).all()


def test_transparency_lies_over_white(tmp_path):
    half = Image.new("RGBA", (2, 2), (0, 100, 200, 51))  # a fifth of it, four fifths white
    expected = [204, 224, 244]
    assert np.asarray(read_image(save(tmp_path / "half.png", half)))[0, 0].tolist() == expected
    premultiplied = half.convert("RGBa")
    assert np.abs(np.asarray(to_rgb(premultiplied))[0, 0].astype(int) - expected).max() <= 2
    assert np.asarray(to_rgb(Image.new("LA", (2, 2), (100, 51)).convert("La")))[0, 0].tolist() == [224] * 3

    palette = Image.new("P", (4, 1))
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 255, 10, 20, 30])
    palette.putdata([0, 1, 2, 3])
    by_bytes = save(tmp_path / "bytes.png", palette, transparency=bytes([0, 255, 51]))
    assert np.asarray(read_image(by_bytes))[0].tolist() == [[255] * 3, [255, 0, 0], [204, 204, 255], [10, 20, 30]]
    by_index = save(tmp_path / "index.gif", palette, transparency=1)
    assert np.asarray(read_image(by_index))[0].tolist() == [[0] * 3, [255] * 3, [0, 0, 255], [10, 20, 30]]
    grey = save(tmp_path / "grey.png", Image.fromarray(np.array([[7, 8]], np.uint8)), transparency=7)
    assert np.asarray(read_image(grey))[0].tolist() == [[255] * 3, [8] * 3]


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg", "webp", "avif"])
@pytest.mark.parametrize("turned", range(1, 9))
def test_orientation_is_the_same_for_pixels_and_size(suffix, turned, tmp_path):
    stored = np.kron(CORNERS, np.ones((8, 8, 1), np.uint8))  # (16, 24, 3)
    exif = Image.Exif()
    exif[274] = turned
    if suffix == "avif" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    options = {"tif": {"tiffinfo": {274: turned}}, "webp": {"lossless": True, "exif": exif}}.get(suffix, {"exif": exif})
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(stored), **options)
    made, expected = np.asarray(read_image(path)), np.kron(UPRIGHT[turned], np.ones((8, 8, 1), np.uint8))
    assert made.shape == expected.shape and upright_size(path) == expected.shape[:2]
    assert np.abs(made.astype(int) - expected)[4::8, 4::8].max() <= (40 if suffix in ("jpg", "avif") else 0)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_a_turned_compressed_tiff(compression, tmp_path):
    path = save(tmp_path / "a.tif", Image.fromarray(CORNERS), tiffinfo={274: 6}, compression=compression)
    assert np.array_equal(np.asarray(read_image(path)), UPRIGHT[6]) and upright_size(path) == (3, 2)


def test_reading_does_not_turn_the_image_it_is_given():
    image = Image.fromarray(CORNERS)
    image.getexif()[274] = 6
    assert np.array_equal(np.asarray(to_rgb(image)), UPRIGHT[6]) and np.array_equal(np.asarray(image), CORNERS)


def test_an_orientation_after_the_pixels(tmp_path):
    exif = Image.Exif()
    exif[274] = 8
    (tmp_path / "a.png").write_bytes(png(Image.fromarray(CORNERS), chunk(b"eXIf", exif.tobytes()[6:]), late=True))
    assert np.array_equal(np.asarray(read_image(tmp_path / "a.png")), UPRIGHT[8])
    assert upright_size(tmp_path / "a.png") == (3, 2)


def test_the_first_frame_is_read(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, (0, 0, 255))]
    for name in ("a.tif", "a.gif", "a.png", "a.webp"):
        options = {"lossless": True} if name == "a.webp" else {}
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
        assert np.asarray(read_image(tmp_path / name))[0, 0].tolist() == list(RED), name


ODD_CHUNKS = {
    "large profile": chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(2_000_000))),
    "broken profile": chunk(b"iCCP", b"p\0\0no zlib"),
    "large text": chunk(b"zTXt", b"t\0\0" + zlib.compress(bytes(2_000_000))),
    "large international text": chunk(b"iTXt", b"t\0\1\0\0\0" + zlib.compress(bytes(2_000_000))),
    "compression of text": chunk(b"zTXt", b"t\0\7xx"),
    "short gamma": chunk(b"gAMA", b"\0"),
    "short size of a pixel": chunk(b"pHYs", b"\0"),
    "short chromaticities": chunk(b"cHRM", b"\0\0\0"),
    "exif of noise": chunk(b"eXIf", b"\xff" * 30),
    "exif as hexadecimal text": chunk(b"tEXt", b"Raw profile type exif\0\nexif\n  2\nzz"),
    "wrong checksum": chunk(b"tEXt", b"t\0hello")[:-1] + b"\0",
    "wrong checksum of exif": chunk(b"eXIf", b"MM\0*")[:-1] + b"\0",
    "frames announced": chunk(b"acTL", b"\0"),
}


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("odd", ODD_CHUNKS)
def test_odd_metadata_of_a_png_do_not_matter(odd, late, tmp_path):
    (tmp_path / "a.png").write_bytes(png(Image.fromarray(CORNERS), ODD_CHUNKS[odd], late=late))
    assert np.array_equal(np.asarray(read_image(tmp_path / "a.png")), CORNERS)
    assert upright_size(tmp_path / "a.png") == (2, 3)


def exif_block(tag, kind, count, value):
    """An EXIF block of one entry; its value lies behind it if it does not fit."""
    held = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack("<I", 26) + value
    return b"II*\0" + struct.pack("<IHHHI", 8, 1, tag, kind, count) + held[:4] + bytes(4) + held[4:]


@pytest.mark.parametrize(
    "segment",
    [
        b"Exif\0\0" + exif_block(282, 10, 1, struct.pack("<ii", -1, 0)),
        b"Exif\0\0" + exif_block(282, 5, 1, struct.pack("<II", 0, 0)),
        b"Exif\0\0" + exif_block(282, 2, 3, b"72\0"),
        b"Exif\0\0" + exif_block(274, 2, 2, b"6\0"),
        b"Exif\0\0" + exif_block(274, 3, 0, b""),
        b"Exif\0\0" + exif_block(274, 3, 1, b"\x63\0"),
        b"Exif\0\0" + exif_block(34665, 4, 1, b"\xff\xff\xff\x7f"),
        b"Exif\0\0" + b"\xff" * 40,
        b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta",
    ],
)
def test_odd_metadata_of_a_jpeg_do_not_matter(segment, tmp_path):
    stream = io.BytesIO()
    Image.new("RGB", (24, 16), RED).save(stream, "JPEG")
    data = stream.getvalue()
    (tmp_path / "a.jpg").write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:])
    assert np.abs(np.asarray(read_image(tmp_path / "a.jpg")).astype(int) - RED).max() < 6
    assert upright_size(tmp_path / "a.jpg") == (16, 24)


@pytest.mark.parametrize("marker", [0xE2, 0xED, 0xFE, 0xEC])
def test_broken_segments_of_a_jpeg_keep_its_orientation(marker, tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    stream = io.BytesIO()
    Image.new("RGB", (24, 16), RED).save(stream, "JPEG", exif=exif)
    data = stream.getvalue()
    head = {0xE2: b"ICC_PROFILE\0", 0xED: b"Photoshop 3.0\0" + b"8BIM\4\4"}.get(marker, b"")
    broken = b"\xff" + bytes([marker]) + struct.pack(">H", len(head) + 2) + head
    (tmp_path / "a.jpg").write_bytes(data[:2] + broken + data[2:])
    assert read_image(tmp_path / "a.jpg").size == (16, 24) and upright_size(tmp_path / "a.jpg") == (24, 16)


@pytest.mark.filterwarnings("ignore:Metadata Warning")
@pytest.mark.parametrize("value", [3, 1.5, "text", (1, 2, 3)])
@pytest.mark.parametrize("tag", [700, 33723, 34377])  # XMP, IPTC, Photoshop: bytes by rights
def test_odd_metadata_of_a_tiff_do_not_matter(tag, value, tmp_path):
    from PIL import TiffImagePlugin

    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[tag] = value
    info.tagtype[tag] = {int: 3, float: 11, str: 2, tuple: 3}[type(value)]
    info[274] = 6
    path = save(tmp_path / "a.tif", Image.fromarray(CORNERS), tiffinfo=info)
    assert np.array_equal(np.asarray(read_image(path)), UPRIGHT[6]) and upright_size(path) == (3, 2)


def test_without_metadata_keeps_pixels_alone(tmp_path):
    data = png(Image.fromarray(CORNERS), ODD_CHUNKS["large text"])
    assert without_metadata(data) == png(Image.fromarray(CORNERS))
    assert without_metadata(b"GIF89a") is None


@pytest.mark.parametrize(
    ("name", "contents", "reason"),
    [
        ("empty.png", b"", "the file is empty"),
        ("text.jpg", b"no image at all", "not in a format that Pillow knows"),
        ("torn.png", png(Image.fromarray(CORNERS))[:55], "truncated"),
        ("torn.jpg", None, "truncated"),
    ],
)
def test_the_reason_is_given_if_an_image_is_unreadable(name, contents, reason, tmp_path):
    if contents is None:
        noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        contents = save(tmp_path / "whole.jpg", Image.fromarray(noise)).read_bytes()[:2000]
    (tmp_path / name).write_bytes(contents)
    with pytest.raises(UserError, match=rf"{name}: not a readable image \(.*{reason}.*\); .* skip_unreadable=True"):
        read_image(tmp_path / name)


def test_a_file_that_is_gone_or_a_folder(tmp_path):
    with pytest.raises(UserError, match=r"gone.png: no longer found"):
        read_image(tmp_path / "gone.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UserError, match=r"folder.png: not a readable image \(.*directory.*\)"):
        read_image(tmp_path / "folder.png")


def test_names_in_messages_are_plain_text(tmp_path):
    path = tmp_path / "caf\udce9\n.png"
    path.write_bytes(b"")
    with pytest.raises(UserError) as caught:
        read_image(path)
    assert "/caf\\xe9\\n.png: not a readable image" in str(caught.value)


def test_huge_images_need_permission(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", Image.new("RGB", (40, 30), RED))
    assert read_image(path, Decoding(max_pixels=1200)).size == (40, 30)
    with pytest.raises(UserError, match=r"a.png: .*1200 pixels.* limit of 1199 .*max_pixels="):
        read_image(path, Decoding(max_pixels=1199))
    with pytest.raises(UserError, match="max_pixels="):
        upright_size(path, Decoding(max_pixels=1199))
    turned = save(tmp_path / "a.tif", Image.new("RGB", (40, 30), RED), tiffinfo={274: 6})
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # as if Pillow's own limit were 200
    monkeypatch.setattr("repre_lite.data.reading.PILLOW_LIMIT", 200)
    for file in (path, turned):
        with pytest.raises(UserError, match=r"1200 pixels.* limit of 200 .*max_pixels="):
            read_image(file)
    for file in (path, turned):
        assert sorted(read_image(file, Decoding(max_pixels=1200)).size) == [30, 40]
    with pytest.raises(UserError, match="limit of 200"):  # one that was allowed does not open the door for others
        read_image(path)
