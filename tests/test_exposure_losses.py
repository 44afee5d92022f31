"""Networks and losses of the paper's agent, against the published numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from golden import (
    ACTOR_LAYERS,
    assert_matches,
    critic_layers,
    golden,
    images,
    in_our_layout,
    published_networks,
)

from exposure_gym.agents.exposure.losses import actor_losses
from exposure_gym.agents.exposure.networks import Actor, dropout, entropy, sample_filter
from exposure_gym.critic import Critic
from exposure_gym.game import RetouchGame
from exposure_gym.networks import ConvEncoder

TRAIN = pytest.mark.parametrize("train", ["train0", "train1"])


# -- the published numbers ---------------------------------------------------------------------------------------------


def count_parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_parameter_counts_are_the_published_ones() -> None:
    assert count_parameters(Actor(RetouchGame())) == 6_123_680
    assert count_parameters(Critic()) == 1_216_225
    assert count_parameters(Critic(state_size=11)) == 1_221_857


@TRAIN
def test_choice_and_parameters_are_the_published_ones(train: str) -> None:
    data, networks = golden("forward_small"), published_networks()
    losses = networks.losses(train)
    assert_matches(losses.probabilities, data[f"{train}/pdf"])
    assert_matches(losses.filter_index, data[f"{train}/selected_filter_id"], 0.0)
    assert_matches(losses.log_probability, data[f"{train}/surrogate"])
    for i, (filter_, block) in enumerate(zip(networks.game.filters, networks.game.blocks, strict=True)):
        published = data[f"{train}/filter_params/{i}"].reshape(8, -1)
        assert_matches(filter_.physical(losses.parameters[:, block]), published, name=filter_.name)


@TRAIN
def test_edited_pictures_and_penalties_are_the_published_ones(train: str) -> None:
    data, networks = golden("forward_small"), published_networks()
    losses = networks.losses(train)
    step = losses.transition
    assert_matches(step.state.image[:, :, ::4, ::4], images(data[f"{train}/output"]))
    assert_matches(networks.game.state_vector(step.state), data[f"{train}/new_states"], 0.0)
    overexposure, reuse = step.penalties["overexposure"], step.penalties["reuse"]
    assert_matches(overexposure + losses.entropy_penalty + reuse, data[f"{train}/penalty"])
    assert_matches(overexposure + losses.entropy_penalty, data[f"{train}/penalty_plus_entropy_only"])
    assert_matches(overexposure + reuse, data[f"{train}/penalty_plus_usage_only"])
    assert_matches(overexposure, data[f"{train}/penalty_plus_over_only"])


@TRAIN
def test_losses_are_the_published_ones(train: str) -> None:
    data, networks = golden("forward_small"), published_networks()
    losses = networks.losses(train)
    # There, the value of a game that the edit ended is computed and then left out of Q.
    going_on = ~losses.transition.terminated
    next_value = losses.q_value - losses.reward
    assert not next_value[~going_on].any()
    assert_matches(next_value[going_on], data[f"{train}/new_value_masked"][going_on.numpy()])
    for ours, name in (
        (losses.score_after, "fake_logit"),
        (losses.score_before, "fake_input_logit"),
        (losses.q_value - losses.advantage, "old_value"),
        (losses.reward, "reward"),
        (losses.q_value, "q_value"),
        (losses.advantage, "advantage"),
        (losses.policy, "g_loss"),
        (losses.value, "v_loss"),
    ):
        assert_matches(ours, data[f"{train}/{name}"], name=name)


@TRAIN
def test_gradients_are_the_published_ones(train: str) -> None:
    data, networks = golden("forward_small"), published_networks()
    losses = networks.losses(train)
    for network, loss, layers in (
        (networks.actor, losses.policy, ACTOR_LAYERS),
        (networks.value, losses.value, critic_layers("rl_value/critic")),
    ):
        published = in_our_layout(data, f"{train}/grad/", layers)
        gradients = torch.autograd.grad(loss, list(network.parameters()), retain_graph=True, allow_unused=True)
        for (name, _), gradient in zip(network.named_parameters(), gradients, strict=True):
            if gradient is None:  # the head of a filter that no game of the batch chose
                assert not published[name].any(), name
            else:
                assert_matches(gradient, published[name], name=name)


def test_five_edits_lead_where_the_published_ones_lead() -> None:
    data, networks = golden("forward_small"), published_networks()
    game = RetouchGame(image_limit=None)
    state = game.start(images(data["in/images"]))
    with torch.no_grad():
        for i in range(5):
            policy = networks.actor(state.image, game.state_vector(state), None)
            index = policy.probabilities.argmax(dim=1)
            state = game.transition(state, index, policy.parameters).state
            assert_matches(policy.probabilities, data[f"rollout/{i}/pdf"])
            assert_matches(index, data[f"rollout/{i}/ids"], 0.0)
            assert_matches(state.image[:, :, ::4, ::4], images(data[f"rollout/{i}/output"]))
            assert_matches(game.state_vector(state), data[f"rollout/{i}/states"], 0.0)


def test_filters_are_drawn_as_published() -> None:
    data = golden("misc")
    noise = torch.from_numpy(data["pdf_sample/noise"])[:, 0]
    weights = torch.from_numpy(data["pdf_sample/pdf"])  # there, they need not sum to 1
    index = sample_filter(weights / weights.sum(dim=1, keepdim=True), noise)
    published = torch.from_numpy(data["pdf_sample/indices"])
    assert torch.equal(index[noise > 0], published[noise > 0].long())
    assert published[noise == 0].tolist() == [-1]  # a filter that does not exist
    assert index[noise == 0].tolist() == [0]


# -- networks ----------------------------------------------------------------------------------------------------------


def test_drawn_filters_follow_the_probabilities() -> None:
    probabilities = torch.tensor([[0.1, 0.0, 0.6, 0.3]])
    noise = torch.rand(20_000, generator=torch.Generator().manual_seed(0))
    drawn = sample_filter(probabilities.expand(20_000, 4), noise)
    share = torch.bincount(drawn, minlength=4) / 20_000
    torch.testing.assert_close(share, probabilities[0], rtol=0.0, atol=0.01)
    assert share[1] == 0.0


def test_entropy_of_certainty_and_of_ignorance() -> None:
    probabilities = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]], requires_grad=True)
    torch.testing.assert_close(entropy(probabilities), torch.tensor([0.0, np.log(4.0)], dtype=torch.float32))
    (gradient,) = torch.autograd.grad(entropy(probabilities).sum(), probabilities)
    assert torch.isfinite(gradient).all()


def test_dropout_keeps_the_mean_and_is_off_without_a_generator() -> None:
    features = torch.ones(100, 1000)
    dropped = dropout(features, 0.25, torch.Generator().manual_seed(0))
    assert set(dropped.flatten().tolist()) == {0.0, 4.0}
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.02)
    assert dropout(features, 0.25, None) is features
    assert torch.equal(dropped, dropout(features, 0.25, torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("size", [0, 4, 17, 48])
def test_encoder_refuses_sizes_that_do_not_halve_to_4(size: int) -> None:
    with pytest.raises(ValueError, match=f"image_size {size} must be 4 times a power of two"):
        ConvEncoder(3, size)


def test_encoder_refuses_features_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="features 100 must be a multiple of 16"):
        ConvEncoder(3, 16, features=100)
    assert ConvEncoder(3, 16, base_channels=5, features=48)(torch.zeros(2, 3, 16, 16)).shape == (2, 48)
    assert ConvEncoder(3, 64)(torch.zeros(1, 3, 64, 64)).shape == (1, 4096)


@pytest.mark.parametrize("masks", [False, True])
def test_actor_of_any_game(masks: bool) -> None:
    game = RetouchGame(masks=masks)
    actor = Actor(game, 16, 4, 64, 8, exploration=0.4)
    state = game.start(torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0)))
    policy = actor(state.image, game.state_vector(state), torch.Generator().manual_seed(0))
    assert policy.parameters.shape == (3, game.num_parameters)
    assert policy.parameters.abs().max() <= 1.0
    torch.testing.assert_close(policy.probabilities.sum(dim=1), torch.ones(3))
    assert policy.probabilities.min() >= 0.4 / 8


def test_outputs_where_tanh_is_flat_are_drawn_back() -> None:
    """With an output x of 5 in one filter's head: ``(5 - 2)^2 / n`` in the loss, ``2 (5 - 2) / n`` on its bias."""
    networks = published_networks()
    game = networks.game
    place = next(i for i, filter_ in enumerate(game.filters) if filter_.name == "exposure")
    count = sum(filter_.num_features for filter_ in game.filters)
    generator = torch.Generator().manual_seed(0)
    bias = networks.actor.get_parameter(f"filter_output.{place}.bias")
    with torch.no_grad():
        for parameter in networks.actor.filter_output.parameters():
            parameter.zero_()
        bias[0] = 5.0
    state = game.start(torch.rand(4, 3, 64, 64, generator=generator))
    losses = [
        actor_losses(game, *networks[1:], state, torch.zeros(4), None, progress=0.0, flatness_weight=weight).policy
        for weight in (0.0, 0.5)
    ]
    torch.testing.assert_close(losses[1] - losses[0], torch.tensor(0.5 * 9.0 / count), rtol=1e-4, atol=1e-6)
    (slope,) = torch.autograd.grad(losses[1] - losses[0], bias)
    torch.testing.assert_close(slope[0], torch.tensor(0.5 * 6.0 / count), rtol=1e-4, atol=1e-6)
    assert not slope[1:].any()
