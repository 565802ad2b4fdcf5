import numpy as np
import pytest

from common.nets import dilation, heads, layers
from common.nets.backbones import resnet_v1 as resnet
from common.nets.backbones.units import UNITS
from common.nets.network import build
from common.tf1 import slim, tf
from reproductions.v2.model import network
from reproductions.v2.recipe import DEEPLAB

SIZES = [(13, 17), (12, 16), (5, 7), (1, 1)]


def random(*shape, seed=0):
    return np.random.RandomState(seed).randn(*shape).astype(np.float32)


def evaluate(tensors, feed=None):
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        return session.run(tensors, feed or {})


def slim_reference(x, w, rate):
    """tf-slim's own atrous convolution, which goes through SpaceToBatch."""
    return slim.conv2d(
        x, w.shape[3], w.shape[0], rate=rate, activation_fn=None, biases_initializer=None,
        weights_initializer=tf.initializers.constant(w), scope=f"reference{rate}",
    )  # fmt: skip


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("rate", [2, 3, 6])
def test_native_dilation_is_space_to_batch(size, rate):
    """Values and both gradients of the three ways agree."""
    x, w = random(2, *size, 3), random(3, 3, 3, 4, seed=1)
    with tf.Graph().as_default():
        xs, ws = tf.constant(x), tf.constant(w)
        results = {}
        for name, convolve in (("native", dilation.native), ("decompose", dilation.decomposed)):
            y = convolve(xs, ws, rate)
            results[name] = [y, *tf.gradients(tf.reduce_sum(y * y), [xs, ws])]
        y = slim_reference(xs, w, rate)
        results["slim"] = [y, tf.gradients(tf.reduce_sum(y * y), xs)[0]]
        values = evaluate(results)
    for name in ("decompose", "slim"):
        for ours, other in zip(values["native"], values[name], strict=False):
            np.testing.assert_allclose(ours, other, rtol=1e-4, atol=1e-4)


def test_fallback_where_native_dilation_cannot_train(monkeypatch):
    monkeypatch.setattr(dilation, "native_dilation_trains", lambda: False)
    with tf.Graph().as_default() as graph:
        layers.conv2d(tf.ones([1, 9, 9, 2]), 3, 3, rate=2, scope="c")
        types = {op.type for op in graph.get_operations()}
        dilations = [op.get_attr("dilations") for op in graph.get_operations() if op.type == "Conv2D"]
    assert "SpaceToBatchND" in types
    assert dilations == [[1, 1, 1, 1]]


def test_native_dilation_is_chosen_here():
    assert dilation.native_dilation_trains()
    with tf.Graph().as_default() as graph:
        layers.conv2d(tf.ones([1, 9, 9, 2]), 3, 3, rate=2, scope="c")
        (conv,) = [op for op in graph.get_operations() if op.type == "Conv2D"]
        assert conv.get_attr("dilations") == [1, 2, 2, 1]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dilated_type", ["decompose", "smooth_GI", "smooth_SSC"])
def test_smoothed_layers_start_as_regular(size, dilated_type):
    x = random(2, *size, 3)
    with tf.Graph().as_default():
        with slim.arg_scope([layers.conv2d], weights_initializer=tf.initializers.constant(random(3, 3, 3, 4, seed=1))):
            ours = layers.conv2d(tf.constant(x), 4, 3, rate=4, dilated_type=dilated_type, scope="a")
            regular = layers.conv2d(tf.constant(x), 4, 3, rate=4, scope="b")
        a, b = evaluate((ours, regular))
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("encoder", [pytest.param("deeplab", marks=pytest.mark.full), "res50"])
@pytest.mark.parametrize("dilated_type", ["smooth_GI", "smooth_SSC"])
def test_smoothed_networks_start_as_regular(encoder, dilated_type):
    """The whole v2 network: equal scores at initialisation, one fix_w per dilated block unit, trained."""
    x = random(1, 41, 49, 3)
    scores, weights = {}, None
    for kind in ("regular", dilated_type):
        with tf.Graph().as_default(), tf.Session() as session:
            tf.set_random_seed(1)
            recipe = DEEPLAB.derive(encoder=encoder, dilated_type=kind, initializer="he_normal", residual_gamma=0.2)
            logits = build(network, tf.constant(x), recipe).logits
            session.run(tf.global_variables_initializer())
            if weights is None:
                weights = {v.op.name: session.run(v) for v in tf.global_variables()}
            shared = [v for v in tf.global_variables() if v.op.name in weights]
            session.run([v.initializer for v in shared], {v.initializer.inputs[1]: weights[v.op.name] for v in shared})
            scores[kind] = session.run(logits)
            added = {v.op.name for v in tf.trainable_variables()} - weights.keys()
    np.testing.assert_allclose(
        scores[dilated_type], scores["regular"], rtol=1e-3, atol=1e-4 * abs(scores["regular"]).max()
    )
    units = {"deeplab": 23 + 3, "res50": 6 + 3}[encoder]
    assert len(added) == units
    assert all(name.endswith("/fix_w") for name in added)


def test_group_interaction_mixes_sub_maps_as_the_paper_says():
    """Against sub-maps sliced and mixed by hand: out_i = sum_j fix_w[j, i] * conv(sub-map j)."""
    rate, x, w, mix = 2, random(2, 6, 8, 3), random(3, 3, 3, 5, seed=1), random(4, 4, seed=2)
    with tf.Graph().as_default(), tf.Session() as session:
        with tf.variable_scope("gi"):
            ours = dilation.group_interaction(tf.constant(x), tf.constant(w), rate)
        maps = [(r, c) for r in range(rate) for c in range(rate)]
        convolved = [tf.nn.conv2d(x[:, r::rate, c::rate], w, strides=1, padding="SAME") for r, c in maps]
        (fix_w,) = tf.global_variables()
        session.run(fix_w.initializer, {fix_w.initializer.inputs[1]: mix})
        got, parts = session.run((ours, convolved))
    for i, (r, c) in enumerate(maps):
        expected = sum(mix[j, i] * parts[j] for j in range(4))
        np.testing.assert_allclose(got[:, r::rate, c::rate], expected, rtol=1e-4, atol=1e-4)


def test_separable_shared_is_the_originals_conv3d():
    """One kernel slid over space and channels alike: a conv3d with a channel extent of 1, as the original has it."""
    rate, x, w, kernel = 2, random(2, 7, 9, 3), random(3, 3, 3, 5, seed=1), random(3, 3, 1, 1, 1, seed=2)
    with tf.Graph().as_default(), tf.Session() as session:
        with tf.variable_scope("ssc"):
            ours = dilation.separable_shared(tf.constant(x), tf.constant(w), rate)
        identity = np.zeros_like(kernel)
        identity[1, 1] = 1
        smooth = tf.nn.conv3d(x[..., None], kernel + identity, strides=[1] * 5, padding="SAME")[..., 0]
        expected = dilation.native(smooth, tf.constant(w), rate)
        (fix_w,) = tf.global_variables()
        session.run(fix_w.initializer, {fix_w.initializer.inputs[1]: kernel})
        got, want = session.run((ours, expected))
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


def test_stride_and_rate_together_are_refused():
    with tf.Graph().as_default(), pytest.raises(ValueError, match="together"):
        layers.conv2d(tf.ones([1, 9, 9, 1]), 1, 3, stride=2, rate=2, scope="c")


def test_batch_norm_by_hand():
    x = random(2, 3, 3, 2)
    with tf.Graph().as_default():
        frozen = layers.batch_norm(tf.constant(x), scope="bn", epsilon=1e-3, gamma=0.2)
        assert not tf.trainable_variables()
        assert not tf.get_collection(tf.GraphKeys.UPDATE_OPS)
        np.testing.assert_allclose(evaluate(frozen), 0.2 * x / np.sqrt(1 + 1e-3), rtol=1e-5)


@pytest.mark.parametrize("static", [True, False])
def test_rescale_truncates_and_never_vanishes(static):
    with tf.Graph().as_default():
        for size, scale, expected in [((97, 129), 0.75, (72, 96)), ((1, 3), 0.5, (1, 1)), ((5, 5), 1, (5, 5))]:
            x = np.zeros((1, *size, 3), np.float32)
            images = tf.constant(x) if static else tf.placeholder_with_default(x, [None, None, None, 3])
            assert evaluate(layers.rescale(images, scale, align_corners=False)).shape[1:3] == expected


def test_bilinear_rules():
    """[0, 1] to four pixels: by TensorFlow 1's rule, and with the corners aligned."""
    with tf.Graph().as_default():
        x = tf.constant([0.0, 1.0], shape=[1, 1, 2, 1])
        plain, aligned = (layers.resize_bilinear(x, (1, 4), align_corners=a) for a in (False, True))
        a, b = evaluate((plain, aligned))
    np.testing.assert_allclose(a.ravel(), [0, 0.5, 1, 1])
    np.testing.assert_allclose(b.ravel(), [0, 1 / 3, 2 / 3, 1], rtol=1e-6)


def test_dense_features_subsampled_are_the_nominal_ones():
    """Rates in place of strides compute the same features at the positions that the strides would keep."""
    tables = {
        "nominal": (resnet.Block(16, 2), resnet.Block(16, 2, stride=2), resnet.Block(32, 2, stride=2),
                    resnet.Block(32, 2, stride=2)),
        "dense": (resnet.Block(16, 2), resnet.Block(16, 2, stride=2), resnet.Block(32, 2, rate=2),
                  resnet.Block(32, 2, rate=4)),
    }  # fmt: skip
    with tf.Graph().as_default():
        x = tf.constant(random(1, 65, 97, 3))
        with tf.variable_scope("", reuse=tf.AUTO_REUSE):
            features = {k: resnet.resnet_v1(x, t, resnet.slim_names("r"))[0] for k, t in tables.items()}
        values = evaluate(features)
    assert values["nominal"].shape[1:3] == (3, 4)
    assert values["dense"].shape[1:3] == (9, 13)
    np.testing.assert_allclose(values["dense"][:, ::4, ::4], values["nominal"], rtol=1e-4, atol=1e-4)


def test_names_of_caffe_and_slim():
    caffe, slim_ = resnet.caffe_names(UNITS[101]), resnet.slim_names("resnet_v1_101")
    assert caffe(0, 0, "conv1") == ("conv1", "bn_conv1")
    assert caffe(1, 3, "conv3") == ("res2c_branch2c", "bn2c_branch2c")
    assert caffe(3, 1, "shortcut") == ("res4a_branch1", "bn4a_branch1")
    assert caffe(3, 23, "conv2")[0] == "res4b22_branch2b"
    assert slim_(0, 0, "conv1") == ("resnet_v1_101/conv1", "resnet_v1_101/conv1/BatchNorm")
    assert slim_(4, 2, "conv1")[0] == "resnet_v1_101/block4/unit_2/bottleneck_v1/conv1"


def test_aspp_is_a_sum():
    x = random(1, 9, 9, 2)
    with tf.Graph().as_default():
        total = heads.aspp_sum(tf.constant(x), 3, (1, 2), ("a", "b"))
        with tf.variable_scope("", reuse=True):
            parts = [layers.conv2d(tf.constant(x), 3, 3, rate=r, bias=True, scope=s) for r, s in ((1, "a"), (2, "b"))]
        whole, separate = evaluate((total, parts))
    np.testing.assert_allclose(whole, sum(separate), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("side", "expected"), [(96, 49), (97, 49), (98, 50), (7, 4), (2, 2), (1, 1)])
def test_caffe_max_pool_sizes_and_values(side, expected):
    """Window 3, stride 2, pad 1, sizes rounded up: against windows cut by hand."""
    x = random(1, side, side, 1)
    with tf.Graph().as_default():
        ours = evaluate(layers.max_pool(tf.constant(x), 3, 2, rule="caffe"))[0, ..., 0]
    windows = [slice(max(2 * i - 1, 0), 2 * i + 2) for i in range(expected)]
    by_hand = [[x[0, r, c, 0].max() for c in windows] for r in windows]
    np.testing.assert_array_equal(ours, by_hand)


def test_pooling_rules_agree_inside_and_differ_at_the_borders():
    x = np.ones((1, 9, 9, 1), np.float32)
    with tf.Graph().as_default():
        pools = [layers.average_pool(tf.constant(x), 3, rule=r) for r in ("tensorflow", "caffe")]
        ours, caffe = (p[0, ..., 0] for p in evaluate(pools))
    assert np.all(ours == 1)
    assert np.all(caffe[1:-1, 1:-1] == pytest.approx(1))
    np.testing.assert_allclose([caffe[0, 0], caffe[0, 4]], [4 / 9, 6 / 9], rtol=1e-6)


def test_dropout_is_a_function_of_seed_and_scope():
    x = np.ones((1, 40, 40, 8), np.float32)
    with tf.Graph().as_default():
        seeds = [tf.constant(s, tf.int64) for s in ([1, 0], [1, 1])]
        masks = [layers.dropout(tf.constant(x), 0.5, scope=s, seed=k) for s, k in
                 (("fc6", seeds[0]), ("fc6", seeds[0]), ("fc7", seeds[0]), ("fc6", seeds[1]))]  # fmt: skip
        still = layers.dropout(tf.constant(x), 0.5, scope="fc6")
        values = evaluate([*masks, still])
    assert np.array_equal(values[0], values[1])
    assert np.array_equal(values[4], x)
    assert not np.array_equal(values[0], values[2])
    assert not np.array_equal(values[0], values[3])
    assert set(np.unique(values[0])) == {0, 2}
    assert abs(values[0].mean() - 1) < 0.05


def test_a_frozen_batch_norms_gradient_is_a_factor():
    """TensorFlow's own gradient, which is taken where gamma and beta are trained, gives the same."""
    x, found = random(2, 5, 7, 4), {}
    for trainable in (False, True):
        with tf.Graph().as_default() as graph:
            inputs = tf.constant(x)
            y = layers.batch_norm(inputs, scope="bn", gamma=1.7, trainable=trainable, activation_fn=tf.nn.relu)
            found[trainable] = evaluate(tf.gradients(tf.reduce_sum(y * y), inputs)[0])
            types = {op.type for op in graph.get_operations()}
        assert ("FusedBatchNormGradV3" in types) == trainable
    np.testing.assert_allclose(found[False], found[True], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("side", "is_wide"), [(13, False), (12, True), (5, True)])
def test_weights_of_a_convolution_that_reaches_beyond_its_inputs_have_a_gradient_by_taps(side, is_wide):
    with tf.Graph().as_default() as graph:
        x, w = tf.constant(random(2, side, 20, 3)), tf.constant(random(3, 3, 3, 4, seed=1))
        found = [tf.gradients(c(x, w, 6) ** 2, [x, w]) for c in (dilation.native, dilation.decomposed)]
        ours, other = evaluate(found)
        filters = [op for op in graph.get_operations() if op.type == "Conv2DBackpropFilter"]
    assert len(filters) == (1 if is_wide else 2)
    for gradient, expected in zip(ours, other, strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("rule", [{}, {"align_corners": True}, {"half_pixel_centers": True}])
@pytest.mark.parametrize("sizes", [((5, 7), (33, 41)), ((1, 1), (9, 4)), ((20, 30), (7, 11)), ((6, 6), (6, 6))])
def test_the_gradient_of_a_resize_is_tensorflows(sizes, rule):
    before, after = sizes
    with tf.Graph().as_default() as graph:
        x, caused = tf.constant(random(2, *before, 3)), tf.constant(random(2, *after, 3, seed=1))
        ours = layers.resize_bilinear(x, after, **rule)
        other = tf.raw_ops.ResizeBilinear(images=x, size=after, **{"half_pixel_centers": False, **rule})
        found, expected = evaluate([tf.gradients(y, x, caused)[0] for y in (ours, other)])
        assert [op.type for op in graph.get_operations()].count("ResizeBilinearGrad") == 1
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
