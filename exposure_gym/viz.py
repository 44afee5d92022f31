"""Pictures for people: film strips, step figures, contact sheets.

Values are shown as they are: an edited frame holds display values, and the linear frame that an
edit starts from is shown without a curve too, dark, as the published figures do.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from exposure_gym.color import PROPHOTO_TO_SRGB, srgb_decode, srgb_encode
from exposure_gym.files import replacing
from exposure_gym.filters import ALL_FILTERS
from exposure_gym.recipe import Edit, Recipe
from exposure_gym.recipe_words import label

Rgb8 = NDArray[np.uint8]
Colour = tuple[int, int, int]

SURROUND: Colour = (34, 34, 34)
"""Behind the photographs: neutral, so that it does not tint how they look."""
PANEL: Colour = (26, 26, 26)
HAIRLINE: Colour = (68, 68, 68)
FAINT: Colour = (140, 140, 140)
TEXT: Colour = (172, 172, 172)
BRIGHT: Colour = (236, 236, 236)
ACCENT: Colour = (226, 176, 96)
RED, GREEN, BLUE = (226, 92, 84), (104, 190, 112), (98, 150, 236)

PREVIEW = 320
"""Long edge of the frames that :func:`steps_figure` computes, in pixels."""

_CURVE_FILTERS = ("exposure", "gamma", "tone", "contrast", "color", "level")
"""Filters that a curve shows best; the others are shown on a colour swatch."""


def film_strip(
    frames: Sequence[NDArray[Any]],
    captions: Sequence[str],
    *,
    edits: Sequence[Edit] | None = None,
    probabilities: Sequence[Sequence[float]] | None = None,
    height: int = 192,
) -> Rgb8:
    """One episode as a strip: the input, then each step with what it did, the last one "after".

    :param frames: n + 1 pictures ``(H, W, 3)`` of floats, all alike in size: the linear input and
        the result of each step. Values are shown as they are, clipped to [0, 1].
    :param captions: n texts, one a step: a name, and after a line break what the step did.
    :param edits: the n edits; each is then drawn as a small curve or swatch too.
    :param probabilities: n times the probability of each default filter, in their order; drawn as
        bars. With ``edits``, the chosen filter's is bright and written out.
    :param height: of the pictures, in pixels; other frames are resampled to it.
    :return: ``(h, w, 3)`` uint8 sRGB.
    :raises ValueError: the lists do not fit together, or the frames are not alike.
    """
    if not frames or len(captions) != len(frames) - 1:
        raise ValueError(f"{len(frames)} frames need {max(len(frames) - 1, 0)} captions, one a step")
    for name, list_ in (("edits", edits), ("probabilities", probabilities)):
        if list_ is not None and len(list_) != len(captions):
            raise ValueError(f"{len(captions)} steps need as many {name}, not {len(list_)}")
    pictures = [_fit(to_rgb8(frame), height) for frame in frames]
    if len({picture.shape for picture in pictures}) > 1:
        raise ValueError("the frames of a strip must all have the same shape")

    style = _Style.of(height)
    width = max(pictures[0].shape[1], style.px(148))
    texts = ["before\nlinear light, as recorded", *captions]
    indent = style.px(54) if edits is not None else 0
    blocks = [_wrap(text, width - (indent if i else 0), style) for i, text in enumerate(texts)]
    text_height = max(sum(line.height for line in block) for block in blocks)
    below = max(text_height, style.px(44) if edits is not None else 0)
    bars = style.px(46) if probabilities is not None else 0

    margin, gutter, header = style.px(20), style.px(30), style.px(24)
    top = margin + header
    caption_top = top + height + style.px(12)
    canvas = Image.new(
        "RGB",
        (
            2 * margin + len(frames) * width + (len(frames) - 1) * gutter,
            caption_top + below + bars + margin,
        ),
        SURROUND,
    )
    draw = ImageDraw.Draw(canvas)
    for i, (picture, block) in enumerate(zip(pictures, blocks, strict=True)):
        left = margin + i * (width + gutter)
        canvas.paste(Image.fromarray(picture), (left, top))
        last = i == len(frames) - 1
        head = str(i) if i else ""
        if last and i:
            head += "  after"
        _text(draw, (left, margin), head, style.small, BRIGHT if last else FAINT)
        if i:
            _chevron(draw, left - gutter / 2, top + height / 2, style)
        if i and edits is not None:
            canvas.paste(_glyph(edits[i - 1], style.px(44)), (left, caption_top))
        y = caption_top
        for line in block:
            _text(draw, (left + (indent if i else 0), y), line.text, line.font, line.colour)
            y += line.height
        if i and probabilities is not None:
            chosen = None if edits is None else list(ALL_FILTERS).index(edits[i - 1].filter)
            area = (left, caption_top + below + style.px(12), width, bars - style.px(12))
            _bars(draw, area, probabilities[i - 1], chosen, style)
    strip: Rgb8 = np.array(canvas)
    return strip


def steps_figure(
    recipe: Recipe,
    pixels: NDArray[Any],
    *,
    probabilities: Sequence[Sequence[float]] | None = None,
    height: int = 192,
) -> Rgb8:
    """How a recipe changes a photograph, step by step, on a small preview.

    :param recipe: the edits.
    :param pixels: ``(H, W, 3)`` float, any size: linear light in the recipe's working space.
    :param probabilities: as for :func:`film_strip`.
    :param height: of the pictures in the strip, in pixels.
    :return: ``(h, w, 3)`` uint8: the :func:`film_strip` of it.
    """
    frames = [shrink(pixels, PREVIEW)]
    for edit in recipe:
        frames.append(Recipe((edit,), recipe.working_space).apply_photo(frames[-1]))
    if recipe.working_space == "prophoto":
        frames = [_to_srgb_primaries(frames[0]), *map(_display_to_srgb_primaries, frames[1:])]
    captions = [caption(edit) for edit in recipe]
    return film_strip(frames, captions, edits=recipe.edits, probabilities=probabilities, height=height)


def contact_sheet(images: Sequence[NDArray[Any]], columns: int = 8) -> Rgb8:
    """Many pictures at their own size, row by row, each in the middle of a cell for the largest.

    :param images: ``(H, W, 3)`` arrays: display values as floats, or uint8.
    :param columns: pictures in a row.
    :return: ``(h, w, 3)`` uint8.
    :raises ValueError: no images, or fewer than one column.
    """
    if not images or columns < 1:
        raise ValueError("a contact sheet needs at least one image and one column")
    pictures = [to_rgb8(image) for image in images]
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    height = max(picture.shape[0] for picture in pictures)
    width = max(picture.shape[1] for picture in pictures)
    gap = max(4, min(height, width) // 24)
    sheet = np.empty((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), np.uint8)
    sheet[:] = SURROUND
    for i, picture in enumerate(pictures):
        y = gap + i // columns * (height + gap) + (height - picture.shape[0]) // 2
        x = gap + i % columns * (width + gap) + (width - picture.shape[1]) // 2
        sheet[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
    return sheet


def write_png(path: str | os.PathLike[str], rgb8: Rgb8) -> None:
    """Write ``(H, W, 3)`` uint8 sRGB as PNG; the file appears whole or not at all."""
    with replacing(Path(path)) as temporary:
        Image.fromarray(rgb8).save(temporary, format="PNG")


def to_rgb8(image: NDArray[Any]) -> Rgb8:
    """Values 0 to 1, clipped, to codes 0 to 255, rounded: ``(H, W, 3)``; uint8 stays as it is."""
    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"a picture must have shape (H, W, 3), not {image.shape}")
    if image.dtype == np.uint8:
        return image
    codes = np.rint(255.0 * np.nan_to_num(image, nan=0.0).clip(0.0, 1.0))
    result: Rgb8 = codes.astype(np.uint8)
    return result


def shrink(pixels: NDArray[Any], long_edge: int) -> NDArray[Any]:
    """A photograph ``(H, W, 3)`` no larger than this, averaged over areas; never enlarged."""
    height, width = pixels.shape[:2]
    scale = long_edge / max(height, width)
    if scale >= 1.0:
        return pixels
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small: NDArray[Any] = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return small


def _fit(picture: Rgb8, height: int) -> Rgb8:
    """Resampled to this height; a picture that has it already is not touched."""
    if picture.shape[0] == height:
        return picture
    width = max(1, round(picture.shape[1] * height / picture.shape[0]))
    shrinks = height < picture.shape[0]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, (width, height), interpolation=method), np.uint8)


def _to_srgb_primaries(linear: NDArray[Any]) -> NDArray[Any]:
    result: NDArray[Any] = linear @ PROPHOTO_TO_SRGB.T.astype(linear.dtype)
    return result


def _display_to_srgb_primaries(display: NDArray[Any]) -> NDArray[Any]:
    """Display values of ProPhoto primaries to those of sRGB, so that the strip has true colours."""
    linear = _to_srgb_primaries(srgb_decode(display.clip(0.0, 1.0)))
    encoded: NDArray[Any] = srgb_encode(linear)
    return encoded


# Text. Pillow's own font has no minus sign and few accents: the one is drawn, the others are left.


@dataclass(frozen=True)
class _Line:
    text: str
    font: ImageFont.FreeTypeFont
    colour: Colour
    height: int


@dataclass(frozen=True)
class _Style:
    scale: float
    name: ImageFont.FreeTypeFont
    small: ImageFont.FreeTypeFont

    @staticmethod
    @lru_cache(maxsize=8)
    def of(height: int) -> _Style:
        scale = min(max(height / 192, 0.75), 3.0)
        return _Style(scale, _font(15 * scale), _font(13 * scale))

    def px(self, pixels: float) -> int:
        return round(pixels * self.scale)


def _font(size: float) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # with a size, it always is
    return font


def caption(edit: Edit) -> str:
    """The filter's name, a line break, and what it did."""
    name = label(edit.filter)
    detail = edit.describe().removeprefix(name).lstrip(": ")
    if detail.startswith("(") and detail.endswith(")"):
        detail = detail[1:-1]
    return f"{name}\n{detail}"


def _wrap(text: str, width: int, style: _Style) -> list[_Line]:
    """Break a caption into lines that fit: its first paragraph is the name, the rest details."""
    lines = []
    for i, paragraph in enumerate(text.split("\n")):
        font, colour = (style.name, BRIGHT) if i == 0 else (style.small, TEXT)
        height = style.px(20) if i == 0 else style.px(17)
        line = ""
        # A number stays with its name before it and its unit after it.
        for word in re.sub(r" (?=[+−]?\d|%|EV)", "\u00a0", paragraph).split(" "):
            longer = f"{line} {word}" if line else word
            if line and _length(longer, font) > width:
                lines.append(_Line(line, font, colour, height))
                longer = word
            line = longer
        lines.append(_Line(line, font, colour, height))
    return lines


def _printable(text: str, font: ImageFont.FreeTypeFont) -> str:
    """Letters that the font lacks lose their accent, or become a question mark."""
    text = text.replace("\u00a0", " ").replace("–", "-").replace("—", "-").replace("×", "x")
    missing = bytes(font.getmask("\U0010ffff"))
    plain = ""
    for letter in text:
        if letter in "− " or bytes(font.getmask(letter)) != missing:
            plain += letter
        else:
            base = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
            plain += base or "?"
    return plain


def _length(text: str, font: ImageFont.FreeTypeFont) -> float:
    return font.getlength(_printable(text, font).replace("−", "+"))


def _text(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    font: ImageFont.FreeTypeFont,
    colour: Colour,
) -> None:
    """Draw a line of text; a minus is the bar of the font's plus."""
    x, y = place
    left, top, right, bottom = font.getbbox("+")
    for i, piece in enumerate(_printable(text, font).split("−")):
        if i:
            middle = round(y + (top + bottom) / 2)
            thickness = max(1, round(font.size / 13))
            bar = (x + left + 1, middle - thickness // 2, x + right - 2)
            draw.rectangle((*bar, bar[1] + thickness - 1), fill=colour)
            x += font.getlength("+")
        draw.text((x, y), piece, font=font, fill=colour)
        x += font.getlength(piece)


# Drawings.


def _chevron(draw: ImageDraw.ImageDraw, x: float, y: float, style: _Style) -> None:
    size = style.px(5)
    points = [(x - size / 2, y - size), (x + size / 2, y), (x - size / 2, y + size)]
    draw.line(points, fill=FAINT, width=max(1, style.px(1.5)), joint="curve")


def _bars(
    draw: ImageDraw.ImageDraw,
    area: tuple[int, int, int, int],
    probabilities: Sequence[float],
    chosen: int | None,
    style: _Style,
) -> None:
    """Probability of each filter as bars on a hairline, the chosen one bright, with its number."""
    left, top, width, height = area
    number = style.px(48)
    step = (width - number) / max(1, len(probabilities))
    base = top + height - 1
    for i, probability in enumerate(probabilities):
        x = left + i * step
        bar = min(max(float(probability), 0.0), 1.0) * (height - 1)
        colour = ACCENT if i == chosen else FAINT
        draw.rectangle((x, base - bar, x + step - style.px(3), base), fill=colour)
    draw.line((left, base, left + width - number - style.px(3), base), fill=HAIRLINE)
    if chosen is not None and chosen < len(probabilities):
        text = f"{100 * probabilities[chosen]:.0f} %"
        x = left + width - _length(text, style.small)
        _text(draw, (x, base - style.px(14)), text, style.small, ACCENT)


def _glyph(edit: Edit, size: int) -> Image.Image:
    """A small picture of an edit: its curve, or colours before (above) and after (below)."""
    recipe = Recipe((replace(edit, mask=None),))
    if edit.filter in _CURVE_FILTERS:
        return _curve_glyph(recipe, size, magnify=6.0 if edit.filter == "color" else 1.0)
    if edit.filter == "vignette":
        return Image.fromarray(to_rgb8(recipe.apply_photo(np.full((size, size, 3), 0.7))))
    greys = np.full((1, 1, 3), 0.55)
    colours = greys if edit.filter == "white_balance" else _hues()
    swatch = np.concatenate([colours, recipe.apply_photo(colours)])
    glyph = Image.fromarray(to_rgb8(swatch)).resize((size, size), Image.Resampling.NEAREST)
    ImageDraw.Draw(glyph).line((0, size // 2, size, size // 2), fill=SURROUND)
    return glyph


def _hues() -> NDArray[np.float64]:
    """Six muted hues, ``(1, 6, 3)``."""
    angles = np.arange(6) * (2 * np.pi / 6)
    offsets = np.array([0.0, -2.0, 2.0]) * np.pi / 3
    return (0.45 + 0.12 * np.cos(angles[:, None] + offsets))[None]


def _curve_glyph(recipe: Recipe, size: int, magnify: float) -> Image.Image:
    """What an edit makes of greys; ``magnify`` exaggerates how far it lies from the diagonal."""
    fine = 4 * size  # drawn large, then averaged down: smooth lines
    image = Image.new("RGB", (fine, fine), PANEL)
    draw = ImageDraw.Draw(image)
    for part in (0.25, 0.5, 0.75):
        draw.line((part * fine, 0, part * fine, fine), fill=SURROUND, width=4)
        draw.line((0, part * fine, fine, part * fine), fill=SURROUND, width=4)
    draw.line((0, fine, fine, 0), fill=HAIRLINE, width=4)
    x = np.linspace(0.0, 1.0, 129)
    y = recipe.apply_photo(np.repeat(x[None, :, None], 3, 2))[0]
    y = (x[:, None] + magnify * (y - x[:, None])).clip(0.0, 1.0)
    grey = bool(np.ptp(y, axis=1).max() < 1e-6)
    for channel, colour in enumerate((BRIGHT,) if grey else (RED, GREEN, BLUE)):
        inset = 6.0  # half the line's width: its ends stay inside
        points = inset + np.stack([x, 1.0 - y[:, channel]], 1) * (fine - 2 * inset)
        draw.line([tuple(point) for point in points.tolist()], fill=colour, width=9, joint="curve")
    draw.rectangle((0, 0, fine - 1, fine - 1), outline=HAIRLINE, width=4)
    return image.resize((size, size), Image.Resampling.BOX)
