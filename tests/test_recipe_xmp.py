"""Sidecars: well-formed, in range, true to the recipe when read back, and rendered by darktable as we do."""

from __future__ import annotations

import math
import re
import shutil
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from xmp_accuracy import differences, render

from exposure_gym._xmp_stages import monotone_cubic, pick_points
from exposure_gym.color import FROM_SRGB, REC2020_TO_SRGB, TO_SRGB, srgb_decode, srgb_encode
from exposure_gym.filters import ALL_FILTERS, default_filters
from exposure_gym.recipe import Edit, Recipe

Array = NDArray[np.float64]

DC, RDF = "{http://purl.org/dc/elements/1.1/}", "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
DT, CRS = "{http://darktable.sf.net/}", "{http://ns.adobe.com/camera-raw-settings/1.0/}"
GREYS = np.linspace(0.0, 1.0, 513)

TYPICAL = (
    Edit("exposure", (1.3,)),
    Edit("gamma", (1 / 2.4,)),
    Edit.from_action("white_balance", [0.3, -0.4]),
    Edit("tone", (0.8, 1.0, 1.2, 1.3, 1.2, 1.0, 0.9, 0.8)),
)
CONTRAST, BLACK_WHITE, SATURATION = Edit("contrast", (0.6,)), Edit("black_white", (0.7,)), Edit("saturation", (0.5,))
MASKED = Edit("contrast", (0.3,), mask=(-3.0, 0.0, 0.0, 0.0, 4.0, 5.0))
DEVELOPMENT = Edit("gamma", (1 / 2.2,))
VIGNETTE = Edit("vignette", (2.0, 2.0, 1.0, 3.0, 2.0))


@st.composite
def recipes(draw: st.DrawFn, names: Sequence[str], most: int = 5) -> Recipe:
    """Recipes of these filters with parameters that an agent reaches."""
    edits = []
    for name in draw(st.lists(st.sampled_from(names), max_size=most)):
        size = ALL_FILTERS[name].num_actions
        edits.append(Edit.from_action(name, draw(st.lists(st.floats(-1, 1), min_size=size, max_size=size))))
    return Recipe(
        tuple(edits),
        working_space=draw(st.sampled_from(["srgb", "prophoto", "rec2020"])),
        input_domain=draw(st.sampled_from(["linear", "display"])),
    )


def parse(path: Path) -> ElementTree.Element:
    """The ``rdf:Description`` of a sidecar."""
    (description,) = ElementTree.parse(path).getroot().iter(f"{RDF}Description")
    return description


def test_sidecars_say_in_words_what_they_hold(tmp_path: Path) -> None:
    recipe = Recipe((*TYPICAL, SATURATION))
    for program in ("camera-raw", "darktable"):
        recipe.to_xmp(tmp_path / "a.xmp", program)
        (words,) = parse(tmp_path / "a.xmp").findall(f"{DC}description/{RDF}Alt/{RDF}li")
        assert words.text == recipe.describe()


@settings(deadline=None, max_examples=40)
@given(recipe=recipes([*ALL_FILTERS]))
def test_every_edit_is_accounted_for(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("xmp") / "a.xmp"
    for program in ("camera-raw", "darktable"):
        report = recipe.to_xmp(path, program)
        lines = [line for kind in (report.written, report.approximated, report.left_out) for line in kind]
        for edit in recipe:
            mixing = edit.filter in ("saturation", "contrast", "black_white")
            told = sum(edit.describe() in line for line in lines)
            assert told >= 1 or (mixing and edit.parameters == edit.function.neutral)
        assert [line for line in report.left_out if "vignette" not in line] == []
        parse(path)


@pytest.mark.parametrize("program", ["camera-raw", "darktable"])
def test_what_depends_on_place_is_left_out(program: Any, tmp_path: Path) -> None:
    report = Recipe((*TYPICAL, MASKED, VIGNETTE)).to_xmp(tmp_path / "masked.xmp", program)
    assert [line.partition(":")[0] for line in report.left_out] == [MASKED.describe(), VIGNETTE.describe()]
    assert "left out: contrast +30 %" in str(report)
    plain = Recipe(TYPICAL).to_xmp(tmp_path / "plain.xmp", program)
    assert plain.left_out == ()
    with_mask, without = ElementTree.parse(tmp_path / "masked.xmp"), ElementTree.parse(tmp_path / "plain.xmp")
    for tree in (with_mask, without):  # which differ in their words only
        for words in tree.iter(f"{DC}description"):
            words.clear()
    assert ElementTree.tostring(with_mask.getroot()) == ElementTree.tostring(without.getroot())


def test_an_unknown_program_or_folder_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^program must be 'camera-raw' or 'darktable', not 'gimp'$"):
        Recipe().to_xmp(tmp_path / "a.xmp", "gimp")  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        Recipe().to_xmp(tmp_path / "missing" / "a.xmp", "darktable")
    assert list(tmp_path.iterdir()) == []


# -- darktable, as its source says that it reads the file -----------------------------------------------------------


def history(path: Path) -> list[tuple[str, int, bytes]]:
    """Modules in the order of the pipe: name, instance, parameters. The sidecar must be consistent."""
    description = parse(path)
    items = description.findall(f"{DT}history/{RDF}Seq/{RDF}li")
    assert [int(item.attrib[f"{DT}num"]) for item in items] == list(range(len(items)))
    assert description.attrib[f"{DT}history_end"] == str(len(items))
    parts = description.attrib[f"{DT}iop_order_list"].split(",")
    order = list(zip(parts[::2], map(int, parts[1::2]), strict=True))
    assert (order[0], order[-1]) == (("rawprepare", 0), ("gamma", 0))
    assert len(set(order)) == len(order)
    assert order.index(("colorin", 0)) < order.index(("colorout", 0))
    found = {
        (item.attrib[f"{DT}operation"], int(item.attrib[f"{DT}multi_priority"])): bytes.fromhex(
            item.attrib[f"{DT}params"]
        )
        for item in items
    }
    assert len(found) == len(items)
    assert set(found) <= set(order[order.index(("colorin", 0)) : order.index(("colorout", 0))])
    return [(*key, found[key]) for key in order if key in found]


def read_curves(parameters: bytes) -> tuple[list[tuple[Array, Array]], int, int]:
    """Nodes of the curves of ``rgbcurve``, whether they are independent, and what they preserve."""
    assert len(parameters) == 516
    counts, kinds = struct.unpack_from("<3i", parameters, 480), struct.unpack_from("<3i", parameters, 492)
    independent, compensate, preserve = struct.unpack_from("<3i", parameters, 504)
    assert (kinds, compensate) == ((2, 2, 2), 0)
    curves = []
    for channel, count in enumerate(counts):
        assert 2 <= count <= 20
        nodes = np.array(struct.unpack_from(f"<{2 * count}f", parameters, 160 * channel)).reshape(-1, 2)
        x, y = nodes.T
        assert (x[0], x[-1]) == (0.0, 1.0)
        assert (np.diff(x) > 0).all()
        assert y.min() >= 0
        assert y.max() <= 1
        curves.append((x, y))
    return curves, independent, preserve


def bend(values: Array, x: Array, y: Array) -> Array:
    """A curve of ``rgbcurve``; past its end the power function through its last values."""
    inside = monotone_cubic(values.clip(0.0, 1.0).ravel(), x, y).reshape(values.shape)
    at = np.array([0.7, 0.8, 0.9])
    ends = monotone_cubic(at, x, y)
    power = float(np.mean(np.log(np.maximum(ends, 1e-9) / max(y[-1], 1e-9)) / np.log(at)))
    bent: Array = np.where(values > 1.0, y[-1] * np.maximum(values, 1.0) ** power, inside)
    return bent


def develop(path: Path, light: Array) -> Array:
    """What darktable should make of linear light ``(N, 3)`` in sRGB primaries: display values."""
    to_luminance = np.array([0.279, 0.6753, 0.0457])  # of Rec. 2020, adapted to D50
    values = light @ np.linalg.inv(REC2020_TO_SRGB).T
    for name, _, parameters in history(path):
        if name == "exposure":
            mode, black, ev, *_ = struct.unpack("<i4fi", parameters)
            assert (mode, black) == (0, 0.0)
            values = values * 2.0**ev
        elif name == "channelmixerrgb":
            assert len(parameters) == 160
            rows = np.array(struct.unpack_from("<12f", parameters)).reshape(3, 4)
            assert struct.unpack_from("<12f6i", parameters, 48) == (0,) * 18
            values = values @ rows[:, :3].T
        elif name == "rgbcurve":
            curves, independent, preserve = read_curves(parameters)
            if preserve:
                weight = (values @ to_luminance)[:, None]
                values = values * bend(weight, *curves[0]) / np.maximum(weight, 1e-9)
            else:
                used = curves if independent else curves[:1] * 3
                values = np.stack([bend(values[:, i], *used[i]) for i in range(3)], 1)
        else:
            raise AssertionError(name)
    display: Array = srgb_encode((values @ REC2020_TO_SRGB.T).clip(0.0, 1.0))
    return display


COLOURS = np.stack(np.meshgrid(*[srgb_decode(np.linspace(0.0, 1.0, 9))] * 3), -1).reshape(-1, 3)


def ours(recipe: Recipe, light: Array) -> Array:
    """The recipe's own picture of linear light in sRGB primaries, in sRGB display values."""
    x = light @ FROM_SRGB[recipe.working_space].T
    edited = recipe.apply((srgb_encode(x) if recipe.input_domain == "display" else x).T[:, None])[:, 0].T.clip(0.0, 1.0)
    if recipe.working_space != "srgb":
        edited = srgb_encode((srgb_decode(edited) @ TO_SRGB[recipe.working_space].T).clip(0.0, 1.0))
    result: Array = edited
    return result


@settings(deadline=None, max_examples=40)
@given(recipe=recipes([f.name for f in default_filters() if f.name != "saturation"] + ["level"]))
@example(recipe=Recipe((Edit("exposure", (3.5,)), Edit("gamma", (3.0,)))))  # far above white, in single precision
@example(recipe=Recipe((Edit("exposure", (0.9,)), TYPICAL[3], Edit("level", (0.5, 1.5)))))  # flat, and not white
def test_darktable_history_is_the_recipe(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("xmp") / "a.xmp"
    report = recipe.to_xmp(path, "darktable")
    assert all(line.startswith("contrast") for line in report.approximated)
    off = 255 * abs(develop(path, COLOURS) - ours(recipe, COLOURS))
    # A contrast's luminance has other weights, which an exposure after it makes more visible.
    mean, most = (3.0, 12.0) if report.approximated else (0.5, 2.0)
    assert off.mean() < mean
    assert np.quantile(off, 0.95) < most


def test_exposure_is_darktables_own_exposure(tmp_path: Path) -> None:
    Recipe((Edit("exposure", (1.0,)), DEVELOPMENT)).to_xmp(tmp_path / "a.xmp", "darktable")
    modules = history(tmp_path / "a.xmp")
    assert [name for name, *_ in modules] == ["channelmixerrgb", "exposure", "rgbcurve", "channelmixerrgb"]
    # as darktable 4.2.1 itself writes an exposure of 1 EV
    assert modules[1][2].hex() == "00000000000000000000803f00004842000080c000000000"


def test_velvia_has_no_negative_and_an_end(tmp_path: Path) -> None:
    def strength(saturation: float) -> list[float]:
        Recipe((Edit("saturation", (saturation,)),)).to_xmp(tmp_path / "a.xmp", "darktable")
        return [struct.unpack("<2f", p)[0] for name, _, p in history(tmp_path / "a.xmp") if name == "velvia"]

    assert strength(0.5) == [30.0]
    assert strength(9.0) == [100.0]
    assert strength(-0.5) == strength(0.0) == []
    report = Recipe((Edit("saturation", (-0.5,)),)).to_xmp(tmp_path / "a.xmp", "darktable")
    assert report.left_out == ("saturation −50 %: velvia cannot take colour away",)


# Mean and 95th percentile of CIEDE2000 that each kind of recipe may be off, several times what was measured.
BOUNDS: dict[str, tuple[Recipe, float, float]] = {
    "exposure": (Recipe(TYPICAL[:1]), 0.05, 0.2),
    "exposure-and-balance": (Recipe((TYPICAL[0], TYPICAL[2])), 0.05, 0.2),
    "per-channel": (Recipe(TYPICAL), 0.15, 0.5),
    "display": (Recipe(TYPICAL[2:], input_domain="display"), 0.15, 0.5),
    "contrast": (Recipe((*TYPICAL, CONTRAST, Edit("exposure", (-0.4,)))), 0.3, 1.0),
    "black-and-white": (Recipe((*TYPICAL, BLACK_WHITE)), 0.15, 0.5),
    "saturation": (Recipe((*TYPICAL, SATURATION)), 4.0, 10.0),
}


@pytest.mark.skipif(shutil.which("darktable-cli") is None, reason="darktable-cli is not installed")
def test_darktable_renders_the_recipe(tmp_path: Path) -> None:
    # A chart: all hues and saturations at many lightnesses, and a grey scale.
    hue, lightness = np.meshgrid(np.linspace(0, 2 * math.pi, 48), np.linspace(0.02, 1.0, 40))
    pure = 0.5 + 0.5 * np.cos(hue[..., None] - np.array([0, 2, 4]) * math.pi / 3)
    pale = [lightness[..., None] * (1 - saturation + saturation * pure) for saturation in (0.0, 0.1, 0.4, 0.9)]
    chart = srgb_encode(np.concatenate(pale)).astype(np.float32)
    rendered = render({name: (chart, recipe) for name, (recipe, *_) in BOUNDS.items()}, tmp_path)
    for name, (_, mean, most) in BOUNDS.items():
        off = differences(*rendered[name])
        assert off.mean() < mean, name
        assert np.quantile(off, 0.95) < most, name
    assert differences(*rendered["saturation"]).mean() > BOUNDS["per-channel"][1]  # or say so in the documentation


# -- Camera Raw, as far as its file can be read back ------------------------------------------------------------------


def settings_of(path: Path) -> tuple[dict[str, str], dict[str, Array]]:
    """Attributes and point curves; values must be in Camera Raw's ranges."""
    description = parse(path)
    found = {key.removeprefix(CRS): value for key, value in description.attrib.items() if key.startswith(CRS)}
    assert -5.0 <= float(found["Exposure2012"]) <= 5.0
    assert all(-100 <= int(found[name]) <= 100 for name in ("Contrast2012", "Vibrance", "Saturation"))
    assert float(found["ProcessVersion"]) >= 6.7  # which is process version 2012
    curves = {}
    for name in ("", "Red", "Green", "Blue"):
        items = description.findall(f"{CRS}ToneCurvePV2012{name}/{RDF}Seq/{RDF}li")
        points = np.array([[int(number) for number in str(item.text).split(", ")] for item in items])
        assert 2 <= len(points) <= 16
        assert (points[0, 0], points[-1, 0]) == (0, 255)
        assert (np.diff(points[:, 0]) > 0).all()
        assert (np.diff(points[:, 1]) >= 0).all()
        assert points.min() >= 0
        assert points.max() <= 255
        curves[name] = points
    return found, curves


PER_CHANNEL = ["exposure", "gamma", "white_balance", "tone", "color", "level"]


@settings(deadline=None, max_examples=40)
@given(recipe=recipes(PER_CHANNEL) | recipes(["exposure", "gamma", "tone", "contrast", "level", "saturation"]))
@example(recipe=Recipe((Edit("exposure", (3.5,)), Edit("level", (1.0, 1.0)))))  # a step just above white
def test_camera_raw_curves_are_the_recipe_on_greys(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("xmp") / "a.xmp"
    recipe.to_xmp(path, "camera-raw")
    found, curves = settings_of(path)
    exposed = 255 * srgb_encode((GREYS * 2.0 ** float(found["Exposure2012"])).clip(0.0, 1.0))
    straight = [[0, 0], [255, 255]]
    assert found["ToneCurveName2012"] == ("Linear" if curves[""].tolist() == straight else "Custom")
    for channel, name in enumerate(("Red", "Green", "Blue")):
        values = exposed
        for curve in (curves[""], curves[name]):
            if curve.tolist() != straight:
                values = monotone_cubic(values, *curve.astype(float).T)
        x = srgb_encode(GREYS) if recipe.input_domain == "display" else GREYS
        wanted = 255 * recipe.apply(np.tile(x, (3, 1))[:, None])[channel, 0].clip(0.0, 1.0)
        assert abs(values - wanted).mean() < 1.5
        assert np.quantile(abs(values - wanted), 0.95) < 6


CAMERA_RAW: dict[str, Any] = {  # Adobe's XMP Specification, part 2, "Camera Raw namespace", and where its sliders end
    "Version": str,
    "ProcessVersion": str,
    "WhiteBalance": ("As Shot", "Auto", "Daylight", "Cloudy", "Shade", "Tungsten", "Fluorescent", "Flash", "Custom"),
    "Exposure2012": (-5.0, 5.0),
    **dict.fromkeys(("Contrast2012", "Highlights2012", "Shadows2012", "Whites2012", "Blacks2012"), (-100, 100)),
    **dict.fromkeys(("Texture", "Clarity2012", "Dehaze", "Vibrance", "Saturation"), (-100, 100)),
    "ConvertToGrayscale": ("True", "False"),
    "ToneCurveName2012": ("Linear", "Custom"),
    **dict.fromkeys(("HasSettings", "HasCrop", "AlreadyApplied"), ("True", "False")),
}


@settings(deadline=None, max_examples=20)
@given(recipe=recipes([f.name for f in default_filters()]))
def test_camera_raw_settings_have_adobes_names_and_ranges(
    recipe: Recipe, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("xmp") / "a.xmp"
    recipe.to_xmp(path, "camera-raw")
    found, curves = settings_of(path)
    assert list(curves) == ["", "Red", "Green", "Blue"]
    assert all(2 <= len(curve) <= 16 for curve in curves.values())
    assert set(found) == set(CAMERA_RAW)
    for name, value in found.items():
        allowed = CAMERA_RAW[name]
        if allowed is str:
            assert re.fullmatch(r"\d+\.\d+", value)
        elif isinstance(allowed[0], str):
            assert value in allowed
        else:
            assert re.fullmatch(r"0|[+-]\d+(\.\d\d)?", value)
            assert allowed[0] <= float(value) <= allowed[1]


def test_camera_raw_sliders(tmp_path: Path) -> None:
    def sliders(*edits: Edit) -> tuple[str, ...]:
        Recipe(edits).to_xmp(tmp_path / "a.xmp")
        found, _ = settings_of(tmp_path / "a.xmp")
        return tuple(found[name] for name in ("Exposure2012", "Vibrance", "Saturation", "ConvertToGrayscale"))

    assert sliders() == ("+0.00", "0", "0", "False")
    assert sliders(Edit("exposure", (-1.255,))) == ("-1.25", "0", "0", "False")
    assert sliders(Edit("exposure", (99.0,)))[0] == "+5.00"
    assert sliders(SATURATION) == ("+0.00", "+30", "0", "False")
    assert sliders(BLACK_WHITE) == ("+0.00", "0", "-70", "False")
    assert sliders(BLACK_WHITE, Edit("black_white", (0.5,))) == ("+0.00", "0", "-85", "False")
    assert sliders(Edit("black_white", (1.0,))) == ("+0.00", "0", "-100", "True")


def test_camera_raw_takes_one_curve_where_it_can(tmp_path: Path) -> None:
    Recipe((TYPICAL[0], TYPICAL[1], TYPICAL[3])).to_xmp(tmp_path / "a.xmp")
    _, curves = settings_of(tmp_path / "a.xmp")
    assert [len(curve) > 2 for curve in curves.values()] == [True, False, False, False]
    Recipe(TYPICAL).to_xmp(tmp_path / "a.xmp")
    _, curves = settings_of(tmp_path / "a.xmp")
    assert [len(curve) > 2 for curve in curves.values()] == [False, True, True, True]


# -- curves -----------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.floats(0.01, 1), st.floats(0, 1)), min_size=2, max_size=12))
def test_monotone_cubic_stays_between_its_points(steps: list[tuple[float, float]]) -> None:
    knots = np.cumsum([0.0, *(step for step, _ in steps)])
    heights = np.cumsum([0.0, *(rise for _, rise in steps)])
    x = np.linspace(0.0, knots[-1], 400)
    y = monotone_cubic(x, knots, heights)
    np.testing.assert_allclose(monotone_cubic(knots, knots, heights), heights, atol=1e-12)
    assert (np.diff(y) >= -1e-9).all()
    straight = monotone_cubic(x, knots, 2 * knots)
    np.testing.assert_allclose(straight, 2 * x, atol=1e-12)


def test_points_are_taken_where_they_are_needed() -> None:
    x = np.linspace(0.0, 1.0, 101)
    assert pick_points(x, 3 * x, most=9, tolerance=1e-6) == [0, 100]
    bent = np.maximum(x, 0.5)
    taken = pick_points(x, bent, most=6, tolerance=1e-6)
    assert 50 in taken
    assert len(taken) <= 6
