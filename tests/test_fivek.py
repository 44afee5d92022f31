"""The FiveK dataset: its folds, the authors' files from a small server of our own, the original files, the packs."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_tools import photograph, run
from dng import dng
from numpy.typing import NDArray
from web_server import Site

from exposure_gym import _raw
from exposure_gym.data import PhotoSet, fivek, fivek_pack
from exposure_gym.data.download import DownloadError, UnsafeArchive
from exposure_gym.data.fivek import FiveKError, download_fivek, fold_ids, load_fivek
from exposure_gym.data.fivek_pack import pack_fivek
from exposure_gym.data.safe_pickle import UnsafePickle
from exposure_gym.photo import list_photos, read_linear

COUNT = 14  # photographs of the small dataset: the 14th is the first one of the test fold
DNG = Path(__file__).parents[2] / "shared" / "data" / "photos" / "tinydng_colorchart.dng"


def test_the_published_folds() -> None:
    folds = [set(fold_ids(fold)) for fold in ("train-inputs", "train-targets", "test")]
    assert [len(fold) for fold in folds] == [2000, 2000, 1000]
    assert set.union(*folds) == set(range(1, 5001))
    assert len(fold_ids("rated")) == 100
    assert set(fold_ids("rated")) < folds[2]
    assert {3014, 3683, 350, 1, 254} <= folds[0]  # the ends of the published lists, and what stands there
    assert {1525, 3745, 4810, 5000, 1667} <= folds[1]
    assert {4100, 2053, 14, 4188} <= folds[2]
    assert {1033, 4827, 612, 4407} <= set(fold_ids("rated"))
    assert list(fold_ids("test")) == sorted(fold_ids("test"))
    digest = hashlib.sha256(fivek.fold_order().encode()).hexdigest()
    assert digest.startswith("3b0ac506e6fd7924")
    with pytest.raises(ValueError, match="fold is one of train-inputs, "):
        fold_ids("validation")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("a0001-jmac_DSC1459.dng", 1),
        ("0014.tif", 14),
        ("a5000-x.tif", 5000),
        ("a5001-x.tif", None),
        ("0000.jpg", None),
        ("00014.jpg", None),
        ("b0001.jpg", None),
        ("photo.jpg", None),
    ],
)
def test_ids_are_read_from_names(name: str, number: int | None) -> None:
    assert fivek.photo_id(name) == number


def zipped(names: list[str], folder: Path) -> bytes:
    with io.BytesIO() as buffer:
        with zipfile.ZipFile(buffer, "w") as packed:
            packed.writestr("FiveK_C/", b"")
            for number, name in enumerate(names):
                path = photograph(folder / "photo.jpg", number, size=(90 + number, 120))
                packed.writestr(f"FiveK_C/{name}", path.read_bytes())
        return buffer.getvalue()


def python2_pickle(names: list[str]) -> bytes:
    """What the authors' Python 2 wrote with protocol 2: byte strings."""
    strings = b"".join(b"U" + bytes([len(name)]) + name.encode() for name in names)
    return b"\x80\x02}q\x00U\tfilenamesq\x01](" + strings + b"es."


def npy(array: Any) -> bytes:
    with io.BytesIO() as buffer:
        np.save(buffer, array)
        return buffer.getvalue()


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The authors' three files, with 14 photographs."""
    rng = np.random.default_rng(0)
    images = rng.random((4 * COUNT, 80, 80, 3), np.float32) ** 3
    names = [f"{n:04d}.jpg" for n in range(1, COUNT + 1)]
    return {
        "FiveK_C.zip": zipped(names, tmp_path_factory.mktemp("photos")),
        "image_raw.npy": npy(images),
        "meta_raw.pkl": python2_pickle([f"{n:04d}.tif" for n in range(1, COUNT + 1)]),
    }


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)


@pytest.fixture
def site(published: dict[str, bytes]) -> Iterator[Site]:
    with Site(published) as site:
        yield site


@pytest.fixture(scope="module")
def fetched(published: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fetched")
    with Site(published) as site:
        assert download_fivek(folder, site.url) == COUNT
    return folder


@pytest.fixture(scope="module")
def packed(fetched: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pack = tmp_path_factory.mktemp("packs") / "pack"
    assert pack_fivek(fetched, pack, workers=1) == COUNT
    return pack


def test_from_the_server_to_photos(site: Site, tmp_path: Path, published: dict[str, bytes]) -> None:
    site.send = [50, 10**8, 500_000, 30_000, 10**8, 1_000]
    result = run("data", "fivek", "download", tmp_path / "files", "--url", site.url + "/")
    assert result.exit_code == 0, result.output
    assert f"{COUNT} photographs" in result.stdout
    assert sorted(path.name for path in (tmp_path / "files").iterdir()) == ["FiveK_C", "image_raw.npy", "meta_raw.pkl"]
    requests = len(site.requests)
    assert requests == 3 + 4
    assert run("data", "fivek", "download", tmp_path / "files", "--url", site.url).exit_code == 0
    assert len(site.requests) == requests

    result = run("data", "fivek", "pack", tmp_path / "files", "-o", tmp_path / "pack", "--workers", 1)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "pack").iterdir()) == ["expert_c.npy", "index.json", "inputs.npy"]

    images = np.load(io.BytesIO(published["image_raw.npy"]))
    finished = PhotoSet.from_folder(next((tmp_path / "files").rglob("0001.jpg")).parent, "display")
    for split, first, second in (("train", "train-inputs", "train-targets"), ("test", "test", "test")):
        photos = load_fivek(tmp_path / "pack", split)  # type: ignore[arg-type]
        inputs = [n for n in fold_ids(first) if n <= COUNT]  # type: ignore[arg-type]
        targets = [n for n in fold_ids(second) if n <= COUNT]  # type: ignore[arg-type]
        assert isinstance(photos.inputs.crops, np.memmap)
        assert isinstance(photos.targets.crops, np.memmap)
        expected = np.concatenate([images[4 * n - 4 : 4 * n] for n in inputs]).transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(photos.inputs.crops, expected)
        np.testing.assert_array_equal(photos.targets.crops, finished.crops[[n - 1 for n in targets]])
        assert photos.inputs.names == tuple(f"{n:04d}.tif" for n in inputs for _ in range(4))
        assert photos.targets.names == tuple(f"{n:04d}.jpg" for n in targets)
        assert (photos.inputs.domain, photos.inputs.space) == ("linear", "prophoto")
        assert (photos.targets.domain, photos.targets.space) == ("display", "srgb")
        assert not photos.paired
        assert photos.inputs.sample(3, np.random.default_rng(0)).shape == (3, 3, 64, 64)


def refused(call: Callable[[], object], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match) as caught:
        call()
    assert "\n" not in str(caught.value)


def evil_zip(name: str) -> bytes:
    with io.BytesIO() as buffer:
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(name, b"evil")
        return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "error", "match"),
    [
        ("FiveK_C.zip", evil_zip("../evil.jpg"), UnsafeArchive, "leaves the folder"),
        ("FiveK_C.zip", evil_zip("/tmp/evil.jpg"), UnsafeArchive, "leaves the folder"),
        ("FiveK_C.zip", evil_zip("FiveK_C/0001.jpg"), FiveKError, "14 inputs and 1 finished photographs"),
        ("FiveK_C.zip", b"no archive", UnsafeArchive, "damaged"),
        ("meta_raw.pkl", pickle.dumps(os.system), UnsafePickle, "more than plain data"),
        ("meta_raw.pkl", pickle.dumps({"filenames": ["a.tif", 3]}), FiveKError, "no file names"),
        ("meta_raw.pkl", pickle.dumps(["a.tif"]), FiveKError, "no file names"),
        ("meta_raw.pkl", pickle.dumps({"filenames": []}), FiveKError, "no file names"),
        ("meta_raw.pkl", pickle.dumps({"filenames": ["a.tif"]}), FiveKError, "not float32"),
        ("image_raw.npy", npy(np.zeros((8, 80, 80, 3), np.float32)), FiveKError, r"holds float32 \(8, 80, 80, 3\)"),
        ("image_raw.npy", npy(np.zeros((4 * COUNT, 80, 80, 3), np.uint8)), FiveKError, "holds uint8"),
        ("image_raw.npy", npy(np.array([{}], object)), FiveKError, "no array"),
        ("image_raw.npy", pickle.dumps(os.system), FiveKError, "no array"),
        ("image_raw.npy", b"", FiveKError, "no array"),
    ],
)
def test_what_is_not_as_published_is_refused(
    site: Site, tmp_path: Path, name: str, data: bytes, error: type[Exception], match: str
) -> None:
    site.replace(name, data)
    refused(lambda: download_fivek(tmp_path / "files", site.url), error, match)
    assert {path.name for path in tmp_path.iterdir()} == {"files"}


def test_a_shortened_or_lengthened_array_is_refused(site: Site, tmp_path: Path, published: dict[str, bytes]) -> None:
    for number, data in enumerate((published["image_raw.npy"][:-4], published["image_raw.npy"] + b"more")):
        site.replace("image_raw.npy", data)
        folder = tmp_path / str(number)
        refused(lambda folder=folder: download_fivek(folder, site.url), FiveKError, "image_raw.npy")  # type: ignore[misc]


def test_a_server_without_the_files(tmp_path: Path) -> None:
    with Site({}) as site:
        refused(lambda: download_fivek(tmp_path, site.url), DownloadError, "404")
        result = run("data", "fivek", "download", tmp_path, "--url", site.url)
    assert isinstance(result.exception, DownloadError)  # which main() says in one line


def test_a_pack_is_made_once(fetched: Path, packed: Path, tmp_path: Path) -> None:
    refused(lambda: pack_fivek(fetched, packed), FiveKError, "a finished pack; choose another folder")
    refused(lambda: pack_fivek(fetched, tmp_path / "p", size=128), FiveKError, "expert C at 80 pixels")
    refused(lambda: pack_fivek(fetched, tmp_path / "p", experts="A"), FiveKError, "expert C at 80 pixels")
    refused(lambda: pack_fivek(fetched, tmp_path / "p", experts="X"), FiveKError, "letters of ABCDE")
    refused(lambda: pack_fivek(fetched, tmp_path / "p", size=0), FiveKError, "1 to 4096 pixels")
    refused(lambda: pack_fivek(tmp_path, tmp_path / "p"), FiveKError, "neither image_raw.npy nor DNG files")
    assert list(tmp_path.iterdir()) == []


def test_loading_what_is_not_there(packed: Path, tmp_path: Path) -> None:
    refused(lambda: load_fivek(tmp_path), FiveKError, "no finished pack")
    refused(lambda: load_fivek(packed, expert="A"), FiveKError, "no photographs of expert A")
    refused(lambda: load_fivek(packed, "rated"), FiveKError, "no photograph of the fold rated in inputs.npy")
    refused(lambda: load_fivek(packed, "validation"), ValueError, "split is one of")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        lambda index: index | {"format": "something"},
        lambda index: index | {"size": 80.0},
        lambda index: index | {"crops": 0},
        lambda index: index | {"inputs": index["inputs"][:-1]},
        lambda index: index | {"inputs": ["x.tif", *index["inputs"][1:]]},
        lambda index: index | {"inputs": sorted(index["inputs"])},
        lambda index: index | {"inputs": [1, 2]},
        lambda index: index | {"targets": [1]},
        lambda index: index | {"targets": {"C": None}},
        lambda index: index | {"targets": {"../C": []}},
        lambda index: [index],
    ],
)
def test_a_damaged_index_is_refused(packed: Path, tmp_path: Path, change: Callable[[Any], Any]) -> None:
    for name in ("inputs.npy", "expert_c.npy"):
        (tmp_path / name).symlink_to(packed / name)
    index = json.loads((packed / "index.json").read_text())
    (tmp_path / "index.json").write_text(json.dumps(index))
    assert len(load_fivek(tmp_path).targets) == len([n for n in fold_ids("train-targets") if n <= COUNT])
    (tmp_path / "index.json").write_text(json.dumps(change(index)))
    refused(lambda: load_fivek(tmp_path), FiveKError, "again")
    (tmp_path / "index.json").write_text("{")
    refused(lambda: load_fivek(tmp_path), FiveKError, "damaged or of another version")


def test_photographs_without_light_are_refused(fetched: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("FiveK_C", "meta_raw.pkl"):
        (source / name).symlink_to(fetched / name)
    images = np.load(fetched / "image_raw.npy")
    images[30, 2, 3, 1] = np.nan
    np.save(source / "image_raw.npy", images)
    refused(lambda: pack_fivek(source, tmp_path / "p", workers=1), FiveKError, "photograph 8 hold no light")
    assert not (tmp_path / "p" / "inputs.npy").exists()
    np.save(source / "image_raw.npy", np.load(fetched / "image_raw.npy"))
    assert pack_fivek(source, tmp_path / "p", workers=1) == COUNT  # the finished ones were kept


def scene() -> NDArray[np.float32]:
    """Something smooth, coloured and wide, for a sensor."""
    y, x = np.mgrid[:120, :200] / 100
    return np.stack([0.5 + 0.4 * np.sin(a * x + b * y) for a, b in ((3, 1), (2, 4), (1, 5))], 2).astype(np.float32)


def dataset(folder: Path, ids: tuple[int, ...], experts: str = "ce", original: Path | None = None) -> Path:
    """The original dataset's layout, with one photograph under several names."""
    if original is None:
        folder.mkdir(parents=True, exist_ok=True)
        original = folder / "original"
        original.write_bytes(dng(scene()))
    (folder / "raw_photos" / "HQa1to700").mkdir(parents=True)
    for n in ids:
        (folder / "raw_photos" / "HQa1to700" / f"a{n:04d}-x_{n}.dng").symlink_to(original)
        for expert in experts:
            photograph(folder / f"tiff16_{expert}" / f"a{n:04d}-x_{n}.tif", n + ord(expert), size=(60, 100))
    return folder


def test_the_original_dataset_needs_rawpy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_raw, "available", lambda: False)
    refused(lambda: pack_fivek(dataset(tmp_path / "d", (1,)), tmp_path / "p"), FiveKError, r"exposure-gym\[raw\]")


@pytest.mark.parametrize("original", [None, DNG])
def test_packing_the_original_dataset(tmp_path: Path, original: Path | None) -> None:
    if original is not None and not original.exists():
        pytest.skip("the sample DNG is not in the repository")
    source = dataset(tmp_path / "source", (1, 5, 14, 126), original=original)
    pack = tmp_path / "pack"
    seen: list[tuple[int, int]] = []
    count = pack_fivek(
        source, pack, experts="CE", size=32, workers=2, progress=lambda done, total: seen.append((done, total))
    )
    assert count == 4
    assert seen == [(n, 12) for n in range(1, 13)]
    assert {path.name for path in pack.iterdir()} == {"inputs.npy", "expert_c.npy", "expert_e.npy", "index.json"}
    photos = load_fivek(pack, "test", "E")
    assert photos.inputs.names == ("a0014-x_14.dng",) * 4 + ("a0126-x_126.dng",) * 4
    assert photos.targets.names == ("a0014-x_14.tif", "a0126-x_126.tif")
    assert load_fivek(pack, "rated", "E").targets.names == ("a0126-x_126.tif",)
    np.testing.assert_array_equal(
        photos.targets.crops, PhotoSet.from_folder(source / "tiff16_e", "display", size=32).crops[2:]
    )
    developed = 2**-1.5 * read_linear(next(source.rglob("*.dng")), space="prophoto").pixels  # daylight, 1.5 stops under
    crops = np.asarray(photos.inputs.crops)
    assert crops.max() <= 2**-1.5
    np.testing.assert_allclose(crops.mean((0, 2, 3)), developed.mean((0, 1)), rtol=0.2)
    assert len(np.unique(crops[:, 0, 0, 0])) > 4  # other places in each crop, and in each photograph
    pack_fivek(source, tmp_path / "again", experts="CE", size=32, workers=1)
    assert (tmp_path / "again" / "inputs.npy").read_bytes() == (pack / "inputs.npy").read_bytes()


def test_packing_goes_on_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = dataset(tmp_path / "source", (1, 3, 5), "c")
    broken = source / "tiff16_c" / "a0003-x_3.tif"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:50])
    result = run("data", "fivek", "pack", source, "-o", tmp_path / "pack", "--size", 16, "--workers", 1)
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert len(lines) == 2
    assert str(broken) in lines[0]
    assert "1 of 6 photographs could not be read" in lines[1]
    assert not (tmp_path / "pack" / "index.json").exists()
    with pytest.raises(FiveKError, match=str(broken)):
        pack_fivek(source, tmp_path / "pack", size=16, workers=1)
    with pytest.raises(FiveKError, match="begun with other settings"):
        pack_fivek(source, tmp_path / "pack", size=16, seed=1, workers=1)

    broken.write_bytes(whole)
    read: list[str] = []
    crop = fivek_pack._crop

    def watch(job: Any) -> str | None:
        read.append(job.source.name)
        return crop(job)

    monkeypatch.setattr(fivek_pack, "_crop", watch)
    result = run("data", "fivek", "pack", source, "-o", tmp_path / "pack", "--size", 16, "--workers", 1)
    assert result.exit_code == 0, result.output
    assert read == ["a0003-x_3.tif"]
    assert "3 inputs packed" in result.stdout
    monkeypatch.setattr(fivek_pack, "_crop", crop)
    pack_fivek(source, tmp_path / "fresh", size=16, workers=1)
    for name in ("inputs.npy", "expert_c.npy", "index.json"):
        assert (tmp_path / "fresh" / name).read_bytes() == (tmp_path / "pack" / name).read_bytes()


def test_an_original_dataset_that_lacks_something(tmp_path: Path) -> None:
    source = dataset(tmp_path / "source", (1,), "c")
    refused(lambda: pack_fivek(source, tmp_path / "p", experts="CD"), FiveKError, "no TIFF files of expert D")
    (source / "a0001-again.dng").symlink_to(source / "original")
    refused(lambda: pack_fivek(source, tmp_path / "p"), FiveKError, "keep one of the two")
    assert not (tmp_path / "p").exists()


def test_a_photo_set_says_which_primaries_it_holds(tmp_path: Path) -> None:
    photograph(tmp_path / "a.png", 0)
    assert PhotoSet.from_folder(tmp_path, "display").space == "srgb"
    assert PhotoSet.from_folder(tmp_path, "linear").space == "srgb"
    wide = PhotoSet.from_folder(tmp_path, "linear", space="prophoto", crops=1, size=90)
    assert wide.space == "prophoto"
    pixels = read_linear(list_photos([tmp_path])[0], space="prophoto").pixels
    np.testing.assert_allclose(wide.crops[0].max((1, 2)), pixels.max((0, 1)), rtol=0.3)
    with pytest.raises(ValueError, match='space is "srgb", "prophoto" or "rec2020"'):
        PhotoSet(wide.crops, "linear", wide.names, "adobe")  # type: ignore[arg-type]
