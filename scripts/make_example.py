"""Make `examples/bench.html`, the page on which the package's trained runs are live.

python scripts/make_example.py [--out examples/bench.html]

Without snapshots, which would double it; the page of `scripts/build_course.py` has them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import repre_lite as rl
from repre_lite.report import bench_page
from repre_lite.runtime.files import write_text

ARMS = ("multi", "single", "detached")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("examples/bench.html"))
    out = parser.parse_args().out
    write_text(out, bench_page([rl.artefact(name) for name in ARMS], snapshot_bytes=0))
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
