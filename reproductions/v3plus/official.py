"""How research/deeplab's train.py trains where the suite's defaults differ."""

LAST_LAYERS = "logits|image_pooling|aspp|concat_projection|decoder|meta_architecture"  # get_extra_layer_scopes


def gradient_multipliers(last_layers: float = 1.0, scopes: str = LAST_LAYERS) -> tuple[tuple[str, float], ...]:
    """`lr_multipliers` that do what its get_model_gradient_multipliers does: biases learn twice as fast.

    Its loop multiplies gradients. Under momentum and plain descent a multiplied learning rate is the same.

    Args:
      last_layers: last_layer_gradient_multiplier.
      scopes: of the last layers, as alternatives of a regular expression; `logits` with
        last_layers_contain_logits_only.
    """
    biases = ("biases", 2.0)
    if last_layers == 1:
        return (biases,)
    return ((f"({scopes}).*biases", 2.0 * last_layers), (f"({scopes})", last_layers), biases)


# What train.py always does; its flags' values are the zoo's and the paper's (zoo.py, variants.py).
TRAINING = {"lr_multipliers": gradient_multipliers(), "labels_align_corners": True}
