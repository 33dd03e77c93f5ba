"""Plot the table `local`, what each arm gains or loses against `detached`, and the table `ablations`, what that depends on.

python scripts/plot_differences.py [--results results] [--out results]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from matplotlib import pyplot as plt

from repre_lite.reproduce.cells import primary
from repre_lite.reproduce.differences import CHOSEN, draw, draw_choices, read

SCALES = {"scenes": "scenes", "cifar10": "JPEG copies of CIFAR-10"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the tables")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder of local.png and ablations.png")
    given = parser.parse_args()
    figure, axes = plt.subplots(1, len(SCALES), figsize=(10, 4.2), layout="constrained", sharex=True)
    for axis, (scale, title) in zip(axes, SCALES.items(), strict=True):
        draw(axis, read(given.results / f"local-{scale}.csv"), title)
        axis.set_xlabel("difference to detached, points")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(given.out / "local.png", dpi=130)

    figure, axes = plt.subplots(1, len(CHOSEN), figsize=(10, 6), layout="constrained", sharey=True)
    draw_choices(axes, read(given.results / "ablations-scenes.csv"), CHOSEN, primary()["seeds"])
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(given.out / "ablations.png", dpi=130)


if __name__ == "__main__":
    main()
