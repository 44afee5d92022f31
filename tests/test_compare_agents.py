"""The comparison: what is kept can be played again, what is killed goes on, and a new algorithm is one entry."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import compare_agents
from compare import algorithms, execution, report
from compare.algorithms import ALGORITHMS, Algorithm
from compare.cells import run_cell
from compare.config import PRESETS, Cell, ConfigError, read_comparison
from compare.execution import is_finished, read_result, result_path, run_here, run_in_processes

from exposure_gym import rewards

BENCHMARKS = Path(compare_agents.__file__).parent
DOCS = BENCHMARKS.parent / "docs" / "benchmark.md"
KEPT = BENCHMARKS / "results" / "compare"
WORLD: dict[str, Any] = {"reward": "reference", "image_size": 16, "scenes": 8, "held_out": 4}
ENCODER = {"base_channels": 2, "features": 32}


def cell(algorithm: str, seed: int = 0, **hyperparameters: Any) -> Cell:
    return Cell("pairs", WORLD, algorithm, seed, 32, 16, ENCODER, hyperparameters)


# -- results -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", read_comparison("tiny").cells(), ids=lambda cell: cell.algorithm)
def test_a_kept_result_is_what_its_config_gives(cell: Cell) -> None:
    kept = read_result(result_path(cell, KEPT / "tiny"))
    assert kept is not None, f"run: python benchmarks/compare_agents.py --preset tiny ({cell.name} is missing)"
    assert is_finished(cell, KEPT / "tiny")
    again = run_cell(cell)
    assert again["settings"] == kept["settings"]
    assert len(again["curve"]) == len(kept["curve"])
    for now, before in zip(again["curve"], kept["curve"], strict=True):
        assert now.keys() == before.keys()
        for key in now.keys() - {"seconds", "cpu_seconds", "filters"}:
            assert now[key] == pytest.approx(before[key], rel=1e-3, abs=1e-3), key


def test_kept_results_tell_what_they_depend_on() -> None:
    paths = list(KEPT.rglob("cells/*.json"))
    assert paths
    for path in paths:
        text = path.read_text(encoding="utf-8")
        result = json.loads(text)
        assert {"cpu", "cores", "system"} <= set(result["machine"])
        assert {"torch", "stable-baselines3", "commit"} <= set(result["versions"])
        weights = result["settings"].pop("weights")
        cell = Cell(**result["settings"])
        assert path.stem == cell.name
        assert weights == cell.settings()["weights"], f"{cell.name} was played with other weights than those that ship"
        assert str(Path.home()) not in text


SMALL: dict[str, dict[str, Any]] = {
    "maskable_ppo": {"n_envs": 2, "n_steps": 8, "batch_size": 16, "n_epochs": 1},
    "recurrent_ppo": {"n_envs": 2, "n_steps": 8, "batch_size": 16, "n_epochs": 1},
    "hybrid_ppo": {"n_envs": 2, "n_steps": 8, "batch_size": 16, "n_epochs": 1},
    "hybrid_ppo_masked": {"n_envs": 2, "n_steps": 8, "batch_size": 16, "n_epochs": 1},
    "dqn": {"n_envs": 2, "learning_starts": 8, "buffer_size": 64, "batch_size": 8},
    "exposure": {"batch_size": 8, "pool_size": 16, "critic_burst": 1, "critic_updates": 1, "warmup_rollouts": 2},
    "greedy": {"samples": 2},
    "gradient": {"steps": 1},
    "random": {},
}


@pytest.mark.parametrize("name", SMALL)
def test_everyone_is_measured_alike(name: str) -> None:
    steps: list[int] = []
    result = run_cell(cell(name, **SMALL[name]), steps.append)
    json.dumps(result, allow_nan=False)
    curve = result["curve"]
    if ALGORITHMS[name].learns:
        assert [row["steps"] for row in curve] == [0, 16, 32]
        assert steps[-1] >= 32
        assert curve[0]["cpu_seconds"] <= curve[1]["cpu_seconds"] <= curve[2]["cpu_seconds"]
    for row in curve:
        assert sum(row["filters"].values()) == pytest.approx(1.0)
        assert 0 <= row["edits"] <= 5
        assert row["ciede2000"] > 0
    if name in ("maskable_ppo", "hybrid_ppo_masked", "gradient"):
        assert all(row["reuse"] == 0.0 for row in curve)
    assert result["milliseconds_to_decide"] > 0


def test_doing_nothing_earns_nothing_and_the_frozen_critic_needs_its_size() -> None:
    row = run_cell(cell("identity"))["curve"][-1]
    assert row["reward"] == pytest.approx(0.0, abs=0.02)  # CIELAB distance; float32
    assert row["edits"] == row["reuse"] == 0.0
    with pytest.raises(ValueError, match="the reward 'critic'"):
        run_cell(cell("exposure_frozen"))
    critic = Cell("small", WORLD | {"reward": "critic"}, "exposure_frozen", 0, 32, 16, ENCODER)
    with pytest.raises(ValueError, match="64 pixels"):
        run_cell(critic)


def test_the_gradient_door_on_the_frozen_critic_leaves_the_critic_as_it_is() -> None:
    from exposure_gym.rewards import shipped_critic

    before = {key: value.clone() for key, value in shipped_critic().state_dict().items()}
    options = {"batch_size": 4, "pool_size": 8, "warmup_rollouts": 1}
    world = {"reward": "critic", "scenes": 8, "held_out": 2}
    result = run_cell(Cell("big", world, "exposure_frozen", 0, 8, 8, ENCODER, options))
    assert [row["steps"] for row in result["curve"]] == [0, 8]
    assert all(bool((value == before[key]).all()) for key, value in shipped_critic().state_dict().items())


# -- going on ----------------------------------------------------------------------------------------------------------


def test_a_finished_run_is_not_played_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = [cell("identity"), cell("random", 0), cell("random", 1)]
    assert [error for _, error in run_here(cells[:2], tmp_path)] == [None, None]
    assert [is_finished(each, tmp_path) for each in cells] == [True, True, False]
    assert not is_finished(cell("identity", steps=3), tmp_path)  # other settings
    with monkeypatch.context() as patch:  # another critic
        patch.setattr("exposure_gym.rewards.CRITIC", rewards.WEIGHTS / "critic.safetensors")
        assert not is_finished(cells[0], tmp_path)
    path = result_path(cells[0], tmp_path)
    path.write_text(path.read_text()[:100])  # as no kill leaves it, but a disk may
    assert not is_finished(cells[0], tmp_path)


def test_a_broken_run_takes_no_other_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(setting: Any, show: Any) -> None:
        raise RuntimeError("first line\nout of luck")

    monkeypatch.setitem(algorithms.ALGORITHMS, "broken", Algorithm("broken", broken))
    cells = [cell("broken"), cell("identity")]
    assert [error for _, error in run_here(cells, tmp_path)] == ["RuntimeError: out of luck", None]
    assert [is_finished(each, tmp_path) for each in cells] == [False, True]


CONFIG = """
steps = 32
evaluate_every = 16
seeds = [0, 1, 2, 3, 4, 5, 6, 7]
algorithms = ["random", "auto_levels"]
[environments.pairs]
reward = "reference"
image_size = 16
scenes = 8
held_out = 4
"""


def test_after_a_kill_only_the_running_one_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "killed.toml"
    config.write_text(CONFIG)
    arguments = ["--config", str(config), "--out", str(tmp_path)]
    child = subprocess.Popen([sys.executable, str(BENCHMARKS / "compare_agents.py"), *arguments], stderr=-3, stdout=-3)
    folder = tmp_path / "killed"
    while not list(folder.glob("cells/[!.]*.json")) and child.poll() is None:
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()
    kept = {path: path.read_bytes() for path in folder.glob("cells/[!.]*.json")}
    assert kept
    assert all(read_result(path) for path in kept)
    comparison = read_comparison(str(config))
    finished = sum(is_finished(each, folder) for each in comparison.cells())
    assert finished == len(kept)

    played: list[str] = []

    def play(each: Cell, step: Any) -> dict[str, Any]:
        played.append(each.name)
        return run_cell(each, step)

    monkeypatch.setattr(execution, "run_cell", play)
    monkeypatch.setattr(sys, "argv", ["compare_agents.py", *arguments])
    assert compare_agents.main() == 0
    assert len(played) == len(comparison.cells()) - finished
    assert all(path.read_bytes() == content for path, content in kept.items())
    assert all(is_finished(each, folder) for each in comparison.cells())
    assert (folder / "report.md").read_text().count("| auto levels |") == 1


def test_processes_give_the_same_results(tmp_path: Path) -> None:
    cells = [cell("random", 0), cell("random", 1)]
    assert {(each.seed, error) for each, error in run_in_processes(cells, tmp_path, 2)} == {(0, None), (1, None)}
    for each in cells:
        there = read_result(result_path(each, tmp_path))
        assert there is not None
        assert there["curve"][0]["reward"] == pytest.approx(run_cell(each)["curve"][0]["reward"], rel=1e-4)


# -- configs -----------------------------------------------------------------------------------------------------------


def test_presets_are_read_and_ordered_by_seed() -> None:
    assert {"smoke", "main", "long", "tiny"} <= set(PRESETS)
    comparison = read_comparison("main")
    seeds = [each.seed for each in comparison.cells()]
    assert seeds == sorted(seeds)
    assert len(comparison.seeds) >= 5
    longer = read_comparison("long")
    assert longer.environments == comparison.environments  # and so their tables may be compared
    assert longer.encoder == comparison.encoder
    assert set(comparison.algorithms) | set(longer.algorithms) == set(ALGORITHMS)
    names = [each.name for each in comparison.cells()]
    assert len(set(names)) == len(names)
    assert names.count("builtin-identity-0") == 1
    assert "builtin-identity-1" not in names  # it has no chance


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps = ", "not TOML"),
        ("steps = 1", "the key 'algorithms' is missing"),
        (CONFIG.replace("steps", "stebs", 1), "unknown key 'stebs'"),
        (CONFIG.replace('"random"', '"randon"'), "unknown algorithm 'randon'; known: identity"),
        (CONFIG.replace("steps = 32", "steps = 0"), "at least 1"),
    ],
)
def test_config_errors_are_one_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_comparison(str(path))
    with pytest.raises(ConfigError, match="no such preset or file; choose long, main, smoke, tiny"):
        read_comparison("huge")


def test_a_report_without_runs_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["compare_agents.py", "report", "--preset", "tiny", "--out", str(tmp_path)])
    with pytest.raises(SystemExit, match="no finished run of 'tiny'; run it first"):
        compare_agents.main()


# -- the report --------------------------------------------------------------------------------------------------------


def test_numbers_from_kept_runs() -> None:
    comparison = read_comparison("tiny")
    first, second = (report.summarise(report.Runs(comparison, KEPT / "tiny")) for _ in range(2))
    assert first == second
    assert first["runs_missing"] == 0
    ppo = first["algorithms"]["ppo"]
    assert ppo["curve"]["value"][-1] == pytest.approx(ppo["reward"]["value"])
    assert ppo["reward_at_equal_time"]["value"] == pytest.approx(ppo["reward"]["value"])  # the only one that learns
    both = first["improvement"]
    assert both["ppo"]["auto_levels"]["value"] + both["auto_levels"]["ppo"]["value"] == 1.0


def test_a_report_is_written(tmp_path: Path) -> None:
    cells = tmp_path / "cells"
    cells.mkdir()
    for path in (KEPT / "tiny" / "cells").glob("*.json"):
        (cells / path.name).write_bytes(path.read_bytes())
    table = report.write_report(read_comparison("tiny"), tmp_path, tmp_path / "figures")
    assert (tmp_path / "report.md").read_text() == table
    page = tmp_path / "page.md"
    begin, end = report.marks("tiny")
    page.write_text(f"before\n{begin}old\n{end}after\n")
    report.put_into_page(table, page, "tiny")
    assert page.read_text() == f"before\n{begin}{table}{end}after\n"
    (tmp_path / "other.md").write_text("nothing")
    with pytest.raises(ValueError, match="has no lines"):
        report.put_into_page(table, tmp_path / "other.md", "tiny")
    assert [line.split(" |")[0] for line in table.splitlines()[2:4]] == ["| auto levels", "| PPO"]
    assert json.loads((tmp_path / "report.json").read_text())["comparison"] == "tiny"
    pictures = {path.name for path in (tmp_path / "figures").iterdir()}
    assert pictures == {
        f"benchmark-tiny-{name}.png" for name in ("curves", "intervals", "profiles", "improvement", "hacking")
    }


# -- one more algorithm ------------------------------------------------------------------------------------------------


def test_the_documented_new_algorithm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```$", DOCS.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(block.strip().splitlines()) <= 10
    monkeypatch.setattr(algorithms, "ALGORITHMS", dict(ALGORITHMS))  # undone at the end
    names = dict(vars(algorithms))
    exec(compile(block, str(DOCS), "exec"), names)
    (new,) = set(names["ALGORITHMS"]) - set(ALGORITHMS)
    monkeypatch.setitem(ALGORITHMS, new, names["ALGORITHMS"][new])
    result = run_cell(cell(new))
    assert result["settings"]["algorithm"] == new
    assert len(result["curve"]) >= 2
    assert result["curve"][-1]["steps"] >= 32
