"""A drawing as an SVG file that needs nothing else: pictures and the font are in it, text is text."""

from __future__ import annotations

import base64
import os
import re
from pathlib import Path
from xml.sax.saxutils import escape

from exposure_gym.files import replacing
from exposure_gym.viz.drawing import Drawing, Picture, Rectangle, Text
from exposure_gym.viz.pictures import data_uri, fit
from exposure_gym.viz.style import SURROUND, Colour, Font

DENSITY = 2
"""Pixels of a picture for each of its box, at most: enough for a dense screen."""
QUALITY = 88
"""Of pictures as JPEG."""
SWATCH = 64
"""Pictures up to this edge are PNG: a few flat colours are smaller so, and exact."""

_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_svg(drawing: Drawing, title: str, description: str = "") -> str:
    """Write a drawing as SVG.

    :param title: what the figure is, :param description: and what it says, for those who cannot see it.
    :return: the file's text. Whatever XML cannot hold in ``title``, ``description`` or a text becomes U+FFFD.
    """
    fonts = [part.font for part in drawing.parts if isinstance(part, Text)]
    size = f'width="{drawing.width}" height="{drawing.height}" viewBox="0 0 {drawing.width} {drawing.height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title description" lang="en">',
        f'<title id="title">{escape(xml_safe(title))}</title>',
        f'<desc id="description">{escape(xml_safe(description))}</desc>',
        f"<style>{_font_face(fonts[0]) if fonts else ''}",
        "text{font-family:figure,Arial,sans-serif;white-space:pre}</style>",
        f'<rect width="100%" height="100%" fill="{_hex(SURROUND)}"/>',
    ]
    for part in drawing.parts:
        if isinstance(part, Picture):
            box = f'x="{part.x}" y="{part.y}" width="{part.width}" height="{part.height}"'
            lines.append(f'<image {box} preserveAspectRatio="none" href="{_embed(part)}"/>')
        elif isinstance(part, Text):
            baseline = part.y + part.font.getmetrics()[0]
            place = f'x="{_number(part.x)}" y="{_number(baseline)}" font-size="{_number(part.font.size)}"'
            lines.append(f'<text {place} fill="{_hex(part.colour)}">{escape(xml_safe(part.text))}</text>')
        elif isinstance(part, Rectangle):
            box = f'x="{part.x}" y="{part.y}" width="{part.width}" height="{part.height}"'
            lines.append(f'<rect {box} fill="{_hex(part.colour)}"/>')
        else:
            path = "M" + "L".join(f"{_number(x)} {_number(y)}" for x, y in part.points)
            look = f'stroke="{_hex(part.colour)}" stroke-width="{_number(part.width)}" stroke-linejoin="round"'
            lines.append(f'<path d="{path}" fill="none" {look}/>')
    return "\n".join([*lines, "</svg>", ""])


def write_svg(path: str | os.PathLike[str], text: str) -> None:
    """Write what :func:`to_svg` gave; the file appears whole or not at all."""
    with replacing(Path(path)) as temporary:
        temporary.write_text(text, encoding="utf-8")


def xml_safe(text: str) -> str:
    """Text that XML can hold: control characters and lone surrogates become U+FFFD. It is not escaped yet."""
    return _NO_XML.sub("\ufffd", text)


def _font_face(font: Font) -> str:
    """The font that the text was measured with, so that it fits (Pillow's own, Aileron, is in the public domain)."""
    data = base64.b64encode(font.font_bytes).decode()
    return f'@font-face{{font-family:figure;src:url("data:font/ttf;base64,{data}")}}'


def _embed(picture: Picture) -> str:
    if max(picture.width, picture.height) <= SWATCH:
        return data_uri(picture.pixels, "PNG")
    width, height = DENSITY * picture.width, DENSITY * picture.height
    too_large = picture.pixels.shape[0] > height
    return data_uri(fit(picture.pixels, width, height) if too_large else picture.pixels, "JPEG", QUALITY)


def _hex(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _number(value: float) -> str:
    """At most two decimals, and no zeros at the end."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
