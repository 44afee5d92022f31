"""The critic: the published numbers, and a gradient penalty whose gradient is that of a true double backward."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from golden import assert_matches, critic_layers, golden, images, in_our_layout, published_critic, published_networks
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from exposure_gym.critic import (
    Critic,
    CriticLoss,
    critic_loss,
    critic_step,
    load_critic,
    picture_statistics,
    save_critic,
)
from exposure_gym.model_file import ModelError, read_model, write_model
from exposure_gym.networks import initialise


def random_critic(seed: int, image_size: int = 16, base_channels: int = 3, hidden: int = 5) -> Critic:
    """A critic in float64, weights and biases all random."""
    generator = torch.Generator().manual_seed(seed)
    critic = Critic(image_size, base_channels, hidden)
    initialise(critic, generator)
    for name, parameter in critic.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.uniform_(parameter, -0.2, 0.2, generator=generator)
        else:
            parameter.data *= 3.0  # steep enough for the one-sided penalty to bite
    return critic.double()


def pictures(rng: np.random.Generator, count: int, size: int) -> Tensor:
    """Noise over and under range, a grey picture, a black one and one with many equal values: ties and clip edges."""
    image = rng.uniform(-0.1, 1.3, (count, 3, size, size))
    if count > 1:
        image[1] = image[1, :1]
    if count > 2:
        image[2] = 0.0
    if count > 3:
        image[3] = np.round(image[3] * 4.0) / 4.0
    return torch.from_numpy(image)


# -- the published numbers ---------------------------------------------------------------------------------------------


def test_statistics_are_the_published_ones() -> None:
    data = golden("misc")
    statistics = picture_statistics(images(data["crops"]))
    for i, name in enumerate(["luminance", "variance", "saturation"]):
        assert_matches(statistics[:, i], data["critic_stats"][:, i], name=name)


@pytest.mark.parametrize("train", ["train0", "train1"])
def test_losses_and_gradients_are_the_published_ones(train: str) -> None:
    data = golden("forward_small")
    critic = published_critic()
    finished = published_networks().losses(train).transition.state.image.detach()  # the stored one is thinned
    target = images(data["in/real"])
    mix = torch.full((8, 1, 1, 1), float(data["in/alpha"]))
    loss = critic_loss(critic, finished, target, mix)
    assert_matches(critic(target), data[f"{train}/real_logit"])
    assert_matches(critic(finished), data[f"{train}/fake_logit"])
    assert_matches(loss.loss, data[f"{train}/c_loss"])
    assert_matches(loss.emd, data[f"{train}/emd"])
    assert_matches(loss.loss + loss.emd, loss.gradient_penalty)
    assert_matches(loss.gradient_norm, data[f"{train}/gp_gradient_norm"])
    gradients = torch.autograd.grad(loss.loss, list(critic.parameters()))
    published = in_our_layout(data, f"{train}/grad/", critic_layers("critic"))
    for (name, _), gradient in zip(critic.named_parameters(), gradients, strict=True):
        if name == "score.bias":  # cancels in every term
            assert gradient.abs().max() < 1e-6
            assert published[name].abs().max() < 1e-6
        else:
            assert_matches(gradient, published[name], name=name)


# -- slope: the penalty without a double backward ----------------------------------------------------------------------


@given(seed=st.integers(0, 10_000), count=st.integers(1, 5), size=st.sampled_from([8, 16]))
def test_slope_is_the_gradient_and_its_products(seed: int, count: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    critic = random_critic(seed, size)
    image = pictures(rng, count, size)
    gradient, along = critic.slope(image)
    leaf = image.clone().requires_grad_()
    (expected,) = torch.autograd.grad(critic(leaf).sum(), leaf)
    torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-12)
    direction = torch.from_numpy(rng.normal(size=image.shape))
    inner = (gradient * direction).sum(dim=(1, 2, 3))
    torch.testing.assert_close(along(direction).double(), inner, rtol=1e-6, atol=1e-6)  # scores are float32


def double_backward_loss(critic: Critic, finished: Tensor, target: Tensor, mix: Tensor, weight: float) -> Tensor:
    """The textbook form of the critic's loss: the gradient of the score is itself differentiated."""
    scores = critic(torch.cat([finished, target]))
    emd = scores[len(finished) :].mean() - scores[: len(finished)].mean()
    point = (target + mix * (finished - target)).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(point).sum(), point, create_graph=True)
    norm = (1e-6 + gradient.square().sum(dim=(1, 2, 3))).sqrt()
    loss: Tensor = weight * (norm - 1.0).clamp(min=0.0).square().mean() - emd
    return loss


def assert_gradients_equal_double_backward(critic: Critic, finished: Tensor, target: Tensor, mix: Tensor) -> None:
    parameters = list(critic.parameters())
    ours = critic_loss(critic, finished, target, mix, 10.0)
    expected = double_backward_loss(critic, finished, target, mix, 10.0)
    torch.testing.assert_close(ours.loss.double(), expected.double(), rtol=1e-6, atol=1e-6)
    gradients = torch.autograd.grad(ours.loss, parameters)
    references = torch.autograd.grad(expected, parameters)
    largest = max(float(reference.abs().max()) for reference in references)
    for gradient, reference in zip(gradients, references, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-10, atol=1e-12 * max(largest, 1.0))


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    count=st.sampled_from([1, 2, 4]),
    size=st.sampled_from([8, 16, 32]),
    channels=st.integers(1, 4),
    scale=st.sampled_from([1e-3, 1.0, 3.0]),
)
def test_penalty_gradient_is_that_of_double_backward(
    seed: int, count: int, size: int, channels: int, scale: float
) -> None:
    rng = np.random.default_rng(seed)
    critic = random_critic(seed, size, channels)
    for parameter in critic.parameters():
        parameter.data *= scale
    finished, target = pictures(rng, count, size), pictures(rng, count, size)
    mix = torch.from_numpy(rng.choice([0.0, 0.3, rng.random(), 1.0], (count, 1, 1, 1)))
    assert_gradients_equal_double_backward(critic, finished, target, mix)


def test_penalty_gradient_of_the_published_critic_is_that_of_double_backward() -> None:
    data = golden("forward_small")
    critic = published_critic().double()
    mix = torch.full((8, 1, 1, 1), float(data["in/alpha"]), dtype=torch.float64)
    finished, target = images(data["in/images"]).double(), images(data["in/real"]).double()
    assert (critic_loss(critic, finished, target, mix).gradient_norm > 1.0).any()
    assert_gradients_equal_double_backward(critic, finished, target, mix)


@pytest.mark.parametrize("steepness", [1e-3, 1e3])
def test_penalty_is_one_sided(steepness: float, rng: np.random.Generator) -> None:
    critic = random_critic(0)
    critic.score.weight.data *= steepness
    mix = torch.full((4, 1, 1, 1), 0.5).double()
    finished, target = pictures(rng, 4, 16), pictures(rng, 4, 16)
    loss = CriticLoss(*(term.detach() for term in critic_loss(critic, finished, target, mix)))
    if steepness < 1:
        assert (loss.gradient_norm < 1.0).all()
        assert float(loss.gradient_penalty) == 0.0
    else:
        expected = 10.0 * (loss.gradient_norm - 1.0).square().mean()
        torch.testing.assert_close(loss.gradient_penalty, expected)
    assert float(loss.loss) == pytest.approx(float(loss.gradient_penalty - loss.emd), rel=1e-6, abs=1e-9)


def test_loss_passes_no_gradient_to_its_weights_gradients_twice(rng: np.random.Generator) -> None:
    """Two backward passes over fresh losses give the same gradient: nothing is left behind in the critic."""
    critic = random_critic(1)
    finished, target = pictures(rng, 2, 16), pictures(rng, 2, 16)
    mix = torch.full((2, 1, 1, 1), 0.25).double()
    first, second = (
        torch.autograd.grad(critic_loss(critic, finished, target, mix).loss, list(critic.parameters()))
        for _ in range(2)
    )
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


# -- training step -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=str)
def test_training_tells_two_styles_apart(precision: torch.dtype, rng: np.random.Generator) -> None:
    critic = Critic(16, base_channels=4, hidden=8)
    initialise(critic, torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-3, betas=(0.5, 0.9))
    noise = torch.Generator().manual_seed(0)
    dark = torch.from_numpy(rng.uniform(0.0, 0.4, (8, 3, 16, 16)).astype(np.float32))
    bright = torch.from_numpy(rng.uniform(0.5, 0.9, (8, 3, 16, 16)).astype(np.float32))
    distances = [float(critic_step(critic, optimizer, dark, bright, noise, precision=precision).emd) for _ in range(40)]
    assert distances[-1] > distances[0] + 1.0
    with torch.no_grad():
        assert critic(bright).min() > critic(dark).max()
    assert all(parameter.dtype == torch.float32 for parameter in critic.parameters())


def test_bfloat16_loss_is_near_the_float32_loss(rng: np.random.Generator) -> None:
    critic = random_critic(2, 32, 8, 16).float()
    finished, target = pictures(rng, 4, 32).float(), pictures(rng, 4, 32).float()
    mix = torch.rand(4, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    full = critic_loss(critic, finished, target, mix)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = critic_loss(critic, finished, target, mix)
    # bfloat16 keeps 8 bits, and a leaky ReLU whose input is near 0 may take its other slope.
    torch.testing.assert_close(half.gradient_norm, full.gradient_norm, rtol=0.15, atol=0.0)
    torch.testing.assert_close(half.loss, full.loss, rtol=0.15, atol=0.0)


def test_one_generator_gives_one_step(rng: np.random.Generator) -> None:
    finished, target = pictures(rng, 4, 16).float(), pictures(rng, 4, 16).float()

    def stepped(seed: int) -> list[Tensor]:
        critic = random_critic(3).float()
        optimizer = torch.optim.Adam(critic.parameters())
        critic_step(critic, optimizer, finished, target, torch.Generator().manual_seed(seed))
        return list(critic.parameters())

    assert all(torch.equal(a, b) for a, b in zip(stepped(0), stepped(0), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(stepped(0), stepped(1), strict=True))


# -- keeping -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_saved_critic_scores_the_same(tmp_path: Path, dtype: torch.dtype, rng: np.random.Generator) -> None:
    critic = random_critic(4).float()
    save_critic(critic, tmp_path / "critic.safetensors", dtype)
    again = load_critic(tmp_path / "critic.safetensors")
    assert again.config == critic.config
    assert not again.training
    assert not any(parameter.requires_grad for parameter in again.parameters())
    image = pictures(rng, 4, 16).float()
    expected = critic(image)
    if dtype == torch.float32:
        assert torch.equal(again(image), expected)
    else:
        torch.testing.assert_close(again(image), expected, rtol=1e-2, atol=1e-2)
    assert [file.name for file in tmp_path.iterdir()] == ["critic.safetensors"]


def test_unusable_files_are_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "critic.safetensors"
    save_critic(random_critic(5), path)
    whole = path.read_bytes()
    tensors, config = read_model(path, "exposure-gym critic 1")
    cases = {"empty": b"", "cut": whole[: len(whole) // 2], "noise": bytes(range(256)) * 8}
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
    write_model(tmp_path / "foreign.safetensors", tensors, "something else 7", config)
    write_model(tmp_path / "wrong-size.safetensors", tensors, "exposure-gym critic 1", config | {"hidden": 7})
    write_model(tmp_path / "unknown-key.safetensors", tensors, "exposure-gym critic 1", config | {"depth": 7})
    write_model(tmp_path / "bad-size.safetensors", tensors, "exposure-gym critic 1", config | {"image_size": 17})
    names = [*cases, "foreign.safetensors", "wrong-size.safetensors", "unknown-key.safetensors", "bad-size.safetensors"]
    for name in [*names, "missing.safetensors"]:
        with pytest.raises(ModelError) as caught:
            load_critic(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
        assert "\n" not in str(caught.value)
