"""The programs that write DeepLab's weights, as data: the names in their files, and what reads them here."""

import re
from dataclasses import dataclass

from common.reproduction import Shapes


@dataclass(frozen=True)
class Origin:
    """A network as one program writes it.

    Attributes:
      program: who wrote it.
      network: what it is.
      marks: regular expressions; the file has an array for each of them.
      scores: regular expression of the biases of the scores, one for each class.
      command: converts it; `{path}` is the file. Empty when nothing does.
      takes: the reproduction that reads it as it is; empty when none does.
      starts: the reproduction that starts training from it.
    """

    program: str
    network: str
    marks: tuple[str, ...]
    scores: str
    command: str = ""
    takes: str = ""
    starts: str = ""


KAZUTO, BONLIME, OFFICIAL = "kazuto1011/deeplab-pytorch", "bonlime/keras-deeplab-v3-plus", "research/deeplab (the zoo)"
ZHENGYANG = "zhengyang-wang/Deeplab-v2--ResNet-101--Tensorflow"
OURS = "this suite"
SLIM, KERAS = "slim", "Keras applications"
KERAS_SCORES, ZOO_SCORES = "^(custom_)?logits_semantic/bias$", "^logits/semantic/biases$"
ZOO_HEAD = "^(logits/semantic|decoder/)"
TO_V3PLUS = "python -m converters.keras_to_tf --weights {path} --model v3plus --out CKPT"
CAFFE = "python -m converters.caffe_to_tf --model {name} --caffemodel {{path}} --out CKPT"
BY_LAYERS = "python -m converters.caffe_to_tf --caffemodel {path} --out CKPT"  # it tells the model itself

# The first one whose marks all are there counts.
ORIGINS = (
    Origin(
        KAZUTO,
        "DeepLab v2 with ResNet-101",
        (r"\blayer4\.block23\.increase\.conv\.weight$", r"\baspp\.(stages\.)?c3\.weight$"),
        r"\baspp\.(stages\.)?c0\.bias$",
        "python -m converters.torch_to_tf --weights {path} --to v2 --out CKPT",
    ),
    Origin(
        KAZUTO,
        "ResNet-101 with a classifier, from which DeepLab v2 is trained",
        (r"\blayer4\.block23\.increase\.conv\.weight$", r"\bfc\.weight$"),
        r"\bfc\.bias$",
    ),
    Origin(
        BONLIME,
        "DeepLab v3+ with Xception-65",
        (r"^entry_flow_conv1_1/kernel$", r"^decoder_conv0_depthwise/depthwise_kernel$"),
        KERAS_SCORES,
        TO_V3PLUS,
    ),
    Origin(
        BONLIME,
        "DeepLab v3 with MobileNetV2",
        (r"^expanded_conv_16_project/kernel$", r"^concat_projection/kernel$"),
        KERAS_SCORES,
        TO_V3PLUS,
    ),
    Origin(
        "DrSleep/tensorflow-deeplab-lfov", "DeepLab LargeFOV", (r"^conv1_1/w$", r"^fc8_voc12/w$"), r"^fc8_voc12/b$",
        takes="v1",
    ),
    Origin(
        f"{ZHENGYANG} or DrSleep/tensorflow-deeplab-resnet, whose names are the same",
        "DeepLab v2 with ResNet-101", (r"^bn_conv1/gamma$", r"^fc1_voc12_c3/weights$"), r"^fc1_voc12_c0/biases$",
        takes="v2",
    ),
    Origin(
        ZHENGYANG, "DeepLab v2 with slim's ResNet", (r"^resnet_v1_\d+/conv1/weights$", r"^decoder/aspp/conv4/weights$"),
        r"^decoder/aspp/conv4/biases$", takes="v2",
    ),
    Origin(
        "NanqingD/DeepLabV3-Tensorflow", "DeepLab v3", (r"^resnet_v1_\d+/logits/Conv/weights$",),
        r"^resnet_v1_\d+/logits/Conv/biases$", takes="v3",
    ),
    Origin(
        "asahi417/SemanticSegmentation", "DeepLab v3+",
        (r"^logits/conv/weights$", r"^(aspp_0|global_average_pooling)/"), r"^logits/conv/biases$", takes="v3plus",
    ),
    *(
        Origin(OFFICIAL, f"DeepLab with {network}", (mark, ZOO_HEAD), ZOO_SCORES)
        for mark, network in (
            (r"^(pnasnet|hnasnet|nasnet\w*)/", "a NAS network"),
            (r"^resnet_v1_18/", "ResNet-18"),
        )
    ),
    *(
        Origin(OFFICIAL, f"DeepLab with {network}", (mark, ZOO_HEAD), scores, takes="v3plus")
        for mark, network, scores in (
            (r"^MobilenetEdgeTPU/", "MobileNetEdgeTPU", ZOO_SCORES),
            (r"^MobilenetV3/", "MobileNetV3", f"{ZOO_SCORES}|^decoder/decoder_conv0/biases$"),
        )
    ),
    Origin(
        OFFICIAL, "DeepLab v3 or v3+", (r"^(MobilenetV2|xception_\d+|resnet_v1_\d+)/", r"^logits/semantic/weights$"),
        ZOO_SCORES, takes="v3plus",
    ),
    Origin(
        "rishizek/tensorflow-deeplab-v3-plus", "DeepLab v3+ with ResNet v2",
        (r"^resnet_v2_\d+/", r"^decoder/low_level_features/"), r"^decoder/upsampling_logits/conv_1x1/biases$",
        takes="v3plus",
    ),
    Origin(
        "rishizek/tensorflow-deeplab-v3", "DeepLab v3 with ResNet v2",
        (r"^resnet_v2_\d+/", r"^aspp/conv_3x3_1/"), r"^upsampling_logits/conv_1x1/biases$", takes="v3",
    ),
    Origin(
        "tonandr/deeplabv3plus_keras", "its simplified DeepLab v3+",
        (r"^(Conv1|block1_conv1)/kernel$", r"^batch_normalization_\d+/gamma$", r"^conv2d_\d+/kernel$"), "^$",
        takes="v3plus_simplified",
    ),
    Origin(
        OURS, "the simplified DeepLab v3+",
        (r"^(Conv1|block1_conv1|stem_conv1?|conv1_conv)/weights$", r"^aspp0/weights$", r"^logits/weights$"), "^$",
        takes="v3plus_simplified",
    ),
    Origin(
        KERAS, "ResNet-50 for ImageNet", (r"^res2a_branch2a/kernel$", r"^fc1000/kernel$"), r"^fc1000/bias$",
        "python -m converters.keras_to_tf --weights {path} --model res50 --out CKPT",
    ),
    Origin(KERAS, "MobileNetV2 for ImageNet", (r"^Conv1/kernel$", r"^block_16_project/kernel$"),
           r"^(Logits|predictions)/bias$", starts="v3plus_simplified"),
    Origin(KERAS, "Xception for ImageNet", (r"^block1_conv1/kernel$", r"^block14_sepconv2/"), r"^predictions/bias$",
           starts="v3plus_simplified"),
    *(
        Origin(SLIM, f"{network} for ImageNet", marks, scores, starts=name)
        for network, marks, scores, name in (
            ("ResNet", (r"^resnet_v1_\d+/logits/weights$",), r"^resnet_v1_\d+/logits/biases$", "v3"),
            ("ResNet v2", (r"^resnet_v2_\d+/logits/weights$",), r"^resnet_v2_\d+/logits/biases$", "v3"),
            ("Xception", (r"^xception_\d+/logits/weights$",), r"^xception_\d+/logits/biases$", "v3plus"),
            ("MobileNetV2", (r"^MobilenetV2/Logits/",), r"^MobilenetV2/Logits/Conv2d_1c_1x1/biases$", "v3plus"),
            ("VGG-16", (r"^vgg_16/fc8/weights$",), r"^vgg_16/fc8/biases$", ""),
        )
    ),
    Origin("Caffe", "DeepLab v2 with VGG-16 and ASPP", (r"^fc6_4/0$", r"^fc8_\w+_4/0$", r"^conv5_3/0$"),
           r"^fc8_\w+_1/1$", CAFFE.format(name="deeplabv2_vgg16")),
    Origin("Caffe", "DeepLab with features of several layers (MSc)", (r"^data_conv/0$", r"^pool4_ms/0$"),
           r"^data_ms/1$", BY_LAYERS),
    Origin("Caffe", "DeepLab LargeFOV", (r"^fc8_voc12/0$", r"^conv5_3/0$"), r"^fc8_voc12/1$",
           CAFFE.format(name="deeplab_largefov")),
    Origin("Caffe", "DeepLab v2 with ResNet-101", (r"^fc1_voc12_c3/0$", r"^res5c_branch2c/0$"), r"^fc1_voc12_c0/1$",
           CAFFE.format(name="deeplabv2_resnet101")),
    Origin("Caffe", "DeepLab with VGG-16", (r"^fc6/0$", r"^fc8_pascal/0$", r"^conv5_3/0$"), r"^fc8_pascal/1$",
           BY_LAYERS),
    Origin("Caffe", "VGG-16 for ImageNet, from which DeepLab is trained",
           (r"^fc6(_4)?/0$", r"^fc7(_4)?/0$", r"^conv5_3/0$"), r"^fc8/1$", f"{BY_LAYERS} --not-loaded fc8"),
)  # fmt: skip


def origin_of(shapes: Shapes) -> Origin | None:
    """The origin of a file with arrays of these names; None when its program is not known."""

    def is_there(mark: str) -> bool:
        return any(re.search(mark, name) for name in shapes)

    return next((origin for origin in ORIGINS if all(map(is_there, origin.marks))), None)
