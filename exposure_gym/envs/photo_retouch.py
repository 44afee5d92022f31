"""PhotoRetouch-v0: one game of retouching as a Gymnasium environment; and its Box and Discrete forms."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from exposure_gym.data import Photos
from exposure_gym.envs.actions import ActionForm, BoxActions, DiscreteActions, HybridActions
from exposure_gym.envs.batch import GameBatch, Played, check_options
from exposure_gym.recipe import Recipe
from exposure_gym.rewards import RewardModel
from exposure_gym.spaces import observation_space

Observation = dict[str, Any]
Info = dict[str, Any]


class PhotoRetouchEnv(Played, gym.Env[Observation, Any]):
    """Retouch a photograph in five edits, each one of eight filters with its parameters.

    ## Description

    The game of Hu et al. 2018, *Exposure: A White-Box Photo Post-Processing Framework*. It begins with a photograph
    in linear light, dark as a RAW file is, and ends with display values: the edited picture is shown as it is, so that
    finding the curve from light to display is the first thing to learn. A critic that knows finished photographs judges
    the picture, and an edit earns the increase of its score. By default it is frozen, so that the problem is
    stationary: on the photographs it learned from, an untouched input made as good as a finished photograph earns 1.

    For agents with hybrid actions: `exposure_gym.agents.ExposureAgent`, and libraries that take `Dict` actions.

    ## Action Space

    `Dict(filter=Discrete(8), parameters=Box(-1, 1, (39,), float32))`. `filter` chooses; of `parameters` only the
    chosen filter's block acts, the rest is ignored.

    | filter | name | block | parameters | unit | min | max | no change | what it does |
    |---|---|---|---|---|---|---|---|---|
    | 0 | `exposure` | 0 | `exposure` | EV | -3.5 | 3.5 | 0 | brightens, below 0 darkens |
    | 1 | `gamma` | 1 | `gamma` | exponent | 1/3 | 3 | 1 | darkens, below 1 brightens |
    | 2 | `white_balance` | 2-3 | `red`, `green`, `blue` | gain | 0.4298 | 2.1266 | 1 | warms, cools, tints |
    | 3 | `saturation` | 4 | `saturation` | strength | 0 | 1 | 0 | more colour, most in mid-tones |
    | 4 | `tone` | 5-12 | `slope_0` to `slope_7` | slope | 0.5 | 2 | 1 | a curve, from shadows to highlights |
    | 5 | `contrast` | 13 | `contrast` | strength | -1 | 1 | 0 | S-curve, below 0 flattens |
    | 6 | `black_white` | 14 | `black_white` | strength | 0 | 1 | 0 | fades to grey |
    | 7 | `color` | 15-38 | `red_0` to `blue_7` | slope | 0.9 | 1.1 | 1 | a curve for each of R, G, B |

    Each number of a block sets its parameter: -1 the minimum, +1 the maximum, evenly between; `gamma` evenly in its
    logarithm. The two of `white_balance` are the gains of green and blue relative to red, e^-0.5 to e^0.5, evenly in
    the exponent; then all three are divided by one number, so that white keeps its luminance. Slopes count only
    relative to each other: a curve goes from (0, 0) to (1, 1) in eight pieces, and with equal slopes it changes
    nothing. `gamma` lifts values below 0.001 to it first, `saturation` cuts them at 1, `tone` and `color` to [0, 1].
    The formulas are in `exposure_gym.filters`.

    With `masks=True` six more numbers a filter follow (48 in all), filter by filter from place 39 on: a local mask
    through which it acts, a gradient across the picture and its luminance. -1 is the minimum, +1 the maximum.

    | number | mask | min | max | above 0 |
    |---|---|---|---|---|
    | 0 | `vertical` | -5 | 5 | more at the bottom |
    | 1 | `horizontal` | -5 | 5 | more on the right |
    | 2 | `luminance` | -5 | 5 | more in bright parts |
    | 3 | `offset` | -5 | 5 | more everywhere |
    | 4 | `sharpness` | -5 | 5 | the larger, the steeper; below 0 the first four turn round |
    | 5 | `strength` | -5 | 5 | of the whole: no effect is ever weaker than 30 %, and only at 5 can it be full |

    With `stop_action=True` a last value of `filter`, 8, ends the episode: it changes nothing, costs nothing and earns
    nothing.

    Parameters outside [-1, 1] are clipped to it. An action of another shape or dtype, with NaN or infinity, or with a
    filter that is not there, raises a `ValueError` and changes nothing. `env.unwrapped.action_from_edit(edit)` gives
    the action for an `exposure_gym.recipe.Edit`, and `env.unwrapped.edit_from_action(action)` the edit for an action.
    `env.unwrapped.action_masks()`, `(8,)` bool, tells which choices of `filter` use no filter twice; all are allowed
    once every filter was used, and to stop always is.

    ## Observation Space

    `Dict(image=Box(0, 16, (64, 64, 3), float32), filters_used=MultiBinary(8), step=Discrete(6))`. `image` is RGB:
    linear light with 1.0 at sensor white at first, display values (1.0 is white) at the end; pictures are clipped
    at 16, four stops over white. `filters_used` tells which filters were used, `step` how many edits were made
    (`max_steps` after a stop).

    ## Rewards

    The sum of named terms, given in `info["rewards"]`:

    | term | value |
    |---|---|
    | `critic` | 0.05 times the increase of the frozen critic's score |
    | or `adversarial` | the same from a critic that learns meanwhile: the paper's setting, not stationary |
    | or `reference` | decrease of the mean CIELAB distance to the photo's finished version; paired photos only |
    | `overexposure` | minus `overexposure_weight` times the mean of `max(x - 1, 0)^2` over the edited picture |
    | `reuse` | minus `reuse_weight` if the filter was used before |

    An adversarial critic learns when `env.unwrapped.reward_model.update(finished_images)` is called, which
    `exposure_gym.envs.AdversarialCallback` does for Stable-Baselines3. The CIELAB distance is 100 from black to white.

    ## Starting State

    A photograph drawn from `photos.inputs`, cropped and mirrored at random; or, with
    `reset(options={"photo": photo})`, the central square of a given one: a path to a file that
    `exposure_gym.photo.read_linear` reads, or an `(H, W, 3)` float array of linear light. The `reference` reward,
    which needs a finished version too, takes no given photos. No filter is used yet, `step` is 0.

    ## Episode End

    Terminates after `max_steps` edits, or when the player stops. Never truncates by itself.

    ## Info

    `reset` gives `photo`, its name. `step` gives `rewards`, `edit` (the edit in words) and, at the end, `recipe`: the
    whole edit as JSON, which `exposure_gym.recipe.Recipe.from_json` reads and applies at any size.

    ## Arguments

    :param photos: an `exposure_gym.data.Photos`: inputs to play on, and targets; `"builtin"` or `None` for
        `exposure_gym.data.builtin_photos()`.
    :param reward: `"critic"` for the critic that ships with the package, `"adversarial"`, `"reference"`, or any
        `exposure_gym.rewards.RewardModel`, such as `CriticReward(precision=torch.bfloat16)`, which scores batches
        faster.
    :param render_mode: `"rgb_array"`: a film strip of the episode so far, with room for all of it; `"ansi"`: the
        edits in words.
    :param image_size: side of the picture the player sees, in pixels.
    :param max_steps: edits in an episode.
    :param filters: names of the filters that may be chosen, in order; by default the eight above. `"level"` and
        `"vignette"` are spare.
    :param masks: let filters act through local masks.
    :param overexposure_weight: of the penalty `overexposure`.
    :param reuse_weight: of the penalty `reuse`.
    :param stop_action: let the player end the episode.

    ## Version History

    * v0: the published game with a frozen critic, whose weights' hash is in `weights/v0/critic.sha256`.
      Another one under the same name warns.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "ansi"], "render_fps": 2}  # noqa: RUF012
    form_class: ClassVar[type[ActionForm]] = HybridActions

    def __init__(
        self,
        photos: Photos | str | None = None,
        reward: str | RewardModel = "critic",
        render_mode: str | None = None,
        image_size: int = 64,
        max_steps: int = 5,
        filters: list[str] | None = None,
        masks: bool = False,
        overexposure_weight: float = 1.0,
        reuse_weight: float = 1.0,
        stop_action: bool = False,
    ) -> None:
        check_render_mode(render_mode, self.metadata)
        self._batch = GameBatch(
            1,
            photos,
            reward,
            image_size,
            max_steps,
            filters,
            masks,
            overexposure_weight,
            reuse_weight,
            stop_action,
            keep_edits=True,
            keep_frames=render_mode == "rgb_array",
        )
        self.form = self.form_class(self.game)
        self.render_mode = render_mode
        self.observation_space: spaces.Dict = observation_space(self.game, image_size)
        self.action_space = self.form.space
        self._over = True

    # -- the interface ---------------------------------------------------------------------------------------------

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, Info]:
        """Start a game; `options={"photo": path or array}` chooses the photograph.

        :raises ValueError: for an unknown option or an array that is no photograph;
            `exposure_gym.photo.PhotoError` for a file that cannot be read. The game before is left as it was.
        """
        given = self._batch.given(check_options(options, ["photo"]).get("photo"))
        super().reset(seed=seed)
        self._batch.generators[0] = self.np_random
        (name,) = self._batch.restart(np.array([0]), [given])
        self._over = False
        return self._observation(), {"photo": name}

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, Info]:
        """Make one edit.

        :raises gymnasium.error.ResetNeeded: before `reset` and after the end.
        :raises ValueError: for an action that is not in the action space (but parameters out of range are clipped);
            the game is left as it was.
        """
        if self._batch.state is None:
            raise ResetNeeded("call reset() before step()")
        if self._over:
            raise ResetNeeded("the episode is over: call reset() before the next step()")
        choices = self.form.decode_one(action)
        terms, terminated = self._batch.advance(np.array([0]), choices)
        self._over = bool(terminated)

        rewards = {name: float(value) for name, value in terms.items()}
        stopped = int(choices.filter_index) == len(self.game.filters)
        info: Info = {"rewards": rewards, "edit": "stop" if stopped else self.recipe.edits[-1].describe()}
        if self._over:
            info["recipe"] = self.recipe.to_json()
        return self._observation(), sum(rewards.values()), self._over, False, info

    def render(self) -> NDArray[np.uint8] | str | None:
        """The episode so far, in the `render_mode` the environment was made with."""
        if self.render_mode is None:
            return None
        if self._batch.state is None:
            raise ResetNeeded("call reset() before render()")
        strip: NDArray[np.uint8] | str = self._batch.render(0, self.render_mode)
        return strip

    @property
    def recipe(self) -> Recipe:
        """The edits made so far."""
        return self._batch.recipe(0)

    def _observation(self) -> Observation:
        return {key: value[0] for key, value in self._batch.observe(tensors=False).items()}


def check_render_mode(render_mode: str | None, metadata: dict[str, Any]) -> None:
    """Refuse an unknown mode with a :class:`ValueError`."""
    if render_mode is not None and render_mode not in metadata["render_modes"]:
        raise ValueError(f"render_mode {render_mode!r} must be one of {metadata['render_modes']} or None")


class PhotoRetouchBoxEnv(PhotoRetouchEnv):
    """PhotoRetouch with one flat vector for an action, for agents that play with numbers in [-1, 1].

    ## Description

    The game of `PhotoRetouchEnv`, whose actions are written as one vector.

    For PPO, A2C, SAC, TD3 and DDPG of Stable-Baselines3, TQC of sb3-contrib.

    ## Action Space

    `Box(-1, 1, (47,), float32)`: a score for each of the 8 filters, then the 39 parameters of `PhotoRetouchEnv`.

    | score | name | block | parameters | unit | min | max | no change |
    |---|---|---|---|---|---|---|---|
    | 0 | `exposure` | 8 | `exposure` | EV | -3.5 | 3.5 | 0 |
    | 1 | `gamma` | 9 | `gamma` | exponent | 1/3 | 3 | 1 |
    | 2 | `white_balance` | 10-11 | `red`, `green`, `blue` | gain | 0.4298 | 2.1266 | 1 |
    | 3 | `saturation` | 12 | `saturation` | strength | 0 | 1 | 0 |
    | 4 | `tone` | 13-20 | `slope_0` to `slope_7` | slope | 0.5 | 2 | 1 |
    | 5 | `contrast` | 21 | `contrast` | strength | -1 | 1 | 0 |
    | 6 | `black_white` | 22 | `black_white` | strength | 0 | 1 | 0 |
    | 7 | `color` | 23-46 | `red_0` to `blue_7` | slope | 0.9 | 1.1 | 1 |

    The filter with the highest score is chosen, the first of equals; scores are compared as they come. Parameters
    outside [-1, 1] are clipped to it. With `stop_action=True` a ninth score follows the eight, and what is behind it
    moves up by one; with `masks=True` the masks' 48 numbers follow the parameters.

    `env.unwrapped.action_from_edit(edit)` gives +1 to the edit's filter, -1 to the others and 0 to parameters that do
    not act; `env.unwrapped.edit_from_action(action)` is its inverse.

    ## Observation Space

    That of `PhotoRetouchEnv`: `Dict(image=Box(0, 16, (64, 64, 3), float32), filters_used=MultiBinary(8),
    step=Discrete(6))`.

    ## Rewards

    Those of `PhotoRetouchEnv`.

    ## Starting State

    That of `PhotoRetouchEnv`.

    ## Episode End

    That of `PhotoRetouchEnv`: after `max_steps` edits, or a stop.

    ## Arguments

    Those of `PhotoRetouchEnv`.

    ## Version History

    * v0: `PhotoRetouch-v0` in this form.
    """

    form_class = BoxActions


KEYS = "1234567890qwertyuiopasdfghjklzxcvbnm,."
"""Of the discrete form's first actions, row by row as a keyboard has them."""


class PhotoRetouchDiscreteEnv(PhotoRetouchEnv):
    """PhotoRetouch with a menu of ready-made edits, for agents that choose one of n actions.

    ## Description

    The game of `PhotoRetouchEnv`, with every filter at a few strengths.

    For DQN, PPO and A2C of Stable-Baselines3, MaskablePPO of sb3-contrib, and a person at the keyboard.

    ## Action Space

    `Discrete(35)`. `env.unwrapped.form.labels` names all actions; they are defined in `exposure_gym.envs.strengths`,
    within the ranges of `PhotoRetouchEnv`. `env.unwrapped.get_keys_to_action()` gives the first 38 a key, for
    `gymnasium.utils.play`.

    | action | name | strength | parameters | unit | min | max | no change |
    |---|---|---|---|---|---|---|---|
    | 0-5 | `exposure` | -2 EV; -1 EV; -0.5 EV; +0.5 EV; +1 EV; +2 EV | `exposure` | EV | -3.5 | 3.5 | 0 |
    | 6-10 | `gamma` | 1/3; 1/2.2; 1/1.5; 1.5; 2.2 | `gamma` | exponent | 1/3 | 3 | 1 |
    | 11-16 | `white_balance` | much cooler; cooler; warmer; much warmer; greener; more magenta | `red`, `green`, `blue` | gain | 0.4298 | 2.1266 | 1 |
    | 17-18 | `saturation` | half; full | `saturation` | strength | 0 | 1 | 0 |
    | 19-23 | `tone` | lift shadows; deepen shadows; S-curve; flatten; open highlights | `slope_0` to `slope_7` | slope | 0.5 | 2 | 1 |
    | 24-26 | `contrast` | -50 %; +50 %; +100 % | `contrast` | strength | -1 | 1 | 0 |
    | 27-28 | `black_white` | half; full | `black_white` | strength | 0 | 1 | 0 |
    | 29-34 | `color` | warmer mid-tones; cooler mid-tones; greener mid-tones; more magenta mid-tones; warm light, cool shadows; cool light, warm shadows | `red_0` to `blue_7` | slope | 0.9 | 1.1 | 1 |

    With `masks=True` each of them is offered at five places: everywhere, the top, the bottom, shadows, highlights
    (action = 5 times the number above plus that of the place). With `stop_action=True` the last action stops.

    `env.unwrapped.edit_from_action(action)` gives the edit; `env.unwrapped.action_from_edit(edit)` the nearest
    strength of the edit's filter, which is the inverse for edits of the table. `env.unwrapped.action_masks()`, `(35,)`
    bool, tells which actions use no filter twice, for MaskablePPO of sb3-contrib.

    ## Observation Space

    That of `PhotoRetouchEnv`: `Dict(image=Box(0, 16, (64, 64, 3), float32), filters_used=MultiBinary(8),
    step=Discrete(6))`.

    ## Rewards

    Those of `PhotoRetouchEnv`.

    ## Starting State

    That of `PhotoRetouchEnv`.

    ## Episode End

    That of `PhotoRetouchEnv`: after `max_steps` edits, or a stop.

    ## Arguments

    Those of `PhotoRetouchEnv`.

    ## Version History

    * v0: `PhotoRetouch-v0` in this form.
    """  # noqa: E501  (a table's row is one line)

    form_class = DiscreteActions

    def get_keys_to_action(self) -> dict[str, int]:
        """Keys for `gymnasium.utils.play.play(env, wait_on_player=True)`: digits and letters, in the actions' order."""
        assert isinstance(self.action_space, spaces.Discrete)
        return {key: action for action, key in enumerate(KEYS[: int(self.action_space.n)])}
