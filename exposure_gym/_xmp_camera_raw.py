"""A recipe as settings of Adobe Camera Raw and Lightroom (process version 2012 and later).

Names and ranges: Adobe's XMP Specification, part 2 (Camera Raw namespace), and sidecars that Camera Raw writes. A point
curve maps codes to codes, 0 to 255, of encoded values. Camera Raw has an order of its own, so all that a recipe does to
greys becomes one curve a channel, and what it does to colours goes to the nearest slider.
"""

from __future__ import annotations

import numpy as np

from exposure_gym._xmp_stages import Array, Curves, Notes, grey_curve, needed_reach, pick_points, stages
from exposure_gym.color import srgb_decode, srgb_encode
from exposure_gym.recipe import Edit, Recipe

NAMESPACE = "http://ns.adobe.com/camera-raw-settings/1.0/"

MAX_POINTS = 16
"""Points of a point curve in Camera Raw."""

MAX_EXPOSURE = 5.0
"""Where the slider Exposure2012 ends, in EV."""

VIBRANCE = 60.0
"""Vibrance for a saturation of 1. Both favour weak colours; Adobe does not publish the slider's scale."""

Points = list[tuple[int, int]]

_ALL_CODES: Array = np.arange(256.0)
_STRAIGHT: Points = [(0, 0), (255, 255)]


def description(recipe: Recipe, notes: Notes) -> tuple[str, str]:
    """Attributes and elements of the sidecar's ``rdf:Description``."""
    parts = stages(recipe, notes)
    exposure, codes = _exposure_and_curve(parts)
    linked = bool((codes == codes[:, :1]).all())
    curves = {"": _STRAIGHT, "Red": _STRAIGHT, "Green": _STRAIGHT, "Blue": _STRAIGHT}
    if linked:
        curves[""] = _points(codes[:, 0])
    else:
        curves |= {name: _points(codes[:, i]) for i, name in enumerate(("Red", "Green", "Blue"))}
    for part in parts:
        if isinstance(part, Curves) and part.edits:
            where = "one point curve, which keeps hues" if linked else "point curves of red, green and blue"
            slider = "Exposure2012 and " if exposure and part is parts[0] else ""
            notes.approximated.append(f"{part.describe()}: {slider}{where}, in Camera Raw's primaries")
    settings = {
        "Version": "15.0",
        "ProcessVersion": "11.0",
        "WhiteBalance": "As Shot",
        "Exposure2012": f"{exposure:+.2f}",
        **dict.fromkeys(("Contrast2012", "Highlights2012", "Shadows2012", "Whites2012", "Blacks2012"), "0"),
        **dict.fromkeys(("Texture", "Clarity2012", "Dehaze"), "0"),
        **_colour_sliders(parts, notes),
        "ToneCurveName2012": "Linear" if curves[""] == _STRAIGHT else "Custom",
        "HasSettings": "True",
        "HasCrop": "False",
        "AlreadyApplied": "False",
    }
    attributes = "".join(f'   crs:{name}="{value}"\n' for name, value in settings.items())
    return attributes, "".join(_element(f"ToneCurvePV2012{name}", points) for name, points in curves.items())


def _exposure_and_curve(parts: list[Curves | Edit]) -> tuple[float, Array]:
    """Exposure in EV, and the codes, not rounded, ``(256, 3)`` that the 256 codes after it become."""
    first = parts[0]
    assert isinstance(first, Curves)
    gain = 2.0 ** first.split_gains()[0]
    if gain > 1.0:
        # The point curve ends at white: lift nothing above it that the recipe still tells apart.
        gain /= needed_reach(lambda lifted: _on_greys(parts, lifted / gain).clip(0.0, 1.0), gain)
    # The slider has two decimals. Light that is raised is rounded down: what gets above white is lost to the curve.
    hundredths = 100.0 * float(np.log2(gain).clip(-MAX_EXPOSURE, MAX_EXPOSURE))
    exposure = float(np.floor(hundredths + 1e-3) if gain > 1.0 else np.round(hundredths)) / 100.0 + 0.0
    edited = _on_greys(parts, srgb_decode(_ALL_CODES / 255.0) / 2.0**exposure)
    return exposure, np.maximum.accumulate(255.0 * srgb_encode(edited).clip(0.0, 1.0), 0)


def _on_greys(parts: list[Curves | Edit], light: Array) -> Array:
    """What a recipe makes of greys, ``(N,)`` in linear light to ``(N, 3)``, as if each channel were grey throughout."""
    values = np.tile(light[:, None], 3)
    for part in parts:
        for channel in range(3):
            if isinstance(part, Curves):
                values[:, channel] = part(values[:, channel])[:, channel]
            else:
                values[:, channel] = grey_curve(part, values[:, channel])
    return values


def _colour_sliders(parts: list[Curves | Edit], notes: Notes) -> dict[str, str]:
    """The sliders for what a recipe does to colours."""
    vibrance, colour = 0.0, 1.0
    for part in parts:
        if isinstance(part, Curves):
            continue
        (strength,) = part.parameters
        if part.filter == "contrast":
            notes.approximated.append(f"{part.describe()}: in the point curve, right for greys")
        elif part.filter == "saturation":
            vibrance += VIBRANCE * strength
            notes.approximated.append(f"{part.describe()}: Vibrance, by a guess of its scale")
        else:
            colour *= 1.0 - strength
            slider = "ConvertToGrayscale" if strength == 1.0 else "Saturation"
            notes.approximated.append(f"{part.describe()}: {slider}, with Camera Raw's own luminance")
    sliders = {"Vibrance": vibrance, "Saturation": 100.0 * (colour - 1.0)}
    codes = {name: round(float(np.clip(value, -100.0, 100.0))) for name, value in sliders.items()}
    texts = {name: f"{code:+d}" if code else "0" for name, code in codes.items()}
    return texts | {"ConvertToGrayscale": str(colour == 0.0)}


def _points(codes: Array) -> Points:
    """A point curve through what the 256 codes become; never falling."""
    return [(i, round(float(codes[i]))) for i in pick_points(_ALL_CODES, codes, MAX_POINTS, 0.5)]


def _element(name: str, points: Points) -> str:
    items = "".join(f"     <rdf:li>{x}, {y}</rdf:li>\n" for x, y in points)
    return f"   <crs:{name}>\n    <rdf:Seq>\n{items}    </rdf:Seq>\n   </crs:{name}>\n"
