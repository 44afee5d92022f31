"""Recipes: the same picture from every form of them, and files that are read strictly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from recipe_tools import every_filter, photo, recipes

from exposure_gym import recipe as recipe_module
from exposure_gym.filters import ALL_FILTERS, MASK_NAMES
from exposure_gym.recipe import Edit, Recipe

# Applying.


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("shape", [(23, 31), (31, 23), (1, 9), (9, 1)])
def test_numpy_and_torch_give_the_same_picture(masked: bool, shape: tuple[int, int]) -> None:
    recipe, pixels = (
        every_filter(masked),
        photo(*(max(4, n) for n in shape))[: shape[0], : shape[1]],
    )
    image = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    expected = recipe.apply(torch.from_numpy(image)).numpy()
    assert abs(expected - image).max() > 0.05
    np.testing.assert_allclose(recipe.apply(image), expected, atol=1e-12)
    np.testing.assert_allclose(recipe.apply(image[None])[0], expected, atol=1e-12)
    np.testing.assert_allclose(recipe.apply_photo(pixels).transpose(2, 0, 1), expected, atol=1e-12)
    tensor = recipe.apply_photo(torch.from_numpy(np.ascontiguousarray(pixels))).numpy()
    np.testing.assert_allclose(tensor.transpose(2, 0, 1), expected, atol=1e-12)


@pytest.mark.parametrize("name", ALL_FILTERS)
@pytest.mark.parametrize("masked", [False, True])
def test_float32_numpy_and_torch(name: str, masked: bool) -> None:
    edit = next(edit for edit in every_filter(masked) if edit.filter == name)
    image = np.stack([photo(dtype=np.float32).transpose(2, 0, 1)] * 2)
    image[1] = image[1, :, ::-1]
    result = Recipe((edit,)).apply(image)
    assert result.dtype == np.float32
    expected = Recipe((edit,)).apply(torch.from_numpy(image.copy())).numpy()
    np.testing.assert_allclose(result, expected, atol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("tile", [1, 100, 340])
def test_tiles_give_the_whole_picture(masked: bool, tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, pixels = every_filter(masked), photo(64, 33)
    before = pixels.copy()
    whole = recipe.apply_photo(pixels)
    monkeypatch.setattr(recipe_module, "TILE_PIXELS", tile)
    np.testing.assert_allclose(recipe.apply_photo(pixels), whole, atol=1e-12)
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize("masked", [False, True])
def test_a_photo_can_be_edited_in_place(masked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe_module, "TILE_PIXELS", 100)
    recipe, pixels = every_filter(masked), photo(64, 33)
    expected = recipe.apply_photo(pixels)
    assert recipe.apply_photo(pixels, out=pixels) is pixels
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("out", [np.empty((23, 31, 3), np.float32), np.empty((31, 23, 3))])
def test_an_out_unlike_the_photo_is_refused(out: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match=r"^out must be an array like the photo, not float"):
        Recipe().apply_photo(photo(), out=out)
    with pytest.raises(ValueError, match=r"^out must be an array like the photo"):
        Recipe().apply_photo(torch.from_numpy(photo()), out=out)


def test_an_edit_before_a_masked_one_moves_its_mask() -> None:
    """A luminance mask looks at the picture as it is by then, not at the input."""
    mask = (0.0, 0.0, 5.0, 0.0, 5.0, 5.0)
    last = Edit("black_white", (1.0,), mask)
    recipe = Recipe((Edit("exposure", (2.0,)), last))
    in_two = Recipe((last,)).apply_photo(Recipe(recipe.edits[:1]).apply_photo(photo()))
    np.testing.assert_allclose(recipe.apply_photo(photo()), in_two, atol=1e-12)


def test_tensors_are_differentiable() -> None:
    image = torch.from_numpy(photo().transpose(2, 0, 1).copy()).requires_grad_()
    every_filter(masked=True).apply(image).sum().backward()
    assert image.grad is not None
    assert torch.isfinite(image.grad).all()
    assert image.grad.abs().sum() > 0


def test_no_edits_give_a_copy() -> None:
    pixels = photo()
    result = Recipe().apply_photo(pixels)
    np.testing.assert_array_equal(result, pixels)
    assert not np.shares_memory(result, pixels)
    tensor = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(0))
    copy = Recipe().apply(tensor)
    assert torch.equal(copy, tensor)
    assert copy.data_ptr() != tensor.data_ptr()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((5, 5, 3)), r"shape \(3, H, W\) or"),
        (np.zeros((3, 5)), r"not \(3, 5\)"),
        (np.zeros((3, 5, 5), np.uint8), "not uint8"),
        (torch.zeros(3, 5, 5, dtype=torch.int64), "not torch.int64"),
        ([[1.0]], r"not \(\)"),
    ],
)
def test_images_that_are_none(image: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe().apply(image)


def test_needs_no_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import numpy as np\n"
        "from exposure_gym.recipe import Edit, Recipe\n"
        "import exposure_gym.viz\n"
        "print(Recipe((Edit('exposure', (1.0,)),)).apply_photo(np.full((2, 2, 3), 0.25)).max())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0.5"


# Edits.


@pytest.mark.parametrize(
    ("filter", "parameters", "mask", "message"),
    [
        ("sharpen", (1.0,), None, "unknown filter 'sharpen'"),
        ("exposure", (), None, r"exposure takes 1 value \(exposure\), not 0"),
        ("tone", (1.0,) * 7, None, "tone takes 8 values"),
        ("exposure", (float("nan"),), None, "exposure: exposure must be a number within"),
        ("exposure", (float("inf"),), None, "not inf"),
        ("exposure", (101.0,), None, "within ±100"),
        ("exposure", (10**400,), None, "a huge integer"),
        ("exposure", ("1",), None, "not '1'"),
        ("exposure", (None,), None, "not None"),
        ("exposure", (True,), None, "not True"),
        ("gamma", None, None, "not None"),
        ("gamma", (0.0,), None, "gamma: every parameter must be above 0"),
        ("tone", (1.0,) * 7 + (-1.0,), None, "above 0, not -1"),
        ("level", (0.6, 0.5), None, "black must not be above white"),
        ("exposure", (1.0,), (0.0,) * 5, "mask of exposure takes 6"),
        ("exposure", (1.0,), (0.0,) * 5 + (float("nan"),), "mask of exposure: strength"),
    ],
)
def test_edits_that_are_none(filter: str, parameters: Any, mask: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        Edit(filter, parameters, mask)
    assert "\n" not in str(caught.value)


def test_a_recipe_is_a_sequence_of_edits() -> None:
    first, second = Edit("exposure", (1,)), Edit("gamma", (np.float64(0.5),))
    recipe = Recipe((first,)) + second
    assert list(recipe) == [first, second]
    assert len(recipe) == 2
    assert recipe == Recipe((Edit("exposure", (1.0,)), second))
    assert type(recipe.edits[0].parameters[0]) is float
    with pytest.raises(ValueError, match="working_space"):
        Recipe((), "adobe")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ALL_FILTERS)
def test_the_neutral_action_is_no_change(name: str) -> None:
    filter_ = ALL_FILTERS[name]
    neutral = Edit(name, filter_.neutral)
    assert neutral.describe().endswith(": no change")
    played = Edit.from_action(name, [filter_.neutral_action] * filter_.num_actions)
    assert played.describe() == neutral.describe()
    pixels = photo().clip(0.001, 1.0)
    for edit in (neutral, played):  # white balance divides by a luminance that is 1e-5 too large
        np.testing.assert_allclose(Recipe((edit,)).apply_photo(pixels), pixels, atol=2e-5)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (Edit("exposure", (1.3,)), "exposure +1.3 EV"),
        (Edit("exposure", (-0.25,)), "exposure −0.25 EV"),
        (Edit("exposure", (2.0,)), "exposure +2.0 EV"),
        (Edit("exposure", (-0.001,)), "exposure +0.0 EV"),
        (Edit("gamma", (1 / 2.4,)), "gamma 1/2.40"),
        (Edit("gamma", (1.5,)), "gamma 1.50"),
        (
            Edit("white_balance", (1.08, 1.0, 0.88)),
            "white balance warmer (red +8 %, blue −12 %)",
        ),
        (Edit("white_balance", (0.9, 1.0, 1.2)), "white balance cooler (red −10 %, blue +20 %)"),
        (Edit("white_balance", (1.0, 1.2, 1.0)), "white balance greener (green +20 %)"),
        (Edit("white_balance", (1.0, 0.8, 1.0)), "white balance more magenta (green −20 %)"),
        (
            Edit("white_balance", (1.2, 1.2, 1.2)),
            "white balance brighter (red +20 %, green +20 %, blue +20 %)",
        ),
        (Edit("saturation", (0.35,)), "saturation +35 %"),
        (Edit("contrast", (-0.4,)), "contrast −40 %"),
        (Edit("black_white", (0.6,)), "black and white 60 %"),
        (
            Edit("tone", (2.0, 1.5, 1, 1, 1, 1, 1, 1)),
            "tone curve (lifts shadows, mid-tones and highlights)",
        ),
        (
            Edit("tone", (0.5, 0.8, 1.2, 1.5, 1.5, 1.2, 0.8, 0.5)),
            "tone curve (lifts highlights, darkens shadows)",
        ),
        (
            Edit("color", (1.1,) * 4 + (0.9,) * 4 + (1.0,) * 8 + (0.9,) * 4 + (1.1,) * 4),
            "colour curves (more red; less blue)",
        ),
        (Edit("tone", (1.5,) * 8), "tone curve: no change"),
        (
            Edit("exposure", (1.0,), (-4.0, 0.0, 3.0, 0.0, 5.0, 5.0)),
            "exposure +1.0 EV, most at the top and in the highlights",
        ),
        (
            Edit("exposure", (1.0,), (-4.0, 0.0, 3.0, 0.0, -5.0, 5.0)),
            "exposure +1.0 EV, most at the bottom and in the shadows",
        ),
        (
            Edit("vignette", (4.0, 4.0, 2.0, 3.0, 3.0)),
            "vignette (corners −80 %, centre −11 %)",
        ),
        (Edit("level", (0.05, 1.2)), "levels (black 0.05, white 1.20)"),
    ],
)
def test_words(edit: Edit, words: str) -> None:
    assert str(edit) == words


def test_a_mask_acts_most_where_the_words_say() -> None:
    edit = Edit("exposure", (1.0,), (-4.0, 3.0, 0.0, 0.0, 5.0, 5.0))
    assert edit.describe().endswith("most at the top and on the right")
    result = Recipe((edit,)).apply_photo(np.full((20, 20, 3), 0.2))
    assert result[0, -1, 0] == result.max()
    assert result[-1, 0, 0] == result.min()


def test_a_recipe_in_words() -> None:
    assert str(Recipe()) == "no change"
    recipe = Recipe((Edit("exposure", (1.3,)), Edit("gamma", (1 / 2.4,))))
    assert str(recipe) == "exposure +1.3 EV, gamma 1/2.40"


# JSON.


@settings(max_examples=60, deadline=None)
@given(recipes())
def test_json_round_trip(recipe: Recipe) -> None:
    text = recipe.to_json()
    assert Recipe.from_json(text) == recipe
    assert Recipe.from_json(text).to_json() == text


def test_file_round_trip(tmp_path: Path) -> None:
    recipe = Recipe(every_filter(masked=True).edits, "prophoto", "caf\udce9 é.tif", 'say "hi"\n')
    path = tmp_path / "a.recipe.json"
    path.write_text("old")
    recipe.save(path)
    assert Recipe.load(path) == recipe
    assert "é.tif" in path.read_text(encoding="utf-8")
    assert list(tmp_path.iterdir()) == [path]
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert Recipe.load(path) == recipe
    with pytest.raises(OSError, match="No such file"):
        recipe.save(tmp_path / "missing" / "a.json")


def test_json_is_as_documented() -> None:
    text = (Path(__file__).parent.parent / "docs" / "recipe.md").read_text(encoding="utf-8")
    recipe = Recipe.from_json(text.split("```json\n")[1].split("```")[0])
    assert [edit.filter for edit in recipe] == [
        "exposure",
        "gamma",
        "white_balance",
        "tone",
        "contrast",
    ]
    assert recipe.edits[-1].mask == (-3.0, 0.0, 0.0, 0.0, 4.0, 5.0)
    assert recipe.source == "vineyard.tif"
    for name in ALL_FILTERS:
        assert f"`{name}`" in text
    for name in MASK_NAMES:
        assert f"`{name}`" in text


HEAD = '{"format": "exposure-gym recipe", "version": 1, "working_space": "srgb", "edits": '
BAD = [
    (b"", "not JSON"),
    (b"\xff\xfe", "UTF-8"),
    (b"{", "not JSON"),
    (b"[]", "not a recipe"),
    (b"{}", "not a recipe"),
    (b"[" * 100_000, "nested too deeply"),
    (b" " * 1_000_001, "too big"),
    (b'{"format": "exposure-gym recipe", "version": 2}', "version must be 1"),
    (b'{"format": "exposure-gym recipe", "version": true}', "not True"),
    (b'{"format": "exposure-gym recipe", "version": 1.0}', "not 1.0"),
    (b'{"format": "exposure-gym recipe", "version": 1, "edits": []}', "'working_space' is missing"),
    ((HEAD.replace("srgb", "adobe") + "[]}").encode(), "working_space must be"),
    ((HEAD + "{}}").encode(), "edits must be a list"),
    ((HEAD + '[], "extra": 1}').encode(), "unknown key 'extra'"),
    ((HEAD + '[], "edits": []}').encode(), "'edits' stands there twice"),
    ((HEAD + '[], "comment": 3}').encode(), "comment must be a text"),
    *(
        ((HEAD + f"[{edit}]}}").encode(), message)
        for edit, message in [
            ("3", r"edits\[0\] must be an object"),
            ('{"filter": "exposure"}', r"edits\[0\]: 'parameters' is missing"),
            ('{"filter": 3, "parameters": {}}', r"edits\[0\]\.filter must be a text"),
            ('{"filter": "blur", "parameters": {}}', r"edits\[0\]\.filter: unknown filter 'blur'"),
            ('{"filter": "exposure", "parameters": {}}', "'exposure' is missing"),
            ('{"filter": "exposure", "parameters": [1]}', r"\.parameters must be an object"),
            (
                '{"filter": "exposure", "parameters": {"exposure": 1, "ev": 1}}',
                "unknown key 'ev'",
            ),
            ('{"filter": "exposure", "parameters": {"exposure": NaN}}', "NaN is no number"),
            ('{"filter": "exposure", "parameters": {"exposure": -Infinity}}', "-Infinity"),
            ('{"filter": "exposure", "parameters": {"exposure": 1e999}}', "within ±100, not inf"),
            (
                f'{{"filter": "exposure", "parameters": {{"exposure": 1{"0" * 400}}}}}',
                "a huge integer",
            ),
            (
                '{"filter": "exposure", "parameters": {"exposure": "1"}}',
                "must be a number, not '1'",
            ),
            ('{"filter": "exposure", "parameters": {"exposure": true}}', "not True"),
            ('{"filter": "exposure", "parameters": {"exposure": null}}', "not None"),
            ('{"filter": "gamma", "parameters": {"gamma": 0}}', r"edits\[0\]: gamma: every"),
            ('{"filter": "tone", "parameters": {"slopes": [1, 1]}}', "a list of 8 numbers"),
            (
                '{"filter": "tone", "parameters": {"slopes": [1, 1, 1, 1, 1, 1, 1, "a"]}}',
                r"slopes\[7\] must be a number",
            ),
            (
                '{"filter": "exposure", "parameters": {"exposure": 1}, "mask": {}}',
                r"edits\[0\]\.mask: 'vertical' is missing",
            ),
            (
                '{"filter": "exposure", "parameters": {"exposure": 1}, "mask": null}',
                r"edits\[0\]\.mask must be an object",
            ),
        ]
    ),
]


@pytest.mark.parametrize(("data", "message"), BAD)
def test_bad_files(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.recipe.json"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message) as caught:
        Recipe.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 250


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_damaged_files_are_read_or_refused(data: st.DataObject) -> None:
    text = every_filter(masked=True).to_json()
    start = data.draw(st.integers(0, len(text) - 1))
    damaged = text[:start] + data.draw(st.text(max_size=3)) + text[start + 3 :]
    try:
        recipe = Recipe.from_json(damaged)
    except ValueError:  # anything else would be a crash
        return
    assert Recipe.from_json(recipe.to_json()) == recipe
