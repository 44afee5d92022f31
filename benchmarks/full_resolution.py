"""A saved recipe on a 24-megapixel photograph: the engine beside a plain copy, and whole processes beside others."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
import torch
from harness import OtherLoad, Row, Timing, arguments, measure_in_turns, rounds, run_child, save
from numpy.typing import NDArray

from exposure_gym._output_profiles import output_of
from exposure_gym.color import SRGB_TO_PROPHOTO, Space, srgb_decode
from exposure_gym.fused import Pass, Source, in_bands
from exposure_gym.recipe import Edit, Recipe

PUBLISHED: Row = {
    "name": "published code, whole process, 24 MP, 2 cores (a constant, measured elsewhere)",
    "median_ms": 57_600.0,
    "peak_gb": 12.3,
    "megapixels": 24.0,
    "source": "the authors' 2018 code on TensorFlow 2.15, the agent's own five edits; start and networks included",
}
METHOD = (
    "The photograph: a smooth coloured scene with the grain of a good sensor (1 % of full scale), made by the script; "
    "16-bit uncompressed TIFF. Engine: memory to memory, all variants and the copies taking turns in one process. "
    "'codes': the fused pass from 16-bit codes to codes of the finished file, beside numpy.copyto of those codes into "
    "memory in use; 'floats': Recipe.apply_photo on float32, beside copies of those, into fresh memory (whose pages "
    "the system must first provide) or memory in use. x copy: the median of the rounds' ratios to that copy. "
    "Whole process: a new process each time, from start to exit, taking turns; peak resident memory as the kernel "
    "counts it; the input file is in the page cache. Ours: a new Python imports the library, loads the recipe and "
    "calls develop_file, which flushes its result to the disk (the others do not). 'retouch' is the command, with the "
    "shipped agent where it decides, and then with recipe and figure of the steps. 'three edits': exposure, a curve "
    "and saturation, which the other programs do too, each in its own way. 'as floats' reads, edits and writes the "
    "photograph by read_linear, Recipe.apply_photo and write_display. 'nothing compiled': the first process of all, "
    "with an empty cache of machine code. x published: its whole-process time over ours."
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
THREE = Recipe((Edit("exposure", (1.3,)), Edit("gamma", (1 / 2.4,)), Edit("saturation", (0.4,))))

# What a user's program does, with the time after each part.
FUSED = """
import json, sys, time
times = [time.perf_counter()]
from exposure_gym.fullres import develop_file
from exposure_gym.recipe import Recipe
times.append(time.perf_counter())
source, recipe, target = sys.argv[1:]
develop_file(source, Recipe.load(recipe), target)
times.append(time.perf_counter())
print(json.dumps([after - before for before, after in zip(times, times[1:])]))
"""
FLOATS = """
import json, sys, time
times = [time.perf_counter()]
from exposure_gym.photo import DisplayPhoto, read_linear, write_display
from exposure_gym.recipe import Recipe
times.append(time.perf_counter())
source, recipe, target = sys.argv[1:]
photo = read_linear(source)
Recipe.load(recipe).apply_photo(photo.pixels, out=photo.pixels)
write_display(target, DisplayPhoto(photo.pixels, photo.space, photo.metadata))
times.append(time.perf_counter())
print(json.dumps([after - before for before, after in zip(times, times[1:])]))
"""
PARTS = ("import", "develop")

PYVIPS = """
import sys, pyvips
source, target = sys.argv[1:]
photo = pyvips.Image.new_from_file(source, access="sequential")
codes = pyvips.Image.identity(ushort=True) / 65535
light = (codes <= 0.04045).ifthenelse(codes / 12.92, ((codes + 0.055) / 1.055) ** 2.4)
curve = (light * 2**1.3) ** (1 / 2.4) * 65535
photo = photo.maplut((curve > 65535).ifthenelse(65535, curve).cast("ushort"))
grey = [0.27, 0.67, 0.06]
more = [[1.4 * (i == j) - 0.4 * grey[j] for j in range(3)] for i in range(3)]
photo = photo.recomb(pyvips.Image.new_from_array(more))
photo.cast("ushort").write_to_file(target)
"""
PP3 = """[Version]
AppVersion=5.9
Version=349

[Exposure]
Auto=false
Compensation=1.3
Saturation=20
CurveMode=Standard
Curve=1;0;0;0.25;0.24;0.75;0.78;1;1;
"""

Command = list["str | Path"]


def make_codes(height: int, width: int) -> NDArray[np.uint16]:
    """16-bit codes of a smooth coloured scene with grain: nearly every code is used, and little compresses."""
    rng = np.random.default_rng(0)
    rows, columns = np.linspace(0, 1, height)[:, None], np.linspace(0, 1, width)
    codes = np.empty((height, width, 3), np.uint16)
    for channel, phase in enumerate((0.0, 0.7, 1.9)):
        light = 0.5 + 0.45 * np.sin(7 * rows + phase) * np.cos(11 * columns - phase)
        codes[..., channel] = (65535 * (light + 0.01 * rng.standard_normal((height, width)))).clip(0, 65535)
    return codes


def write_tiff(path: Path, codes: NDArray[np.uint16], profile: bytes | None = None) -> None:
    """An uncompressed TIFF, as raw converters export for further work."""
    tifffile.imwrite(path, codes, photometric="rgb", iccprofile=profile, metadata=None)


def prophoto_profile() -> bytes:
    """The profile of a photograph in ProPhoto RGB."""
    return bytes(
        imagecodecs.cms_profile(
            "rgb",
            whitepoint=[0.3457, 0.3585, 1.0],
            primaries=[0.7347, 0.2653, 1.0, 0.1596, 0.8404, 1.0, 0.0366, 0.0001, 1.0],
            gamma=1.8,
        )
    )


def engine(codes: NDArray[np.uint16], *, warmup: int, runs: int, deadline: float) -> list[Row]:
    """The recipe in memory, beside plain copies: of the codes, and of the floats that hold as many pixels."""
    height, width = codes.shape[:2]
    out, narrow = np.zeros_like(codes), np.zeros(codes.shape, np.uint8)
    pixels = (codes / np.float32(65535)) ** np.float32(2.2)
    in_use = pixels.copy()
    tensor = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
    curves = np.tile(srgb_decode(np.linspace(0.0, 1.0, 65536)).astype(np.float32), (3, 1))
    wide = np.tile((np.linspace(0.0, 1.0, 65536) ** 1.8).astype(np.float32), (3, 1))
    to_srgb = np.linalg.inv(SRGB_TO_PROPHOTO)

    def fused(source: Source, space: Space, bits: int, *, dither: bool = False) -> Callable[[], None]:
        target = narrow if bits == 8 else out

        def develop() -> None:  # with its preparation
            fused = Pass(RECIPE.edits, (height, width), source, output_of("srgb", space, bits), dither=dither)
            in_bands(lambda top, end: fused(codes[top:end], top, target[top:end]), height, width)

        return develop

    def whole_tensor() -> None:
        with torch.no_grad():
            RECIPE.apply(tensor)

    copies = {
        "codes": ("codes: copy", lambda: np.copyto(out, codes)),
        "floats, into memory in use": ("floats, into memory in use: copy", lambda: np.copyto(in_use, pixels)),
        "floats, into fresh memory": ("floats, into fresh memory: copy", lambda: pixels.copy()),
    }
    functions: dict[str, Callable[[], object]] = dict(copies.values())
    functions |= {
        "codes: sRGB": fused(Source(curves, None), "srgb", 16),
        "codes: ProPhoto, finished in sRGB": fused(Source(wide, to_srgb), "srgb", 16),
        "codes: ProPhoto, edited in ProPhoto": fused(Source(wide, None), "prophoto", 16),
        "codes: sRGB to 8 bits, dithered": fused(Source(curves, None), "srgb", 8, dither=True),
        "floats, into memory in use: Recipe.apply_photo": lambda: RECIPE.apply_photo(pixels, out=in_use),
        "floats, into fresh memory: Recipe.apply_photo": lambda: RECIPE.apply_photo(pixels),
        "floats, into fresh memory: Recipe.apply, whole torch tensor": whole_tensor,
    }
    timings = measure_in_turns(functions, warmup=warmup, runs=runs, deadline=deadline)
    rows = []
    for name, timing in timings.items():
        copy = timings[copies[name.partition(":")[0]][0]]
        ratios = [one / other for one, other in zip(timing.times, copy.times, strict=True)]
        rows.append({"name": f"engine, {name}", **timing.row(), "times_a_copy": float(np.median(ratios))})
    return rows


def other_programs(folder: Path, source: Path, target: Path) -> dict[str, Command | str]:
    """Commands that do exposure, a curve and saturation, by name; or why there is none."""
    profile, sidecar = folder / "three.pp3", folder / "three.xmp"
    profile.write_text(PP3)
    THREE.to_xmp(sidecar, "darktable")
    found: dict[str, Command | str] = {
        "ImageMagick": "no magick or convert command",
        "libvips, through pyvips": "pyvips is not installed",
        "RawTherapee": "no rawtherapee-cli command",
        "darktable": "no darktable-cli command",
    }
    if convert := _which("magick", "convert-im6.q16", "convert"):
        edits = ["-colorspace", "RGB", "-evaluate", "multiply", "2.46", "-gamma", "2.4", "-set", "colorspace", "sRGB"]
        edits += ["-modulate", "100,120"]
        found["ImageMagick"] = [convert, source, *edits, target]
    for python in (sys.executable, _which("python3")):
        if python and subprocess.run([python, "-c", "import pyvips"], capture_output=True).returncode == 0:
            found["libvips, through pyvips"] = [python, "-c", PYVIPS, source, target]
    if rawtherapee := _which("rawtherapee-cli"):
        found["RawTherapee"] = [rawtherapee, "-q", "-t", "-b16", "-Y", "-p", profile, "-o", target, "-c", source]
    if darktable := _which("darktable-cli"):
        own: Command = ["--configdir", folder / "dt", "--cachedir", folder / "dt", "--library", ":memory:"]
        own += ["--disable-opencl", "--conf", "plugins/imageio/format/tiff/bpp=16"]
        found["darktable"] = [darktable, source, sidecar, target, "--core", *own]
    return found


def _which(*names: str) -> str | None:
    return next((path for name in names if (path := shutil.which(name))), None)


def whole_process(
    folder: Path, sources: dict[str, Path], *, smoke: bool, warmup: int, runs: int, deadline: float
) -> list[Row]:
    """File to file in a new process, ours and others', in turns."""
    for name, recipe in (("five", RECIPE), ("wide", replace(RECIPE, working_space="prophoto")), ("three", THREE)):
        recipe.save(folder / f"{name}.json")

    def ours(program: str, source: str, recipe: str, kind: str) -> Command:
        return [sys.executable, "-c", program, sources[source], folder / f"{recipe}.json", folder / f"edited.{kind}"]

    commands: dict[str, Command | str] = {
        "TIFF to TIFF": ours(FUSED, "sRGB", "five", "tif"),
        "TIFF to TIFF, three edits": ours(FUSED, "sRGB", "three", "tif"),
        "TIFF to TIFF, all in ProPhoto": ours(FUSED, "ProPhoto", "wide", "tif"),
        "TIFF to JPEG": ours(FUSED, "sRGB", "five", "jpg"),
        "TIFF to TIFF, as floats": ours(FLOATS, "sRGB", "five", "tif"),
    }
    retouch: Command = [sys.executable, "-m", "exposure_gym", "retouch", "-o", folder / "retouched"]
    commands["retouch --recipe, TIFF to TIFF"] = [*retouch, sources["sRGB"], "--recipe", folder / "five.json"]
    commands["retouch, the agent decides, TIFF to TIFF"] = [*retouch, sources["sRGB"]]
    commands["retouch, the agent decides, one 500-pixel TIFF"] = [*retouch, sources["500 pixels"]]
    commands["retouch, the agent decides, 100 500-pixel TIFFs"] = [*retouch, sources["100"]]
    empty_cache: Command = ["env", f"NUMBA_CACHE_DIR={folder / 'numba'}"]
    commands["TIFF to TIFF, nothing compiled"] = (
        "takes long for a smoke test" if smoke else empty_cache + ours(FUSED, "sRGB", "five", "tif")
    )
    others = other_programs(folder, sources["sRGB"], folder / "edited.tif")
    commands |= {f"TIFF to TIFF by {name}, three edits": command for name, command in others.items()}
    rows: list[Row] = [
        {"name": f"whole process: {name}", "skipped": why} for name, why in commands.items() if isinstance(why, str)
    ]
    results: dict[str, list[tuple[float, float, int, str]]] = {}
    for counts in rounds(warmup, runs, deadline):
        for name, command in commands.items():
            if isinstance(command, str):
                continue
            shutil.rmtree(folder / "numba", ignore_errors=True)
            child = run_child(command)
            written = [*folder.glob("edited.tif"), *folder.glob("edited.jpg"), *folder.glob("retouched/*.tif")]
            expected = len(list(sources["100"].iterdir())) if "100 " in name else 1
            if [path.stat().st_size > 1000 for path in written] != [True] * expected:
                raise RuntimeError(f"{name} wrote no picture")
            written[0].unlink()
            shutil.rmtree(folder / "retouched", ignore_errors=True)
            if counts:
                results.setdefault(name, []).append((child.wall, child.cpu, child.peak_bytes, child.output))
    for name, found in results.items():
        walls, cpus, peaks, outputs = zip(*found, strict=True)
        row: Row = {"name": f"whole process: {name}", **Timing(walls).row(), "peak_gb": max(peaks) / 1e9}
        row["cpu_median_ms"] = 1e3 * Timing(cpus).median
        if not name.startswith("retouch") and " by " not in name:
            parts = zip(*map(json.loads, outputs), strict=True)
            row |= {f"{part}_ms": 1e3 * Timing(times).median for part, times in zip(PARTS, parts, strict=True)}
        rows.append(row)
    return rows


def main() -> None:
    options = arguments("A saved recipe on a 24 MP 16-bit TIFF.", warmup=1, runs=5)
    height, width = (48, 64) if options.smoke else (4000, 6000)
    codes = make_codes(height, width)
    load = OtherLoad()
    with tempfile.TemporaryDirectory() as name:
        sources = {"sRGB": Path(name) / "photo.tif", "ProPhoto": Path(name) / "wide.tif"}
        write_tiff(sources["sRGB"], codes)
        write_tiff(sources["ProPhoto"], codes, prophoto_profile())
        sources |= {"500 pixels": Path(name) / "small.tif", "100": Path(name) / "hundred"}
        small = codes if options.smoke else np.ascontiguousarray(codes[::12, ::12])
        write_tiff(sources["500 pixels"], small)
        sources["100"].mkdir()
        for i in range(2 if options.smoke else 100):
            write_tiff(sources["100"] / f"{i:02}.tif", np.roll(small, 5 * i, 1))
        turns = {"warmup": options.warmup, "runs": options.runs, "deadline": options.deadline}
        rows = whole_process(Path(name), sources, smoke=options.smoke, **turns)
    rows += engine(codes, **turns)
    for row in rows:
        whole = "500-pixel" not in row["name"]
        row["megapixels"] = (height * width if whole else small.shape[0] * small.shape[1]) / 1e6
        if whole and not options.smoke and "cpu_median_ms" in row and " by " not in row["name"]:
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
            "skipped": "skipped",
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
