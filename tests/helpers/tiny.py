"""A reproduction small enough to train in a second, for tests of the shared programs.

`python -m tests.helpers.tiny train ...` works as any reproduction's command line.
"""

import sys
from dataclasses import dataclass
from typing import Literal

from common.cli import main
from common.recipe.recipe import Recipe
from common.reproduction import Reproduction


@dataclass(frozen=True, kw_only=True)
class TinyRecipe(Recipe):
    width: int = 16
    live_batch_norm: bool = False
    keep_prob: float = 1.0
    activation: Literal["relu", "elu"] = "relu"  # elu has no kink that rounding could flip

    @property
    def batch_statistics(self) -> bool:
        return self.live_batch_norm


SMALL = TinyRecipe(
    variant="small",
    initializer="he_normal",
    pixel_mean=(110.0, 110.0, 110.0),
    pixel_scale=0.02,
    calibration_batches=2,
    learning_rate=0.05,
    num_steps=8,
    batch_size=4,
    crop_size=(65, 65),
    save_interval=4,
    weight_decay=1e-4,
    init_not_loaded=("^scores/",),
)
VARIANTS = {r.variant: r for r in (SMALL, SMALL.derive(variant="accumulated", batch_size=2, grad_update_every=2))}


def network(images, recipe, batch_statistics=False):
    """Three convolutions at stride 2 and an atrous classifier."""
    from common.nets import layers
    from common.nets.network import Outputs
    from common.tf1 import slim, tf

    net = images
    with (
        slim.arg_scope([layers.batch_norm], batch_statistics=batch_statistics, trainable=recipe.live_batch_norm),
        slim.arg_scope([layers.batch_norm], activation_fn=getattr(tf.nn, recipe.activation)),
        tf.variable_scope("", reuse=tf.AUTO_REUSE),
    ):
        for i in (1, 2, 3):
            net = layers.conv2d(net, recipe.width, 3, stride=2, scope=f"conv{i}")
            net = layers.batch_norm(net, scope=f"conv{i}/BatchNorm")
        net = layers.dropout(net, recipe.keep_prob, scope="dropout")
        return Outputs(layers.conv2d(net, recipe.num_classes, 3, rate=2, bias=True, scope="scores"))


TINY = Reproduction(
    name="tiny",
    title="Tiny",
    variants=VARIANTS,
    sample_variants=("small",),
    scratch_variant="small",
    module="tests.helpers.tiny",
    last_layer="^scores/",
)


def run(*arguments) -> int:
    """The command line in this process; argparse's exit becomes its status."""
    try:
        return main(TINY, [str(a) for a in arguments])
    except SystemExit as exit_:
        return exit_.code


if __name__ == "__main__":
    sys.exit(main(TINY))
