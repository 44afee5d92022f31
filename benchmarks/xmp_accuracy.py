"""How near darktable comes to a recipe through the sidecar that ``Recipe.to_xmp`` writes for it, in CIEDE2000."""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import cv2
import harness
import numpy as np
import tifffile
from numpy.typing import NDArray

from exposure_gym.color import srgb_encode
from exposure_gym.data.builtin import sample_photos
from exposure_gym.filters import default_filters
from exposure_gym.photo import read_linear
from exposure_gym.recipe import Edit, Recipe

METHOD = (
    "darktable-cli renders 16-bit TIFF files in sRGB with the sidecars that Recipe.to_xmp writes, to 16-bit sRGB; its "
    "pictures are compared with the recipe's, pixel by pixel, in CIEDE2000. The filters: the sample photographs of the "
    "built-in set side by side, exposed so that the 99th percentile is 0.8, each filter after a gamma of 1/2.2 "
    "(exposure before it, gamma in its place), with parameters drawn uniformly from what an agent reaches. The agent: "
    "the shipped weights on each photograph as it comes, dark and off-colour, once without dropout and "
    "several times with it. 'edit': the mean difference between the recipe's picture and that of the gamma alone."
)
SIZE = 128  # of the photographs' longer edge
DEVELOPMENT = Edit("gamma", (1 / 2.2,))

Pixels = NDArray[np.float32]


def render(sources: Mapping[str, tuple[Pixels, Recipe]], folder: Path) -> dict[str, tuple[Pixels, Pixels]]:
    """Render photographs with their recipes: darktable's pictures and ours, display values.

    One process does all, as it takes seconds to start.

    :param sources: ``(H, W, 3)`` display values, 0 to 1, of the unedited photograph, and a recipe in sRGB, by name.
    :param folder: an empty one, where everything is left.
    :raises RuntimeError: darktable failed; it says why.
    """
    inputs, outputs = folder / "in", folder / "out"
    inputs.mkdir()
    outputs.mkdir()
    for name, (display, recipe) in sources.items():
        codes = np.rint(65535.0 * display).astype(np.uint16)
        tifffile.imwrite(inputs / f"{name}.tif", codes, photometric="rgb", metadata=None)
        recipe.to_xmp(inputs / f"{name}.tif.xmp", "darktable")
    settings = ("plugins/imageio/format/tiff/bpp=16", "write_sidecar_files=never")
    command: list[str | Path] = ["darktable-cli", inputs, outputs, "--out-ext", "tif", "--icc-type", "SRGB", "--core"]
    command += ["--configdir", folder / "config", "--cachedir", folder / "cache", "--library", ":memory:"]
    command += ["--disable-opencl", *(part for setting in settings for part in ("--conf", setting))]
    said = subprocess.run(command, capture_output=True, text=True)
    rendered: dict[str, tuple[Pixels, Pixels]] = {}
    for name, (display, recipe) in sources.items():
        if not (outputs / f"{name}.tif").exists():
            raise RuntimeError(f"darktable-cli rendered no {name}.tif: {said.stdout}{said.stderr}")
        theirs = tifffile.imread(outputs / f"{name}.tif").astype(np.float32) / np.float32(65535)
        light = display if recipe.input_domain == "display" else read_linear(inputs / f"{name}.tif").pixels
        rendered[name] = theirs, recipe.apply_photo(light.astype(np.float32)).clip(0.0, 1.0)
    return rendered


def differences(one: Pixels, other: Pixels) -> NDArray[np.float64]:
    """CIEDE2000 of each pixel of two pictures in display values."""
    from skimage.color import deltaE_ciede2000, rgb2lab

    found: NDArray[np.float64] = deltaE_ciede2000(rgb2lab(one), rgb2lab(other))  # type: ignore[no-untyped-call]
    return found


def _photos() -> dict[str, Pixels]:
    """The sample photographs, small, in linear light."""
    small = {}
    for name, light in sample_photos().items():
        scale = SIZE / max(light.shape[:2])
        small[name] = cv2.resize(light, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).clip(0.0, 1.0)
    return small


def _filter_sources(photos: Mapping[str, Pixels], draws: int) -> dict[str, tuple[Pixels, Recipe]]:
    """Several recipes of each filter on one sheet, named ``<filter>-<number>``."""
    exposed = [(0.8 / np.quantile(light, 0.99) * light)[:64].clip(0.0, 1.0) for light in photos.values()]
    sheet = srgb_encode(np.concatenate(exposed, axis=1))
    rng = np.random.default_rng(0)
    sources = {"none-0": (sheet, Recipe((DEVELOPMENT,)))}
    for filter_ in default_filters():
        for number in range(draws):
            edit = Edit.from_action(filter_.name, rng.uniform(-1.0, 1.0, filter_.num_actions))
            edits = {"exposure": (edit, DEVELOPMENT), "gamma": (edit,)}.get(filter_.name, (DEVELOPMENT, edit))
            sources[f"{filter_.name}-{number}"] = sheet, Recipe(edits)
    return sources


def _agent_sources(photos: Mapping[str, Pixels], draws: int) -> dict[str, tuple[Pixels, Recipe]]:
    from exposure_gym.cli.models import load_agent

    agent = load_agent(None)
    return {
        f"agent-{name}-{seed}": (srgb_encode(light), agent.retouch(light, deterministic=seed == 0, seed=seed))
        for name, light in photos.items()
        for seed in range(1 + draws)
    }


def _row(name: str, pairs: list[tuple[Pixels, Pixels]], edit: float | None) -> harness.Row:
    found = np.concatenate([differences(*pair).ravel() for pair in pairs])
    figures = {"mean": float(found.mean()), "p95": float(np.quantile(found, 0.95)), "max": float(found.max())}
    return {"name": name, "recipes": len(pairs), "edit": edit} | figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="one recipe a filter: does it work at all?")
    parser.add_argument("--draws", type=int, default=6, help="recipes a filter (%(default)s)")
    parser.add_argument(
        "--out", type=Path, default=harness.RESULTS, help="folder of the JSON file (benchmarks/results)"
    )
    options = parser.parse_args()
    draws = 1 if options.smoke else options.draws
    if shutil.which("darktable-cli") is None:
        sys.exit("xmp_accuracy: darktable-cli is not installed; Debian's package is called darktable")
    load = harness.OtherLoad()
    version = subprocess.run(["darktable-cli", "--version"], capture_output=True, text=True, check=True).stdout
    photos = _photos()
    sources = _filter_sources(photos, draws) | _agent_sources(photos, draws // 2)
    with tempfile.TemporaryDirectory() as folder:
        rendered = render(sources, Path(folder))
    plain = rendered["none-0"][1]
    rows = []
    for kind in dict.fromkeys(name.partition("-")[0] for name in sources):
        pairs = [pair for name, pair in rendered.items() if name.startswith(f"{kind}-")]
        edit = None if kind == "agent" else float(np.mean([differences(ours, plain).mean() for _, ours in pairs]))
        rows.append(_row(kind, pairs, edit))
    harness.save(
        "xmp_accuracy",
        rows,
        columns={
            "recipes of": "name",
            "number": "recipes",
            "edit": "edit",
            "mean": "mean",
            "95 %": "p95",
            "max": "max",
        },
        method=METHOD,
        settings={"smoke": options.smoke, "draws": draws, "darktable": re.findall(r"\d+\.\d+\.\d+", version)[0]},
        load=load,
        out=options.out,
    )


if __name__ == "__main__":
    main()
