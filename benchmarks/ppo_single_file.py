"""PPO on the hybrid action of PhotoRetouch-v0, in one file that can be read from top to bottom.

Proximal Policy Optimization (Schulman et al. 2017) in the manner of CleanRL: nothing is hidden in a library, and each
detail that decides whether it learns is numbered here and marked in the code.

 1. One batch of games (``gym.make_vec``) on one device, observations and rewards as tensors: nothing is copied.
 2. A finished game begins again within the same step (``SAME_STEP``), so every step of a rollout is an edit.
 3. Pictures are linear light, dark at first: their square root spreads the shadows, as a display's curve does.
 4. What is no picture (filters used, step as one of several) joins behind the convolutions.
 5. The action is hybrid: a categorical head chooses the filter, Gaussian heads set all parameters at once.
 6. Only the chosen filter's block acts, so only its density counts: log pi(f) + sum over the block of log N(a_i).
 7. The Gaussians' means depend on the state, their widths do not; what falls outside [-1, 1] the game clips, but
    the density is that of the number as drawn.
 8. Orthogonal weights: gain sqrt(2) inside, 0.01 for the policy's heads (to begin near "any filter, all at 0"), 1 for
    the value; biases 0.
 9. Generalised advantage estimation without discount: an episode is five edits long and always terminates, so that
    there is nothing to bootstrap from at its end.
10. Adam with eps 1e-5, its learning rate falling linearly to 0.
11. Several epochs over shuffled minibatches; advantages normalised within each.
12. Clipped ratio for the policy, plain squared error for the value.
13. The bonus for entropy is for the choice alone: a Gaussian's entropy has no bound, and could be earned for ever.
14. Gradients are clipped to a norm.
15. All randomness comes from generators with the seed: the same seed gives the same weights on the same machine.

The frozen critic can be flattered, so held-out photographs are judged twice: by its reward, and by the histogram
intersection with finished photographs, which PPO never sees.
"""

from __future__ import annotations

import ast
import inspect
import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, NamedTuple, cast, get_type_hints

import gymnasium as gym
import torch
import typer
from gymnasium.vector import AutoresetMode
from torch import Tensor, nn

from exposure_gym.data import Photos, builtin_photos
from exposure_gym.envs import PhotoRetouchVectorEnv
from exposure_gym.evaluation import HeldOutPhotos
from exposure_gym.game import RetouchGame
from exposure_gym.metrics import histogram_intersection, photo_statistics
from exposure_gym.model_file import write_model
from exposure_gym.rewards import RewardModel


@dataclass(frozen=True)
class Settings:
    output: Path = Path("runs/ppo_single_file.safetensors")
    """The learned weights."""
    seed: int = 0
    """Of everything: weights, games, actions, minibatches."""
    total_steps: int = 200_000
    """Edits to learn from; rounded down to whole rollouts."""
    num_envs: int = 64
    """Games side by side."""
    num_steps: int = 20
    """Edits in each game between two updates."""
    epochs: int = 4
    """How often an update goes over its rollout."""
    minibatches: int = 4
    """Parts that a rollout is learned in."""
    learning_rate: float = 5e-4
    """Of Adam, at the start."""
    gae_lambda: float = 0.95
    """How far advantages look beyond the value's estimate: 0 for one step, 1 for the whole episode."""
    clip: float = 0.2
    """How far the ratio of probabilities may move from 1 and still earn."""
    entropy_weight: float = 0.01
    """Of the entropy of the choice of a filter."""
    value_weight: float = 0.5
    """Of the value's loss."""
    max_gradient: float = 0.5
    """Norm that gradients are clipped to."""
    parameter_spread: float = 0.5
    """Standard deviation of the parameters at the start; they lie in [-1, 1]."""
    evaluate_every: int = 20
    """Updates between two looks at the held-out photographs."""
    device: str = "cpu"
    """Where games are played and networks learn: cpu, cuda or cuda:1."""
    tensorboard: Path | None = None
    """Folder for TensorBoard's curves; needs the package tensorboard."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed {self.seed} must be from 0 to {2**32 - 1}")
        for name in ("num_envs", "num_steps", "epochs", "minibatches", "evaluate_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} must be at least 1")
        for name in ("learning_rate", "clip", "max_gradient", "parameter_spread"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} {getattr(self, name)} must be above 0")
        if self.rollout % self.minibatches:
            raise ValueError(f"a rollout of {self.rollout} edits cannot be split into {self.minibatches} minibatches")
        if self.updates < 1:
            raise ValueError(f"total_steps {self.total_steps} must be at least one rollout of {self.rollout} edits")

    @property
    def rollout(self) -> int:
        return self.num_envs * self.num_steps

    @property
    def updates(self) -> int:
        return self.total_steps // self.rollout


class Observation(NamedTuple):
    """What ``B`` players see; a batch of games or of remembered edits."""

    image: Tensor  # (B, S, S, 3)
    filters_used: Tensor  # (B, F)
    step: Tensor  # (B,)


class Agent(nn.Module):
    """Policy and value, on one encoder."""

    acts: Tensor

    def __init__(self, game: RetouchGame, image_size: int, spread: float, generator: torch.Generator) -> None:
        super().__init__()
        self.steps = game.max_steps + 1
        with torch.random.fork_rng(devices=[]):  # layers draw weights globally, which are replaced below
            self.encoder = nn.Sequential(
                nn.Conv2d(3, 32, kernel_size=8, stride=4, padding=2),
                nn.ReLU(),
                nn.Conv2d(32, 64, kernel_size=4, stride=2, padding=1),
                nn.ReLU(),
                nn.Conv2d(64, 64, kernel_size=4, stride=2, padding=1),
                nn.ReLU(),
                nn.Flatten(),
            )
            features = 64 * (image_size // 16) ** 2 + len(game.filters) + self.steps
            self.hidden = nn.Sequential(nn.Linear(features, 256), nn.ReLU())
            self.choice = nn.Linear(256, len(game.filters))
            self.mean = nn.Linear(256, game.num_parameters)
            self.value = nn.Linear(256, 1)
        self.log_spread = nn.Parameter(torch.full((game.num_parameters,), math.log(spread)))  # detail 7
        # Row f is 1 where the parameters of filter f are (detail 6).
        acts = torch.zeros(len(game.filters), game.num_parameters)
        for row, block in zip(acts, game.blocks, strict=True):
            row[block] = 1.0
        self.register_buffer("acts", acts, persistent=False)
        for layer in self.modules():  # detail 8
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                gain = 0.01 if layer in (self.choice, self.mean) else 1.0 if layer is self.value else math.sqrt(2.0)
                nn.init.orthogonal_(layer.weight, gain, generator)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def forward(self, seen: Observation) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probabilities of the filters ``(B, F)``, means of the parameters ``(B, P)``, values ``(B,)``."""
        picture = seen.image.permute(0, 3, 1, 2).sqrt() - 0.5  # detail 3
        state = torch.cat([seen.filters_used, nn.functional.one_hot(seen.step, self.steps)], dim=1)
        hidden = self.hidden(torch.cat([self.encoder(picture), state.to(picture.dtype)], dim=1))  # detail 4
        return self.choice(hidden).log_softmax(dim=1), self.mean(hidden), self.value(hidden)[:, 0]

    def log_probability(self, choices: Tensor, mean: Tensor, filter_index: Tensor, parameters: Tensor) -> Tensor:
        """Of hybrid actions, ``(B,)``: that of the filter, and the density of its own parameters (detail 6)."""
        distance = (parameters - mean) / self.log_spread.exp()
        density = -0.5 * distance.square() - self.log_spread - 0.5 * math.log(2.0 * math.pi)
        chosen = choices.gather(1, filter_index[:, None])[:, 0]
        return chosen + (density * self.acts[filter_index]).sum(dim=1)


def make_games(
    count: int, device: str, mode: AutoresetMode, photos: Photos | None = None, reward: str | RewardModel = "critic"
) -> PhotoRetouchVectorEnv:
    """Games as one batch (details 1 and 2)."""
    envs = gym.make_vec(
        "PhotoRetouch-v0",
        num_envs=count,
        device=device,
        tensors=True,
        autoreset_mode=mode,
        photos=photos,
        reward=reward,
    )
    return cast(PhotoRetouchVectorEnv, envs)


class Examination:
    """Held-out photographs, each retouched with the policy's likeliest edits."""

    def __init__(self, device: str) -> None:
        photos = builtin_photos(split="test")
        self.photos = HeldOutPhotos.from_photos(photos)
        self.envs = make_games(len(photos.inputs), device, AutoresetMode.DISABLED, photos)

    @torch.no_grad()
    def __call__(self, agent: Agent) -> dict[str, float]:
        """Mean reward of an episode, in all and by its terms, and the histogram intersection in per cent."""
        seen, _ = self.envs.reset(options={"photo": list(self.photos.inputs)})
        report: dict[str, float] = {"reward": 0.0}
        for _ in range(self.envs.game.max_steps):
            choices, mean, _ = agent(Observation(**seen))
            seen, rewards, _, _, infos = self.envs.step({"filter": choices.argmax(dim=1), "parameters": mean})
            report["reward"] += float(rewards.mean())
            for name in (name for name in infos["rewards"] if not name.startswith("_")):
                report[name] = report.get(name, 0.0) + float(infos["rewards"][name].mean())
        finished = photo_statistics(seen["image"].cpu().numpy())
        report["intersection"] = 100.0 * histogram_intersection(finished, self.photos.targets).mean
        return report


def estimate_advantages(rewards: Tensor, values: Tensor, over: Tensor, last_value: Tensor, weight: float) -> Tensor:
    """How much better each edit was than expected (Schulman et al. 2016, without discount; detail 9).

    Its surprise, and ``weight`` times the advantage of the next edit in the same episode.

    :param rewards: ``(T, N)``, as ``values`` of what was seen before each edit and ``over``, 1 where it was the last.
    :param last_value: ``(N,)`` of what is seen after the rollout.
    """
    advantages = torch.zeros_like(rewards)
    next_value, next_advantage = last_value, torch.zeros_like(last_value)
    for t in reversed(range(len(rewards))):
        goes_on = 1.0 - over[t]
        surprise = rewards[t] + goes_on * next_value - values[t]
        advantages[t] = next_advantage = surprise + goes_on * weight * next_advantage
        next_value = values[t]
    return advantages


def train(
    settings: Settings,
    log: Callable[[int, dict[str, float]], None],
    photos: Photos | None = None,
    reward: str | RewardModel = "critic",
    examine: Callable[[Agent], dict[str, float]] | None = None,
    agent: Agent | None = None,
) -> Agent:
    """Learn; ``log`` gets the number of edits made so far and what was measured, at least after every update.

    :param photos: to learn on, the built-in ones by default. :param reward: of the environment.
    :param examine: measures the agent; by default :class:`Examination` does.
    :param agent: to go on with, in place; by default a fresh one.
    """
    generator = torch.Generator(settings.device).manual_seed(settings.seed)  # detail 15
    envs = make_games(settings.num_envs, settings.device, AutoresetMode.SAME_STEP, photos, reward)
    game, size, device = envs.game, envs.image_size, envs.device
    if agent is None:
        agent = Agent(game, size, settings.parameter_spread, torch.Generator().manual_seed(settings.seed)).to(device)
    optimizer = torch.optim.Adam(agent.parameters(), lr=settings.learning_rate, eps=1e-5)  # detail 10
    examine = Examination(settings.device) if examine is None else examine
    log(0, {f"held_out/{name}": value for name, value in examine(agent).items()})

    # A rollout: (num_steps, num_envs, ...).
    shape = (settings.num_steps, settings.num_envs)
    images = torch.zeros(*shape, size, size, 3, device=device)
    used = torch.zeros(*shape, len(game.filters), device=device)
    steps = torch.zeros(shape, dtype=torch.int64, device=device)
    filters = torch.zeros(shape, dtype=torch.int64, device=device)
    parameters = torch.zeros(*shape, game.num_parameters, device=device)
    log_probabilities, values, rewards, over = torch.zeros(4, *shape, device=device)
    returned = torch.zeros(settings.num_envs, device=device)  # so far, in each game's episode

    seen, _ = envs.reset(seed=settings.seed)
    for update in range(settings.updates):
        optimizer.param_groups[0]["lr"] = settings.learning_rate * (1.0 - update / settings.updates)  # detail 10
        returns_of_episodes: list[Tensor] = []
        for t in range(settings.num_steps):
            # The environment's tensors are its own: they are copied into the rollout before the next step.
            images[t], used[t], steps[t] = seen["image"], seen["filters_used"], seen["step"]
            with torch.no_grad():
                choices, mean, values[t] = agent(Observation(**seen))
                filters[t] = torch.multinomial(choices.exp(), 1, generator=generator)[:, 0]
                noise = torch.randn(mean.shape, generator=generator, device=device)
                parameters[t] = mean + agent.log_spread.exp() * noise
                log_probabilities[t] = agent.log_probability(choices, mean, filters[t], parameters[t])
            seen, rewards[t], terminated, truncated, _ = envs.step({"filter": filters[t], "parameters": parameters[t]})
            over[t] = terminated | truncated
            returned += rewards[t]
            returns_of_episodes.append(returned[over[t] > 0])
            returned = returned * (1.0 - over[t])

        with torch.no_grad():
            last_value = agent(Observation(**seen))[2]
        advantages = estimate_advantages(rewards, values, over, last_value, settings.gae_lambda)
        targets = advantages + values

        batch = [
            part.flatten(0, 1)
            for part in (images, used, steps, filters, parameters, log_probabilities, advantages, targets)
        ]
        report: dict[str, list[Tensor]] = {"policy": [], "value": [], "entropy": [], "kl": [], "clipped": []}
        for _ in range(settings.epochs):  # detail 11
            order = torch.randperm(settings.rollout, generator=generator, device=device)
            for rows in order.chunk(settings.minibatches):
                image, used_, step, filter_, parameter, before, advantage, target = (part[rows] for part in batch)
                choices, mean, value = agent(Observation(image, used_, step))
                log_ratio = agent.log_probability(choices, mean, filter_, parameter) - before
                ratio = log_ratio.exp()
                advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
                clipped = ratio.clamp(1.0 - settings.clip, 1.0 + settings.clip)
                policy_loss = -torch.minimum(ratio * advantage, clipped * advantage).mean()  # detail 12
                value_loss = 0.5 * (value - target).square().mean()
                entropy = -(choices.exp() * choices).sum(dim=1).mean()  # detail 13
                loss = policy_loss + settings.value_weight * value_loss - settings.entropy_weight * entropy
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(agent.parameters(), settings.max_gradient)  # detail 14
                optimizer.step()
                with torch.no_grad():
                    kl = ((ratio - 1.0) - log_ratio).mean()  # Schulman's estimate that is never negative
                    outside = ((ratio - 1.0).abs() > settings.clip).float().mean()
                for name, term in zip(report, (policy_loss, value_loss, entropy, kl, outside), strict=True):
                    report[name].append(term.detach())

        measured = {f"loss/{name}": float(torch.stack(terms).mean()) for name, terms in report.items()}
        if len(ended := torch.cat(returns_of_episodes)):
            measured["episode/reward"] = float(ended.mean())
        if (update + 1) % settings.evaluate_every == 0 or update + 1 == settings.updates:
            measured |= {f"held_out/{name}": value for name, value in examine(agent).items()}
        log((update + 1) * settings.rollout, measured)
    return agent


# -- the command ---------------------------------------------------------------------------------------------------


def signature(settings: type) -> inspect.Signature:
    """The fields of a dataclass as options of a command, each with the line under it for help."""
    (definition,) = ast.parse(inspect.getsource(settings)).body
    assert isinstance(definition, ast.ClassDef)
    help_of: dict[str, str] = {}
    for field, below in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr):
            help_of[ast.unparse(field.target)] = ast.literal_eval(below.value)
    kinds = get_type_hints(settings)
    return inspect.Signature(
        [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=field.default,
                annotation=Annotated[kinds[field.name], typer.Option(help=help_of[field.name])],
            )
            for field in fields(settings)
        ]
    )


def summary_writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ImportError("--tensorboard needs a package: pip install tensorboard") from None
    return SummaryWriter(folder)


def main(**values: Any) -> None:
    """Learn to retouch the built-in photographs with PPO, and save the weights."""
    try:
        settings = Settings(**values)
        torch.empty(0, device=settings.device)
        settings.output.parent.mkdir(parents=True, exist_ok=True)
        if settings.output.is_dir():
            raise ValueError(f"{settings.output}: is a folder; name a file")
        writer = None if settings.tensorboard is None else summary_writer(settings.tensorboard)
    except (ValueError, OSError, RuntimeError, AssertionError, ImportError) as error:  # torch has its own of devices
        sys.exit(f"ppo_single_file.py: {str(error).splitlines()[0]}")
    start = time.monotonic()

    def log(edits: int, measured: dict[str, float]) -> None:
        if writer is not None:
            for name, value in measured.items():
                writer.add_scalar(name, value, edits)
        if held_out := {name[9:]: value for name, value in measured.items() if name.startswith("held_out/")}:
            said = ", ".join(f"{name} {value:.3f}" for name, value in held_out.items() if name != "intersection")
            learned = f"training {measured.get('episode/reward', math.nan):.3f}; " if edits else ""
            seconds = time.monotonic() - start
            print(
                f"{edits:8,} edits, {seconds:5.0f} s: {learned}held out: {said}, "
                f"histogram intersection {held_out['intersection']:.1f} %",
                flush=True,
            )

    agent = train(settings, log)
    if writer is not None:
        writer.close()
    config = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(settings).items()}
    write_model(settings.output, agent.state_dict(), "exposure-gym single-file PPO 1", config)
    print(f"weights: {settings.output}")


main.__signature__ = signature(Settings)  # type: ignore[attr-defined]

if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()
