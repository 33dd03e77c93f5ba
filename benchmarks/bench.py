"""The bench in a browser: from opening the page to the first answer, from dropping a photograph to its reconstruction, and
from moving a tap's slider to the next.

python benchmarks/bench.py [RUN] [--rounds 25] [--json results/bench.json]

RUN is the folder of a run whose encoder a page can run; without it a `vit_micro` and its decoder at 32 pixels as they are
initialised, which cost the same. The page is opened from disk in headless Chromium without network. Times are wall-clock
milliseconds in the page, up to the frame that shows the answer; `load` is the machine's load average before and after,
which is above 0 if others work on it too.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from measure import head, spread, write
from playwright.sync_api import Page, sync_playwright

import repre_lite as rl
from repre_lite.report import bench_page
from repre_lite.repre import RePre
from repre_lite.runs import Run

SIDE = 1024  # pixels of the photograph that is dropped
READY = "() => document.querySelector('.bench')?.ariaBusy === 'false'"
SETTLED = """() => { window.settled = async () => {
  do await new Promise(requestAnimationFrame); while (document.querySelector('.bench').ariaBusy !== 'false');
}; }"""
DROP = """async (side) => {
  const drawn = Object.assign(document.createElement('canvas'), { width: side, height: side });
  const context = drawn.getContext('2d'), shown = document.querySelector('.bench canvas');
  for (let i = 0; i < 500; i++) {
    context.fillStyle = `hsl(${360 * Math.random()} 70% 50%)`;
    context.fillRect(side * Math.random(), side * Math.random(), side / 5, side / 5);
  }
  const blob = await new Promise((done) => drawn.toBlob(done, 'image/jpeg', 0.9)), data = new DataTransfer();
  data.items.add(new File([blob], 'photograph.jpg', { type: 'image/jpeg' }));
  const before = shown.toDataURL(), began = performance.now(), options = { dataTransfer: data, bubbles: true, cancelable: true };
  document.querySelector('.bench').dispatchEvent(new DragEvent('drop', options));
  while (shown.toDataURL() === before) await new Promise(requestAnimationFrame);
  await settled();
  return performance.now() - began;
}"""
MOVE = """async (value) => {
  const slider = document.querySelector('.tap input'), began = performance.now();
  slider.value = value;
  slider.dispatchEvent(new Event('input'));
  await settled();
  return performance.now() - began;
}"""


def untrained() -> Run:
    """A run of the scenes before its first step."""
    torch.manual_seed(0)
    recipe = rl.recipe("scenes")
    folder = Path(tempfile.mkdtemp())
    return Run(folder, recipe, RePre.from_recipe(recipe).eval(), [], {})


def measured(page: Page, rounds: int) -> dict[str, Any]:
    """Quartiles of what a reader waits for, in milliseconds."""
    page.evaluate(SETTLED)
    drops = [page.evaluate(DROP, SIDE) for _ in range(rounds)]
    moves = [page.evaluate(MOVE, number / (rounds + 1)) for number in range(rounds)]
    return {"drop_ms": waited(drops), "move_ms": waited(moves)}


def waited(times: list[float]) -> dict[str, float]:
    """Quartiles, and the fastest, which a busy machine spoils least."""
    return spread(times) | {"fastest": round(min(times), 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", help="the folder of a run")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    run = rl.load_run(options.run) if options.run else untrained()
    path = Path(tempfile.mkdtemp()) / "bench.html"
    path.write_text(bench_page([run]), encoding="utf-8")
    browser_path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    load = [os.getloadavg()[0]] if hasattr(os, "getloadavg") else []
    starts = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"])
        for _ in range(3):
            page = browser.new_context(offline=True, viewport={"width": 1400, "height": 1000}).new_page()
            page.goto(path.as_uri())
            page.wait_for_function(READY)
            starts.append(page.evaluate("performance.now()"))
        figures = measured(page, options.rounds)
        version = browser.version
        browser.close()
    load += [os.getloadavg()[0]] if load else []
    encoder = run.encoder
    table = head(None) | {
        "clock": "the page's wall clock",
        "browser": f"Chromium {version}, headless, without GPU",
        "load": [round(value, 1) for value in load],
        "arch": run.recipe.arch,
        "patches": encoder.tap_grids[0] ** 2,
        "page_bytes": path.stat().st_size,
        "start_ms": waited(starts),
        "rounds": options.rounds,
        "photograph": f"JPEG of {SIDE} x {SIDE} pixels",
        **figures,
    }
    for name in ("start_ms", "drop_ms", "move_ms"):
        print(
            f"{name:9s} {table[name]['median']:7.1f} [{table[name]['q1']:.1f}..{table[name]['q3']:.1f}], fastest {table[name]['fastest']:.1f}"
        )
    write(options.json, table)


if __name__ == "__main__":
    main()
