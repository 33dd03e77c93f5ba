"""The browser viewer: what Python packs, the page it writes, and the same view moved in a real browser."""

import base64
import json
import re

import numpy as np
import pytest

import repre_lite as rl
from repre_lite.visualize.attention import Attention
from repre_lite.visualize.inspector import Inspector
from repre_lite.visualize.kit import palette
from repre_lite.visualize.kit.viewer import (
    on_scale,
    pack,
    pack_image,
    pack_scale,
    page_script,
    source,
    to_html,
    viewer,
)

# The widget's door with a model like anywidget's: every slider and list through its whole range, then every canvas that
# takes focus is hovered, clicked and moved by keys. Returns [state, sentence] after each change, and what went wrong.
MOVE_ALL = """async ([source, kind, data, state, move = true]) => {
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const { render } = (await import(url)).default;
  const el = document.body.appendChild(document.createElement("div")), seen = [];
  const sentence = () => el.querySelector("[aria-live]").textContent;
  const values = { kind, data, state };
  const model = {
    get: (key) => values[key],
    set: (key, value) => { values[key] = value; model.listen(); },
    save_changes: () => seen.push([values.state, sentence()]),
    on: (_, listen) => { model.listen = listen; },
    off: () => {},
  };
  render({ model, el });
  seen.push([values.state, sentence()]);
  const nodes = (selector) => (move ? el.querySelectorAll(selector) : []);
  for (const input of nodes("input")) {
    for (let value = Number(input.min); value <= Number(input.max) + 1e-9; value += Number(input.step)) {
      input.value = value;
      input.dispatchEvent(new Event("input"));
    }
  }
  for (const select of nodes("select")) {
    for (let i = 0; i < select.options.length; i++) {
      select.selectedIndex = i;
      select.dispatchEvent(new Event("change"));
    }
  }
  for (const canvas of nodes("canvas[tabindex]")) {
    const { left, top, width, height } = canvas.getBoundingClientRect();
    for (const type of ["pointermove", "click", "pointermove", "click"])
      canvas.dispatchEvent(new PointerEvent(type, {
        clientX: left + width * Math.random(), clientY: top + height * Math.random() }));
    for (const key of ["ArrowUp", "ArrowLeft", "ArrowDown", "ArrowRight", "a"])
      canvas.dispatchEvent(new KeyboardEvent("keydown", { key }));
  }
  const labels = [...el.querySelectorAll("canvas, svg")].map((node) => node.ariaLabel);
  const bare = [...el.querySelectorAll("input, select")].filter((node) => !node.labels[0].textContent.trim());
  return { seen, labels, bare: bare.length };
}"""


@pytest.fixture
def page(chromium):
    """An empty page; the test fails on any error in it and on any request but for the file itself."""
    context = chromium.new_context(offline=True, viewport={"width": 700, "height": 900})
    page, errors, requests = context.new_page(), [], []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: requests.append(request.url))
    yield page
    context.close()
    assert errors == []
    assert [url for url in requests if not url.startswith(("file:", "blob:", "about:"))] == []


@pytest.fixture(scope="module")
def image():
    return rl.scenes([4]).images[0]


@pytest.fixture(scope="module")
def inspector(run, image):
    return Inspector.of_run(run, image, seed=2)


@pytest.fixture(scope="module")
def explorer(run, image):
    view = image.float() / 255
    return Attention.compute(run.encoder, view, run.model.normalise(view))


# -- packing and pages


def unpacked(packed):
    return np.frombuffer(base64.b64decode(packed["data"]), packed["dtype"]).reshape(packed["shape"])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_arrays_survive_packing(dtype):
    array = (np.random.default_rng(0).random((3, 4, 2)) * 200).astype(dtype)
    for one in (array, array.transpose(2, 0, 1), array[::2], array.astype(np.dtype(dtype).newbyteorder(">"))):
        assert np.array_equal(unpacked(json.loads(json.dumps(pack(one)))), one)
    with pytest.raises(TypeError, match="float64"):
        pack(np.zeros(2))


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1, 1), (0.0, 7.3)])
def test_scales_round_to_one_step_and_stay_there(low, high):
    values = np.random.default_rng(0).uniform(low, high, 1000)
    rounded, packed = on_scale(values, low, high), pack_scale(values, low, high)
    assert np.abs(rounded - values).max() <= 0.51 * (high - low) / 65535 + 1e-6
    assert np.array_equal(rounded, (low + (high - low) * unpacked(packed).astype(float) / 65535).astype(np.float32))
    assert np.array_equal(on_scale(rounded, low, high), rounded)
    assert on_scale(np.array([low - 1, high + 1]), low, high) == pytest.approx([low, high])


def test_images_are_clipped_and_rounded():
    assert unpacked(pack_image(np.array([[[-0.1, 0.5, 1.2]]]))).tolist() == [[[0, 128, 255]]]


def test_a_page_holds_everything_and_no_address():
    data = {"text": "</script><b>", "map": pack(np.zeros((2, 2), np.uint8))}
    page = to_html("ladder", data, {"rung": 1}, title='a "title"', sentence="a < b")
    assert not re.search("https?:|//cdn|import ", page) and page.count("</script>") == 2
    assert 'aria-label="a &quot;title&quot;"' in page and "<noscript><p>a &lt; b</p></noscript>" in page
    content = json.loads(re.search(r'<script type="application/json">(.*?)</script>', page)[1])
    assert content == {"kind": "ladder", "data": data, "state": {"rung": 1}}
    assert page == to_html("ladder", data, {"rung": 1}, 'a "title"', "a < b", script=False) + page_script()


def test_the_widget_says_what_python_says_and_follows_its_state():
    widget = viewer("ladder", {}, {"rung": 1}, lambda rung: f"rung {rung}")
    assert widget._esm == source() and widget.sentence == "rung 1"
    widget.state = {"rung": 2}
    assert widget.sentence == "rung 2"


def test_colours_are_matplotlibs():
    from matplotlib import colormaps

    for name, theirs in (("cividis", "cividis"), ("viridis", "viridis"), ("signed", "RdBu_r")):
        digits = re.search(rf'{name}: "([0-9a-f]+)"', source())[1]
        ours = np.frombuffer(bytes.fromhex(digits), np.uint8).reshape(-1, 3)
        assert len(ours) == 17 and np.abs(ours - 255 * colormaps[theirs](np.linspace(0, 1, 17))[:, :3]).max() <= 0.51


# -- in a browser


@pytest.mark.parametrize("kind", ["attention", "inspector"])
def test_every_control_moved_in_the_browser_says_what_python_says(kind, page, explorer, inspector):
    view = explorer if kind == "attention" else inspector
    page.goto("about:blank")
    moved = page.evaluate(MOVE_ALL, [source(), kind, view._data(), view.start])
    assert len(moved["seen"]) > 40 and moved["bare"] == 0
    for state, sentence in moved["seen"]:
        assert sentence == view.describe(**state)
    assert all(moved["labels"]) and sum(moved["seen"][-1][1] in label for label in moved["labels"]) >= 2
    assert {key: type(value) for key, value in moved["seen"][-1][0].items()}.keys() == view.start.keys()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_from_disk_is_live(scheme, page, tmp_path, inspector, explorer):
    place = tmp_path / "view.html"
    views = explorer.to_html(script=False) + inspector.to_html()
    place.write_text(f"<!doctype html><meta charset=utf-8>{views}", encoding="utf-8")
    page.emulate_media(color_scheme=scheme)
    page.goto(place.as_uri())
    sentences = page.locator("[aria-live]")
    assert sentences.all_text_contents() == [explorer.describe(), inspector.describe()]

    def look(canvas):
        return canvas.evaluate("node => node.toDataURL()")

    box = page.locator(".repre-lite").nth(1)
    pointed, other = box.locator("canvas").nth(0), box.locator("canvas").nth(3)
    before, side = (look(pointed), look(other)), pointed.bounding_box()["width"]
    h, w = inspector.grid
    pointed.hover(position={"x": side * 1.5 / w, "y": side * 0.5 / h})
    assert sentences.nth(1).text_content() == inspector.describe(row=0, column=1)
    hovered = look(pointed), look(other)
    assert hovered[0] != before[0] and hovered[1] != before[1]
    pointed.press("ArrowDown")
    pointed.press("ArrowLeft")
    assert sentences.nth(1).text_content() == inspector.describe(row=1, column=0)
    pointed.press("ArrowLeft")  # there is nothing further left
    assert sentences.nth(1).text_content() == inspector.describe(row=1, column=0)
    pointed.press("ArrowUp")
    pointed.press("ArrowRight")
    assert (look(pointed), look(other)) == hovered  # the keys show what hovering shows
    pointed.click(position={"x": side * 1.5 / w, "y": side * 0.5 / h})  # held
    pointed.hover(position={"x": side * 0.5 / w, "y": side * 0.5 / h})
    assert sentences.nth(1).text_content() == inspector.describe(row=0, column=1)

    ink, paper = box.evaluate("node => [getComputedStyle(node).color, getComputedStyle(node).backgroundColor]")
    lightness = [sum(map(int, re.findall(r"\d+", colour)[:3])) / 765 for colour in (ink, paper)]
    assert (lightness[0] > 0.8 and lightness[1] < 0.2) if scheme == "dark" else lightness == [0, 1]
    assert page.evaluate("document.documentElement.scrollWidth") <= 700


def test_images_and_maps_lie_on_their_pixels(page, inspector):
    """The middle of every enlarged pixel has the colour of the pixel, and every patch that of its value."""
    page.goto("about:blank")
    data = inspector._data()
    del data["other"]  # the outlines stay: a pixel under one is not compared
    page.evaluate(MOVE_ALL, [source(), "inspector", data, inspector.start, False])
    shown = page.evaluate(
        """() => [...document.querySelectorAll("canvas")].map((canvas) => {
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height), middles = [];
          for (let y = 7; y < 448; y += 14) for (let x = 7; x < 448; x += 14)
            middles.push([...data.slice(4 * (448 * y + x), 4 * (448 * y + x) + 3)]);
          return canvas.width === 448 && canvas.height === 448 ? middles : null;
        })"""
    )
    shown = np.array(shown).reshape(-1, 32, 32, 3)
    row, column = inspector.start["row"], inspector.start["column"]
    far = np.ones((32, 32), dtype=bool)
    edge = 32 // min(block.grid[0] for block in inspector.blocks) + 2
    r, c = row * 32 // inspector.grid[0], column * 32 // inspector.grid[1]
    far[max(0, r - 2) : r + edge, max(0, c - 2) : c + edge] = False
    assert far.sum() > 800
    assert np.array_equal(shown[0][far], (255 * inspector.view).round()[far])

    sent, _ = inspector.attention(inspector.start["block"], "mean", row, column)
    values = np.kron(sent, np.ones((32 // sent.shape[0], 32 // sent.shape[1])))
    lightness = shown[1].sum(-1)[far][np.argsort(values[far], kind="stable")]  # cividis grows lighter all the way
    assert (np.diff(lightness) >= 0).all() and len(np.unique(lightness)) > 1


def test_the_marks_colours_are_the_palettes():
    assert f"light-dark({palette.BLUE}, {palette.SKY})".lower() in source()
