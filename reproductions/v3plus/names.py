"""The scopes of the head's layers in the official checkpoints and in the seed's."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Names:
    """Scopes of the head's layers in one family of checkpoints.

    Those of the decoder have the number of its stage in them, `{stage}` or `{suffix}`, and the number of a convolution
    in the stage, `{i}` from 0 or `{n}` from 1.
    """

    image_pooling: str
    aspp: str
    projection: str
    decoder: str
    plain_decoder: str  # when its convolutions are not separable
    sum_decoder: tuple[str, str]  # plain and separable, when it adds
    logits: str
    fusion: str = "concat_projection"
    first: str = ""  # of ASPP's 1x1 convolution, where it does not have the number 0
    image_pooling_first: bool = True  # of what is concatenated, or the last
    keep_prob: float = 0.9  # of the dropout behind ASPP

    def branch(self, number: int) -> str:
        """The scope of ASPP's branch of that number; 0 is the 1x1 convolution."""
        return self.first if self.first and not number else self.aspp.format(number)

    def projection_in(self, stage: int) -> str:
        """The scope of the 1x1 convolution of a decoder's stage, from 0."""
        return _in_stage(self.projection, stage)

    def convolution_in(self, stage: int, i: int, separable: bool) -> str:
        """The scope of convolution number `i`, from 0, of a decoder's stage."""
        return _in_stage(self.decoder if separable else self.plain_decoder, stage, i)

    def sum_in(self, stage: int, separable: bool) -> str:
        """The scope of the 3x3 convolution of a decoder's stage that adds."""
        return _in_stage(self.sum_decoder[separable], stage)


def _in_stage(scope: str, stage: int, i: int = 0) -> str:
    return scope.format(stage=stage, suffix=f"_{stage}" if stage else "", i=i, n=i + 1)


NAMES = {
    "zoo": Names(
        image_pooling="image_pooling",
        aspp="aspp{}",
        projection="decoder/feature_projection0{suffix}",
        decoder="decoder/decoder_conv{i}{suffix}",
        plain_decoder="decoder/decoder_conv0{suffix}/decoder_conv0{suffix}_{n}",
        sum_decoder=("decoder/decoder_conv0{suffix}", "decoder/decoder_split_sep_conv0{suffix}"),
        logits="logits/semantic",
    ),
    "seed": Names(
        image_pooling="global_average_pooling/Conv",
        aspp="aspp_{}",
        projection="decoder/layer_{stage}/feature_projection",
        decoder="decoder/layer_{stage}/decoder_conv_{i}",
        plain_decoder="decoder/layer_{stage}/decoder_conv_{i}",
        sum_decoder=("decoder/layer_{stage}/decoder_sum_0", "decoder/layer_{stage}/decoder_separable_sum_0"),
        logits="logits/conv",
    ),
    "rishizek": Names(
        image_pooling="aspp/image_level_features/conv_1x1",
        aspp="aspp/conv_3x3_{}",
        projection="decoder/low_level_features/conv_1x1{suffix}",
        decoder="decoder/upsampling_logits/conv_3x3_{n}{suffix}",
        plain_decoder="decoder/upsampling_logits/conv_3x3_{n}{suffix}",
        sum_decoder=("decoder/upsampling_logits/sum{suffix}", "decoder/upsampling_logits/separable_sum{suffix}"),
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
