"""Make what shows the package's trained runs at a glance: `examples/bench.html`, on which they are live, and
`results/flower.png`, a photograph through each of them.

python scripts/make_example.py [--page examples/bench.html] [--figure results/flower.png]

The page is made without snapshots, which would double it; the one of `scripts/build_course.py` has them. The photograph is
"flower.jpg" of scikit-learn (flickr.com/photos/vultilion, CC BY 2.0).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from matplotlib import pyplot as plt

import repre_lite as rl
from repre_lite.report import bench_page
from repre_lite.runtime.files import write_text
from repre_lite.visualize.kit.subject import photograph
from repre_lite.visualize.lessons.tiles import reconstruct_tiles

ARMS = {
    "single": "from the last layer",
    "multi": "from four layers",
    "detached": "from four layers,\nencoder trained by contrast alone",
}


def figure(path: Path) -> None:
    """A photograph, and what each run makes of it, in tiles of 32 pixels."""
    flower = photograph("flower", size=192)  # uint8 (3, H, W)
    drawn = {"photograph": flower / 255}
    for name, label in ARMS.items():
        found = reconstruct_tiles(rl.artefact(name), flower)  # (3, H, W)
        drawn[f"{label}\nL1 {float((found - flower / 255).abs().mean()):.3f}"] = found
    made, axes = plt.subplots(1, len(drawn), figsize=(10, 3.2), layout="constrained")
    for axis, (label, image) in zip(axes, drawn.items(), strict=True):
        axis.imshow(image.permute(1, 2, 0), interpolation="nearest")
        axis.set_axis_off()
        axis.set_title(label, fontsize=9, va="top", y=-0.06)
    made.savefig(path, dpi=130, bbox_inches="tight")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, default=Path("examples/bench.html"))
    parser.add_argument("--figure", type=Path, default=Path("results/flower.png"))
    given = parser.parse_args()
    figure(given.figure)
    write_text(
        given.page, bench_page([rl.artefact(name) for name in ("multi", "single", "detached")], snapshot_bytes=0)
    )
    for path in (given.page, given.figure):
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
