"""A recipe as a darktable edit: the modules of a history, and their order in the pixel pipe.

Facts, from the source of darktable 4.2 (``src/iop/*.c``, ``src/common/iop_order.c``) and from sidecars that it writes:
parameters are the module's C structure, little-endian, in hexadecimal; instances of a module are told apart by
``multi_priority``; an order of modules of one's own is a list of all modules with ``iop_order_version`` 0. Between the
input and the output colour profile, pixels are linear Rec.2020 unless the user chose another working profile.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple
from xml.sax.saxutils import quoteattr

import numpy as np

from exposure_gym._xmp_stages import Array, Curves, Notes, as_is, grey_curve, needed_reach, pick_points, stages
from exposure_gym.color import FROM_SRGB, LUMINANCE_WEIGHTS, REC2020_TO_SRGB, SPACE_NAMES, srgb_decode, srgb_encode
from exposure_gym.recipe import Edit, Recipe

NAMESPACE = "http://darktable.sf.net/"

MAX_NODES = 20
"""Points of a curve in the module ``rgbcurve``."""

VELVIA_STRENGTH = 60.0
"""Percent of ``velvia`` for a saturation of 1: about there the two differ least on the built-in photographs."""

_CURVE_SAMPLES = srgb_decode(np.linspace(0.0, 1.0, 2049))  # dense where the eye is
_LINKED, _INDEPENDENT = 0, 1
_KEEP_NOTHING, _KEEP_LUMINANCE = 0, 1
_MONOTONE_HERMITE = 2
_NO_ADAPTATION = 4
_FLAT_FROM = 0.7
"""Past its end darktable continues a curve as a power function through its values at 0.7, 0.8, 0.9 and 1 of the end; as
a constant, if it is flat from there on."""
_LARGEST = 100.0
"""Values above this would cost the other channels of a pixel their digits, as the pipe works in single precision."""

# The order "v3.0 RAW" of darktable 4.2. Later versions put the modules that they add where they belong.
_ORDER = (
    "rawprepare invert temperature highlights cacorrect hotpixels rawdenoise demosaic denoiseprofile bilateral "
    "rotatepixels scalepixels lens cacorrectrgb hazeremoval ashift flip clipping liquify spots retouch exposure "
    "mask_manager tonemap toneequal crop graduatednd profile_gamma equalizer colorin channelmixerrgb diffuse censorize "
    "negadoctor blurs nlmeans colorchecker defringe atrous lowpass highpass sharpen colortransfer colormapping "
    "channelmixer basicadj colorbalance colorbalancergb rgbcurve rgblevels basecurve filmic sigmoid filmicrgb lut3d "
    "colisa tonecurve levels shadhi zonesystem globaltonemap relight bilat colorcorrection colorcontrast velvia "
    "vibrance colorzones bloom colorize lowlight monochrome grain soften splittoning vignette colorreconstruct "
    "colorout clahe finalscale overexposed rawoverexposed dither borders watermark gamma"
)
_BEFORE = "colorreconstruct"  # the recipe goes in front of this: after everything that works on the light of the scene


class Module(NamedTuple):
    """An entry of the history."""

    operation: str
    version: int
    parameters: bytes
    name: str
    """What the user sees beside the module's own name."""


def description(recipe: Recipe, notes: Notes) -> tuple[str, str]:
    """Attributes and elements of the sidecar's ``rdf:Description``."""
    modules = make_modules(recipe, notes)
    instances: Counter[str] = Counter()
    items, order = [], []
    for number, module in enumerate(modules):
        instance = instances[module.operation]
        instances[module.operation] += 1
        order.append(f"{module.operation},{instance}")
        items.append(
            f'     <rdf:li darktable:num="{number}" darktable:operation="{module.operation}" darktable:enabled="1"\n'
            f'      darktable:modversion="{module.version}" darktable:params="{module.parameters.hex()}"\n'
            f'      darktable:multi_name={quoteattr(module.name)} darktable:multi_priority="{instance}"/>\n'
        )
    others = [f"{name},0" for name in _ORDER.split() if name not in instances]
    place = others.index(f"{_BEFORE},0")
    attributes = {
        "xmp_version": "5",
        "raw_params": "0",
        "auto_presets_applied": "1",  # what darktable does to new photographs by itself would come on top
        "history_end": str(len(modules)),
        "iop_order_version": "0",
        "iop_order_list": ",".join(others[:place] + order + others[place:]),
    }
    elements = (
        "   <darktable:masks_history><rdf:Seq/></darktable:masks_history>\n"
        f"   <darktable:history>\n    <rdf:Seq>\n{''.join(items)}    </rdf:Seq>\n   </darktable:history>\n"
    )
    return "".join(f'   darktable:{name}="{value}"\n' for name, value in attributes.items()), elements


def make_modules(recipe: Recipe, notes: Notes) -> list[Module]:
    """The modules of a recipe, from first to last."""
    to_space: Array = np.asarray(FROM_SRGB[recipe.working_space] @ REC2020_TO_SRGB, np.float64)
    space = SPACE_NAMES[recipe.working_space]
    modules = [_mixer(to_space, f"to {space} primaries")]
    reach = 1.0  # the largest value that can come here
    parts = stages(recipe, notes)
    for i, part in enumerate(parts):
        if isinstance(part, Curves):
            following = parts[i + 1] if i + 1 < len(parts) else None
            # The file clips to 1, and so does saturation before it begins.
            clips = following is None or (isinstance(following, Edit) and following.filter == "saturation")
            # Past white, what the file clips anyway may be anything, unless the next matrix mixes it with the rest.
            flat_end = following is not None or recipe.working_space != "srgb"
            added, reach = _curves(part, reach, notes, clips=clips, flat_end=flat_end)
        else:
            added, reach = _mixing_edit(part, reach, notes)
        modules += added
    return [*modules, _mixer(np.asarray(np.linalg.inv(to_space)), f"from {space} primaries")]


def _curves(part: Curves, reach: float, notes: Notes, *, clips: bool, flat_end: bool) -> tuple[list[Module], float]:
    """Exposure, gains and a curve; and the largest value that comes out.

    :param clips: to 1 at the end; :param flat_end: the curve must be constant past its end.
    """
    exposure, balance, rest = part.split_gains()
    reach *= 2.0**exposure * float(balance.max())
    curve: list[Module] = []
    if rest or (clips and reach > 1.0):

        def clipped(values: Array) -> Array:
            return rest(values).clip(0.0, 1.0 if clips else None)

        # The module's curve ends at 1: scale what comes, and what leaves, to that.
        span = needed_reach(clipped, reach)
        before, end = clipped(np.array([_FLAT_FROM, 1.0]) * span).clip(1e-9, 1.0)
        power = float(np.log(before).min()) / math.log(_FLAT_FROM)
        if flat_end or end.min() < 1.0 - 1e-6 or (reach / span) ** power > _LARGEST:
            span = min(max(reach, 1.0), span / _FLAT_FROM)
        heights = clipped(_CURVE_SAMPLES * span)
        reach = float(heights.max())
        top = max(1.0, reach)
        curve = [_rgb_curve(heights / top, "curve", seen=srgb_encode if rest.decode else as_is)]
        curve += _exposure(math.log2(top))
        exposure -= math.log2(span)
    gains = [] if np.allclose(balance, 1.0, atol=1e-9) else [_mixer(np.diag(balance), "white balance")]
    modules = [*_exposure(exposure), *gains, *curve]
    if part.edits:
        used = {"exposure": "exposure", "channelmixerrgb": "color calibration", "rgbcurve": "rgb curve"}
        names = dict.fromkeys(used[module.operation] for module in modules)
        notes.written.append(f"{part.describe()}: {', '.join(names) or 'nothing to do'}")
    return modules, reach


def _mixing_edit(edit: Edit, reach: float, notes: Notes) -> tuple[list[Module], float]:
    """An edit whose channels depend on each other; and the largest value that comes out."""
    (strength,) = edit.parameters
    if edit.filter == "black_white":
        notes.written.append(f"{edit.describe()}: color calibration")
        matrix = (1.0 - strength) * np.eye(3) + strength * np.array(LUMINANCE_WEIGHTS)
        return [_mixer(matrix, "black and white")], reach
    if edit.filter == "contrast":
        notes.approximated.append(
            f"{edit.describe()}: rgb curve on luminance, whose weights are darktable's (0.28, 0.68, 0.05) "
            f"and not ours ({', '.join(map(str, LUMINANCE_WEIGHTS))})"
        )
        light = np.linspace(1e-4, max(reach, 1e-4), 1025)
        curved = grey_curve(edit, light)
        span = max(1.0, reach, float(curved.max()))
        heights = grey_curve(edit, _CURVE_SAMPLES * span) / span
        module = _rgb_curve(np.tile(heights[:, None], 3).clip(0.0, 1.0), "contrast", keep=_KEEP_LUMINANCE)
        scale = math.log2(span)
        return [*_exposure(-scale), module, *_exposure(scale)], reach * float((curved / light).max())
    if strength < 0.0:
        notes.left_out.append(f"{edit.describe()}: velvia cannot take colour away")
        return [], min(reach, 1.0)
    percent = min(100.0, VELVIA_STRENGTH * strength)
    notes.approximated.append(f"{edit.describe()}: velvia {percent:.0f} %, the nearest module, which is not very near")
    return [Module("velvia", 2, struct.pack("<2f", percent, 1.0), "saturation")], 1.0


# The modules. Structures: DT_MODULE_INTROSPECTION in src/iop/<operation>.c.


def _exposure(ev: float) -> list[Module]:
    """``exposure`` version 6: manual mode, black 0, EV, two deflicker values, no compensation of the camera's bias."""
    if abs(ev) < 1e-9:
        return []
    return [Module("exposure", 6, struct.pack("<i4fi", 0, 0.0, ev, 50.0, -4.0, 0), "exposure")]


def _mixer(matrix: Array, name: str) -> Module:
    """``channelmixerrgb`` version 3 as a plain matrix on the pipe's RGB, without adaptation or gamut mapping."""
    parameters = b"".join(struct.pack("<4f", *row, 0.0) for row in matrix)
    parameters += struct.pack("<12f", *[0.0] * 12)  # saturation, lightness, grey
    parameters += struct.pack("<6i", *[0] * 6)  # nothing is normalised
    # the illuminant is the pipe's; a fluorescent and an LED lamp that do not count; the adaptation
    parameters += struct.pack("<4i", 0, 3, 0, _NO_ADAPTATION)
    parameters += struct.pack("<4f", 0.34567, 0.35850, 5003.0, 0.0)  # x, y, kelvin, gamut compression
    parameters += struct.pack("<2i", 0, 1)  # negative values stay; saturation algorithm of 2021
    return Module("channelmixerrgb", 3, parameters, name)


def _rgb_curve(
    heights: Array, name: str, *, keep: int = _KEEP_NOTHING, seen: Callable[[Array], Array] = as_is
) -> Module:
    """``rgbcurve`` version 1 through ``heights`` ``(N, 3)`` in [0, 1] over :data:`_CURVE_SAMPLES`.

    :param seen: see :func:`pick_points`.
    """
    linked = bool((heights == heights[:, :1]).all())
    nodes, counts = b"", []
    for channel in range(3):
        y = heights[:, channel]
        taken = [0, len(y) - 1] if linked and channel else pick_points(_CURVE_SAMPLES, y, MAX_NODES, 1e-4, seen)
        points = np.stack([_CURVE_SAMPLES, y], 1)[taken].ravel().tolist()
        nodes += struct.pack(f"<{2 * MAX_NODES}f", *points, *[0.0] * (2 * MAX_NODES - len(points)))
        counts.append(len(taken))
    mode = struct.pack("<3i", _LINKED if linked else _INDEPENDENT, 0, keep)  # no scaling of middle grey
    return Module("rgbcurve", 1, nodes + struct.pack("<6i", *counts, *[_MONOTONE_HERMITE] * 3) + mode, name)
