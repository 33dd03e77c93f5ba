"""Image files for the tests of annotations."""

import numpy as np
from PIL import Image


def save_grey(path, size=(40, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size[1], size[0], 3), 90, dtype=np.uint8)).save(path)
