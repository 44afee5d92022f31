"""Small photographs of every kind that is read, and all the ways to damage them, each told by a seed and a number."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
import tifffile
from dng import dng
from numpy.typing import NDArray
from PIL import Image, features

from exposure_gym._decode import tifffile_complaints

HEIGHT, WIDTH = 24, 32
_ABSURD = (0, 1, 2, 3, 7, 8, 9, 12, 16, 17, 31, 32, 64, 255, 256, 32767, 32768, 65535, 65536, 10**6, 2**31, 2**32 - 1)
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_BOMB = 1 << 27

Generator = np.random.Generator


class Case(NamedTuple):
    """A damaged photograph."""

    kind: str
    damage: str
    data: bytes
    suffix: str
    cut: bool
    """The start of a whole file, which must be refused."""


@lru_cache(maxsize=1)
def healthy() -> dict[str, bytes]:
    """Whole files of every format, compression and layout; the extension of the key is the file's."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[0 : 1 : HEIGHT * 1j, 0 : 1 : WIDTH * 1j]
    smooth = np.stack([0.1 + 0.8 * x, 0.9 - 0.7 * y, 0.2 + 0.5 * x * y], axis=-1)
    light = np.clip(smooth + rng.normal(0, 0.02, smooth.shape), 0, 1)
    codes16 = np.rint(light * 65535).astype(np.uint16)
    codes = (codes16 >> 8).astype(np.uint8)
    image = Image.fromarray(codes)
    primaries = [0.64, 0.33, 1.0, 0.21, 0.71, 1.0, 0.15, 0.06, 1.0]
    profile = bytes(imagecodecs.cms_profile("rgb", whitepoint=[0.3127, 0.329, 1.0], primaries=primaries, gamma=2.2))
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Example", 6
    exif.get_ifd(0x8769)[0x9003] = "2020:02:02 02:02:02"
    files = {
        "baseline.jpg": _pillow(image, "JPEG", icc_profile=profile, exif=exif),
        "progressive.jpg": _pillow(image, "JPEG", progressive=True, subsampling=0),
        "restart.jpg": _pillow(image, "JPEG", restart_marker_blocks=1),
        "grey.jpg": _pillow(image.convert("L"), "JPEG"),
        "eight.png": _pillow(image, "PNG", icc_profile=profile, exif=exif),
        "palette.png": _pillow(image.quantize(16), "PNG"),
        "bilevel.png": _pillow(image.convert("1"), "PNG"),
        "sixteen.png": bytes(imagecodecs.png_encode(codes16)),
        "grey16.png": bytes(imagecodecs.png_encode(codes16[..., 0].copy())),
        "plain.tif": _tiff(codes16, iccprofile=profile),
        "strips.tif": _tiff(codes, rowsperstrip=5),
        "lzw.tif": _tiff(codes16, compression="lzw", rowsperstrip=7, predictor=True),
        "deflate.tif": _tiff(codes, compression="zlib", predictor=True),
        "tiled.tif": _tiff(codes, compression="packbits", tile=(16, 16)),
        "tiles.tif": _tiff(codes16, tile=(16, 16)),
        "thumbnail.tif": _tiff(codes[::4, ::4], subfiletype=1),
        "planes.tif": _tiff(np.moveaxis(codes16, -1, 0), compression="zlib", planarconfig="separate"),
        "float.tif": _tiff(light.astype(np.float32), compression="zlib", predictor=True),
        "bigtiff.tif": _tiff(codes16, bigtiff=True, byteorder=">"),
        "palette.tif": _pillow(image.quantize(16), "TIFF"),
        "bilevel.tif": _pillow(image.convert("1"), "TIFF", compression="packbits"),
        "directory_last.tif": _pillow(image, "TIFF", compression="tiff_lzw", icc_profile=profile, exif=exif),
        "plain.dng": dng(light),
        "lossless_jpeg.dng": dng(light, compression=7, compressionargs={"lossless": True, "bitspersample": 16}),
    }
    if features.check("avif"):
        files["a.avif"] = _pillow(image, "AVIF", exif=exif)
    return files


def _pillow(image: Image.Image, kind: str, **options: Any) -> bytes:
    with io.BytesIO() as buffer:
        image.save(buffer, kind, **options)
        return buffer.getvalue()


def _tiff(pixels: NDArray[Any], **options: Any) -> bytes:
    with io.BytesIO() as buffer:
        tifffile.imwrite(buffer, pixels, photometric="rgb", metadata=None, **options)
        return buffer.getvalue()


def damaged(seed: int, number: int) -> Case:
    """The case of this number: always the same for the same seed."""
    rng = np.random.default_rng([seed, number])
    kind = str(rng.choice(sorted(healthy())))
    data = healthy()[kind]
    damages = {**_GENERAL, **_BY_FORMAT.get(_format(data), {})}
    names = [str(name) for name in rng.choice(sorted(damages), 1 if rng.random() < 0.7 else 2)]
    for name in names:
        data = damages[name](rng, data)
    suffix = "." + kind.split(".")[1]
    if rng.random() < 0.1:
        suffix = str(rng.choice([".dng", ".tif", ".jpg", ".nef"]))
    whole = healthy()[kind]
    cut = names == ["cut"] and suffix == "." + kind.split(".")[1] and data != whole
    return Case(kind, "+".join(names), data, suffix, cut)


def _format(data: bytes) -> str:
    if data.startswith(_PNG_MAGIC):
        return "png"
    return "jpeg" if data.startswith(b"\xff\xd8") else "tiff" if data[:2] in (b"II", b"MM") else ""


def _place(rng: Generator, data: bytes) -> int:
    """Somewhere in a file; its head and its tail more often than its middle."""
    where = rng.random() ** rng.choice([1, 2, 4])
    return int((1 - where if rng.random() < 0.3 else where) * max(0, len(data) - 1))


def _flip(rng: Generator, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.integers(1, 9) if changed else 0):
        changed[_place(rng, data)] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _cut(rng: Generator, data: bytes) -> bytes:
    return data[: _place(rng, data)]


def _overwrite(rng: Generator, data: bytes) -> bytes:
    start, length = _place(rng, data), int(rng.integers(1, 65))
    run = (bytes(length), b"\xff" * length, rng.bytes(length))[rng.integers(3)]
    return (data[:start] + run + data[start + length :])[: len(data)]


def _remove(rng: Generator, data: bytes) -> bytes:
    start = _place(rng, data)
    return data[:start] + data[start + int(rng.integers(1, 65)) :]


def _insert(rng: Generator, data: bytes) -> bytes:
    start = _place(rng, data)
    return data[:start] + rng.bytes(int(rng.integers(1, 65))) + data[start:]


def _exchange(rng: Generator, data: bytes) -> bytes:
    a, b, length = *sorted((_place(rng, data), _place(rng, data))), int(rng.integers(1, 129))
    first, second = data[a : min(a + length, b)], data[b : b + length]
    return data[:a] + second + data[a + len(first) : b] + first + data[b + len(second) :]


def _number(rng: Generator, data: bytes) -> bytes:
    """An absurd number where a file may have a size, a depth or an offset."""
    layout = str(rng.choice(["<H", ">H", "<I", ">I"]))
    size = struct.calcsize(layout)
    start = _place(rng, data) // 2 * 2
    value = int(rng.choice(_ABSURD)) % 256**size
    return (data[:start] + struct.pack(layout, value) + data[start + size :])[: len(data)]


def _splice(rng: Generator, data: bytes) -> bytes:
    other = healthy()[str(rng.choice(sorted(healthy())))]
    return data[: _place(rng, data)] + other[_place(rng, other) :]


def _noise(rng: Generator, data: bytes) -> bytes:
    """Random bytes, most of them after the first bytes of a photograph."""
    starts = [
        data[:2],
        data[:16],
        data[: len(data) // 3],
        b"",
        b"FUJIFILMCCD-RAW ",
        b"\0\0\0\x18ftypcrx ",
        b"FOVb",
        b"IIRO",
    ]
    return starts[rng.integers(len(starts))] + rng.bytes(int(rng.integers(1, 3000)))


def _append(rng: Generator, data: bytes) -> bytes:
    return data + (data, rng.bytes(200), bytes(5000))[rng.integers(3)]


_Parts = Callable[[bytes], list[bytes]]


def _shuffled(split: _Parts) -> Callable[[Generator, bytes], bytes]:
    """Two chunks of a file exchanged, one dropped or one doubled."""

    def shuffle(rng: Generator, data: bytes) -> bytes:
        parts = split(data)
        i, j = (int(n) for n in rng.integers(0, len(parts), 2))
        change = rng.integers(3)
        if change == 0:
            parts[i], parts[j] = parts[j], parts[i]
        elif change == 1:
            del parts[i]
        else:
            parts.insert(j, parts[i])
        return b"".join(parts)

    return shuffle


def _png_chunks(data: bytes) -> list[bytes]:
    chunks, at = [], 8
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        chunks.append(data[at:end])
        at = end
    return [data[:8], *chunks]


def _png_chunk(name: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + name + payload + struct.pack(">I", zlib.crc32(name + payload))


def _png_content(rng: Generator, data: bytes) -> bytes:
    """Damage within a chunk, under a right checksum: sizes, depths, colour types, pixels, profiles."""
    chunks = _png_chunks(data)
    i = int(rng.integers(1, max(2, len(chunks)))) if rng.random() < 0.5 else 1
    if i >= len(chunks):
        return data
    name, payload = chunks[i][4:8], chunks[i][8:-4]
    change = (_flip, _number, _overwrite, _cut)[rng.integers(4)]
    chunks[i] = _png_chunk(name, change(rng, payload))
    return b"".join(chunks)


@lru_cache(maxsize=1)
def _deflated_bomb() -> bytes:
    return zlib.compress(bytes(_BOMB), 9)


def _png_bomb(rng: Generator, data: bytes) -> bytes:
    """128 MB of zeros where there should be a few pixels, a profile or a comment."""
    chunks, bomb = _png_chunks(data), _deflated_bomb()
    name, head = [(b"IDAT", b""), (b"iCCP", b"a\0\0"), (b"zTXt", b"a\0\0"), (b"iTXt", b"a\0\1\0\0\0")][rng.integers(4)]
    chunks = [chunk for chunk in chunks if chunk[4:8] != name]
    chunks.insert(2, _png_chunk(name, head + bomb))
    return b"".join(chunks)


def _jpeg_segments(data: bytes) -> list[bytes]:
    """The start, one by one the segments up to the pixels, and the rest."""
    segments, at = [data[:2]], 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        segments.append(data[at:end])
        at = end
    return [*segments, data[at:]]


def _jpeg_frame(rng: Generator, data: bytes) -> bytes:
    """An absurd precision, height, width, number of channels or subsampling in the frame header."""
    segments = _jpeg_segments(data)
    for i, segment in enumerate(segments):
        if segment[:2] in (b"\xff\xc0", b"\xff\xc2"):
            segments[i] = segment[:4] + _number(rng, segment[4:])
            if rng.random() < 0.3:  # another kind of frame: lossless, arithmetic coding
                segments[i] = b"\xff" + bytes([0xC0 + int(rng.integers(16))]) + segments[i][2:]
    return b"".join(segments)


@lru_cache(maxsize=64)
def _tag_places(data: bytes) -> tuple[tuple[int, bool], ...]:
    """Where the entries of a TIFF's first directory are, and whether each is one of a BigTIFF."""
    try:
        with tifffile_complaints(), tifffile.TiffFile(io.BytesIO(data)) as file:
            return tuple((tag.offset, file.is_bigtiff) for tag in file.pages.first.tags)
    except Exception:  # already damaged
        return ()


def _tiff_tag(rng: Generator, data: bytes) -> bytes:
    """An absurd value, count or type of a tag, or another tag."""
    places = _tag_places(data)
    if not places:
        return _flip(rng, data)
    order = "<" if data[:2] == b"II" else ">"
    changed = bytearray(data)
    for _ in range(rng.integers(1, 3)):
        offset, big = places[rng.integers(len(places))]
        value = int(rng.choice(_ABSURD))
        fields = (
            [("H", 0), ("H", 2), ("Q", 4), ("Q", 12)] if big else [("H", 0), ("H", 2), ("I", 4), ("I", 8), ("H", 8)]
        )
        layout, at = fields[rng.choice(len(fields), p=[0.1, 0.1, *[0.8 / (len(fields) - 2)] * (len(fields) - 2)])]
        if layout == "H":
            value = int(rng.integers(1, 19)) if at == 2 else value % 65536
        struct.pack_into(order + layout, changed, offset + at, value)
    return bytes(changed)


def _tiff_setting(rng: Generator, data: bytes) -> bytes:
    """Another size, depth, compression, kind of pixels, layout or sample format, plausible by itself."""
    order = "<" if data[:2] == b"II" else ">"
    changed = bytearray(data)
    settings = {
        256: (1, 31, 33, 60_000, 10**6),
        257: (1, 23, 25, 60_000, 10**6),
        258: (1, 2, 4, 8, 12, 16, 24, 32, 64),
        259: (1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946, 34676, 34712, 34887, 34892, 34925, 50000, 50001, 52546),
        262: (0, 1, 2, 3, 4, 5, 6, 8, 32803, 32844, 32845, 34892),
        266: (1, 2),
        274: tuple(range(10)),
        277: (1, 2, 3, 4, 5, 9),
        278: (1, 2, 10**6, 2**32 - 1),
        284: (1, 2, 3),
        317: (1, 2, 3, 34892),
        322: (16, 32, 24, 60_000),
        323: (16, 32, 24, 60_000),
        338: (0, 1, 2),
        339: (1, 2, 3, 4, 5, 6),
    }
    entries = [(place, *struct.unpack_from(order + "HH", data, place[0])) for place in _tag_places(data)]
    entries = [entry for entry in entries if entry[1] in settings]
    for _ in range(rng.integers(1, 4) if entries else 0):
        (offset, big), tag, kind = entries[rng.integers(len(entries))]
        layout = order + {3: "H"}.get(kind, "I")
        value = int(rng.choice(settings[tag])) % 256 ** struct.calcsize(layout)
        count = struct.unpack_from(order + ("Q" if big else "I"), data, offset + 4)[0]
        at = offset + (12 if big else 8)
        if count > 2 and not big:  # three depths, one for each channel, stand elsewhere
            at = struct.unpack_from(order + "I", data, at)[0]
        for i in range(min(count, 4)):
            struct.pack_into(layout, changed, min(at + i * struct.calcsize(layout), len(data) - 8), value)
    return bytes(changed)


def _tiff_loop(rng: Generator, data: bytes) -> bytes:
    """Directories without an end: one that says that it is followed by itself, or hundreds in a ring."""
    places = _tag_places(data)
    if not places or places[0][1]:
        return _flip(rng, data)
    order = "<" if data[:2] == b"II" else ">"
    start, end = places[0][0] - 2, places[-1][0] + 12
    ring = int(rng.choice([0, 2, 99, 200, 2000]))
    empty = [struct.pack(order + "HI", 0, len(data) + 6 * (i + 1)) for i in range(ring)]
    if ring:
        empty[-1] = struct.pack(order + "HI", 0, int(rng.choice([len(data), start])))
    changed = bytearray(data)
    struct.pack_into(
        order + "I", changed, min(end, len(data) - 4), len(data) if ring else int(rng.choice([start, 8, 2]))
    )
    return bytes(changed) + b"".join(empty)


def _tiff_bomb(rng: Generator, data: bytes) -> bytes:
    """Strips that unpack to 128 MB, of pictures that may say so or not."""
    bomb = _deflated_bomb()
    height, width = [(HEIGHT, WIDTH), (1, _BOMB), (999, 999), (10**6, 1), (2**15, 2**12)][rng.integers(5)]
    tags = {256: width, 257: height, 258: int(rng.choice([1, 8, 16])), 259: 8, 262: 1, 273: 0, 277: 1, 278: height}
    tags[279] = len(bomb)
    if rng.random() < 0.3:
        tags[278] = int(rng.choice([1, 2**32 - 1, height]))
    tags[273] = 8 + 2 + 12 * len(tags) + 4
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + directory + bytes(4) + bomb


_Damage = Callable[[Generator, bytes], bytes]
_GENERAL: dict[str, _Damage] = {
    "append": _append,
    "cut": _cut,
    "exchange": _exchange,
    "flip": _flip,
    "insert": _insert,
    "noise": _noise,
    "number": _number,
    "overwrite": _overwrite,
    "remove": _remove,
    "splice": _splice,
}
_BY_FORMAT: dict[str, dict[str, _Damage]] = {
    "png": {"chunks": _shuffled(_png_chunks), "content": _png_content, "bomb": _png_bomb},
    "jpeg": {"chunks": _shuffled(_jpeg_segments), "frame": _jpeg_frame},
    "tiff": {"tag": _tiff_tag, "setting": _tiff_setting, "loop": _tiff_loop, "bomb": _tiff_bomb},
}
