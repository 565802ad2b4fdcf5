"""The arrays of a Keras file by the names of the network's variables.

Keras names the base network's layers. It numbers the others in the order in which the original made them
(`conv2d_5`, `batch_normalization_10`): first Xception's shortcuts, then the branches of encoder_middle_conf, the
fusion, the refinement, the scores.
"""

import re
from collections.abc import Iterable, Mapping

from common.errors import UserError
from common.recipe.cell import ENCODER_MIDDLE_CONF, Branch, read_cell
from common.reproduction import Untold
from common.words import some
from reproductions.v3plus_simplified.recipe import MOBILENETV2, XCEPTION, SimplifiedRecipe

VARIABLES = {
    "kernel": "weights",
    "bias": "biases",
    "depthwise_kernel": "depthwise_weights",
    "pointwise_kernel": "pointwise_weights",
}
# The numbering of Keras 2 and 3, and that of Keras 1 in older files.
NUMBERED = re.compile(r"(conv2d|separable_conv2d|batch_normalization|convolution2d|batchnormalization)(?:_(\d+))?")
KERAS1 = {"convolution2d": "conv2d", "batchnormalization": "batch_normalization"}
DEPTHWISE = re.compile("depthwise|dwconv")
SHORTCUTS = (2, 3, 4, 13)  # Xception's blocks with a convolution in the shortcut
# Layers of the base networks that a cut leaves out.
LEFT_OVER = (
    r"^(block\d+[a-z]?_|block_\d+_|Conv_1|conv\d_|pool\d_|bn/|predictions|top_|.*_(stem_\d|reduce_\d+|\d+)/|conv2d|"
    r"batch_n|normalization/count)"
)
COUNT = "normalization/count"  # how many pictures EfficientNet's mean and variance were measured on


def keras_names(shapes: Mapping[str, tuple[int, ...]], recipe: SimplifiedRecipe) -> tuple[dict[str, str], str]:
    """Variable of the network -> `layer/variable` of the file, for all that the file has; and arrays that may be left
    over.

    Args:
      shapes: the shapes of the file's arrays by `layer/variable`.
      recipe: if the operations of its cell do not fit the file, a published design that fits is taken.

    Returns:
      The names, and a regular expression of arrays that the network does without: of a base network alone, those
      beyond the cut.

    Raises:
      UserError: no base network is known by such names, or no design fits.
    """
    layers: dict[str, dict[str, str]] = {}
    for name in shapes:
        layer, _, variable = name.rpartition("/")
        layers.setdefault(layer, {})[variable] = name
    numbered: dict[str, list[str]] = {"conv2d": [], "separable_conv2d": [], "batch_normalization": []}
    scopes = {}
    for layer in sorted(layers, key=_number):
        if match := NUMBERED.fullmatch(layer):
            numbered[KERAS1.get(match[1], match[1])].append(layer)
        else:  # a process that has built several EfficientNets numbers their first layers
            scopes[layer] = re.sub(r"^normalization_\d+$", "normalization", layer)
    if not layers.keys() & {"block1_conv1", "Conv1", "conv1_conv", "stem_conv1", "stem_conv"}:
        raise UserError(
            f"its layers ({some(layers, 3)}) are of no base network known here; if Keras opens it as "
            f"one, save it there again"
        )
    if "block1_conv1" in layers:
        scopes |= _shortcuts(numbered, has_all="block14_sepconv1" in layers, deep="block5_sepconv1" in layers)
    whole = any(numbered.values())
    if whole:
        scopes |= _head(numbered, recipe.cell)
    named = {}
    for layer, scope in scopes.items():
        depthwise = set(layers[layer]) == {"kernel"} and DEPTHWISE.search(layer)  # Keras 3 has no name of its own
        for variable, name in layers[layer].items():
            named[f"{scope}/{'depthwise_weights' if depthwise else VARIABLES.get(variable, variable)}"] = name
    if whole:
        return named, f"^{COUNT}$" if COUNT in named else ""
    return named, LEFT_OVER


def _number(layer: str) -> tuple[str, int]:
    match = NUMBERED.fullmatch(layer)
    return (match[1], int(match[2] or 0)) if match else (layer, 0)


def _shortcuts(numbered: dict[str, list[str]], has_all: bool, deep: bool) -> dict[str, str]:
    """Remove the base network's own numbered layers from `numbered`."""
    blocks = SHORTCUTS if has_all else SHORTCUTS[: 3 if deep else 2]
    scopes = {}
    for kind, ending in (("conv2d", ""), ("batch_normalization", "_bn")):
        scopes |= {layer: f"block{b}_shortcut{ending}" for b, layer in zip(blocks, numbered[kind], strict=False)}
        del numbered[kind][: len(blocks)]
    return scopes


def _head(numbered: Mapping[str, list[str]], cell: tuple[Branch, ...]) -> dict[str, str]:
    published = [read_cell(conf, ENCODER_MIDDLE_CONF) for conf in (XCEPTION, MOBILENETV2)]
    found = {kind: len(names) for kind, names in numbered.items()}
    for design in (cell, *published):
        for refined in (True, False):
            wanted = _head_scopes(design, refined)
            if all(len(wanted[kind]) == found[kind] for kind in found):
                pairs = ((layer, s) for kind in found for layer, s in zip(numbered[kind], wanted[kind], strict=True))
                return dict(pairs)
    counts = {kind: len(names) for kind, names in _head_scopes(cell, True).items()}
    raise UserError(
        f"its head has {_listed(found)}; this {ENCODER_MIDDLE_CONF} with boundary_refinement needs {_listed(counts)}: "
        f"give the design it was made with by --config or --set {ENCODER_MIDDLE_CONF}=FILE. It has "
        f"{', '.join(_all(numbered))}"
    )


def _head_scopes(cell: Iterable[Branch], refined: bool) -> dict[str, list[str]]:
    """Scopes of the head's layers by kind, in the order in which the original makes them."""
    scopes: dict[str, list[str]] = {"conv2d": [], "separable_conv2d": [], "batch_normalization": []}
    for i, branch in enumerate(cell):
        if branch.op == "conv" and branch.kernel > 1:
            scopes["separable_conv2d"].append(f"aspp{i}_separable")
            scopes["batch_normalization"].append(f"aspp{i}_separable/BatchNorm")
        scopes["conv2d"].append(f"aspp{i}")
        scopes["batch_normalization"].append(f"aspp{i}/BatchNorm")
    for scope in ("concat_projection", *(["decoder/feature_projection"] if refined else [])):
        scopes["conv2d"].append(scope)
        scopes["batch_normalization"].append(f"{scope}/BatchNorm")
    scopes["conv2d"].append("logits")
    return scopes


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in counts.items())


def _all(numbered: Mapping[str, list[str]]) -> list[str]:
    return [name for names in numbered.values() for name in names]


def not_in_weights(shapes: Mapping[str, tuple[int, ...]]) -> Untold:
    """The ASPP's design, which a file with scores does not tell, and the value that is used."""
    names = ("encoder_middle_conf",) if any(name.startswith("logits/") for name in shapes) else ()
    return Untold(names, "the published value is used, --set or --config changes it")
