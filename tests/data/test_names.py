"""The names of `repre_lite.data`: listed, and imported when used."""

import subprocess
import sys

import repre_lite.data


def test_every_listed_name_is_there():
    assert {"load_source", "ImageSet", "Source", "scenes", "View", "Views", "read_image"} <= set(dir(repre_lite.data))
    for name in repre_lite.data.__all__:
        assert getattr(repre_lite.data, name) is not None
    assert repre_lite.data.scenes.scenes([0]).images.shape == (1, 3, 32, 32)


def test_listing_them_does_not_import_torch():
    code = "import sys, repre_lite as rl; dir(rl.data); assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
