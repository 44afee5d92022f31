"""A recipe as an XMP sidecar: the nearest edit that Adobe Camera Raw, Lightroom or darktable can make of a photograph.

What each program gets, and how near it comes, is in ``docs/recipe.md``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args
from xml.sax.saxutils import escape

from exposure_gym.files import replacing

if TYPE_CHECKING:
    from exposure_gym.recipe import Recipe

Program = Literal["camera-raw", "darktable"]


@dataclass(frozen=True)
class XmpReport:
    """How a sidecar holds its recipe, each edit in words, with what became of it.

    :param written: edits that the program makes as we do, within the accuracy of its curves.
    :param approximated: edits that became the nearest thing that the program has.
    :param left_out: edits that it has nothing for.
    """

    written: tuple[str, ...]
    approximated: tuple[str, ...]
    left_out: tuple[str, ...]

    def __str__(self) -> str:
        kinds = {"written": self.written, "approximated": self.approximated, "left out": self.left_out}
        return "\n".join(f"{kind}: {line}" for kind, lines in kinds.items() for line in lines) or "nothing to write"


def to_xmp(recipe: Recipe, path: str | os.PathLike[str], program: Program = "camera-raw") -> XmpReport:
    """Write a recipe as a sidecar; a file that is there is replaced.

    The sidecar belongs to the *unedited* photograph, the file that :func:`exposure_gym.photo.read_linear` reads "as-is"
    for the recipe (:func:`~exposure_gym.photo.read_display`, where ``input_domain`` is ``"display"``). It does not
    matter whether the file holds linear or encoded values: the programs linearise it by its colour profile, as we do.
    They encode what they make, and the sidecar's last curve sees to it that this shows the recipe's display values.

    * ``"darktable"`` (4.2 or later; ``photo.tif.xmp``): a history of its modules. Every run of edits that treat the
      channels one by one becomes exposure, gains and one curve a channel, in the recipe's primaries; black and white a
      matrix; contrast a curve of luminance; saturation the module velvia, which is only similar. darktable develops RAW
      files in its own way before the sidecar's edit begins, as a rule with the camera's white balance.
    * ``"camera-raw"`` (process version 2012 or later; ``photo.xmp``): Exposure2012, point curves, Vibrance, Saturation
      and ConvertToGrayscale, in Camera Raw's own order and primaries. Not validated: nothing of it could be compared
      with Camera Raw's pictures. On RAW files the curve of its camera profile comes on top.

    The recipe's words are the sidecar's ``dc:description``.

    :param path: the names that the programs look for are given above.
    :return: what was written how, what was approximated, what was left out.
    :raises ValueError: an unknown program.
    :raises OSError: the file cannot be written.
    """
    if program not in get_args(Program):
        raise ValueError(f"program must be 'camera-raw' or 'darktable', not {program!r}")
    from exposure_gym import _xmp_camera_raw, _xmp_darktable
    from exposure_gym._xmp_stages import Notes

    prefix, writer = ("darktable", _xmp_darktable) if program == "darktable" else ("crs", _xmp_camera_raw)
    notes = Notes()
    attributes, elements = writer.description(recipe, notes)
    text = f"""<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="exposure-gym">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
   xmlns:dc="http://purl.org/dc/elements/1.1/"
   xmlns:{prefix}="{writer.NAMESPACE}"
{attributes.rstrip()}>
   <dc:description>
    <rdf:Alt>
     <rdf:li xml:lang="x-default">{escape(recipe.describe())}</rdf:li>
    </rdf:Alt>
   </dc:description>
{elements}  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""
    with replacing(Path(path)) as temporary:
        temporary.write_bytes(text.encode())
    return XmpReport(tuple(notes.written), tuple(notes.approximated), tuple(notes.left_out))
