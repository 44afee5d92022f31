"""Photographs that come through the browser: kept in the output folder under a name of our own making."""

from __future__ import annotations

import os
import re
import secrets
import unicodedata
from itertools import count
from pathlib import Path

from exposure_gym.photo import KNOWN_EXTENSIONS, PhotoError
from exposure_gym.ui.partner import Partner
from exposure_gym.ui.pictures import Proof
from exposure_gym.ui.table import reading_of_file

FOLDER = "photos"
"""In the output folder."""

_MAX_NAME = 80
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)", re.IGNORECASE)


def clean_name(name: str) -> str:
    """A file name that is one anywhere: no folder, no control or special character, not hidden, not long.

    :raises ValueError: it has no photograph's extension.
    """
    name = unicodedata.normalize("NFC", name).replace("\\", "/").rpartition("/")[2]
    stem, dot, extension = name.rpartition(".")
    extension = f"{dot}{extension}".lower()
    if extension not in KNOWN_EXTENSIONS:
        raise ValueError("this is no photograph's name; TIFF, JPEG, PNG, RAW, HEIC and AVIF files are taken")
    kept = "".join(letter if letter.isalnum() or letter in " -_()+,'" else "-" for letter in stem)
    kept = kept.encode("utf-8", "replace").decode()[:_MAX_NAME].strip(" -") or "photo"
    return f"{kept}-{extension}" if _RESERVED.fullmatch(kept) else f"{kept}{extension}"


def begin(output: Path) -> Path:
    """An empty file to write what arrives to."""
    folder = output / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f".upload-{secrets.token_hex(8)}"
    path.touch()
    return path


def keep(arrived: Path, name: str, partner: Partner) -> Path:
    """Look at what arrived, and give it its name, or that with a number.

    :raises exposure_gym.photo.PhotoError: it cannot be read as a photograph.
    """
    named = arrived.with_name(arrived.name + Path(name).suffix)  # RAW files are told by it too
    arrived.rename(named)
    try:
        Proof.of_file(named, reading_of_file(named, partner.reading), partner.space)
        with named.open("rb+") as file:
            os.fsync(file.fileno())
        return _placed(named, name)
    except PhotoError as error:
        raise PhotoError(name, error.reason, error.remedy) from None
    finally:
        named.unlink(missing_ok=True)


def _placed(path: Path, name: str) -> Path:
    stem, suffix = Path(name).stem, Path(name).suffix
    for number in count(1):
        target = path.with_name(name if number == 1 else f"{stem}-{number}{suffix}")
        try:
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))  # it is ours, if it was nobody's
        except FileExistsError:
            continue
        os.replace(path, target)
        return target
    raise AssertionError
