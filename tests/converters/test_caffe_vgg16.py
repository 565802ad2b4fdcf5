"""The papers' networks on VGG-16 as their released prototxts have them: against those, OpenCV and ONNX Runtime."""

import numpy as np
import pytest
from google.protobuf import text_format

from common.errors import UserError
from common.inference.segmenter import Segmenter
from common.nets.network import build
from common.tf1 import session, tf
from common.weights.weights import Weights
from converters import caffe_to_tf, deploy
from converters.caffe_schema import NetParameter
from reproductions.v1 import REPRODUCTION
from reproductions.v1.recipe import VARIANTS
from tests.converters.test_caffe_to_tf import write_caffemodel
from tests.helpers import golden_cases
from tests.helpers.golden_cases import relative

# num_output, kernel_size, pad and hole (or dilation) of the authors' prototxts, and what the layer reads.
RELEASED = {
    "deeplab_largefov": {"fc6": (1024, 3, 12, 12, "pool5a"), "fc7": (1024, 1, 0, 1, "fc6")},
    "deeplab_vgg16": {"fc6": (4096, 4, 6, 4, "pool5"), "fc7": (4096, 1, 0, 1, "fc6")},
    "deeplab_msc": {
        "fc6": (4096, 4, 6, 4, "pool5"),
        "data_conv": (128, 3, 1, 1, "data"),
        "pool4_conv": (128, 3, 1, 1, "pool4"),
        "pool4_fc": (128, 1, 0, 1, "pool4_conv"),
        "pool4_ms": (21, 1, 0, 1, "pool4_fc"),
    },
    "deeplab_msc_largefov": {"fc6": (1024, 3, 12, 12, "pool5a"), "pool1_conv": (128, 3, 1, 1, "pool1")},
    "deeplabv2_vgg16": {
        **{f"fc6_{i}": (1024, 3, 6 * i, 6 * i, "pool5") for i in (1, 2, 3, 4)},
        **{f"fc7_{i}": (1024, 1, 0, 1, f"fc6_{i}") for i in (1, 2, 3, 4)},
        **{f"fc8_voc12_{i}": (21, 1, 0, 1, f"fc7_{i}") for i in (1, 2, 3, 4)},
    },
}
SUMS = {
    "deeplab_msc": ("fc_fusion", ["data_ms", "pool1_interp", "pool2_interp", "pool3_interp", "pool4_interp"]),
    "deeplabv2_vgg16": ("fc8_voc12", ["fc8_voc12_1", "fc8_voc12_2", "fc8_voc12_3", "fc8_voc12_4"]),
}


@pytest.mark.parametrize("model", RELEASED)
def test_the_built_in_prototxt_has_the_released_layers(model):
    layers = {layer.name: layer for layer in text_format.Parse(deploy.MODELS[model][2](513, 21), NetParameter()).layer}
    for name, wanted in RELEASED[model].items():
        p = layers[name].convolution_param
        assert (p.num_output, p.kernel_size[0], p.pad[0], p.dilation[0], layers[name].bottom[0]) == wanted
    for name, bottoms in (SUMS[model],) if model in SUMS else ():
        assert list(layers[name].bottom)[: len(bottoms)] == bottoms
        assert layers[name].type == "Eltwise"


@pytest.fixture
def narrow(monkeypatch, request):
    """A released net with few channels in fc6 and fc7, called `narrow` as a model and as a variant."""
    recipe = VARIANTS[request.param].derive(variant="narrow", fc6_channels=16)
    monkeypatch.setitem(VARIANTS, "narrow", recipe)
    monkeypatch.setitem(deploy.MODELS, "narrow", ("v1", "narrow", lambda *a: deploy.vgg16("narrow", *a)))
    return recipe


@pytest.mark.parametrize(
    "narrow", ["deeplab", "deeplab_rate8", "deeplab_7x7", "msc", "aspp_s", "aspp_l"], indirect=True
)
def test_logits_equal_opencvs(narrow, tmp_path):
    """OpenCV pads 4x4 kernels as Caffe does, fuses as its Interp and Eltwise do, and knows nothing of ours."""
    cv2 = pytest.importorskip("cv2", reason="opencv-python-headless is a test oracle")
    write_caffemodel(tmp_path, "narrow", 65)
    net = cv2.dnn.readNetFromCaffe(str(tmp_path / "net.prototxt"), str(tmp_path / "net.caffemodel"))
    image = (golden_cases.weights.image(5, 65, 65)[0].astype(np.float32) - 110.0).transpose(2, 0, 1)[None]
    net.setInput(image)
    theirs = net.forward().transpose(0, 2, 3, 1)
    with tf.Graph().as_default(), session() as sess:
        images = tf.constant(image.transpose(0, 2, 3, 1))
        logits = build(REPRODUCTION.load_network(), images, narrow.at_evaluation()).logits
        golden_cases.fill(sess)
        ours = sess.run(logits)
    assert ours.shape == theirs.shape == (1, *((65, 65) if narrow.multi_scale_features else (9, 9)), 21)
    assert relative(ours, theirs) <= 1e-4


def test_the_authors_aspp_chooses_its_network_itself(tmp_path, capsys):
    """No --model, no --set: the layers tell. The checkpoint then needs no setting either."""
    write_caffemodel(tmp_path, "deeplabv2_vgg16", 33)
    arguments = ["--caffemodel", f"{tmp_path}/net.caffemodel", "--size", "33", "--out", f"{tmp_path}/c.ckpt"]
    assert caffe_to_tf.main(arguments) == 0
    assert float(capsys.readouterr().out.split("picture ")[1].split()[0]) < 1e-4
    (tmp_path / "net.caffemodel").unlink()
    weights = Weights(tmp_path / "c.ckpt")
    recipe = REPRODUCTION.recipe_to_run([], weights)
    assert recipe == VARIANTS["aspp_l"]
    with Segmenter(REPRODUCTION.load_network(), recipe.derive(eval_size="native"), weights) as segmenter:
        assert segmenter.logits(golden_cases.weights.image(1, 33, 33)[0]).shape == (5, 5, 21)


def arrays(**shapes):
    return {name: [np.zeros(shape, np.float32) for shape in pair] for name, pair in shapes.items()}


@pytest.mark.parametrize(
    ("layers", "model"),
    [
        ({"fc6": ((8, 512, 3, 3), (8,))}, "deeplab_largefov"),
        ({"fc6": ((8, 512, 4, 4), (8,))}, "deeplab_vgg16"),
        ({"fc6": ((8, 512, 7, 7), (8,))}, "deeplab_vgg16_7x7"),
        ({"fc6": ((8, 25088), (8,))}, "deeplab_vgg16_7x7"),
        ({"fc6": ((8, 512, 4, 4), (8,)), "data_conv": ((1,),)}, "deeplab_msc"),
        ({"fc6": ((8, 512, 3, 3), (8,)), "data_conv": ((1,),)}, "deeplab_msc_largefov"),
        ({"fc6_4": ((8, 512, 3, 3), (8,))}, "deeplabv2_vgg16"),
        ({"res5c_branch2c": ((1,),)}, "deeplabv2_resnet101"),
        ({"fc6": ((8, 512, 5, 5), (8,))}, None),
        ({"ip1": ((8, 3),)}, None),
    ],
)
def test_recognised_by_layers(layers, model):
    assert deploy.recognised(arrays(conv5_3=((1,),), **layers)) == model


def test_an_unknown_net_needs_a_name(tmp_path, capsys):
    net = NetParameter()
    blob = net.layer.add(name="conv1_1", type="Convolution").blobs.add(data=[1.0])
    blob.shape.dim.extend([1, 1, 1, 1])
    (tmp_path / "net.caffemodel").write_bytes(net.SerializeToString())
    assert caffe_to_tf.main(["--caffemodel", f"{tmp_path}/net.caffemodel", "--out", f"{tmp_path}/c.ckpt"]) == 2
    assert "say which by --model" in capsys.readouterr().err


def test_fully_connected_layers_become_convolutions():
    """Rows of ImageNet's fc6 run over channels, then rows, then columns of its input."""
    flat = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 12)
    made = deploy.as_convolutions({"fc6": [flat, np.zeros(2)], "other": [flat]}, {"fc6": 2, "fc7": 1})
    assert made["fc6"][0].shape == (2, 3, 2, 2)
    assert made["fc6"][0][1, 2, 0, 1] == flat[1, 2 * 4 + 1]
    old = deploy.as_convolutions({"fc6": [flat.reshape(1, 1, 2, 12)]}, {"fc6": 2})
    assert np.array_equal(old["fc6"][0], made["fc6"][0])
    kept = np.zeros((4, 3, 2, 2), np.float32)
    assert deploy.as_convolutions({"fc6": [kept]}, {"fc6": 2})["fc6"][0] is kept
    assert made["other"][0] is flat


def test_even_kernels_need_even_rates():
    with pytest.raises(UserError, match="needs even rates"):
        VARIANTS["deeplab"].derive(atrous_rate=3)
