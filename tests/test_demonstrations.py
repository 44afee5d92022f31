"""Games that people played become demonstrations: the environment's own observations and actions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("starlette", reason="starlette is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")

from editor_tools import CONTRAST, EXPOSURE, Page, close_stores, open_studio, play_a_game, some_photos
from torch.utils.data import DataLoader

import exposure_gym  # noqa: F401
from exposure_gym.data.demonstrations import Demonstrations
from exposure_gym.ui.pictures import Proof

__all__ = ["close_stores"]  # a fixture

PAGE = Path(__file__).resolve().parents[1] / "docs" / "demonstrations.md"


@pytest.fixture
def played(tmp_path: Path) -> Path:
    """Ann is done with one photograph, in four steps of which the last is the agent's; bob is not with his."""
    studio = open_studio(tmp_path / "played", some_photos(tmp_path / "in"))
    play_a_game(Page(studio, user="ann"))
    bob = Page(studio, user="bob")
    bob.photo(2)
    for step in range(5):
        bob.edit(step, CONTRAST if step % 2 else EXPOSURE, 2)
    return tmp_path / "played"


def test_they_are_what_the_environment_gives(played: Path, tmp_path: Path) -> None:
    (episode,) = Demonstrations.load(played).episodes
    assert (episode.player, episode.photo, episode.max_steps) == ("ann", "photo1.png", 5)
    env: Any = gym.make("PhotoRetouch-v0")
    pixels = Proof.of_file(tmp_path / "in" / "photo1.png", "raw-like", "srgb").pixels
    observation, _ = env.reset(options={"photo": pixels})
    for step in range(4):
        for name, value in observation.items():
            np.testing.assert_array_equal(episode.observations[name][step], value)
        action = {name: values[step] for name, values in episode.actions.items()}
        assert env.action_space.contains(action)
        observation, reward, terminated, truncated, _ = env.step(action)
        assert reward == pytest.approx(episode.rewards[step], abs=1e-6)
        assert (terminated, truncated) == (False, False)
    np.testing.assert_array_equal(episode.observations["image"][4], observation["image"])
    assert episode.by == ("person", "person", "person", "agent")


def test_as_a_dataset(played: Path) -> None:
    demonstrations = Demonstrations.load(played)
    assert len(demonstrations) == 4
    observation, action = next(iter(DataLoader(demonstrations, batch_size=4)))
    assert observation["image"].shape == (4, 64, 64, 3)
    assert observation["filters_used"].shape == (4, 8)
    assert observation["step"].tolist() == [0, 1, 2, 3]
    assert action["filter"].tolist()[:3] == [0, 1, 2]
    assert action["parameters"].shape == (4, 39)
    assert action["parameters"][0, 0].item() == pytest.approx(1.0 / 3.5)
    assert action["parameters"].abs().max() <= 1.0


def test_whose_and_which(played: Path) -> None:
    assert len(Demonstrations.load([played], by="person")) == 3
    assert len(Demonstrations.load([played, played])) == 8
    assert len(Demonstrations.load(played, finished=False)) == 9
    assert len(Demonstrations.load(played, players=["bob"])) == 0
    assert len(Demonstrations.load(played, players=["bob"], finished=False)) == 5
    with pytest.raises(ValueError, match="does not exist"):
        Demonstrations.load(played / "nothing")


def test_they_need_no_photographs(played: Path, tmp_path: Path) -> None:
    wanted = Demonstrations.load(played)[0][0]["image"]
    for path in (tmp_path / "in").iterdir():
        path.unlink()
    assert Demonstrations.load(played)[0][0]["image"].equal(wanted)


@pytest.mark.filterwarnings("ignore::UserWarning:minari")  # that more could be said about the dataset
def test_minari(played: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    minari = pytest.importorskip("minari", reason="minari is not installed")
    pytest.importorskip("h5py", reason="h5py is not installed")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    demonstrations = Demonstrations.load(played, finished=False)
    demonstrations.to_minari("photo-retouch/people-v0", author="ann", author_email="ann@example.org")

    dataset = minari.load_dataset("photo-retouch/people-v0")
    assert len(dataset) == 2
    for found, episode in zip(dataset.iterate_episodes(), demonstrations.episodes, strict=True):
        for name in ("image", "filters_used", "step"):
            np.testing.assert_array_equal(found.observations[name], episode.observations[name])
        np.testing.assert_array_equal(found.actions["parameters"], episode.actions["parameters"])
        np.testing.assert_array_equal(found.rewards, episode.rewards)
    assert [bool(each.terminations[-1]) for each in dataset.iterate_episodes()] == [False, True]
    assert [bool(each.truncations[-1]) for each in dataset.iterate_episodes()] == [True, False]
    env = dataset.recover_environment()
    assert env.unwrapped.game.max_steps == 5
    assert gym.spec("PhotoRetouch-v0").kwargs == {}


def test_games_of_several_lengths_are_no_minari_dataset(tmp_path: Path) -> None:
    pytest.importorskip("minari", reason="minari is not installed")
    for steps in (1, 2):
        page = Page(open_studio(tmp_path / str(steps), some_photos(tmp_path / "in", 1), max_steps=steps))
        page.photo()
        page.edit(0, EXPOSURE)
    both = Demonstrations.load([tmp_path / "1", tmp_path / "2"], finished=False)
    assert [len(episode.rewards) for episode in both.episodes] == [1, 1]
    for some in (both, Demonstrations([])):
        with pytest.raises(ValueError, match="same number of steps"):
            some.to_minari("photo-retouch/mixed-v0")


def blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_pages_first_block(played: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(played.parent)
    exec(compile(blocks()[0], str(PAGE), "exec"), {})
    assert capsys.readouterr().out == "3 steps; the first uses filter 0\n"


def test_cloning_makes_a_persons_choices_likelier(played: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from exposure_gym.agents import ExposureAgent

    monkeypatch.chdir(played.parent)
    small = "policy_kwargs={'base_channels': 4, 'features': 64, 'hidden': 16}, "
    block = blocks()[1].replace("seed=0, ", f"seed=0, {small}").replace("epochs = 20", "epochs = 60")
    names: dict[str, Any] = {}
    exec(compile(block.replace("lr=1e-4", "lr=1e-2"), str(PAGE), "exec"), names)
    losses = names["losses"]
    assert len(losses) == 60
    assert losses[-1] < 0.5 * losses[0]
    assert losses[0] == pytest.approx(np.log(8), abs=0.5)
    heads = [p for name, p in names["actor"].named_parameters() if not name.startswith("selector_")]
    assert all(parameter.grad is None for parameter in heads)

    agent = ExposureAgent.load("cloned.safetensors", device="cpu")
    for observation, action in names["demonstrations"]:
        chosen, _ = agent.predict({name: value.numpy() for name, value in observation.items()}, deterministic=True)
        assert chosen["filter"] == action["filter"]  # type: ignore[call-overload]
    assert "nats" in capsys.readouterr().out


def test_cloning_makes_whole_actions_likelier(played: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from exposure_gym.agents import HybridPPO

    monkeypatch.chdir(played.parent)
    block = blocks()[2].replace('"features": 256', '"base_channels": 4, "features": 64').replace("lr=3e-4", "lr=3e-3")
    names: dict[str, Any] = {}
    exec(compile(block.replace("epochs = 20", "epochs = 300"), str(PAGE), "exec"), names)
    losses = names["losses"]
    assert len(losses) == 300
    assert losses[-1] < losses[0] - 1.0
    assert not names["policy"].log_std.any()

    model = HybridPPO.load("cloned_ppo", device="cpu")
    for observation, action in names["demonstrations"]:
        chosen, _ = model.predict({name: value.numpy() for name, value in observation.items()}, deterministic=True)
        assert chosen["filter"] == action["filter"]
    assert "nats" in capsys.readouterr().out
