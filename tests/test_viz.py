"""Pictures for people: their geometry, and that nothing is done to the photographs in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from exposure_gym import viz
from exposure_gym.filters import ALL_FILTERS
from exposure_gym.recipe import Edit, Recipe
from exposure_gym.viz import (
    contact_sheet,
    film_strip,
    shrink,
    steps_figure,
    to_rgb8,
    write_png,
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
    chances = np.full((len(EDITS), 8), 0.125)
    bars = film_strip(frames, captions, edits=EDITS, probabilities=chances.tolist())
    assert plain.shape[1] == drawn.shape[1] == bars.shape[1]
    assert bars.shape[0] > drawn.shape[0]
    assert (bars == viz.ACCENT).all(-1).sum() > 8 * 20  # one chosen bar for each default filter
    assert not (drawn == viz.ACCENT).all(-1).any()


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: str(edit.filter))
def test_every_edit_has_a_drawing_of_its_own(edit: Edit) -> None:
    drawing = np.asarray(viz._glyph(edit, 44))
    neutral = np.asarray(viz._glyph(Edit(edit.filter, edit.function.neutral), 44))
    assert drawing.shape == (44, 44, 3)
    # Equal slopes, as here, are no change; and only they may look like none.
    assert np.array_equal(drawing, neutral) == edit.describe().endswith("no change")


@pytest.mark.parametrize("text", ["−0.5", "+0.5", "0–1", "café ×2", "日本"])
def test_text_never_shows_a_missing_letter(text: str) -> None:
    font = viz._Style.of(192).small
    missing = bytes(font.getmask("\U0010ffff"))
    printable = viz._printable(text, font)
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


def test_steps_figure_of_prophoto_has_srgb_colours() -> None:
    grey, red = np.full((192, 192, 3), 0.16), np.zeros((192, 192, 3))
    red[..., 0] = 0.2
    recipe = Recipe((Edit("gamma", (0.5,)),), "prophoto")
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
