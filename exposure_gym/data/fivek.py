"""The MIT-Adobe FiveK dataset, which the paper was trained and measured on: its folds, its download, its packs.

5,000 RAW photographs, each retouched by five experts, A to E (Bychkovsky et al. 2011,
https://data.csail.mit.edu/graphics/fivek/; for research only). The authors of the paper offer what their code reads,
expert C's photographs and their inputs cut down to 80 pixels: :func:`download_fivek` fetches it. It, or the original
dataset, becomes a pack with `exposure_gym.data.fivek_pack.pack_fivek`, which :func:`load_fivek` opens.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from exposure_gym.data.download import download, unzip
from exposure_gym.data.photo_set import Photos, PhotoSet
from exposure_gym.data.safe_pickle import load_plain

URL = "https://github.com/yuanming-hu/exposure_models/releases/download/v0.0.1"
"""Where the authors publish the files that their ``fetch_fivek.py`` fetches: 2.4 GB."""

PHOTOS = 5000
EXPERTS = "ABCDE"
PUBLISHED_SIZE, PUBLISHED_CROPS = 80, 4
"""Edge of the crops in pixels, and crops of an input: published ``fivek.py``."""

Fold = Literal["train-inputs", "train-targets", "test", "rated"]
Split = Literal["train", "test", "rated"]

IMAGES, META, FINISHED = "image_raw.npy", "meta_raw.pkl", "FiveK_C"
_LARGEST = {IMAGES: 2 << 30, META: 16 << 20, f"{FINISHED}.zip": 4 << 30}
_UNPACKED = 8 << 30

INDEX, INPUTS = "index.json", "inputs.npy"
FORMAT = "exposure-gym-fivek-1"


class FiveKError(ValueError):
    """A file of the dataset, or a pack, is not what it should be; one line with its name and the remedy."""


@cache
def fold_order() -> str:
    """Return a digit for each photograph, the first one's first: the order in which folds lie in a pack.

    1: inputs of the training, 2: targets of the training, 3: test, 4: test and rated by people. The ids are those of
    the published ``data/folds``: random draws, which no formula gives.
    """
    digits = (files("exposure_gym.data") / "fivek_folds.txt").read_text(encoding="ascii")
    return "".join(digits.split())


def fold_ids(fold: Fold) -> tuple[int, ...]:
    """Return the ids of a published fold, 1 to 5000, ascending.

    :param fold: ``"train-inputs"`` (2,000), ``"train-targets"`` (2,000 others), ``"test"`` (the 1,000 left), or
        ``"rated"`` (100 of the test photographs, whose results people compared).
    :raises ValueError: there is no such fold.
    """
    if fold not in get_args(Fold):
        raise ValueError(f"fold is one of {', '.join(get_args(Fold))}, not {fold!r}")
    wanted = "34" if fold == "test" else str(get_args(Fold).index(fold) + 1)
    return tuple(i for i, digit in enumerate(fold_order(), 1) if digit in wanted)


def photo_id(name: str) -> int | None:
    """Return the id that the name of a file begins with, as ``a0001-jmac_DSC1459.dng`` or ``0001.tif``, or ``None``."""
    match = re.match(r"a?(\d{4})(?!\d)", name)
    number = int(match[1]) if match else 0
    return number if 1 <= number <= PHOTOS else None


def download_fivek(folder: Path, url: str = URL, progress: Callable[[str, int, int], None] | None = None) -> int:
    """Fetch the authors' files and check them; again, to go on where the line broke or to check what is there.

    The folder gets ``image_raw.npy`` (inputs), ``meta_raw.pkl`` (their names) and ``FiveK_C/`` (expert C's JPEGs). The
    authors publish no checksums: sizes, the sums inside the ZIP file and the agreement of the three are checked.

    :param url: of the folder that holds the three files; another one than the authors' may hold fewer photographs.
    :param progress: called with the name of a file, its bytes that are done, and all its bytes.
    :return: number of photographs.
    :raises DownloadError: a file cannot be fetched.
    :raises ValueError: a file is damaged, unsafe, or not as published; one line.
    """

    def watch(name: str) -> Callable[[int, int], None] | None:
        return (lambda done, total: progress(name, done, total)) if progress else None

    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"{FINISHED}.zip"
    for name in (META, IMAGES, archive.name):
        if name != archive.name or not (folder / FINISHED).exists():
            download(f"{url.rstrip('/')}/{name}", folder / name, max_bytes=_LARGEST[name], progress=watch(name))
    if not (folder / FINISHED).exists():
        unzip(archive, folder / FINISHED, max_bytes=_UNPACKED, progress=watch(f"{FINISHED}.zip, unpacking"))
    archive.unlink(missing_ok=True)
    names = read_names(folder / META)
    open_images(folder / IMAGES, len(names))
    finished = find_photos(folder / FINISHED, (".jpg", ".jpeg"))
    expected = set(range(1, len(names) + 1))
    if set(finished) != expected or (url == URL and len(names) != PHOTOS):
        raise FiveKError(
            f"{folder}: has {len(names)} inputs and {len(finished)} finished photographs, not {PHOTOS} of each; "
            "remove it and download again"
        )
    return len(names)


def read_names(path: Path) -> list[str]:
    """Return the file names in the authors' ``meta_raw.pkl``, in the order of the photographs.

    :raises ValueError: the file is damaged, or holds anything else; one line.
    """
    meta = load_plain(path)
    names = meta.get("filenames") if isinstance(meta, dict) else None
    if not isinstance(names, list) or not 1 <= len(names) <= PHOTOS or not all(isinstance(name, str) for name in names):
        raise FiveKError(f"{path}: holds no file names of 1 to {PHOTOS} photographs; download it again")
    return names


def open_images(path: Path, photos: int) -> NDArray[np.float32]:
    """Map the authors' ``image_raw.npy``, without reading it.

    :param photos: that it must hold.
    :return: ``(4 * photos, 80, 80, 3)``: linear light in ProPhoto primaries; crops 4 i to 4 i + 3 are of the photograph
        of id i + 1.
    :raises FiveKError: it has another size, shape or type.
    """
    shape = (PUBLISHED_CROPS * photos, PUBLISHED_SIZE, PUBLISHED_SIZE, 3)
    return _map(path, shape, "download it again")


def find_photos(folder: Path, extensions: tuple[str, ...]) -> dict[int, Path]:
    """Return the files of the dataset anywhere below a folder, by id.

    :raises FiveKError: two files have the same id.
    """
    found: dict[int, Path] = {}
    for path in sorted(folder.rglob("*")):
        number = photo_id(path.name)
        if number is None or path.suffix.lower() not in extensions:
            continue
        if number in found:
            raise FiveKError(f"{path}: has the number of {found[number]}; keep one of the two")
        found[number] = path
    return found


def load_fivek(pack: str | Path, split: Split = "train", expert: str = "C") -> Photos:
    """Open a pack: the photographs of a split, mapped and not read.

    Inputs are linear light in ProPhoto primaries, four crops a photograph; targets are display values, the centre
    square of each. Not paired. In the training split targets are of other photographs than inputs, as published; in the
    others of the same ones.

    :param pack: the folder that `exposure_gym.data.fivek_pack.pack_fivek` made.
    :param expert: whose photographs are the targets, ``"A"`` to ``"E"``.
    :raises FiveKError: it is no pack, is damaged, or lacks the expert or the split; one line.
    """
    if split not in get_args(Split):
        raise ValueError(f"split is one of {', '.join(get_args(Split))}, not {split!r}")
    pack = Path(pack)
    index = _read_index(pack)
    if expert not in index["targets"]:
        raise FiveKError(f"{pack}: holds no photographs of expert {expert}; pack them too")
    first: Fold = "train-inputs" if split == "train" else split
    second: Fold = "train-targets" if split == "train" else split
    names, finished = index["inputs"], index["targets"][expert]
    inputs = _rows(pack, INPUTS, names, index["crops"], index["size"], first)
    targets = _rows(pack, targets_file(expert), finished, 1, index["size"], second)
    return Photos(PhotoSet(inputs[0], "linear", inputs[1], "prophoto"), PhotoSet(targets[0], "display", targets[1]))


def targets_file(expert: str) -> str:
    """Return the name of the array in a pack that holds an expert's photographs."""
    return f"expert_{expert.lower()}.npy"


def pack_order(number: int) -> tuple[str, int]:
    """Return the key by which photographs are sorted in a pack, so that each fold is one stretch of it."""
    return fold_order()[number - 1], number


def _rows(
    pack: Path, file: str, names: list[str], crops: int, size: int, fold: Fold
) -> tuple[NDArray[np.float32], list[str]]:
    """Return the stretch of an array that holds a fold, and the name of each row."""
    images = _map(pack / file, (crops * len(names), 3, size, size), "pack it again")
    wanted = frozenset(fold_ids(fold))
    numbers = [photo_id(name) for name in names]
    stretches = [(inside, len(list(group))) for inside, group in groupby(numbers, wanted.__contains__)]
    if None in numbers or sum(inside for inside, _ in stretches) > 1:
        raise FiveKError(f"{pack / INDEX}: is damaged; pack it again")
    start = 0
    for inside, count in stretches:
        if inside:
            rows = slice(crops * start, crops * (start + count))
            return images[rows], [name for name in names[start : start + count] for _ in range(crops)]
        start += count
    raise FiveKError(f"{pack}: holds no photograph of the fold {fold} in {file}; pack more of the dataset")


def _read_index(pack: Path) -> dict[str, Any]:
    path = pack / INDEX
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FiveKError(f"{pack}: is no finished pack; make it with exposure-gym data fivek pack") from None
    except (ValueError, RecursionError):
        index = None
    if not _is_index(index):
        raise FiveKError(f"{path}: is damaged or of another version; pack it again")
    return cast("dict[str, Any]", index)


def _is_index(index: object) -> bool:
    def names(value: object) -> bool:
        return isinstance(value, list) and all(isinstance(name, str) for name in value)

    return (
        isinstance(index, dict)
        and index.get("format") == FORMAT
        and all(type(index.get(key)) is int and 1 <= index[key] <= 4096 for key in ("size", "crops"))
        and names(index.get("inputs"))
        and isinstance(index.get("targets"), dict)
        and all(expert in list(EXPERTS) and names(value) for expert, value in index["targets"].items())
    )


def _map(path: Path, shape: tuple[int, ...], remedy: str) -> NDArray[np.float32]:
    """Map a float32 array that must have a shape and end where the file ends."""
    try:
        images = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is no array, or is damaged"
        raise FiveKError(f"{path}: {reason or error}; {remedy}") from None
    sound = isinstance(images, np.memmap) and images.dtype == np.dtype("<f4") and images.flags.c_contiguous
    if not sound or images.shape != shape:
        found = f"{images.dtype} {images.shape}" if isinstance(images, np.ndarray) else "an archive"
        raise FiveKError(f"{path}: holds {found}, not float32 {shape}; {remedy}")
    if path.stat().st_size != images.offset + images.nbytes:
        raise FiveKError(f"{path}: is longer than the array it holds; {remedy}")
    return cast("NDArray[np.float32]", images)
