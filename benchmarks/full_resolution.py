"""A five-edit recipe on a 24-megapixel photograph: the engine alone, and whole processes from file to file."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
import torch
from harness import OtherLoad, Row, Timing, arguments, measure_in_turns, rounds, run_child, save
from numpy.typing import NDArray

from exposure_gym.recipe import Edit, Recipe

PUBLISHED: Row = {
    "name": "published code, whole process, 24 MP, 2 cores (a constant, measured elsewhere)",
    "median_ms": 57_600.0,
    "peak_gb": 12.3,
    "megapixels": 24.0,
    "source": "the authors' 2018 code on TensorFlow 2.15, the agent's own five edits; start and networks included",
}
METHOD = (
    "Engine: the recipe on a float32 array in memory, beside copies of that array, taking turns. 'into fresh memory' "
    "allocates its result, whose pages the system must first provide; 'into memory in use' does not. Whole process: "
    "a new Python imports the library, reads a 16-bit uncompressed ProPhoto TIFF, applies the recipe in place and "
    "writes 16-bit TIFF or JPEG at quality 95, flushed to the disk; wall time from start to exit, peak resident "
    "memory as the kernel counts it. It times its parts itself. The input file is in the page cache. x copy: median "
    "over that of the copy into the same kind of memory. x published: its whole-process time over ours."
)
RECIPE = Recipe(
    (
        Edit("exposure", (1.3,)),
        Edit("gamma", (1 / 2.4,)),
        Edit("white_balance", (1.05, 0.99, 0.92)),
        Edit("saturation", (0.4,)),
        Edit("tone", (0.8, 1.0, 1.2, 1.3, 1.2, 1.0, 0.9, 0.8)),
    )
)

# What a user's program does, with the time after each part.
CHILD = """
import json, sys, time
times = [time.perf_counter()]
from exposure_gym.photo import DisplayPhoto, read_linear, write_display
from exposure_gym.recipe import Recipe
times.append(time.perf_counter())
source, recipe, target = sys.argv[1:]
photo = read_linear(source)
times.append(time.perf_counter())
Recipe.load(recipe).apply_photo(photo.pixels, out=photo.pixels)
edited = DisplayPhoto(photo.pixels, photo.space, photo.metadata)
times.append(time.perf_counter())
write_display(target, edited)
times.append(time.perf_counter())
print(json.dumps([after - before for before, after in zip(times, times[1:])]))
"""
PARTS = ("import", "read", "edit", "write")


def make_codes(height: int, width: int) -> NDArray[np.uint16]:
    """16-bit codes of a smooth coloured scene with grain: every code is used, and nothing compresses well."""
    rng = np.random.default_rng(0)
    rows, columns = np.linspace(0, 1, height)[:, None], np.linspace(0, 1, width)
    codes = np.empty((height, width, 3), np.uint16)
    for channel, phase in enumerate((0.0, 0.7, 1.9)):
        light = 0.5 + 0.3 * np.sin(7 * rows + phase) * np.cos(11 * columns - phase)
        codes[..., channel] = 65535 * (light + rng.uniform(-0.2, 0.2, (height, width)))
    return codes


def write_tiff(path: Path, codes: NDArray[np.uint16]) -> None:
    """An uncompressed TIFF with a ProPhoto profile, as raw converters export for further work."""
    profile = imagecodecs.cms_profile(
        "rgb",
        whitepoint=[0.3457, 0.3585, 1.0],
        primaries=[0.7347, 0.2653, 1.0, 0.1596, 0.8404, 1.0, 0.0366, 0.0001, 1.0],
        gamma=1.8,
    )
    tifffile.imwrite(path, codes, photometric="rgb", iccprofile=profile, metadata=None)


def engine(pixels: NDArray[np.float32], warmup: int, runs: int, deadline: float) -> list[Row]:
    """The recipe in memory, beside plain copies and beside the same edits on a whole torch tensor."""
    in_use = pixels.copy()
    tensor = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))

    def whole_tensor() -> None:
        with torch.no_grad():
            RECIPE.apply(tensor)

    functions = {
        "copy into memory in use": lambda: np.copyto(in_use, pixels),
        "copy into fresh memory": lambda: pixels.copy(),
        "Recipe.apply_photo, into fresh memory": lambda: RECIPE.apply_photo(pixels),
        "Recipe.apply_photo, into memory in use": lambda: RECIPE.apply_photo(pixels, out=in_use),
        "Recipe.apply, whole torch tensor": whole_tensor,
    }
    timings = measure_in_turns(functions, warmup=warmup, runs=runs, deadline=deadline)
    rows = []
    for name, timing in timings.items():
        copy = timings["copy into memory in use" if "in use" in name else "copy into fresh memory"]
        rows.append({"name": f"engine: {name}", **timing.row(), "times_a_copy": timing.median / copy.median})
    return rows


def whole_process(folder: Path, source: Path, warmup: int, runs: int, deadline: float) -> list[Row]:
    """File to file in a new process, to TIFF and to JPEG in turns."""
    recipe = folder / "recipe.json"
    RECIPE.save(recipe)
    targets = {"TIFF": folder / "edited.tif", "JPEG": folder / "edited.jpg"}
    children: dict[str, list[tuple[float, int, float, list[float]]]] = {kind: [] for kind in targets}
    for counts in rounds(warmup, runs, deadline):
        for kind, target in targets.items():
            child = run_child([sys.executable, "-c", CHILD, source, recipe, target])
            if counts:
                children[kind].append((child.wall, child.peak_bytes, child.cpu, json.loads(child.output)))
            target.unlink()
    rows = []
    for kind, results in children.items():
        walls, peaks, cpus, parts = zip(*results, strict=True)
        timing, peak = Timing(walls), max(peaks) / 1e9
        of_parts = (Timing(times).median for times in zip(*parts, strict=True))
        rows.append(
            {
                "name": f"whole process: TIFF to {kind}",
                **timing.row(),
                "cpu_median_ms": 1e3 * Timing(cpus).median,
                "peak_gb": peak,
                **{f"{part}_ms": 1e3 * seconds for part, seconds in zip(PARTS, of_parts, strict=True)},
            }
        )
    return rows


def main() -> None:
    options = arguments("A five-edit recipe on a 24 MP 16-bit TIFF.", warmup=1, runs=5)
    height, width = (48, 64) if options.smoke else (4000, 6000)
    codes = make_codes(height, width)
    load = OtherLoad()
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "photo.tif"
        write_tiff(source, codes)
        rows = whole_process(Path(name), source, options.warmup, options.runs, options.deadline)
    pixels = (codes / np.float32(65535)) ** np.float32(2.2)
    rows += engine(pixels, options.warmup, options.runs, options.deadline)
    for row in rows:
        row["megapixels"] = height * width / 1e6
        if not options.smoke and "peak_gb" in row:
            row["times_published"] = PUBLISHED["median_ms"] / row["median_ms"]
            row["memory_times_published"] = PUBLISHED["peak_gb"] / row["peak_gb"]
    save(
        "full_resolution",
        [PUBLISHED, *rows],
        columns={
            "what": "name",
            "median ms": "median_ms",
            "min": "min_ms",
            "max": "max_ms",
            "x copy": "times_a_copy",
            "peak GB": "peak_gb",
            "x published": "times_published",
            **{part: f"{part}_ms" for part in PARTS},
        },
        method=METHOD,
        settings={
            "smoke": options.smoke,
            "warmup": options.warmup,
            "runs": options.runs,
            "photo": f"{width}x{height}, 16 bits",
            "recipe": RECIPE.describe(),
            "torch_threads": torch.get_num_threads(),
        },
        load=load,
        out=options.out,
    )


if __name__ == "__main__":
    main()
