"""A drawing as a list of its parts: laid out once, then painted in pixels or written as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw

from exposure_gym.viz.pictures import Rgb8, fit
from exposure_gym.viz.style import SURROUND, Colour, Font, draw_text, text_length

SMOOTH = 4
"""Lines are painted this much larger and averaged down."""


@dataclass(frozen=True, eq=False)
class Picture:
    """``pixels`` of any resolution in a box."""

    pixels: Rgb8
    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Text:
    """A line of text; ``y`` is where the font's ascenders begin."""

    text: str
    x: float
    y: float
    font: Font
    colour: Colour


@dataclass(frozen=True)
class Rectangle:
    """A filled one."""

    x: int
    y: int
    width: int
    height: int
    colour: Colour


@dataclass(frozen=True)
class Stroke:
    """A line through points."""

    points: tuple[tuple[float, float], ...]
    colour: Colour
    width: float


@dataclass
class Drawing:
    """Parts on a surface of ``width`` × ``height`` pixels, the later ones above."""

    width: int
    height: int
    parts: list[Picture | Text | Rectangle | Stroke] = field(default_factory=list)

    def picture(self, place: tuple[int, int], pixels: Rgb8, size: tuple[int, int] | None = None) -> None:
        """A picture in a box of ``size`` (width, height), by default one pixel for each of its own."""
        width, height = size or (pixels.shape[1], pixels.shape[0])
        self.parts.append(Picture(pixels, *place, width, height))

    def text(self, place: tuple[float, float], text: str, font: Font, colour: Colour) -> None:
        """A line of text that begins there."""
        if text:
            self.parts.append(Text(text, *place, font, colour))

    def text_before(self, place: tuple[float, float], text: str, font: Font, colour: Colour) -> None:
        """A line of text that ends there."""
        self.text((place[0] - text_length(text, font), place[1]), text, font, colour)

    def rectangle(self, place: tuple[float, float], size: tuple[float, float], colour: Colour) -> None:
        """A filled rectangle, brought to whole pixels; one thinner than a pixel is not there."""
        left, top, right, bottom = (round(edge) for edge in (*place, place[0] + size[0], place[1] + size[1]))
        if right > left and bottom > top:
            self.parts.append(Rectangle(left, top, right - left, bottom - top, colour))

    def stroke(self, points: Sequence[tuple[float, float]], colour: Colour, width: float) -> None:
        """A line through points."""
        self.parts.append(Stroke(tuple(points), colour, width))

    def to_rgb8(self) -> Rgb8:
        """Paint it: ``(height, width, 3)`` uint8 sRGB."""
        canvas = Image.new("RGB", (self.width, self.height), SURROUND)
        draw = ImageDraw.Draw(canvas)
        for part in self.parts:
            if isinstance(part, Picture):
                canvas.paste(Image.fromarray(fit(part.pixels, part.width, part.height)), (part.x, part.y))
            elif isinstance(part, Text):
                draw_text(draw, (part.x, part.y), part.text, part.font, part.colour)
            elif isinstance(part, Rectangle):
                draw.rectangle((part.x, part.y, part.x + part.width - 1, part.y + part.height - 1), fill=part.colour)
            else:
                _paint_stroke(canvas, part)
        painted: Rgb8 = np.array(canvas)
        return painted

    def to_svg(self, title: str, description: str = "") -> str:
        """Write it: see :func:`exposure_gym.viz.svg.to_svg`."""
        from exposure_gym.viz.svg import to_svg

        return to_svg(self, title, description)


def _paint_stroke(canvas: Image.Image, stroke: Stroke) -> None:
    points = np.asarray(stroke.points)
    reach = stroke.width / 2 + 1
    left, top = np.floor(points.min(axis=0) - reach).astype(int).tolist()
    right, bottom = np.ceil(points.max(axis=0) + reach).astype(int).tolist()
    mask = Image.new("L", (SMOOTH * (right - left), SMOOTH * (bottom - top)))
    fine = [tuple(point) for point in (SMOOTH * (points - (left, top))).tolist()]
    ImageDraw.Draw(mask).line(fine, fill=255, width=max(1, round(SMOOTH * stroke.width)), joint="curve")
    small = mask.reduce(SMOOTH)
    canvas.paste(Image.new("RGB", small.size, stroke.colour), (left, top), small)
