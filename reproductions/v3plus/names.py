"""The scopes of the head's layers in the official checkpoints and in the seed's."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Names:
    """Scopes of the head's layers in one family of checkpoints."""

    image_pooling: str
    aspp: str
    projection: str
    decoder: tuple[str, str]
    plain_decoder: tuple[str, str]  # when its convolutions are not separable
    logits: str
    fusion: str = "concat_projection"
    first: str = ""  # of ASPP's 1x1 convolution, where it does not have the number 0
    image_pooling_first: bool = True  # of what is concatenated, or the last
    keep_prob: float = 0.9  # of the dropout behind ASPP

    def branch(self, number: int) -> str:
        """The scope of ASPP's branch of that number; 0 is the 1x1 convolution."""
        return self.first if self.first and not number else self.aspp.format(number)


NAMES = {
    "zoo": Names(
        image_pooling="image_pooling",
        aspp="aspp{}",
        projection="decoder/feature_projection0",
        decoder=("decoder/decoder_conv0", "decoder/decoder_conv1"),
        plain_decoder=("decoder/decoder_conv0/decoder_conv0_1", "decoder/decoder_conv0/decoder_conv0_2"),
        logits="logits/semantic",
    ),
    "seed": Names(
        image_pooling="global_average_pooling/Conv",
        aspp="aspp_{}",
        projection="decoder/layer_0/feature_projection",
        decoder=("decoder/layer_0/decoder_conv_0", "decoder/layer_0/decoder_conv_1"),
        plain_decoder=("decoder/layer_0/decoder_conv_0", "decoder/layer_0/decoder_conv_1"),
        logits="logits/conv",
    ),
    "rishizek": Names(
        image_pooling="aspp/image_level_features/conv_1x1",
        aspp="aspp/conv_3x3_{}",
        projection="decoder/low_level_features/conv_1x1",
        decoder=("decoder/upsampling_logits/conv_3x3_1", "decoder/upsampling_logits/conv_3x3_2"),
        plain_decoder=("decoder/upsampling_logits/conv_3x3_1", "decoder/upsampling_logits/conv_3x3_2"),
        logits="decoder/upsampling_logits/conv_1x1",
        fusion="aspp/conv_1x1_concat",
        first="aspp/conv_1x1",
        image_pooling_first=False,
        keep_prob=1.0,
    ),
}
HEAD = "^(image_pooling|global_average_pooling|aspp|concat_projection|decoder|logits|meta_architecture)"

# How the head's names begin in each family, whichever of them are there.
MARKS = {
    "zoo": (
        "logits/semantic",
        "image_pooling/",
        "aspp0/",
        "decoder/feature_",
        "decoder/decoder_",
        "meta_architecture/",
    ),
    "seed": ("logits/conv", "global_average_pooling/", "aspp_0/", "decoder/layer_0/"),
    "rishizek": ("aspp/conv_", "aspp/image_level_features/", "decoder/low_level_features/", "decoder/upsampling_"),
}
