"""Which files are images, in which order; links, odd names and what is left out."""

import os

import pytest
from PIL import Image

from repre_lite.data.listing import list_images, listing, say_once, suffixes
from repre_lite.runtime.errors import UserError


def save(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def names(folder):
    return [str(path.relative_to(folder)) for path in list_images(folder)]


def test_order_suffixes_and_hidden_files(tmp_path):
    for name in ("b.png", "sub/a.JPG", "sub/deep/x.jp2", "b.webp", ".hidden/c.png", ".d.png", "a.tga", "Sub/z.avif"):
        save(tmp_path / name)
    assert names(tmp_path) == ["a.tga", "b.png", "b.webp", "Sub/z.avif", "sub/a.JPG", "sub/deep/x.jp2"]


def test_every_format_that_pillow_decodes_has_its_suffixes():
    Image.init()
    assert {
        ".jpg",
        ".jpeg",
        ".jfif",
        ".png",
        ".apng",
        ".webp",
        ".bmp",
        ".gif",
        ".tif",
        ".tiff",
        ".ppm",
        ".pgm",
    } <= suffixes()
    assert {".mpo", ".tga", ".jp2", ".ico", ".psd", ".fits", ".pfm", ".dds", ".sgi"} <= suffixes()
    for stub in ("BUFR", "GRIB", "HDF5", "MPEG", "EPS", "PDF"):
        assert not {suffix for suffix, name in Image.registered_extensions().items() if name == stub} & suffixes()


def test_other_files_are_counted_by_suffix(tmp_path):
    for name in ("a.png", "a.heic", "b.HEIC", "sub/notes.txt", "README", ".hidden.txt", "film.mpg"):
        save(tmp_path / name)
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "self.png").symlink_to(tmp_path / "self.png")
    found = listing(tmp_path)
    assert [path.name for path in found.paths] == ["a.png"]
    assert found.left_out == {
        ".heic": 2,
        ".txt": 1,
        "without a suffix": 1,
        ".mpg": 1,
        "special file": 1,
        "dangling link": 2,
    }


def test_a_folder_named_like_an_image_is_a_folder(tmp_path):
    save(tmp_path / "x.jpg" / "y.jpg")
    assert names(tmp_path) == ["x.jpg/y.jpg"]


def test_links_are_followed_unless_they_lead_back(tmp_path):
    save(tmp_path / "elsewhere" / "x.png")
    tree = tmp_path / "tree"
    save(tree / "a" / "y.png")
    (tree / "b").symlink_to(tmp_path / "elsewhere")
    (tree / "a" / "up").symlink_to(tree)
    (tree / "a" / "here").symlink_to(".")
    (tree / "a" / "z.png").symlink_to(tmp_path / "elsewhere" / "x.png")
    assert names(tree) == ["a/y.png", "a/z.png", "b/x.png"]


def test_two_folders_that_link_to_each_other(tmp_path):
    save(tmp_path / "a" / "1.png")
    save(tmp_path / "b" / "2.png")
    (tmp_path / "a" / "to_b").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "to_a").symlink_to(tmp_path / "a")
    assert names(tmp_path) == ["a/1.png", "a/to_b/2.png", "b/2.png", "b/to_a/1.png"]


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "locked").mkdir()
    scan = os.scandir

    def refused(place):
        if str(place).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(place))
        return scan(place)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(UserError, match=r"^data=.*locked: Permission denied; give a folder you may read$"):
        list_images(tmp_path)


def test_a_line_is_said_once_and_by_the_main_process(capsys, monkeypatch):
    for _ in range(2):
        say_once("a line of this test")
    assert capsys.readouterr().out == "a line of this test\n"
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    say_once("another line of this test")
    assert capsys.readouterr().out == ""
