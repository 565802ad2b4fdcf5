"""The effective receptive field, by hand and from the command line."""

import numpy as np
import pytest
from PIL import Image

from common.nets.effective_field import effective_field
from common.nets.receptive_field import receptive_field
from common.tf1 import tf
from common.weights.weights import Weights
from tests.helpers import tiny

SIZE = 33


def noise(count, seed=0):
    rng = np.random.RandomState(seed)
    return [rng.randint(0, 256, (SIZE, SIZE, 3)).astype(np.uint8) for _ in range(count)]


def convolved(*rates):
    """A network of 3x3 convolutions of ones at these rates, without batch norm; one class."""

    def network(images, recipe, batch_statistics=False):
        from common.nets import layers
        from common.nets.network import Outputs

        net = images
        for i, rate in enumerate(rates):
            net = layers.conv2d(net, 1, 3, rate=rate, scope=f"conv{i}", weights_initializer=tf.initializers.ones())
        return Outputs(net)

    return network


def test_a_linear_network_by_hand():
    """Two convolutions of ones: the gradient is the number of ways from a pixel to the centre, 1 2 3 2 1 a side."""
    field = effective_field(convolved(1, 1), tiny.SMALL, SIZE, noise(2), None)
    ways = np.array([1, 2, 3, 2, 1])
    wanted = np.zeros((SIZE, SIZE))
    wanted[14:19, 14:19] = np.outer(ways, ways) / 9
    np.testing.assert_allclose(field.pixels, wanted, atol=1e-6)
    assert field.pictures == 2
    assert field.side == 5


def test_atrous_convolutions_leave_a_grid():
    """Rate 4 after rate 4: every fourth pixel, and what the theoretical field spans."""
    network = convolved(4, 4)
    field = effective_field(network, tiny.SMALL, SIZE, noise(1), None)
    rows, columns = np.nonzero(field.pixels)
    assert {*rows} == {*columns} == {8, 12, 16, 20, 24}
    with tf.Graph().as_default():
        images = tf.zeros([1, SIZE, SIZE, 3])
        assert receptive_field(network(images, tiny.SMALL).logits, images).height == 24 - 8 + 1


def test_features_are_those_that_first_have_the_scores_size(trained_tiny):
    picture = np.random.RandomState(0).randint(0, 256, (65, 65, 3)).astype(np.uint8)
    field = effective_field(tiny.network, tiny.SMALL, 65, [picture], Weights(trained_tiny))
    assert field.pixels.shape == (65, 65)
    assert field.features.shape == (9, 9)
    reached = {tuple(place) for place in np.argwhere(field.features > 0).tolist()}
    assert reached == {(y, x) for y in (2, 4, 6) for x in (2, 4, 6)}  # the classifier has rate 2


def test_it_needs_a_picture():
    with pytest.raises(ValueError, match="there is none"):
        effective_field(tiny.network, tiny.SMALL, SIZE, [], None)


def test_from_the_command_line(trained_tiny, sample_set, tmp_path, capsys):
    """Of noise, of pictures, with random and with trained weights."""
    figure = tmp_path / "field.png"
    given = ["describe", "--size", 65, "--receptive-field", figure, "--limit", 2]
    assert tiny.run(*given) == 0
    said = capsys.readouterr().out
    assert "effective receptive field: " in said
    assert "pixels (a square of as many as have 4.55% or more of the largest gradient" in said
    assert min(Image.open(figure).size) > 300
    random, _ = figure.read_bytes(), figure.unlink()
    assert tiny.run(*given, "--checkpoint", trained_tiny, "--data", sample_set) == 0
    assert figure.read_bytes() != random
    assert tiny.run("describe", "--data", sample_set) == 2
    assert "--receptive-field" in capsys.readouterr().err
    assert tiny.run("describe", "--receptive-field", tmp_path / "field.jpg") == 2
    assert tiny.run("describe", "--table", "--receptive-field", figure) == 2


@pytest.fixture(scope="module")
def trained_tiny(sample_set, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    assert tiny.run("train", "--data", sample_set, "--run-dir", folder, "--quiet", "--set", "num_steps=1") == 0
    return folder / "model.ckpt-1"


def test_describe_follows_a_checkpoint(trained_tiny, capsys):
    assert tiny.run("describe", "--size", 65, "--checkpoint", trained_tiny) == 0
    assert '"num_steps": 1' in capsys.readouterr().out
