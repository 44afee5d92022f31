"""ExposureAgent: the agent of Hu et al. 2018 with Stable-Baselines3's interface."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback

from exposure_gym.agents.exposure import retouching, storage
from exposure_gym.agents.exposure.decision import Decision
from exposure_gym.agents.exposure.device_crops import DeviceCrops
from exposure_gym.agents.exposure.losses import actor_losses
from exposure_gym.agents.exposure.networks import entropy
from exposure_gym.agents.exposure.policy import Action, ExposurePolicy, Observation
from exposure_gym.agents.exposure.pool import ReplayPool
from exposure_gym.agents.exposure.progress import with_progress_bar
from exposure_gym.agents.exposure.rearranging import arrangements, rearrange
from exposure_gym.agents.exposure.retouching import ANYTHING, Brief
from exposure_gym.critic import CriticLoss, critic_step, updates_due
from exposure_gym.game import GameState, RetouchGame
from exposure_gym.photo import Reading
from exposure_gym.recipe import Recipe, WorkingSpace

SelfAgent = TypeVar("SelfAgent", bound="ExposureAgent")

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class ExposureAgent(BaseAlgorithm):
    """The paper's actor-critic with trajectory replay, trained against a critic that learns beside it.

    It does not step its environment while learning: it needs the gradient of the reward with respect to the filter's
    parameters, and takes it from the environment's ``game`` and ``photos`` (``photos.inputs`` to start from,
    ``photos.targets`` for the critic). One iteration plays ``batch_size`` edits, updates policy and value once and
    the critic ``critic_updates`` times; ``total_timesteps`` counts edits. Each default is the published value
    (``config_example.py``), for 20,000 iterations, which is 1,280,000 edits.

    :param policy: ``"ExposurePolicy"``.
    :param env: a PhotoRetouch environment, a vector of them, or its id.
    :param policy_learning_rate: of Adam for the actor, at the start.
    :param value_learning_rate: of Adam for the value network, at the start.
    :param critic_learning_rate: of Adam for the critic, at the start.
    :param learning_rate_decay: each rate falls exponentially to this part of itself over the training.
    :param adam_betas: of the three optimisers.
    :param batch_size: games in an update.
    :param critic_updates: critic updates an iteration,
    :param critic_burst: or this many, in the first ``burst_iterations`` and every ``burst_every``.
    :param burst_iterations: see there.
    :param burst_every: see there.
    :param warmup_rollouts: batches of edits played before learning, so that the pool holds finished pictures.
    :param pool_size: games in the replay pool.
    :param max_trajectory_length: games with this many edits go back to the pool
    :param over_length_keep: with this probability.
    :param discount: of future reward.
    :param score_weight: of the critic's score in the reward.
    :param entropy_weight: of the entropy term, fading over the training.
    :param gradient_penalty: weight of the critic's gradient penalty.
    :param flatness_weight: of a penalty ``mean(max(|x| - 2, 0)^2)`` on the outputs x that tanh makes actions of. Where
        tanh is flat no gradient comes back: a parameter that was once driven there, as all are that brighten while
        pictures are still dark, stays there. (Published: 0.)
    :param critic_tiles: above 0, the critic sees every picture mirrored, turned and cut into so many tiles along an
        edge, in any order, and so judges tones and colours; else, with few photographs, it learns by heart what those
        show that games start from, and its gradient is about that. Must divide the image size. (Published: 0.)
    :param averaging: above 0, an exponential moving average of the actor, with this decay an iteration, acts and is
        saved: critic and actor drive each other in circles, whose middle is better than any place on them (Yazıcı et
        al. 2019). Early on the average is a shorter one: ``(1 + t) / (10 + t)`` at iteration t. (Published: 0.)
    :param policy_kwargs: of :class:`ExposurePolicy`: ``base_channels``, ``features``, ``hidden``,
        ``dropout_keep``, ``exploration``.
    :param precision: ``"float32"``, or ``"bfloat16"`` for autocast: faster on hardware that has it.
    :param tensorboard_log: folder for TensorBoard, or ``None``.
    :param verbose: 0 silent, 1 info, 2 debug.
    :param seed: of everything: one seed gives one run, bit for bit, on the CPU. ``None`` draws one.
    :param device: ``"auto"``, ``"cpu"``, ``"cuda"``, ...
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"ExposurePolicy": ExposurePolicy}
    policy: ExposurePolicy
    game: RetouchGame
    photos: Any

    def __init__(
        self,
        policy: str | type[BasePolicy] = "ExposurePolicy",
        env: GymEnv | str | None = "PhotoRetouch-v0",
        policy_learning_rate: float = 1.5e-5,
        value_learning_rate: float = 1.5e-4,
        critic_learning_rate: float = 5e-5,
        learning_rate_decay: float = 1e-3,
        adam_betas: tuple[float, float] = (0.5, 0.9),
        batch_size: int = 64,
        critic_updates: int = 5,
        critic_burst: int = 100,
        burst_iterations: int = 10,
        burst_every: int = 500,
        warmup_rollouts: int = 100,
        pool_size: int = 128,
        max_trajectory_length: int = 7,
        over_length_keep: float = 0.5,
        discount: float = 1.0,
        score_weight: float = 0.05,
        entropy_weight: float = 0.05,
        gradient_penalty: float = 10.0,
        flatness_weight: float = 0.0,
        critic_tiles: int = 0,
        averaging: float = 0.0,
        policy_kwargs: dict[str, Any] | None = None,
        precision: str = "float32",
        tensorboard_log: str | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: torch.device | str = "auto",
        _init_setup_model: bool = True,
    ) -> None:
        super().__init__(
            policy,
            env,
            learning_rate=policy_learning_rate,
            policy_kwargs=policy_kwargs,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            support_multi_env=True,
            seed=seed,
            supported_action_spaces=(spaces.Dict,),
        )
        if precision not in PRECISIONS:
            raise ValueError(f"precision {precision!r} must be one of {', '.join(PRECISIONS)}")
        if not 0.0 <= averaging < 1.0:
            raise ValueError(f"averaging {averaging} must be at least 0 and below 1")
        if batch_size > pool_size:
            raise ValueError(f"batch_size {batch_size} must not exceed pool_size {pool_size}")
        self.policy_learning_rate = policy_learning_rate
        self.value_learning_rate = value_learning_rate
        self.critic_learning_rate = critic_learning_rate
        self.learning_rate_decay = learning_rate_decay
        self.adam_betas = adam_betas
        self.batch_size = batch_size
        self.critic_updates = critic_updates
        self.critic_burst = critic_burst
        self.burst_iterations = burst_iterations
        self.burst_every = burst_every
        self.warmup_rollouts = warmup_rollouts
        self.pool_size = pool_size
        self.max_trajectory_length = max_trajectory_length
        self.over_length_keep = over_length_keep
        self.discount = discount
        self.score_weight = score_weight
        self.entropy_weight = entropy_weight
        self.gradient_penalty = gradient_penalty
        self.flatness_weight = flatness_weight
        self.critic_tiles = critic_tiles
        self.averaging = averaging
        self.precision = precision
        self.pool: ReplayPool | None = None
        self.working_space: WorkingSpace = "srgb"
        self.reading: Reading = "linear"
        """How its inputs were read, and photographs to retouch must be: see `exposure_gym.photo.read_input`."""
        if self.env is not None:
            self.game = self.env.get_attr("game")[0]
            self.photos = self.env.get_attr("photos")[0]
            self.working_space, self.reading = self.photos.inputs.space, self.photos.reading
            self.inputs, self.targets = (
                DeviceCrops(photos, self.device) for photos in (self.photos.inputs, self.photos.targets)
            )
        if _init_setup_model:
            self._setup_model()

    # -- setting up ------------------------------------------------------------------------------------------------

    def _setup_model(self) -> None:
        self.set_random_seed(self.seed)
        self.policy = ExposurePolicy(
            self.observation_space,  # type: ignore[arg-type]
            self.action_space,  # type: ignore[arg-type]
            self.game,
            self.weight_generator,
            averaged=self.averaging > 0.0,
            **self.policy_kwargs,
        ).to(self.device)
        if self.critic_tiles and self.image_size % self.critic_tiles:
            raise ValueError(f"critic_tiles {self.critic_tiles} must divide the pictures' {self.image_size} pixels")

    # Optimisers are made when they are first asked for: with the first one torch imports its compiler, which takes
    # longer than an agent that only acts needs for everything else.

    @cached_property
    def policy_optimizer(self) -> torch.optim.Adam:
        """Of the actor."""
        return self._adam(self.policy.actor, self.policy_learning_rate)

    @cached_property
    def value_optimizer(self) -> torch.optim.Adam:
        """Of the value network."""
        return self._adam(self.policy.value, self.value_learning_rate)

    @cached_property
    def critic_optimizer(self) -> torch.optim.Adam:
        """Of the critic."""
        return self._adam(self.policy.critic, self.critic_learning_rate)

    def _adam(self, network: torch.nn.Module, rate: float) -> torch.optim.Adam:
        return torch.optim.Adam(network.parameters(), lr=rate, betas=self.adam_betas, fused=True)

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seed the agent's own generators and its environment's; no global random state is touched."""
        if seed is None:
            seed = int(np.random.SeedSequence().generate_state(1)[0])
        self.seed = seed
        self.rng = np.random.default_rng(seed)
        """Draws photographs and games."""
        self.weight_generator = torch.Generator().manual_seed(seed)
        self.noise = torch.Generator(self.device).manual_seed(seed)
        """Draws dropout, filters and the critic's mixing weights."""
        if self.env is not None:
            self.env.seed(seed)

    # -- learning --------------------------------------------------------------------------------------------------

    def learn(
        self: SelfAgent,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 10,
        tb_log_name: str = "exposure",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfAgent:
        """Learn for ``total_timesteps`` edits, rounded up to whole iterations of ``batch_size``.

        :param callback: Stable-Baselines3 callbacks; ``on_step`` is called once an iteration.
        :param log_interval: iterations between log entries.
        :param tb_log_name: of the TensorBoard run.
        :param reset_num_timesteps: start the schedule anew; ``False`` goes on where the last call stopped.
        :param progress_bar: show one.
        """
        if self.env is None:
            raise ValueError("this agent has no environment to learn from: call set_env(env) first")
        if progress_bar:
            callback = with_progress_bar(callback)
        total, callback = self._setup_learn(total_timesteps, callback, reset_num_timesteps, tb_log_name)
        self._total_timesteps = total
        if self.pool is None or reset_num_timesteps:
            self._fill_pool()
        callback.on_training_start(locals(), globals())
        while self.num_timesteps < total:
            iteration = self.num_timesteps // self.batch_size
            self.train(iteration)
            self.num_timesteps += self.batch_size
            self._update_current_progress_remaining(self.num_timesteps, total)
            callback.update_locals(locals())
            if not callback.on_step():
                break
            if iteration % log_interval == 0:
                self.logger.record("time/iterations", iteration + 1)
                self.logger.dump(step=self.num_timesteps)
        callback.on_training_end()
        return self

    def train(self, iteration: int) -> None:
        """One iteration: an update of policy and value, then the updates of the critic."""
        progress = min(iteration * self.batch_size / max(self._total_timesteps, 1), 1.0)
        self._set_learning_rates(progress)
        self._actor_step(progress)
        due = updates_due(iteration, self.critic_updates, self.critic_burst, self.burst_iterations, self.burst_every)
        for _ in range(due):
            self._critic_step()
        self._n_updates += 1

    def _set_learning_rates(self, progress: float) -> None:
        decay = self.learning_rate_decay**progress
        for optimizer, rate in (
            (self.policy_optimizer, self.policy_learning_rate),
            (self.value_optimizer, self.value_learning_rate),
            (self.critic_optimizer, self.critic_learning_rate),
        ):
            optimizer.param_groups[0]["lr"] = rate * decay
        self.logger.record("train/learning_rate", self.policy_learning_rate * decay)

    def _fresh(self, count: int) -> GameState:
        return self.game.start(self.inputs.sample(count, self.rng, self.image_size))

    @property
    def image_size(self) -> int:
        """Edge of the square pictures that its networks see, in pixels."""
        return int(self.policy.critic.image_size)

    def _fill_pool(self) -> None:
        """A new pool, played until it holds games at every stage."""
        self.pool = ReplayPool(
            self.game, self._fresh, self.pool_size, self.max_trajectory_length, self.over_length_keep
        )
        for _ in range(self.warmup_rollouts):
            self._roll_out()

    def _roll_out(self) -> None:
        assert self.pool is not None
        state = self.pool.take_unfinished(self.batch_size, self.rng)
        index, parameters, _ = self.policy.act(state, self.noise, self.noise, actor=self.policy.actor)
        with torch.no_grad():
            after = self.game.transition(state, index, parameters).state
        self.pool.put_back(after, self.rng)

    def _actor_step(self, progress: float) -> None:
        assert self.pool is not None
        actor, value = self.policy.actor, self.policy.value
        state = self.pool.take_unfinished(self.batch_size, self.rng)
        noise = torch.rand(self.batch_size, generator=self.noise, device=self.device)
        precision = PRECISIONS[self.precision]
        with torch.autocast(self.device.type, dtype=precision, enabled=precision != torch.float32):
            losses = actor_losses(
                self.game,
                actor,
                value,
                self.policy.critic,
                state,
                noise,
                self.noise,
                progress=progress,
                score_weight=self.score_weight,
                entropy_weight=self.entropy_weight,
                discount=self.discount,
                flatness_weight=self.flatness_weight,
                arrangement=self._arrangement(),
            )
        # Both gradients come from the same weights: in the published code the two updates raced.
        for network, loss in ((actor, losses.policy), (value, losses.value)):
            gradients = torch.autograd.grad(loss, list(network.parameters()), retain_graph=True, allow_unused=True)
            for parameter, gradient in zip(network.parameters(), gradients, strict=True):
                parameter.grad = torch.zeros_like(parameter) if gradient is None else gradient
        self.policy_optimizer.step()
        self.value_optimizer.step()
        self.policy.update_average(min(self.averaging, (1.0 + self._n_updates) / (10.0 + self._n_updates)))
        after = losses.transition.state
        self.pool.put_back(after._replace(image=after.image.detach()), self.rng)

        # What a term is made of comes before it: where something is no number, the first name says where it began.
        used = torch.bincount(losses.filter_index, minlength=len(self.game.filters)) / self.batch_size
        self._record(
            {f"filters/{filter_.name}": share for filter_, share in zip(self.game.filters, used, strict=True)}
            | {f"train/{name}_penalty": penalty.mean() for name, penalty in losses.transition.penalties.items()}
            | {
                "train/entropy": entropy(losses.probabilities).mean(),
                "train/entropy_penalty": losses.entropy_penalty.mean(),
                "train/trajectory_length": self.pool.state.step.float().mean(),
                "train/reward": losses.reward.mean(),
                "train/value_loss": losses.value,
                "train/policy_loss": losses.policy,
            }
        )

    def _arrangement(self) -> torch.Tensor | None:
        """Of a batch of pictures that the critic is to see."""
        if not self.critic_tiles:
            return None
        return arrangements(self.batch_size, self.image_size, self.critic_tiles, self.noise)

    def _record(self, values: dict[str, torch.Tensor]) -> None:
        """Log scalars; they come from the device together, since each journey waits for all that was asked of it."""
        for name, value in zip(values, torch.stack(list(values.values())).tolist(), strict=True):
            self.logger.record_mean(name, value)

    def _critic_step(self) -> CriticLoss:
        assert self.pool is not None
        while not self.pool.num_finished():
            self._roll_out()
        finished = self.pool.sample_finished(self.batch_size, self.rng)
        target = self.targets.sample(self.batch_size, self.rng, self.image_size)
        loss = critic_step(
            self.policy.critic,
            self.critic_optimizer,
            rearrange(finished, self._arrangement()),
            rearrange(target, self._arrangement()),
            self.noise,
            penalty_weight=self.gradient_penalty,
            precision=PRECISIONS[self.precision],
        )
        self._record(
            {
                "train/emd": loss.emd,
                "train/gradient_norm": loss.gradient_norm.mean(),
                "train/gradient_penalty": loss.gradient_penalty,
                "train/critic_loss": loss.loss,
            }
        )
        return loss

    # -- acting ----------------------------------------------------------------------------------------------------

    def predict(  # type: ignore[override]
        self,
        observation: Observation,
        state: tuple[NDArray[Any], ...] | None = None,
        episode_start: NDArray[Any] | None = None,
        deterministic: bool = False,
    ) -> tuple[Action | list[Action], None]:
        """Choose the next edit.

        :param observation: of one environment (``image`` (S, S, 3)) or of B (``image`` (B, S, S, 3)).
        :param deterministic: the most probable filter and no dropout; otherwise dropout is on and the filter drawn.
        :return: an action, or a list of B actions, as ``env.step`` and ``VecEnv.step`` take them; and no state.
        """
        single = np.ndim(observation["image"]) == 3
        if single:
            observation = {name: np.asarray(value)[None] for name, value in observation.items()}
        noise = None if deterministic else self.noise
        index, parameters, _ = self.policy.act(self.policy.state_from_observation(observation), noise, noise)
        actions = [{"filter": int(i), "parameters": p} for i, p in zip(index, parameters.cpu().numpy(), strict=True)]
        return (actions[0] if single else actions), None

    def retouch(
        self,
        photo: NDArray[np.float32],
        *,
        deterministic: bool = True,
        seed: int | None = None,
        brief: Brief = ANYTHING,
    ) -> Recipe:
        """Decide how to retouch a photograph of any size.

        :param photo: ``(H, W, 3)`` linear light in the model's working space; the agent sees its central square
            at the size of its networks. (Published: the same crop.)
        :param deterministic: no dropout: the steadiest edit for one photograph. Otherwise dropout is on, as
            published: one photograph, many edits.
        :param seed: of the dropout noise, for the same edit again; the agent's own generator by default.
        :param brief: what it may do.
        :return: the edit; ``recipe.apply_photo(photo)`` gives the picture.
        """
        noise = self.noise if seed is None else torch.Generator(self.device).manual_seed(seed)
        return retouching.retouch(self, [photo], None if deterministic else [noise], brief)[0].recipe

    def retouch_many(
        self, photos: Sequence[NDArray[np.float32]], *, seeds: Sequence[int] | None = None, brief: Brief = ANYTHING
    ) -> list[Decision]:
        """Decide about many photographs at once: the same edits as :meth:`retouch` one by one, several times faster.

        :param photos: as there; of any sizes.
        :param seeds: one for each photograph, of its dropout noise; ``None`` for no dropout.
        :return: an edit for each, with what the policy thought before each step.
        """
        noise = None if seeds is None else [torch.Generator(self.device).manual_seed(seed) for seed in seeds]
        if noise is not None and len(noise) != len(photos):
            raise ValueError(f"{len(photos)} photographs need as many seeds, not {len(noise)}")
        return retouching.retouch(self, photos, noise, brief)

    def decide(self, image: torch.Tensor, generator: torch.Generator | None) -> list[Recipe]:
        """Play whole episodes, taking the most probable filter each time.

        :param image: ``(B, 3, S, S)`` linear light; :param generator: of the dropout noise, ``None`` for none.
        :return: a recipe for each picture.
        """
        return [decision.recipe for decision in retouching.decide(self, image, generator)]

    # -- keeping ---------------------------------------------------------------------------------------------------

    def save(self, path: str | Path, **_: Any) -> None:  # type: ignore[override]
        """Save everything: networks, optimisers, pool, random states, schedule; learning goes on to the same bits.

        One ``.safetensors`` file (the suffix is added), written beside and renamed.
        """
        storage.save_agent(self, Path(path))

    @classmethod
    def load(  # type: ignore[override]
        cls: type[SelfAgent],
        path: str | Path,
        env: GymEnv | None = None,
        device: torch.device | str = "auto",
        **kwargs: Any,
    ) -> SelfAgent:
        """Load what :meth:`save` wrote, or a folder or file of shipped weights (which can act but not go on learning).

        :param env: to learn from; not needed for acting.
        :param kwargs: change hyperparameters.
        :raises ValueError: when the file is not an agent, in one line.
        """
        return storage.load_agent(cls, Path(path), env, device, kwargs)
