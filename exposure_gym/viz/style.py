"""How figures look, and their text: colours, sizes, captions, lines that fit."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from PIL import ImageDraw, ImageFont

from exposure_gym.recipe import Edit
from exposure_gym.recipe_words import label

Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont

SURROUND: Colour = (34, 34, 34)
"""Behind the photographs: neutral, so that it does not tint how they look."""
PANEL: Colour = (26, 26, 26)
HAIRLINE: Colour = (68, 68, 68)
FAINT: Colour = (140, 140, 140)
TEXT: Colour = (172, 172, 172)
BRIGHT: Colour = (236, 236, 236)
ACCENT: Colour = (226, 176, 96)
RED, GREEN, BLUE = (226, 92, 84), (104, 190, 112), (98, 150, 236)


@dataclass(frozen=True)
class Line:
    """A line of a wrapped caption; ``height`` in pixels to the next."""

    text: str
    font: Font
    colour: Colour
    height: int


@dataclass(frozen=True)
class Style:
    """Sizes and fonts that grow with the pictures."""

    scale: float
    name: Font
    small: Font

    @staticmethod
    @lru_cache(maxsize=8)
    def of(height: int) -> Style:
        """The style for pictures of this height in pixels."""
        scale = min(max(height / 192, 0.75), 3.0)
        return Style(scale, _font(15 * scale), _font(13 * scale))

    def px(self, pixels: float) -> int:
        """A length at a height of 192, in the pixels of this style."""
        return round(pixels * self.scale)


def _font(size: float) -> Font:
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


def wrap(text: str, width: int, style: Style) -> list[Line]:
    """Break a caption into lines that fit: its first paragraph is the name, the rest details."""
    lines = []
    for i, paragraph in enumerate(text.split("\n")):
        font, colour = (style.name, BRIGHT) if i == 0 else (style.small, TEXT)
        height = style.px(20) if i == 0 else style.px(17)
        line = ""
        # A number stays with its name before it and its unit after it.
        for word in re.sub(r" (?=[+−]?\d|%|EV)", "\u00a0", paragraph).split(" "):
            longer = f"{line} {word}" if line else word
            if line and text_length(longer, font) > width:
                lines.append(Line(line, font, colour, height))
                longer = word
            line = longer
        lines.append(Line(line, font, colour, height))
    return lines


def elide(text: str, width: float, font: Font) -> str:
    """The text, or as much of its beginning and end as fits: ``"DSC_...0042"``."""
    if text_length(text, font) <= width:
        return text
    kept = len(text)
    while kept > 2:
        kept -= 1
        shorter = f"{text[: (kept + 1) // 2].rstrip()}...{text[-(kept // 2) :].lstrip()}"
        if text_length(shorter, font) <= width:
            return shorter
    return "..."


# Pillow's own font has no minus sign and few accents: the one is drawn, the others are left.


def printable(text: str, font: Font) -> str:
    """Letters that the font lacks lose their accent, or become a question mark."""
    text = text.replace("\u00a0", " ").replace("–", "-").replace("—", "-").replace("×", "x")
    plain = ""
    for letter in text:
        if letter in "− " or _knows(font, letter):
            plain += letter
        else:
            base = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
            plain += base or "?"
    return plain


@lru_cache(maxsize=4096)
def _knows(font: Font, letter: str) -> bool:
    return bytes(font.getmask(letter)) != bytes(font.getmask("\U0010ffff"))


def text_length(text: str, font: Font) -> float:
    """Width of a line as it is drawn, in pixels."""
    return font.getlength(printable(text, font).replace("−", "+"))


def draw_text(draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, font: Font, colour: Colour) -> None:
    """Draw a line of text; a minus is the bar of the font's plus."""
    x, y = place
    left, top, right, bottom = font.getbbox("+")
    for i, piece in enumerate(printable(text, font).split("−")):
        if i:
            middle = round(y + (top + bottom) / 2)
            thickness = max(1, round(font.size / 13))
            bar = (x + left + 1, middle - thickness // 2, x + right - 2)
            draw.rectangle((*bar, bar[1] + thickness - 1), fill=colour)
            x += font.getlength("+")
        draw.text((x, y), piece, font=font, fill=colour)
        x += font.getlength(piece)
