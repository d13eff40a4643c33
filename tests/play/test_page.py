"""The page as a reader meets it, in a real browser."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from minicnn import data, models, nn, play, predict
from minicnn.cli import main
from minicnn.train import load_model
from tests.arrays import trains
from tests.play.opened import Opened

pytestmark = pytest.mark.slow

DIGIT_3 = [(90, 70), (150, 55), (185, 85), (140, 130), (190, 175), (150, 225), (85, 205)]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory) -> Path:
    """A run on the digits, as the command leaves it."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    words = ["train", "lenet5", "--epochs", "3", "--batch-size", "32", "--quiet", "--out", folder]
    assert main([str(word) for word in words]) == 0
    return folder


@pytest.fixture(scope="module")
def file(run_folder) -> Path:
    assert main(["play", str(run_folder), "--no-browser"]) == 0
    return run_folder / "play.html"


@pytest.fixture
def page(chromium, file):
    with Opened(chromium, file) as opened:
        yield opened


def stroke(page: Opened, points: list[tuple[float, float]]) -> None:
    """Draw with real pointer events, the points on paper of 280 x 280."""
    page.page.evaluate("scrollTo(0, 0)")
    box = page.page.locator("#pad").bounding_box()
    at = [
        (box["x"] + x * box["width"] / 280, box["y"] + y * box["height"] / 280) for x, y in points
    ]
    page.page.mouse.move(*at[0])
    page.page.mouse.down()
    for x, y in at[1:]:
        page.page.mouse.move(x, y, steps=4)
    page.page.mouse.up()
    page.settle()


def paper(page: Opened) -> np.ndarray:
    """Return the pixels of the drawing as the page would save them."""
    url = page.evaluate("document.getElementById('pad').toDataURL('image/png')")
    return np.asarray(
        Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB")
    )


@trains
def test_the_file_is_whole_and_asks_for_nothing(page, file):
    assert page.requests == [file.as_uri()]
    assert "Content-Security-Policy" in file.read_text(encoding="utf-8")
    assert page.text("h1") == "lenet5 on digits"
    assert page.evaluate("document.querySelectorAll('.layer').length") == 13


@trains
def test_a_drawing_is_answered_as_predict_answers_it(page, run_folder, tmp_path):
    page.click("#clear")
    stroke(page, DIGIT_3)
    model, config = load_model(run_folder)
    Image.fromarray(paper(page)).save(tmp_path / "drawing.png")
    image = predict.see(tmp_path / "drawing.png", config).image
    shown = page.evaluate("Array.from(minicnn.state.x)")
    expected = data.normalize(image[None], config.normalization)
    np.testing.assert_allclose(shown, expected.ravel(), atol=1e-6)
    logits = page.evaluate("Array.from(minicnn.state.ys.at(-1))")
    np.testing.assert_allclose(logits, model(expected)[0], rtol=1e-5, atol=1e-4)
    answer = config.classes[int(np.argmax(logits))]
    assert page.text("#answer-now").startswith(answer)
    assert page.text("#source") == "your drawing"
    page.click("#undo")
    page.settle()
    assert "nothing stands out" in page.text("#prepared")


@trains
def test_the_loss_falls_by_a_step_and_undo_takes_it_back(page):
    page.page.select_option("#target", "8")
    page.settle()
    before = page.evaluate("minicnn.state.loss")
    weights = page.evaluate("Array.from(minicnn.network.arrays['fc3.weight'])")
    page.click("#step-one")
    page.settle()
    assert page.evaluate("minicnn.state.loss") < before
    assert page.evaluate("Array.from(minicnn.network.arrays['fc3.weight'])") != weights
    assert "before" in page.text("#taught")
    page.click("#undo-step")
    page.settle()
    assert page.evaluate("minicnn.state.loss") == pytest.approx(before)
    assert page.evaluate("Array.from(minicnn.network.arrays['fc3.weight'])") == weights
    page.click("#step-all")
    page.settle()
    told = re.match(r"Mean loss on the 60: (\S+) before, (\S+) after", page.text("#taught"))
    assert told
    assert float(told[2]) < float(told[1])
    page.click("#untaught")
    page.settle()
    assert page.evaluate("Array.from(minicnn.network.arrays['fc3.weight'])") == weights


@trains
def test_the_image_becomes_more_of_a_class_and_stays_an_image(page):
    page.page.select_option("#target", "3")
    page.settle()
    before = page.evaluate("minicnn.state.loss")
    for _ in range(5):
        page.click("#more-of")
        page.settle()
    assert page.evaluate("minicnn.state.loss") < before
    mean, std = page.evaluate("[minicnn.content.mean[0], minicnn.content.std[0]]")
    pixels = np.array(page.evaluate("Array.from(minicnn.state.x)")) * std + mean
    assert pixels.min() > -1e-9
    assert pixels.max() < 1 + 1e-9
    page.page.select_option("#target", "8")
    page.settle()
    assert page.page.inner_text("#more-of") == "Make the image more of an 8"


@trains
def test_maps_stay_where_they_are_between_forward_and_backward(page):
    places = "[...document.querySelectorAll('.layer canvas')].map(c => {" \
        "const b = c.getBoundingClientRect(); return [b.x, b.y, b.width, b.height] })"  # fmt: skip
    forward = page.evaluate(places)
    page.page.select_option("#target", "5")
    page.click("#backward")
    page.settle()
    assert page.evaluate(places) == forward
    assert page.evaluate("minicnn.state.dys.length") == 13
    assert page.text("#answer-last") == "gradient"
    assert page.page.is_visible("#evidence")


@trains
def test_a_unit_is_explained_by_touch_and_by_keys(page):
    canvas = page.page.locator("#layer-4 canvas").first
    canvas.click(position={"x": 20, "y": 20})
    assert page.text("#unit-title").startswith("conv2, map 0, row")
    assert "It sees 14\N{MULTIPLICATION SIGN}14 pixels" in page.text("#unit-field")
    assert page.evaluate("document.querySelectorAll('#unit-terms .group').length") == 6
    page.page.keyboard.press("PageDown")
    assert page.text("#unit-title").startswith("conv2, map 1, row")
    page.click("#backward")
    page.settle()
    assert page.page.is_visible("#given")
    page.page.keyboard.press("Tab")
    page.click("#unit-close")
    assert not page.page.is_visible("#unit")


@trains
def test_the_colours_of_maps_are_those_of_viz(page):
    from matplotlib.colors import to_rgb

    from minicnn.viz.paper import BLUE, VERMILION, shades

    signed = shades(BLUE, "white", VERMILION)
    y = page.evaluate("Array.from(minicnn.state.ys[1])")
    limit = np.abs(y).max()
    expected = np.round(np.array(signed((y[0] / limit + 1) / 2)[:3]) * 255)
    shown = page.evaluate("Array.from(document.querySelector('#layer-1 canvas')"
                          ".getContext('2d').getImageData(0, 0, 1, 1).data)")  # fmt: skip
    np.testing.assert_allclose(shown[:3], expected, atol=2)  # 255 shades there, 128 here
    assert to_rgb("white") == (1, 1, 1)


@trains
def test_drawing_by_keys_alone(page):
    page.page.focus("#pad")
    for key in ["ArrowUp"] * 2 + [" "] + ["ArrowDown"] * 14 + [" "]:
        page.page.keyboard.press(key)
    page.settle()
    assert page.text("#source") == "your drawing"
    assert (paper(page)[:, :, 0] < 100).any()


@trains
def test_a_dropped_file(page, tmp_path):
    text = tmp_path / "notes.png"
    text.write_text("no picture", encoding="utf-8")
    page.page.set_input_files("#file", str(text))
    page.page.wait_for_selector("#message:not([hidden])")
    assert page.text("#message-text") == (
        "notes.png is no image that this browser can read. Take a PNG or a JPEG."
    )
    sheet = Image.new("RGB", (300, 200), "white")
    ImageDraw.Draw(sheet).line([(150, 30), (150, 170)], fill="black", width=14)
    sheet.save(tmp_path / "one.png")
    page.page.set_input_files("#file", str(tmp_path / "one.png"))
    page.page.wait_for_selector("#message", state="hidden")
    page.settle()
    assert page.text("#source") == "one.png"
    expected = data.prepare_digit(np.asarray(sheet), "digits").image
    mean, std = page.evaluate("[minicnn.content.mean[0], minicnn.content.std[0]]")
    shown = np.array(page.evaluate("Array.from(minicnn.state.x)")) * std + mean
    np.testing.assert_allclose(np.round(shown * 255), expected.ravel())


@trains
def test_words_derivations_and_hints(page):
    assert page.page.is_visible("#hints") is False  # closed by the fixture, as by a reader
    page.click("#help")
    assert page.evaluate("document.querySelectorAll('#hints li').length") == 3
    page.click("#korean")
    assert page.text("#gallery-title") == "Test images (테스트 데이터)"
    page.click("#korean")
    assert page.text("#gallery-title") == "Test images"
    page.click("#layer-1 button.link")
    assert "dweight" in page.text("#derivation-text")
    page.page.keyboard.press("Escape")
    assert not page.page.is_visible("#derivation")


@trains
@pytest.mark.parametrize("width", [390, 1000, 1440, 2560])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut_off(chromium, file, width, scheme):
    with Opened(chromium, file, width=width, scheme=scheme) as page:
        for mode in ("#forward", "#backward"):
            page.click(mode)
            page.settle()
            page.page.locator("#layer-4 canvas").first.click(position={"x": 9, "y": 9})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            cut = page.evaluate(
                "[...document.querySelectorAll('main *')].filter(e => e.clientWidth && "
                "!e.closest('.grid, select') && getComputedStyle(e).overflowX !== 'auto' && "
                "e.scrollWidth > e.clientWidth + 6 && getComputedStyle(e).display !== 'inline')"
                ".map(e => e.id || e.className || e.tagName)"
            )
            assert cut == []


def axe() -> Path:
    """Return axe-core, which `.ci/run` installs beside the linters; skip where it is missing."""
    own = Path(play.__file__).parent / "node_modules"
    place = Path(os.environ.get("MINICNN_NODE_MODULES", own)) / "axe-core" / "axe.min.js"
    if not place.exists():
        pytest.skip("axe-core is not installed: npm install, in minicnn/play")
    return place


@trains
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_serious_for_those_who_see_or_hear_it_otherwise(chromium, file, scheme):
    script = axe().read_text(encoding="utf-8")
    with Opened(chromium, file, scheme=scheme) as page:
        page.click("#backward")
        page.settle()
        page.page.locator("#layer-4 canvas").first.click(position={"x": 9, "y": 9})
        page.evaluate(script + "; 0")
        found = page.evaluate("axe.run().then(r => r.violations.map(v => [v.impact, v.id, "
                              "v.nodes.slice(0, 3).map(n => n.html)]))")  # fmt: skip
        assert [one for one in found if one[0] in ("serious", "critical")] == []


# ------------------------------------------------------------------------------ what can be wrong


@trains
def test_a_run_that_is_not_finished_or_damaged(run_folder, tmp_path, capsys):
    folder = Path(shutil.copytree(run_folder, tmp_path / "run"))
    (folder / "play.html").unlink(missing_ok=True)
    (folder / "result.json").unlink()
    assert main(["play", str(folder), "--no-browser"]) == 2
    assert "this run is not finished" in capsys.readouterr().err
    (folder / "result.json").write_text("[]", encoding="utf-8")
    assert main(["play", str(folder), "--no-browser"]) == 2
    assert "result.json" in capsys.readouterr().err
    shutil.copy(run_folder / "result.json", folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    del config["sha256"]
    config["data"]["classes"] = list("abcdefghij")  # the images are as large as before
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert main(["play", str(folder), "--no-browser"]) == 2
    assert "Give the data that it was trained on" in capsys.readouterr().err
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    assert main(["play", str(folder), "--no-browser"]) == 2
    assert "model.safetensors" in capsys.readouterr().err
    assert not (folder / "play.html").exists()
    assert main(["play", str(tmp_path / "nothing"), "--no-browser"]) == 2
    assert main(["play", str(run_folder), "--out", str(tmp_path / "page.txt")]) == 2
    assert "--out must end in .html" in capsys.readouterr().err


class Scaled(nn.Module):
    """A layer of the reader's own."""

    def forward(self, x, *, training):
        return 2 * x, None


class Doubled(nn.ReLU):
    """A layer of minicnn with another forward."""

    def forward(self, x, *, training):
        return super().forward(2 * x, training=training)


def test_the_page_is_opened_in_the_browser_unless_asked_not_to(run_folder, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    out = tmp_path / "a page.html"
    assert main(["play", str(run_folder), "--out", str(out), "--no-browser"]) == 0
    assert not opened
    assert main(["play", str(run_folder), "--out", str(out)]) == 0
    assert opened == [out.as_uri()]


def test_the_accuracy_of_a_run_of_another_library_is_not_known(tmp_path):
    assert play.accuracy(tmp_path) is None
    (tmp_path / "last.safetensors").write_bytes(b"")
    with pytest.raises(play.PlayError, match=r"this run is not finished\. Continue it by: minicnn"):
        play.accuracy(tmp_path)


def test_layers_that_the_page_does_not_know_are_all_named():
    rng = np.random.default_rng(0)
    model = nn.Sequential(
        conv=nn.Conv2d(1, 2, 3, rng=rng), odd=Scaled(), twice=Doubled(), flatten=nn.Flatten()
    )
    with pytest.raises(play.PlayError, match=r"does not know odd \(Scaled\), twice \(Doubled\)"):
        play.build(model, (1, 9, 9))
    with pytest.raises(play.PlayError, match="one score for each class"):
        play.build(nn.Sequential(nn.Conv2d(1, 2, 3, rng=rng)), (1, 9, 9))
    with pytest.raises(play.PlayError, match="too large for the page"):
        play.build(models.create("alexnet", 10), (3, 224, 224))
    with pytest.raises(play.PlayError, match="does not fit images"):
        play.build(models.create("lenet5"), (1, 9, 9))
    with pytest.raises(play.PlayError, match="over the channels only"):
        play.build(nn.Sequential(nn.Softmax(dim=2), nn.Flatten()), (1, 3, 3))


def test_words_are_those_of_the_glossary():
    root = Path(__file__).parents[2]
    glossary = (root / "examples" / "GLOSSARY.md").read_text(encoding="utf-8")
    terms = dict(re.findall(r"^\*\*([^*]+)\*\* \(([^:]+)\):", glossary, re.MULTILINE))
    words = json.loads((Path(play.__file__).parent / "page" / "words.json").read_text("utf-8"))
    assert words
    assert {word: terms.get(word) for word in words} == words
    page = Path(play.__file__).parent / "page"
    used = set(re.findall(r'data-word="([^"]+)"', (page / "index.html").read_text("utf-8")))
    for module in page.rglob("*.js"):
        used |= set(re.findall(r'word\("([^"]+)"', module.read_text("utf-8")))
    assert used <= set(words)


def test_what_stands_in_the_file_cannot_break_out_of_it():
    from minicnn.play.bundle import _as_json, script

    assert "</script" not in _as_json({"classes": ["</script><b>"]})
    assert json.loads(_as_json({"classes": ["</script>"]})) == {"classes": ["</script>"]}
    text = script(Path(play.__file__).parent / "page" / "main.js")
    assert "import " not in {line[:7] for line in text.splitlines()}
    assert "</script" not in text
