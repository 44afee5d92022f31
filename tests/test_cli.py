"""The command as a person uses it: what it writes, what it refuses, what it says, and with which exit status."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_tools import TINY, photograph, run
from hypothesis import given
from hypothesis import strategies as st

from exposure_gym.agents.exposure import ExposureAgent
from exposure_gym.agents.exposure.storage import save_policy
from exposure_gym.cli import main
from exposure_gym.cli.demo import in_short
from exposure_gym.cli.models import load_agent
from exposure_gym.cli.outputs import Found, find_inputs, kind_of, plan_results
from exposure_gym.cli.runs import ZeroReward
from exposure_gym.critic import Critic, save_critic
from exposure_gym.data import Photos, PhotoSet
from exposure_gym.envs import PhotoRetouchEnv
from exposure_gym.networks import initialise
from exposure_gym.photo import DisplayPhoto, read_display, read_linear, to_square, write_display
from exposure_gym.recipe import Edit, Recipe
from exposure_gym.rewards import WEIGHTS
from exposure_gym.viz import samples_figure


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model that has learned nothing."""
    path: Path = tmp_path_factory.mktemp("model") / "policy.safetensors"
    crops = np.random.default_rng(0).random((2, 3, 64, 64), dtype=np.float32)
    photos = Photos(PhotoSet(crops, "linear", "ab"), PhotoSet(crops, "display", "ab"))
    env = PhotoRetouchEnv(photos, reward=ZeroReward())
    save_policy(ExposureAgent(env=env, seed=2, device="cpu", **TINY), path)
    return path


# -- the whole -------------------------------------------------------------------------------------------------------


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from exposure_gym.cli import main;"
        "status = max(main([*command, '--help']) for command in ([], ['demo'], ['retouch'], ['train'], ['evaluate']));"
        "heavy = {'torch', 'stable_baselines3', 'cv2', 'skimage', 'PIL', 'tifffile', 'scipy'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("Usage: ") == 5


def test_a_group_of_commands_shows_its_help(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["study"]) == 2
    out, err = capfd.readouterr()
    assert "Usage: " in out + err
    assert "(see" not in err


def test_only_the_command_that_was_asked_for_is_built() -> None:
    code = (
        "import sys; from exposure_gym.cli import main; status = main(['evaluate', '--help']);"
        "others = {'demo', 'train', 'retouch', 'data', 'study'} & {name.split('.')[-1] for name in sys.modules"
        " if name.startswith('exposure_gym.cli.')}; sys.exit(f'imported {others}' if others else status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_python_m_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "exposure_gym", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("exposure-gym 0.")
    wrong = subprocess.run([sys.executable, "-m", "exposure_gym", "develop"], capture_output=True, text=True)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ("retouch", 2, "FILES"),
        ("retouch {tmp}/a.png", 2, "--output"),
        ("retouch {tmp}/a.png -o {tmp}/out --samples 0", 2, "--samples"),
        ("retouch {tmp}/a.png -o {tmp}/out --samples 2 --deterministic", 2, "--deterministic"),
        ("retouch {tmp}/a.png -o {tmp}/out --format gif", 2, "--format"),
        ("retouch {tmp}/a.png -o {tmp}/out --seed -1", 2, "seed"),
        ("retouch {tmp}/a.png -o {tmp}/out --seed 5000000000", 2, "seed"),
        ("retouch {tmp}/a.png -o {tmp}/out --model {tmp}/none", 2, "no such model"),
        ("retouch {tmp}/a.png -o {tmp}/out --model {tmp}/a.png", 2, "not a readable model"),
        ("retouch {tmp}/a.png -o {tmp}/a.png", 2, "is a file"),
        ("retouch {tmp}/empty -o {tmp}/out", 2, "no photograph"),
        ("evaluate {tmp}/none {tmp}", 2, "is no folder"),
        ("evaluate {tmp} {tmp}/empty", 2, "no photograph"),
        ("train", 2, "-o RUN"),
        ("train -o {tmp}/run --inputs {tmp}", 2, "--targets"),
        ("train -o {tmp}/run --inputs {tmp}/empty --targets {tmp}", 2, "no readable photograph"),
        ("train -o {tmp}/run --preset slow", 2, "paper, short, cpu, quick"),
        ("train -o {tmp}/run --device tpu9", 2, "tpu9"),
        ("train -o {tmp}/run --iterations 0", 2, "--iterations"),
        ("train --resume {tmp}/none", 2, "no training here"),
        ("train --resume {tmp}/none --seed 3", 2, "--seed"),
    ],
)
def test_wrong_usage_is_one_line(
    arguments: str, status: int, said: str, tmp_path: Path, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photograph(tmp_path / "a.png", 0)
    (tmp_path / "empty").mkdir()
    words = arguments.replace("{tmp}", str(tmp_path)).split()
    if words[:1] == ["retouch"] and "--model" not in words:
        words += ["--model", str(tiny)]
    assert main(words) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()
    assert not list(tmp_path.glob("out/*"))


def test_a_full_disk_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "demo")

    monkeypatch.setattr("exposure_gym.cli.demo.load_agent", full)
    assert main(["demo", "-o", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "exposure-gym: [Errno 28] No space left on device: 'demo'\n"


# -- demo ------------------------------------------------------------------------------------------------------------


def test_demo_with_the_shipped_weights(tmp_path: Path) -> None:
    done = run("demo", "-o", tmp_path / "demo")
    assert done.exit_code == 0, done.output
    names = ["astronaut", "coffee", "motorcycle", "cat", "rocket", "scene-1", "scene-2", "scene-3"]
    expected = {f"{name}{end}" for name in names for end in (".png", ".steps.png", ".recipe.json")}
    assert {path.name for path in (tmp_path / "demo").iterdir()} == expected | {"strips.png"}
    assert all(name in done.stdout for name in names)
    for name in names:
        assert len(Recipe.load(tmp_path / f"demo/{name}.recipe.json")) == 5


def test_an_edit_in_short_keeps_what_counts() -> None:
    recipe = Recipe((Edit("exposure", (1.3,)), Edit("white_balance", (1.2, 1.0, 0.8))))
    assert in_short(recipe) == "exposure +1.3 EV, white balance warmer"


@pytest.mark.parametrize(("name", "reading"), [("exposure", "linear"), ("sintel", "display")])
def test_shipped_weights_are_the_published_network_at_half_its_width(name: str, reading: str) -> None:
    agent = load_agent(WEIGHTS.parent / name)
    assert sum(parameter.numel() for parameter in agent.policy.actor.parameters()) == 2_724_544
    assert (agent.working_space, agent.game.max_steps) == ("srgb", 5)
    assert agent.reading == reading


# -- retouch ---------------------------------------------------------------------------------------------------------


def test_retouch_writes_photo_recipe_and_steps(tmp_path: Path, tiny: Path) -> None:
    photos = tmp_path / "in"
    for name, bits in (("a.jpg", None), ("b.png", 8), ("c.png", 16), ("d.tif", 8), ("e.TIFF", 16)):
        photograph(photos / name, ord(name[0]), bits)
    out = tmp_path / "out"
    done = run("retouch", photos, "-o", out, "--model", tiny)
    assert done.exit_code == 0, done.output
    assert done.stderr.startswith("exposure-gym: 5 photos: 5 done; ")
    assert done.stderr.count("\n") == 1
    results = {"a": "jpg", "b": "png", "c": "png", "d": "tif", "e": "tif"}
    expected = {f"{stem}.{end}" for stem, kind in results.items() for end in (kind, "recipe.json", "steps.png")}
    assert {path.name for path in out.iterdir()} == expected
    depths = {stem: kind_of(out / f"{stem}.{kind}").bits for stem, kind in results.items()}
    assert depths == {"a": 8, "b": 8, "c": 16, "d": 16, "e": 16}
    lines = done.stdout.splitlines()
    assert len(lines) == 5
    for line, source in zip(lines, sorted(photos.iterdir()), strict=True):
        stem = source.stem
        recipe = Recipe.load(out / f"{stem}.recipe.json")
        assert recipe.source == source.name
        assert line == f"{source} → {out / stem}.{results[stem]}: {recipe.describe()}"
        light = read_linear(source, brightness="as-is" if results[stem] == "tif" else "raw-like").pixels
        finished = read_display(out / f"{stem}.{results[stem]}").pixels
        tolerance = {"jpg": 0.2, "png": 0.6 / 255, "tif": 0.6 / 65535}[results[stem]]
        np.testing.assert_allclose(finished, recipe.apply_photo(light).clip(0, 1), atol=tolerance)


@pytest.mark.parametrize("brightness", ["as-is", "raw-like"])
def test_brightness_can_be_said(brightness: Any, tmp_path: Path, tiny: Path) -> None:
    source = photograph(tmp_path / "in/a.png", 1)
    assert run("retouch", source, "-o", tmp_path, "--model", tiny, "--brightness", brightness).exit_code == 0
    recipe = Recipe.load(tmp_path / "a.recipe.json")
    light = read_linear(source, brightness=brightness).pixels
    np.testing.assert_allclose(
        read_display(tmp_path / "a.png").pixels, recipe.apply_photo(light).clip(0, 1), atol=0.003
    )
    assert recipe.comment.endswith(brightness)


def test_format_can_be_said_and_content_decides_what_an_input_is(tmp_path: Path, tiny: Path) -> None:
    source = photograph(tmp_path / "in/a.png", 1, 16)
    misnamed = source.rename(source.with_suffix(".jpg"))
    assert run("retouch", misnamed, "-o", tmp_path / "same", "--model", tiny).exit_code == 0
    assert kind_of(tmp_path / "same/a.png").bits == 16
    assert run("retouch", misnamed, "-o", tmp_path / "tif", "--model", tiny, "--format", "tif").exit_code == 0
    assert kind_of(tmp_path / "tif/a.tif").format == "tif"


def test_a_broken_photo_does_not_stop_the_batch(tmp_path: Path, tiny: Path) -> None:
    for name in ("a.png", "c.png"):
        photograph(tmp_path / "in" / name, 1)
    (tmp_path / "in/b.png").write_bytes((tmp_path / "in/a.png").read_bytes()[:900])
    done = run("retouch", tmp_path / "in", tmp_path / "nowhere.jpg", "-o", tmp_path / "out", "--model", tiny)
    assert done.exit_code == 1
    assert len(done.stdout.splitlines()) == 2
    first, second, last = done.stderr.splitlines()
    assert first.startswith(f"exposure-gym: {tmp_path / 'in/b.png'}: ")
    assert second.startswith(f"exposure-gym: {tmp_path / 'nowhere.jpg'}: does not exist")
    assert last.startswith("exposure-gym: 4 photos: 2 done, 2 failed; ")
    assert {path.name[0] for path in (tmp_path / "out").iterdir()} == {"a", "c"}


def test_nothing_is_overwritten_unasked(tmp_path: Path, tiny: Path) -> None:
    source = photograph(tmp_path / "in/a.png", 1)
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.recipe.json").write_text("mine")
    refused = run("retouch", source, "-o", out, "--model", tiny)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "a.recipe.json: exists already" in refused.stderr
    assert "--force" in refused.stderr
    assert [path.name for path in out.iterdir()] == ["a.recipe.json"]
    assert (out / "a.recipe.json").read_text() == "mine"
    assert run("retouch", source, "-o", out, "--model", tiny, "--force").exit_code == 0
    assert len(Recipe.load(out / "a.recipe.json")) == 5


@pytest.mark.parametrize("through", ["same folder", "link", "hard link"])
def test_no_input_is_ever_overwritten(through: str, tmp_path: Path, tiny: Path) -> None:
    source = photograph(tmp_path / "in/a.png", 1)
    before, out = source.read_bytes(), tmp_path / "out"
    out.mkdir()
    if through == "same folder":
        out = source.parent
    elif through == "link":
        (out / "a.png").symlink_to(source)
    else:
        (out / "a.png").hardlink_to(source)
    done = run("retouch", source, "-o", out, "--model", tiny, "--force")
    assert done.exit_code == 1
    assert "is one of the photographs given" in done.stderr
    assert source.read_bytes() == before
    assert [path.name for path in out.iterdir()] == ["a.png"]


def test_two_photos_of_one_name_get_two_results(tmp_path: Path, tiny: Path) -> None:
    one, other = photograph(tmp_path / "1/a.png", 1), photograph(tmp_path / "2/a.jpg", 2)
    done = run("retouch", one, other, one, "-o", tmp_path / "out", "--model", tiny)
    assert done.exit_code == 0, done.output
    assert len(done.stdout.splitlines()) == 2  # a photo given twice is retouched once
    assert {path.name for path in (tmp_path / "out").glob("*[!s].[jp][pn]g")} == {"a.png", "a-2.jpg"}
    assert Recipe.load(tmp_path / "out/a-2.recipe.json").source == "a.jpg"


@given(
    st.lists(st.sampled_from(["a", "A", "a-2", "a.1", "a.1.1", "a.steps", "a.samples", "b"]), min_size=1, max_size=9),
    st.integers(1, 3),
)
def test_results_never_collide(stems: list[str], samples: int) -> None:
    inputs = [Found(Path(f"{i}/{stem}.png")) for i, stem in enumerate(stems)]
    plan = plan_results(inputs, Path("out"), samples, "png")
    names = [str(file).casefold() for files in plan for file in files]
    assert len(names) == len(set(names)) == (3 * samples + (samples > 1)) * len(inputs)


def test_patterns_and_folders_are_inputs(tmp_path: Path) -> None:
    for name in ("b.png", "a.png", "c[1].png"):
        photograph(tmp_path / name, 1)
    assert [photo.path.name for photo in find_inputs([str(tmp_path / "*.png")])] == ["a.png", "b.png", "c[1].png"]
    assert find_inputs([str(tmp_path / "c[1].png"), str(tmp_path)])[0].path.name == "c[1].png"
    assert find_inputs([str(tmp_path / "x*.png")]) == [Found(tmp_path / "x*.png")]


def test_samples_differ_and_can_be_repeated(tmp_path: Path, tiny: Path) -> None:
    source = photograph(tmp_path / "in/a.png", 1)
    for out in ("one", "two"):
        assert run("retouch", source, "-o", tmp_path / out, "--model", tiny, "--samples", 3, "--seed", 7).exit_code == 0
    texts = [(tmp_path / f"one/a.{i}.recipe.json").read_text() for i in (1, 2, 3)]
    assert len(set(texts)) == 3
    for i, text in enumerate(texts, 1):
        assert text == (tmp_path / f"two/a.{i}.recipe.json").read_text()
        assert (tmp_path / f"one/a.{i}.png").read_bytes() == (tmp_path / f"two/a.{i}.png").read_bytes()
        assert (tmp_path / f"one/a.{i}.steps.png").exists()
    assert (tmp_path / "one/a.samples.png").read_bytes() == (tmp_path / "two/a.samples.png").read_bytes()
    alone = run("retouch", source, "-o", tmp_path, "--model", tiny, "--no-deterministic", "--seed", 9)
    assert alone.exit_code == 0
    assert (tmp_path / "a.recipe.json").read_text() == texts[2]  # sample 3 of seed 7


def test_a_style_that_ships_is_asked_for_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file or folder of that name comes first; what is neither is an error that names it."""
    monkeypatch.chdir(tmp_path)
    source = photograph(tmp_path / "in/a.png", 1)
    assert run("retouch", source, "-o", "film", "--model", "sintel").exit_code == 0
    assert run("retouch", source, "-o", "path", "--model", WEIGHTS.parent / "sintel").exit_code == 0
    film, path = ((tmp_path / folder / "a.recipe.json").read_text() for folder in ("film", "path"))
    assert film == path
    assert '"input_domain": "display"' in film  # as its frames were read
    (tmp_path / "sintel").mkdir()
    for name in ("sintel", "nolan"):
        refused = run("retouch", source, "-o", "other", "--model", name)
        assert refused.exit_code == 2
        assert name in refused.stderr


def test_samples_are_scored_by_the_models_own_critic(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    critic = Critic(64, base_channels=4, hidden=8)
    initialise(critic, torch.Generator().manual_seed(5))
    (tmp_path / "model").mkdir()
    shutil.copy(tiny, tmp_path / "model")
    save_critic(critic, tmp_path / "model/critic.safetensors", torch.float32)
    drawn: list[list[str]] = []

    def keep(recipes: list[Recipe], pixels: Any, captions: list[str]) -> Any:
        drawn.append(captions)
        return samples_figure(recipes, pixels, captions)

    monkeypatch.setattr("exposure_gym.viz.samples_figure", keep)
    source = photograph(tmp_path / "in/a.png", 1)
    for model in (tmp_path / "model", tiny):
        command = ("retouch", source, "-o", tmp_path / "out", "--model", model, "--samples", 2, "--force")
        assert run(*command).exit_code == 0
    assert [len(captions) for captions in drawn] == [2, 2]
    view = to_square(read_linear(source, brightness="raw-like").pixels, 64)
    for i, caption in enumerate(drawn[0], 1):
        after = Recipe.load(tmp_path / f"out/a.{i}.recipe.json").apply_photo(view)
        pictures = torch.from_numpy(np.stack([view, after]).transpose(0, 3, 1, 2).copy())
        before, score = (0.05 * critic(pictures)).tolist()
        assert caption == f"{i}   critic {score - before:+.2f}".replace("-", "−")
    assert drawn[1] != drawn[0]  # where no critic lies beside the model, the shipped one judges


def test_the_models_working_space_is_honoured(tmp_path: Path, tiny: Path) -> None:
    agent = ExposureAgent.load(tiny, device="cpu")
    agent.working_space = "prophoto"
    save_policy(agent, tmp_path / "policy.safetensors")
    source = photograph(tmp_path / "in/a.tif", 1)
    assert run("retouch", source, "-o", tmp_path / "out", "--model", tmp_path).exit_code == 0
    recipe = Recipe.load(tmp_path / "out/a.recipe.json")
    assert recipe.working_space == "prophoto"
    light = read_linear(source, space="prophoto").pixels
    expected = tmp_path / "expected.tif"
    write_display(expected, DisplayPhoto(recipe.apply_photo(light), "prophoto"))
    result = read_display(tmp_path / "out/a.tif").pixels
    np.testing.assert_allclose(result, read_display(expected).pixels, atol=2e-5)  # one code of 16 bits


# -- evaluate --------------------------------------------------------------------------------------------------------


@pytest.fixture
def sides(tmp_path: Path) -> tuple[Path, Path]:
    for i in range(3):
        photograph(tmp_path / f"results/{i}.png", i)
        photograph(tmp_path / f"targets/{i}.tif", i, 8)
    return tmp_path / "results", tmp_path / "targets"


def test_equal_folders_have_everything_in_common(sides: tuple[Path, Path]) -> None:
    photograph(sides[0] / "0.steps.png", 77)  # a picture of steps is no result
    done = run("evaluate", *sides, "--paired", "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert (report["results"], report["targets"], report["pairs"]) == (3, 3, 3)
    assert report["histogram_intersection"] == pytest.approx(dict.fromkeys(report["histogram_intersection"], 1.0))
    assert report["histogram_intersection"].keys() == {"luminance", "contrast", "saturation", "mean"}
    assert report["ssim"] == pytest.approx(1.0, abs=1e-3)
    assert report["ciede2000"] == pytest.approx(0.0, abs=0.5)
    table = run("evaluate", *sides, "--paired")
    assert "histogram intersection, mean" in table.stdout
    assert "100.0 %" in table.stdout


def test_pairs_are_measured_and_only_when_asked(sides: tuple[Path, Path]) -> None:
    grey = np.full((90, 120, 3), 0.5, np.float32)
    for folder, value in zip(sides, (0.5, 0.6), strict=True):
        for path in folder.iterdir():
            write_display(path, DisplayPhoto(grey * (value / 0.5)), bits=8)
    report = json.loads(run("evaluate", *sides, "--paired", "--json").stdout)
    codes = round(0.6 * 255) - round(0.5 * 255)
    assert report["psnr"] == pytest.approx(-20 * np.log10(codes / 255), abs=0.01)
    assert report["histogram_intersection"]["luminance"] == 0.0
    assert "psnr" not in json.loads(run("evaluate", *sides, "--json").stdout)


def test_equal_pictures_have_no_finite_psnr(sides: tuple[Path, Path]) -> None:
    report = json.loads(run("evaluate", sides[0], sides[0], "--paired", "--json").stdout)
    assert report["psnr"] is None


def test_what_cannot_be_compared_is_said(sides: tuple[Path, Path]) -> None:
    photograph(sides[0] / "1.png", 1, size=(60, 60))
    (sides[1] / "2.tif").write_bytes(b"II*\0 broken")
    done = run("evaluate", *sides, "--paired", "--json")
    assert done.exit_code == 1
    report = json.loads(done.stdout)
    assert (report["results"], report["targets"], report["pairs"]) == (3, 2, 1)
    first, second = done.stderr.splitlines()
    assert "2.tif" in first
    assert "pictures of one size" in second
    for path in sides[1].iterdir():
        path.rename(path.with_name("x" + path.name))
    unpaired = run("evaluate", *sides, "--paired")
    assert unpaired.exit_code == 2
    assert "no two photos have one name" in unpaired.stderr
