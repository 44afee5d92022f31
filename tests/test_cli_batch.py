"""Many photographs in one call: which, in what order, what is left when something goes wrong, and what is said."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_tools import TINY, photograph, run
from PIL import Image

from exposure_gym.agents.exposure import ExposureAgent
from exposure_gym.agents.exposure.storage import save_policy
from exposure_gym.cli import main
from exposure_gym.cli.runs import ZeroReward
from exposure_gym.data import Photos, PhotoSet
from exposure_gym.envs import PhotoRetouchEnv
from exposure_gym.fullres import develop_file
from exposure_gym.photo import read_display, read_linear
from exposure_gym.preview import read_preview
from exposure_gym.recipe import Edit, Recipe

EDIT = Recipe((Edit("exposure", (1.0,)), Edit("gamma", (0.45,)), Edit("contrast", (0.2,))))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model that has learned nothing."""
    path: Path = tmp_path_factory.mktemp("model") / "policy.safetensors"
    crops = np.random.default_rng(0).random((2, 3, 64, 64), dtype=np.float32)
    env = PhotoRetouchEnv(Photos(PhotoSet(crops, "linear", "ab"), PhotoSet(crops, "display", "ab")), ZeroReward())
    save_policy(ExposureAgent(env=env, seed=2, device="cpu", **TINY), path)
    return path


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    EDIT.save(tmp_path / "edit.json")
    return tmp_path / "edit.json"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for i, name in enumerate(("a.png", "b.png", "c.png")):
        photograph(tmp_path / "in" / name, i)
    return tmp_path / "in"


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def results(*names: str) -> set[str]:
    return {name for photo in names for name in (photo, str(Path(photo).with_suffix(".recipe.json")))}


def process(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """The command as a process that Ctrl-C can reach, even where the tests' own parent has them ignore it."""
    command = [sys.executable, "-m", "exposure_gym", "retouch", *map(str, arguments)]
    options.setdefault("preexec_fn", partial(signal.signal, signal.SIGINT, signal.SIG_DFL))
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


# -- a saved edit ----------------------------------------------------------------------------------------------------


def test_a_saved_edit_is_applied_to_others(tmp_path: Path, photos: Path, recipe: Path) -> None:
    done = run("retouch", photos, "-o", tmp_path / "out", "--recipe", recipe, "--format", "tif")
    assert done.exit_code == 0, done.output
    assert tree(tmp_path / "out") == results("a.tif", "b.tif", "c.tif")
    for name in "abc":
        light = read_linear(photos / f"{name}.png", brightness="raw-like").pixels
        finished = read_display(tmp_path / f"out/{name}.tif").pixels
        np.testing.assert_allclose(finished, EDIT.apply_photo(light).clip(0, 1), atol=2e-5)
        kept = Recipe.load(tmp_path / f"out/{name}.recipe.json")
        assert (kept.edits, kept.source) == (EDIT.edits, f"{name}.png")
        assert kept.comment == "from edit.json, with brightness raw-like"


def test_an_edit_of_finished_photographs_starts_from_display_values(tmp_path: Path, photos: Path) -> None:
    edit = Recipe((Edit("contrast", (0.5,)),), input_domain="display")
    edit.save(tmp_path / "edit.json")
    command = ("retouch", photos / "a.png", "-o", tmp_path / "out", "--recipe", tmp_path / "edit.json")
    assert run(*command).exit_code == 0
    expected = edit.apply_photo(read_display(photos / "a.png").pixels).clip(0, 1)
    np.testing.assert_allclose(read_display(tmp_path / "out/a.png").pixels, expected, atol=0.6 / 255)
    assert Recipe.load(tmp_path / "out/a.recipe.json").input_domain == "display"
    assert "leave --brightness out" in run(*command, "--brightness", "as-is").stderr


def test_a_saved_edit_needs_nothing_heavy(tmp_path: Path, photos: Path, recipe: Path) -> None:
    words = [
        "retouch",
        str(photos),
        "-o",
        str(tmp_path / "out"),
        "--recipe",
        str(recipe),
        "--steps",
        "--strength",
        "0.5",
    ]
    code = (
        "import sys; from exposure_gym.cli import main;"
        f"status = main({words!r} + ['--dry-run']) or main({words!r});"
        "heavy = {'torch', 'stable_baselines3', 'matplotlib', 'skimage', 'gymnasium', 'rich'};"
        "sys.exit(status or str(heavy & set(sys.modules) or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == "", done.stderr
    assert tree(tmp_path / "out") == results("a.png", "b.png", "c.png") | {f"{name}.steps.png" for name in "abc"}


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_strength_zero_gives_the_photograph_back(name: str, tmp_path: Path, tiny: Path) -> None:
    source = photograph(tmp_path / "in" / name, 4, 16)
    done = run("retouch", source, "-o", tmp_path / "out", "--model", tiny, "--strength", 0)
    assert done.exit_code == 0, done.output
    np.testing.assert_allclose(read_display(tmp_path / "out" / name).pixels, read_display(source).pixels, atol=2 / 255)
    assert "at strength 0" in Recipe.load((tmp_path / "out" / name).with_suffix(".recipe.json")).comment


def test_the_recipe_that_is_written_makes_the_photograph(tmp_path: Path, photos: Path, recipe: Path) -> None:
    command = ("retouch", photos / "a.png", "-o", tmp_path / "out", "--recipe", recipe, "--strength", 0.4)
    assert run(*command).exit_code == 0
    made = Recipe.load(tmp_path / "out/a.recipe.json")
    light = read_linear(photos / "a.png", brightness="raw-like").pixels
    assert made.edits[0].filter == "exposure"
    assert made.edits[0].parameters[0] == pytest.approx(0.6 * read_preview(photos / "a.png", "raw-like").darkened)
    np.testing.assert_allclose(
        read_display(tmp_path / "out/a.png").pixels, made.apply_photo(light).clip(0, 1), atol=0.6 / 255
    )


# -- what the agent may do ---------------------------------------------------------------------------------------------


def test_the_agent_does_as_it_is_told(tmp_path: Path, photos: Path, recipe: Path, tiny: Path) -> None:
    words = ("--only", "tone, exposure", "--max-edits", 2, "--start-from", recipe, "--no-steps")
    done = run("retouch", photos, "-o", tmp_path / "out", "--model", tiny, *words)
    assert done.exit_code == 0, done.output
    assert tree(tmp_path / "out") == results("a.png", "b.png", "c.png")
    for name in "abc":
        edits = Recipe.load(tmp_path / f"out/{name}.recipe.json").edits
        assert edits[:3] == EDIT.edits
        assert [edit.filter for edit in edits[3:]] == ["tone"], "the given edit has an exposure already"


def test_the_edit_does_not_depend_on_company_or_threads(tmp_path: Path, photos: Path, tiny: Path) -> None:
    for i in range(9):
        photograph(photos / f"d{i}.png", 10 + i, size=(40, 60))
    alone = ("retouch", photos / "b.png", "-o", tmp_path / "alone", "--model", tiny)
    together = ("retouch", photos, "-o", tmp_path / "out", "--model", tiny, "--jobs", 3)
    assert run(*alone).exit_code == run(*together).exit_code == 0
    one, many = (Recipe.load(tmp_path / folder / "b.recipe.json") for folder in ("alone", "out"))
    assert [edit.filter for edit in one] == [edit.filter for edit in many]
    for a, b in zip(one, many, strict=True):
        np.testing.assert_allclose(a.parameters, b.parameters, rtol=1e-5, atol=1e-5)


# -- which photographs, and where to -------------------------------------------------------------------------------


def test_folders_in_folders(tmp_path: Path, recipe: Path) -> None:
    top = tmp_path / "in"
    for i, name in enumerate(("a.png", "one/a.png", "one/two/b.png", "one/.hidden/c.png", "x/a.png")):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        photograph(top / name, i)
    (top / "loop").symlink_to(top)
    command = ("retouch", top, "-o", top / "out", "--recipe", recipe)
    assert run(*command, "--recursive").exit_code == 0
    assert tree(top / "out") == results("a.png", "one/a.png", "one/two/b.png", "x/a.png")
    again = run(*command, "--recursive", "--skip-existing", "--json")  # the results are no new photographs
    assert [json.loads(line)["status"] for line in again.stdout.splitlines()] == ["skipped"] * 4
    assert run("retouch", top, "-o", tmp_path / "flat", "--recipe", recipe).exit_code == 0
    assert tree(tmp_path / "flat") == results("a.png")
    assert run("retouch", f"{top}/one/**/*.png", "-o", tmp_path / "glob", "--recipe", recipe).exit_code == 0
    assert tree(tmp_path / "glob") == results("a.png", "b.png")


def test_what_is_finished_is_skipped(tmp_path: Path, photos: Path, recipe: Path) -> None:
    out = tmp_path / "out"
    assert run("retouch", photos / "b.png", "-o", out, "--recipe", recipe).exit_code == 0
    before = (out / "b.png").stat().st_mtime_ns
    done = run("retouch", photos, "-o", out, "--recipe", recipe, "--skip-existing")
    assert done.exit_code == 0
    assert "3 photos: 2 done, 1 skipped; " in done.stderr
    assert f"{photos / 'b.png'}: is finished already" in done.stdout
    assert tree(out) == results("a.png", "b.png", "c.png")
    assert (out / "b.png").stat().st_mtime_ns == before
    assert run("retouch", photos, "-o", out, "--recipe", recipe, "--skip-existing").exit_code == 0


def test_a_dry_run_writes_nothing(tmp_path: Path, photos: Path) -> None:
    out = tmp_path / "out"
    planned = run("retouch", photos, "-o", out, "--dry-run")
    assert planned.exit_code == 0
    assert planned.stdout.splitlines()[0] == (
        f"{photos / 'a.png'} → {out / 'a.png'}, {out / 'a.recipe.json'}, {out / 'a.steps.png'}"
    )
    assert not out.exists()
    out.mkdir()
    (out / "b.recipe.json").write_text("mine")
    planned = run("retouch", photos, photos / "none.png", "-o", out, "--dry-run")
    assert planned.exit_code == 1
    assert "b.recipe.json: exists already" in planned.stderr
    assert "none.png: does not exist" in planned.stderr
    assert planned.stderr.splitlines()[-1].startswith("exposure-gym: 4 photos: 2 to be done, 2 failed; ")
    assert tree(out) == {"b.recipe.json"}


def test_a_line_of_json_for_each_photograph(tmp_path: Path, photos: Path, recipe: Path) -> None:
    (photos / "b.png").write_bytes(b"hello")
    done = run("retouch", photos, "-o", tmp_path / "out", "--recipe", recipe, "--json", "--steps", "--jobs", 2)
    assert done.exit_code == 1
    a, b, c = map(json.loads, done.stdout.splitlines())
    assert b == {"source": str(photos / "b.png"), "status": "failed", "error": b["error"]}
    assert b["error"] in done.stderr
    assert b["error"].startswith(f"{photos / 'b.png'}: is not a ")
    for name, line in (("a", a), ("c", c)):
        assert line["seconds"] > 0
        files = {"photo": f"{name}.png", "recipe": f"{name}.recipe.json", "steps": f"{name}.steps.png"}
        files = {key: str(tmp_path / "out" / file) for key, file in files.items()}
        assert line["results"] == [files | {"edit": EDIT.describe()}]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--recipe {tmp}/edit.json --samples 2", "--samples is for the agent"),
        ("--recipe {tmp}/edit.json --only tone", "--only is for the agent"),
        ("--recipe {tmp}/edit.json --start-from {tmp}/edit.json", "--start-from is for the agent"),
        ("--recipe {tmp}/none.json", "none.json: does not exist"),
        ("--recipe {tmp}/in/a.png", "a.png: not JSON"),
        ("--recipe {tmp}", "cannot be read"),
        ("--recipe {tmp}/edit.json --strength 1.6", "--strength"),
        ("--recipe {tmp}/edit.json --profile cmyk", "--profile"),
        ("--recipe {tmp}/edit.json --jobs 0", "--jobs"),
        ("--recipe {tmp}/edit.json --force --skip-existing", "leave one of them out"),
        ("--model {model} --only tone,sharpen", "unknown filter 'sharpen'"),
        ("--model {model} --only ,", "name at least one"),
        ("--model {model} --only gamma --start-from {tmp}/edit.json", "nothing is left for the agent"),
        ("--model {model} --max-edits 0", "--max-edits"),
        ("--model {model} --start-from {tmp}/display.json", "is for display values"),
    ],
)
def test_wrong_usage_is_one_line(
    options: str, said: str, tmp_path: Path, photos: Path, recipe: Path, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Recipe(input_domain="display").save(tmp_path / "display.json")
    words = options.replace("{tmp}", str(tmp_path)).replace("{model}", str(tiny)).split(" ")
    assert main(["retouch", str(photos), "-o", str(tmp_path / "out"), *words]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err
    assert not (tmp_path / "out").exists()


# -- the files ---------------------------------------------------------------------------------------------------------


def test_profile_metadata_and_dither(tmp_path: Path, recipe: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    codes = np.linspace(0, 255, 64 * 64 * 3).reshape(64, 64, 3).astype(np.uint8)
    Image.fromarray(codes).save(tmp_path / "a.png", exif=exif)
    files = {}
    for name, words in {
        "plain": (),
        "strip": ("--metadata", "strip"),
        "dither": ("--dither",),
        "p3": ("--profile", "display-p3"),
    }.items():
        command = ("retouch", tmp_path / "a.png", "-o", tmp_path / name, "--recipe", recipe, *words)
        assert run(*command).exit_code == 0
        with Image.open(tmp_path / name / "a.png") as image:
            files[name] = np.asarray(image).astype(int), dict(image.getexif()), image.info["icc_profile"]
    assert files["plain"][1][0x010F] == "Maker"
    assert files["strip"][1] == {}
    assert "Display P3".encode("utf-16-be") in files["p3"][2]
    difference = np.abs(files["dither"][0] - files["plain"][0])
    assert 0 < difference.max() <= 1
    light = read_display(tmp_path / "p3/a.png").pixels
    np.testing.assert_allclose(light, files["plain"][0] / 255, atol=2 / 255)


def test_large_photographs_are_refused_where_asked(tmp_path: Path, photos: Path, recipe: Path, tiny: Path) -> None:
    for words in (("--recipe", recipe), ("--model", tiny)):
        done = run("retouch", photos, "-o", tmp_path / "out", "--max-megapixels", 0.01, *words)
        assert done.exit_code == 1
        assert done.stderr.count("over the limit of 0.01") == 3
    assert tree(tmp_path / "out") == set()


# -- when something goes wrong -----------------------------------------------------------------------------------------


def test_a_full_disk_costs_only_what_does_not_fit(tmp_path: Path, recipe: Path) -> None:
    photograph(tmp_path / "in/a.png", 0, size=(20, 30))
    photograph(tmp_path / "in/b.png", 1, size=(400, 600))
    photograph(tmp_path / "in/c.png", 2, size=(20, 30))
    out = tmp_path / "out"
    out.mkdir()
    (out / "b.tif").write_bytes(b"old")
    (out / "b.recipe.json").write_bytes(b"old")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    command = (tmp_path / "in", "-o", out, "--recipe", recipe, "--format", "tif", "--force")
    with process(*command, preexec_fn=limit) as child:
        _, err = child.communicate(timeout=120)
    assert child.returncode == 1
    first, last = err.splitlines()
    assert first.startswith(f"exposure-gym: {out / 'b.tif'}: cannot be written (File too large); check the folder")
    assert "2 done, 1 failed" in last
    assert tree(out) == results("a.tif", "b.tif", "c.tif")
    assert (out / "b.tif").read_bytes() == (out / "b.recipe.json").read_bytes() == b"old"  # all files, or none


@pytest.mark.parametrize("number", [28, 30])  # no space left, a read-only file system
def test_what_the_disk_refuses_is_one_line(
    number: int, tmp_path: Path, photos: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def refuse(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if flags & os.O_CREAT and Path(path).suffix == ".json" and "/out/" in str(path):
            raise OSError(number, os.strerror(number), str(path))
        return real(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", refuse)
    done = run("retouch", photos / "a.png", "-o", tmp_path / "out", "--recipe", recipe)
    assert done.exit_code == 1
    reason = os.strerror(number)
    remedy = "check the folder, its permissions and free space"
    assert done.stderr == f"exposure-gym: {tmp_path / 'out/a.png'}: cannot be written ({reason}); {remedy}\n"
    assert tree(tmp_path / "out") == set()


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for the superuser")
def test_a_read_only_folder(tmp_path: Path, photos: Path, recipe: Path) -> None:
    out = tmp_path / "out"
    out.mkdir(mode=0o500)
    done = run("retouch", photos / "a.png", "-o", out, "--recipe", recipe)
    assert done.exit_code == 1
    assert "cannot be written (Permission denied)" in done.stderr


def test_names_that_cannot_be_written(tmp_path: Path, recipe: Path) -> None:
    """The longest name that a photograph can have leaves no room for ``.recipe.json``."""
    long, fits = "x" * 251, "写" * 81
    for i, stem in enumerate((long, fits)):
        photograph(tmp_path / "in/a.png", i).rename(tmp_path / f"in/{stem}.png")
    done = run("retouch", tmp_path / "in", "-o", tmp_path / "out", "--recipe", recipe)
    assert done.exit_code == 1
    assert done.stderr.splitlines()[0].endswith(
        "xxx.png: cannot be written (File name too long); check the folder, its permissions and free space"
    )
    assert tree(tmp_path / "out") == results(f"{fits}.png")


def test_names_in_any_script(tmp_path: Path, recipe: Path) -> None:
    stems = ["Übung größer", "写真 🎞", "a\nb", os.fsdecode(b"caf\xe9")]
    for i, stem in enumerate(stems):
        photograph(tmp_path / "in/a.png", i).rename(tmp_path / f"in/{stem}.png")
    command = ("in", "-o", "out", "--recipe", recipe, "--json")
    with process(*command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": os.getcwd()}) as child:
        out, err = child.communicate(timeout=120)
    assert (child.returncode, err.count("\n")) == (0, 1)
    assert {json.loads(line)["source"] for line in out.splitlines()} == {f"in/{stem}.png" for stem in stems}
    assert tree(tmp_path / "out") == results(*(f"{stem}.png" for stem in stems))


def test_photographs_that_vanish(tmp_path: Path, photos: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def remove(path: Path, *rest: Any, **more: Any) -> Any:
        (photos / "c.png").unlink(missing_ok=True)  # before it was looked at
        seen = read_preview(path, *rest, **more)
        if path.name == "a.png":
            path.unlink()  # after that
        return seen

    monkeypatch.setattr("exposure_gym.preview.read_preview", remove)
    done = run("retouch", photos, "-o", tmp_path / "out", "--model", tiny, "--no-steps")
    assert done.exit_code == 1
    assert [line.split(": ", 1)[1] for line in done.stderr.splitlines()[:2]] == [
        f"{photos / name}: does not exist; check the name" for name in ("a.png", "c.png")
    ]
    assert tree(tmp_path / "out") == results("b.png")


@pytest.mark.parametrize("disturb", ["a result appears", "the folder goes away", "a link to an input appears"])
def test_a_folder_that_changes(
    disturb: str, tmp_path: Path, photos: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    pristine = (photos / "c.png").read_bytes()

    def slow(source: Path, *rest: Any, **more: Any) -> Any:
        size = develop_file(source, *rest, **more)
        if source.name == "b.png":
            if disturb == "a result appears":
                (out / "b.png").write_text("mine")
            elif disturb == "the folder goes away":
                out.rename(tmp_path / "moved")
            else:
                (out / "b.png").symlink_to(photos / "c.png")
        return size

    monkeypatch.setattr("exposure_gym.fullres.develop_file", slow)
    done = run("retouch", photos, "-o", out, "--recipe", recipe, "--jobs", 1)
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 2
    assert done.stderr.startswith(f"exposure-gym: {out / 'b.png'}: ")
    assert (photos / "c.png").read_bytes() == pristine
    kept = results("a.png", "c.png")
    if disturb == "a result appears":
        assert (out / "b.png").read_text() == "mine"
        kept |= {"b.png"}
    elif disturb == "a link to an input appears":
        kept |= {"b.png"}
    else:
        assert results("a.png") < tree(tmp_path / "moved")
        kept = results("c.png")  # into a folder that is made anew
    assert tree(out) == kept


def test_lines_come_in_order(tmp_path: Path, photos: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(source: Path, *rest: Any, **more: Any) -> Any:
        time.sleep({"a.png": 0.3, "b.png": 0.1, "c.png": 0.0}[source.name])
        return develop_file(source, *rest, **more)

    monkeypatch.setattr("exposure_gym.fullres.develop_file", slow)
    done = run("retouch", photos, "-o", tmp_path / "out", "--recipe", recipe, "--jobs", 3)
    assert [line.split(" ")[0][-5:] for line in done.stdout.splitlines()] == ["a.png", "b.png", "c.png"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_whole_files_and_goes_on_later(number: int, tmp_path: Path, recipe: Path) -> None:
    names = [f"{i:02}.png" for i in range(60)]
    photograph(tmp_path / "in/00.png", 0, size=(300, 400))
    for name in names[1:]:
        (tmp_path / "in" / name).write_bytes((tmp_path / "in/00.png").read_bytes())
    out = tmp_path / "out"
    command = (tmp_path / "in", "-o", out, "--recipe", recipe, "--jobs", 2)
    with process(*command) as child:
        _wait(lambda: out.exists() and any(not name.startswith(".") for name in tree(out)), child)
        child.send_signal(number)
        said, err = child.communicate(timeout=120)
    assert child.returncode == 130
    done = {name for name in tree(out) if name.endswith(".png")}
    assert [Path(line.split(" ")[0]).name for line in said.splitlines()] == sorted(done), "each has its line"
    assert 0 < len(done) < 60
    assert tree(out) == results(*done)
    assert f"interrupted: {len(done)} of 60 photos are done; go on with --skip-existing" in err
    for name in done:
        assert read_display(out / name).pixels.shape == (300, 400, 3)
    assert run("retouch", *command, "--skip-existing").exit_code == 0
    assert tree(out) == results(*names)


def _wait(until: Callable[[], bool], child: subprocess.Popen[str]) -> None:
    while child.poll() is None and not until():
        time.sleep(0.005)
