"""Pictures for people: their geometry, and that nothing is done to the photographs in them."""

from __future__ import annotations

import base64
import re
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from browser import screenshot
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from exposure_gym import viz
from exposure_gym.color import Space
from exposure_gym.filters import ALL_FILTERS
from exposure_gym.recipe import Edit, Recipe
from exposure_gym.viz import (
    contact_pages,
    contact_sheet,
    film_strip,
    in_words,
    shrink,
    steps_drawing,
    steps_figure,
    to_rgb8,
    write_png,
    write_steps,
)

EDITS = tuple(Edit.from_action(name, [0.3] * filter_.num_actions) for name, filter_ in ALL_FILTERS.items())


def frame(height: int = 192, width: int = 256, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).random((height, width, 3), dtype=np.float32) * 1.2


def find(strip: NDArray[np.uint8], picture: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Places (y, x) where a picture stands in a strip, pixel for pixel."""
    height, width = picture.shape[:2]
    starts = np.argwhere((strip == picture[0, 0]).all(-1))
    return [(int(y), int(x)) for y, x in starts if np.array_equal(strip[y : y + height, x : x + width], picture)]


def test_frames_stand_side_by_side_and_untouched() -> None:
    frames = [frame(seed=seed) for seed in range(3)]
    strip = film_strip(frames, ["exposure\n+1.0 EV", "gamma\n1/2.40"])
    assert strip.dtype == np.uint8
    assert strip.shape[2] == 3
    places = [find(strip, to_rgb8(picture)) for picture in frames]
    assert [len(place) for place in places] == [1, 1, 1]
    (y0, x0), (y1, x1), (y2, x2) = (place[0] for place in places)
    assert y0 == y1 == y2
    assert x2 - x1 == x1 - x0 > 256
    assert strip.shape[1] == x2 + 256 + x0  # the same margin on both sides


def test_a_dark_input_stays_dark() -> None:
    dark = np.full((192, 256, 3), 0.02, np.float32)
    strip = film_strip([dark, dark * 10], ["exposure\n+3.3 EV"])
    codes = {tuple(pixel) for pixel in strip[100, ::16]}
    assert (5, 5, 5) in codes  # 0.02 * 255, no curve on it
    assert (51, 51, 51) in codes


@pytest.mark.parametrize("shape", [(64, 64), (300, 200), (200, 300), (10, 400)])
def test_other_sizes_are_resampled(shape: tuple[int, int]) -> None:
    frames = [np.full((*shape, 3), value) for value in (0.1, 0.5)]
    strip = film_strip(frames, ["gamma"], height=120)
    # Near the picture's middle, where neither text nor surround can be.
    rows = np.flatnonzero((strip == 128).all(-1).sum(1) > 0.5 * 120 * shape[1] / shape[0])
    assert len(rows) == 120


def test_edits_and_probabilities_add_drawings() -> None:
    frames = [frame(seed=seed) for seed in range(len(EDITS) + 1)]
    captions = [edit.describe() for edit in EDITS]
    plain = film_strip(frames, captions)
    drawn = film_strip(frames, captions, edits=EDITS)
    chances = [dict.fromkeys(ALL_FILTERS, 0.1)] * len(EDITS)
    bars = film_strip(frames, captions, edits=EDITS, probabilities=chances)
    assert plain.shape[1] == drawn.shape[1] == bars.shape[1]
    assert bars.shape[0] > drawn.shape[0]
    assert (bars == viz.ACCENT).all(-1).sum() > 8 * 20  # one chosen bar for each default filter
    assert not (drawn == viz.ACCENT).all(-1).any()


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: str(edit.filter))
def test_every_edit_has_a_drawing_of_its_own(edit: Edit) -> None:
    drawing = np.asarray(viz.glyph(edit, 44))
    neutral = np.asarray(viz.glyph(Edit(edit.filter, edit.function.neutral), 44))
    assert drawing.shape == (44, 44, 3)
    # Equal slopes, as here, are no change; and only they may look like none.
    assert np.array_equal(drawing, neutral) == edit.describe().endswith("no change")


@pytest.mark.parametrize("text", ["−0.5", "+0.5", "0–1", "café ×2", "日本"])
def test_text_never_shows_a_missing_letter(text: str) -> None:
    font = viz.Style.of(192).small
    missing = bytes(font.getmask("\U0010ffff"))
    printable = viz.printable(text, font)
    assert len(printable) >= 1
    assert all(bytes(font.getmask(letter)) != missing for letter in printable.replace("−", ""))


def test_a_minus_is_drawn() -> None:
    strips = [film_strip([frame()] * 2, [f"contrast\n{sign}40 %"]) for sign in ("", "−", "+")]
    assert not np.array_equal(strips[0], strips[1])
    assert not np.array_equal(strips[1], strips[2])


def test_long_captions_wrap_inside_their_cell() -> None:
    long = "colour curves\n" + "more red in shadows, " * 6
    strip = film_strip([frame(192, 128)] * 2, [long])
    assert np.array_equal(strip[-10:], np.broadcast_to(viz.SURROUND, strip[-10:].shape))
    assert np.array_equal(strip[:, -10:], np.broadcast_to(viz.SURROUND, strip[:, -10:].shape))


@pytest.mark.parametrize(
    ("frames", "captions", "options", "message"),
    [
        ([], [], {}, "0 frames"),
        ([frame()], ["a"], {}, "1 frames need 0 captions"),
        ([frame()] * 2, ["a"], {"edits": EDITS[:2]}, "as many edits"),
        ([frame()] * 2, ["a"], {"probabilities": []}, "as many probabilities"),
        ([frame(), frame(192, 200)], ["a"], {}, "same shape"),
        ([np.zeros((4, 4))], [], {}, r"\(H, W, 3\)"),
    ],
)
def test_strips_that_cannot_be(frames: list[Any], captions: list[str], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        film_strip(frames, captions, **options)


def test_steps_figure_shows_each_step() -> None:
    pixels = frame(192, 288) * 0.2
    recipe = Recipe((Edit("exposure", (1.0,)), Edit("gamma", (0.5,))))
    strip = steps_figure(recipe, pixels)
    halfway = Recipe(recipe.edits[:1]).apply_photo(pixels)
    for picture in (pixels, halfway, recipe.apply_photo(pixels)):
        assert len(find(strip, to_rgb8(picture))) == 1


@pytest.mark.parametrize("space", ["prophoto", "rec2020"])
def test_steps_figure_of_a_wide_space_has_srgb_colours(space: Space) -> None:
    grey, red = np.full((192, 192, 3), 0.16), np.zeros((192, 192, 3))
    red[..., 0] = 0.2
    recipe = Recipe((Edit("gamma", (0.5,)),), space)
    assert find(steps_figure(recipe, grey), np.full((190, 190, 3), 102, np.uint8))
    shown = steps_figure(recipe, red)
    assert not find(shown, to_rgb8(np.full((190, 190, 3), [0.2, 0, 0])))


def test_shrink() -> None:
    pixels = frame(600, 900)
    small = shrink(pixels, 300)
    assert small.shape == (200, 300, 3)
    np.testing.assert_allclose(small[0, 0], pixels[:3, :3].mean((0, 1)), rtol=1e-5)
    assert shrink(small, 300) is small
    assert shrink(frame(2, 2000), 100).shape == (1, 100, 3)


def test_contact_sheet() -> None:
    images = [frame(20, 30, seed) for seed in range(5)]
    sheet = contact_sheet(images, columns=3)
    places = [find(sheet, to_rgb8(image))[0] for image in images]
    assert [y for y, _ in places] == [places[0][0]] * 3 + [places[3][0]] * 2
    assert [x for _, x in places[:2]] == [x for _, x in places[3:]]
    codes = np.full((10, 10, 3), 7, np.uint8)
    assert find(contact_sheet([codes]), codes)
    with pytest.raises(ValueError, match="at least one image"):
        contact_sheet([])


def test_codes() -> None:
    values = np.array([[[0.0, 1.0, 2.0], [-1.0, np.nan, 0.5], [np.inf, -np.inf, 0.2]]])
    assert to_rgb8(values).tolist() == [[[0, 255, 255], [0, 0, 128], [255, 0, 51]]]


def test_write_png(tmp_path: Path) -> None:
    codes = to_rgb8(frame(20, 30))
    write_png(tmp_path / "a.png", codes)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), codes)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_strip_ends_with_what_was_wanted() -> None:
    pixels = np.full((20, 30, 3), 0.25, np.float32)
    recipe = Recipe((Edit("exposure", (1.0,)),), input_domain="display")
    wanted = np.full((20, 30, 3), 0.75, np.float32)
    plain, longer = steps_figure(recipe, pixels), steps_figure(recipe, pixels, wanted=wanted)
    assert longer.shape[0] == plain.shape[0]
    assert longer.shape[1] - plain.shape[1] == (plain.shape[1] - 40 + 30) // 2  # one more picture and gutter
    assert (longer == 191).all(axis=2).sum() >= 100 * 192  # 0.75, as it is
    assert (plain == 191).all(axis=2).sum() < 100  # of letters
    linear = steps_figure(Recipe(recipe.edits), pixels)
    assert not np.array_equal(linear, plain)  # "linear light, as recorded" against "as it was"


def test_captions_stand_below_their_pictures() -> None:
    images = [np.full((40, 60, 3), value) for value in (0.0, 1.0, 0.5)]
    plain, captioned = contact_sheet(images, 2), contact_sheet(images, 2, ["one", "two", "three"])
    assert captioned.shape[1] == plain.shape[1]
    line = (captioned.shape[0] - plain.shape[0]) // 2
    assert line > 10
    np.testing.assert_array_equal(captioned[:44], plain[:44])
    below = captioned[44 : 44 + line].astype(int)
    assert (below.max(axis=(0, 2)) > 100).nonzero()[0][[0, -1]].tolist()[1] > 64 > 4  # under both pictures
    with pytest.raises(ValueError, match="as many captions"):
        contact_sheet(images, 2, ["one"])


def test_samples_stand_beside_the_photograph_in_even_rows() -> None:
    pixels = np.full((40, 60, 3), 0.1, np.float32)
    recipes = [Recipe((Edit("exposure", (float(i),)),)) for i in (1, 2, 3, 1, 2)]
    figure = viz.samples_figure(recipes, pixels, [str(i) for i in range(5)])
    assert figure.shape[1] == 3 * 60 + 4 * 4  # six pictures: two rows of three
    for value, x in ((26, 4), (51, 68), (102, 132)):  # 0.1, and one and two stops more, in codes
        assert (figure[4:44, x : x + 60] == value).all()
    prophoto = viz.samples_figure([Recipe((Edit("exposure", (1.0,)),), "prophoto")], pixels, ["1"])
    assert prophoto.shape[1] == 2 * 60 + 3 * 4


def chances(**some: float) -> dict[str, float]:
    """Of all default filters."""
    return dict.fromkeys(ALL_FILTERS, 0.02) | some


def parts(svg: str, tag: str) -> list[ElementTree.Element]:
    return ElementTree.fromstring(svg).findall(f".//{{http://www.w3.org/2000/svg}}{tag}")


RECIPE = Recipe((Edit("exposure", (1.0,)), Edit("tone", (0.5, 0.5, 1, 1, 1, 2, 2, 1)), Edit("contrast", (-0.4,))))
SURE = (chances(exposure=0.625), chances(tone=0.4), chances(contrast=0.91))


def test_a_figure_shows_how_sure_each_step_was() -> None:
    strip = steps_figure(RECIPE, frame(192, 288) * 0.2, probabilities=SURE)
    bars = []
    for i in (1, 2, 3):
        accent = (strip == viz.ACCENT).all(-1)[:, 20 + i * (288 + 30) + 1 :][:, : 288 - 1]
        bars.append(accent.cumprod(axis=1).sum(axis=1))  # from the left, without a gap
    np.testing.assert_allclose([bar.max() for bar in bars], np.array([0.625, 0.4, 0.91]) * (288 - 48), atol=1)
    tops = [int(np.flatnonzero(bar)[0]) for bar in bars]
    names = list(SURE[0])
    assert np.diff(tops).tolist() == [
        17 * (names.index(b) - names.index(a)) for a, b in (("exposure", "tone"), ("tone", "contrast"))
    ]


def test_an_svg_holds_all_that_the_picture_shows() -> None:
    pixels = frame(600, 900) * 0.2
    drawing = steps_drawing(RECIPE, pixels, probabilities=SURE)
    svg = drawing.to_svg("how", in_words(RECIPE, SURE))
    assert [each.text for each in parts(svg, "title")] == ["how"]
    (words,) = parts(svg, "desc")
    assert words.text == "\n".join(
        f"{i}. {edit} ({chance} %)" for i, (edit, chance) in enumerate(zip(RECIPE, (62, 40, 91), strict=True), 1)
    )
    root = ElementTree.fromstring(svg)
    assert root.attrib["role"] == "img"
    ids = {each.attrib["id"] for each in root.iter() if "id" in each.attrib}
    assert set(root.attrib["aria-labelledby"].split()) == ids
    texts = [each.text for each in parts(svg, "text")]
    said = ["before", "exposure", "+1.0\u00a0EV", "tone curve", "−40\u00a0%", "3  after", "62 %", "40 %", "91 %"]
    assert [text for text in said if text not in texts] == []
    assert len(parts(svg, "path")) == 3 * 2 + 3  # a curve with its diagonal, and a chevron, a step
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg\")", svg)  # nothing from elsewhere
    images = parts(svg, "image")
    assert len(images) == 4
    for image in images:
        assert {float(image.attrib[side]) for side in ("width", "height")} == {288.0, 192.0}
        with Image.open(BytesIO(base64.b64decode(image.attrib["href"].partition("base64,")[2]))) as opened:
            assert opened.size == (576, 384)  # two pixels a pixel
            small = np.asarray(opened.resize((288, 192), Image.Resampling.BOX), float)
            assert np.abs(small - small.mean()).mean() > 1
    shown = np.asarray(Image.open(BytesIO(base64.b64decode(images[0].attrib["href"].partition("base64,")[2]))), float)
    np.testing.assert_allclose(shown.mean((0, 1)), 255 * pixels.mean((0, 1)), atol=1.5)


@settings(deadline=None, max_examples=60)
@given(st.text())
def test_any_text_makes_an_svg_that_can_be_read(text: str) -> None:
    drawing = viz.Drawing(20, 20)
    drawing.text((1, 1), f"|{text}", viz.Style.of(192).small, viz.TEXT)
    svg = drawing.to_svg(text, text)
    (title,), (line,) = parts(svg, "title"), parts(svg, "text")
    kept = re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]", "\ufffd", text)
    assert (title.text or "") == kept.replace("\r\n", "\n").replace("\r", "\n")
    assert line.text is not None
    assert len(line.text) <= len(text) + 1


def test_a_browser_draws_the_svg_as_the_png(tmp_path: Path) -> None:
    # Something smooth: codecs and browsers resample noise each in their own way.
    y, x = np.mgrid[:200, :300] / 300
    pixels = np.stack([0.3 * x, 0.2 * y, 0.1 + 0.1 * np.sin(9 * x)], 2)
    recipe = Recipe((*RECIPE, Edit("saturation", (0.7,)), Edit("white_balance", (1.1, 1.0, 0.8))))
    sure = (*SURE, chances(saturation=0.5), chances(white_balance=0.3))
    for kind in ("svg", "png"):
        write_steps(tmp_path / f"steps.{kind}", recipe, pixels, probabilities=sure)
    png = np.asarray(Image.open(tmp_path / "steps.png"), float)
    svg = screenshot(tmp_path / "steps.svg", png.shape[1], png.shape[0]).astype(float)
    assert np.abs(svg - png).mean() < 1.5
    assert np.abs(svg - png).max(axis=2).mean(axis=1).max() < 40  # no line of text or row of bars elsewhere
    assert (np.abs(svg - png).max(axis=2) > 24).mean() < 0.02


def test_steps_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    write_steps(tmp_path / "a.svg", Recipe(source='<&"\x00.jpg'), frame(20, 30))
    svg = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert [each.text for each in parts(svg, "title")] == ['How <&"\ufffd.jpg was retouched, step by step']
    assert [each.text for each in parts(svg, "desc")] == ["no change"]
    with pytest.raises(ValueError, match="as many probabilities"):
        write_steps(tmp_path / "b.svg", RECIPE, frame(20, 30), probabilities=())
    assert [path.name for path in tmp_path.iterdir()] == ["a.svg"]


def test_contact_sheets_of_mixed_shapes() -> None:
    shapes = [(20, 30), (30, 20), (20, 30), (10, 60)]
    images = [np.full((*shape, 3), (0.2 + 0.1 * i, 0.5, 0.0)) for i, shape in enumerate(shapes)]
    sheet = contact_sheet(images, 2, ["a", "b", "c", "d"])
    boxes = []
    for image in images:
        place = np.argwhere((sheet == to_rgb8(image)[0, 0]).all(-1))
        boxes.append((place.min(0), place.max(0) + 1))
        assert tuple(boxes[-1][1] - boxes[-1][0]) == image.shape[:2]
    assert boxes[0][1][0] == boxes[1][1][0]  # a row stands on a line
    assert boxes[2][1][0] == boxes[3][1][0]
    middles = [(low[1] + high[1]) / 2 for low, high in boxes]
    assert middles[0] == middles[2]  # and columns have a middle
    assert middles[1] == middles[3]
    assert boxes[2][1][0] - boxes[0][1][0] < 30 + 24  # a lower row takes less room


@pytest.mark.parametrize("count", [1, 6, 7, 20])
def test_contact_pages_have_a_size_limit(count: int) -> None:
    rng = np.random.default_rng(count)
    shapes = rng.integers(40, 400, (count, 2)).tolist()
    images = {f"photo-{i}": frame(height, width, i) for i, (height, width) in enumerate(shapes)}
    pages = list(contact_pages(images.items(), edge=64, columns=3, rows=2))
    assert len(pages) == -(-count // 6)
    for page in pages:
        assert page.shape[0] <= 2 * (64 + 24 + 4) + 4
        assert page.shape[1] <= 3 * (64 + 4) + 4
    assert sum(len(find(page, shrink(to_rgb8(image), 64))) for image in images.values() for page in pages) == count
    assert list(contact_pages([])) == []


@settings(deadline=None, max_examples=40)
@given(st.text("abcXYZ 0123_-é", max_size=60), st.integers(0, 200))
def test_long_names_lose_their_middle(text: str, width: int) -> None:
    font = viz.Style.of(192).small
    shorter = viz.elide(text, width, font)
    assert shorter == text or "..." in shorter
    if shorter != "...":
        assert viz.text_length(shorter, font) <= width
    if shorter != text:
        head, _, tail = shorter.partition("...")
        assert text.startswith(head)
        assert text.endswith(tail)
