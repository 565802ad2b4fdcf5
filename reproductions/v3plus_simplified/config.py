"""Turn the original's unchanged configuration file into `--set` arguments."""

import json
import typing
from pathlib import Path
from typing import Any

from common.console import say
from common.errors import UserError, plain_reason, quoted
from common.files import read_text
from common.recipe.cell import ENCODER_MIDDLE_CONF
from common.recipe.recipe import format_value
from common.recipe.values import checked
from reproductions.v3plus_simplified.recipe import BASE, PUBLISHED_WEIGHTS, SimplifiedRecipe

BASE_NUMBERS = {0: "mobilenetv2", 1: "xception"}  # until January 2021
MODES = {"train": "train", "evaluate": "evaluate", "test": "predict"}  # the command that does it here
RESOURCES = ("pascal_voc_2012", "pascal_voc_2012_ext")
# Values that the original supports and this suite does not, and what to do instead.
REFUSED = {
    ("mode", "convert_to_tf_lite"): "no TensorFlow Lite file is written here; set mode to train, evaluate or test, and "
    "convert the trained network by TensorFlow's own converter",
    ("resource_type", "google_open_images_v5"): "Open Images' pictures are not read here; lay them with their masks as "
    "a data set of your own (README, On your own pictures and data), give it by --data and leave resource_type out",
}

# (part, key) -> recipe field.
FIELDS = {
    ("", "base_model"): "base_model",
    ("nn_arch", "boundary_refinement"): "boundary_refinement",
    ("nn_arch", "output_stride"): "output_stride",
    ("nn_arch", "num_classes"): "num_classes",
    ("nn_arch", "mv2_depth_multiplier"): "mv2_depth_multiplier",
    ("nn_arch", "conv_rate_multiplier"): "conv_rate_multiplier",
    ("nn_arch", "reduction_size"): "reduction_size",
    ("nn_arch", "concat_channels"): "concat_channels",
    ("nn_arch", "dropout_rate"): "dropout_rate",
    ("nn_arch", "image_size"): "eval_size",
    ("hps", "lr"): "learning_rate",
    ("hps", "weight_decay"): "weight_decay",
    ("hps", "epochs"): "epochs",
    ("hps", "batch_size"): "batch_size",
    ("hps", "bn_momentum"): "bn_momentum",
    ("hps", "bn_scale"): "bn_scale",
    ("hps", "reduce_lr_factor"): "step_factor",
}
# Keys that have one value in every version of the file: no other value is supported.
FIXED = {("hps", "val_ratio"): 0.1, ("hps", "decay"): 0, ("hps", "dtype"): "float32"}
# Keys that stand for no single field, or have no effect here: paths, devices, queues.
OTHERS = {
    "": ("resource_type", "resource_path", "raw_data_path", "model_loading", "multi_gpu", "num_gpus", "prepro_device",
         "eval_data_mode", "eval_result_saving", "max_queue_size", "workers", "hps", "nn_arch", "mode"),
    "hps": ("beta_1", "beta_2"),
    "nn_arch": ("depth_multiplier", ENCODER_MIDDLE_CONF),
}  # fmt: skip
# The keys that an evaluation reads; the settings of training come with the weights.
EVALUATION = (
    *SimplifiedRecipe.WEIGHT_FIELDS,
    *SimplifiedRecipe.EVALUATION_FIELDS,
    "variant",
    "crop_size",
    "loss",
    "class_weights",
)


def settings(path: Path, command: str = "train", quiet: bool = False) -> list[str]:
    """List `key=value` for each recipe field that the configuration file sets for `command`.

    Prints a note to stderr when its `mode` means another command.

    Raises:
      UserError: the file can't be read, or a key is unknown, missing, or has a value that can't be.
    """

    try:
        conf = json.loads(read_text(path, "cannot be read as JSON"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"--config {path}: cannot be read as JSON ({plain_reason(error)})") from None
    try:
        if not isinstance(conf, dict):
            raise UserError("holds no object with nn_arch and hps")
        parts = {"": conf, "nn_arch": conf.get("nn_arch"), "hps": conf.get("hps")}
        _check_keys(parts)
        _check_values(parts)
        found = _fields(parts)
    except UserError as error:
        raise UserError(f"--config {path}: {error}") from None
    mode = conf.get("mode", "train")
    if command in MODES.values() and MODES[mode] != command:
        say(f"--config {path}: its mode is {mode}; this command does {command} all the same", quiet)
    return [f"{k}={format_value(v)}" for k, v in found.items() if command in ("train", "describe") or k in EVALUATION]


def _check_keys(parts: dict[str, Any]) -> None:
    """Refuse keys that no version of the file has, and a file without those that it must have. Raises UserError."""
    for part, content in parts.items():
        if not isinstance(content, dict):
            raise UserError(f"needs an object {part}")
        known = {key for where, key in (*FIELDS, *FIXED) if where == part} | set(OTHERS[part])
        for key in content.keys() - known:
            if not key.startswith(ENCODER_MIDDLE_CONF):  # unused designs under other names
                raise UserError(f"{part or 'the file'} has an unknown key {key}")
    for part, key in (("", "base_model"), ("nn_arch", ENCODER_MIDDLE_CONF)):
        if key not in parts[part]:
            raise UserError(f"{key} is missing")


def _check_values(parts: dict[str, dict[str, Any]]) -> None:
    """Refuse what this suite does not do. Raises UserError."""
    for (part, key), value in FIXED.items():
        if parts[part].get(key, value) != value:
            raise UserError(f"{key} is {quoted(parts[part][key])}; only {value} can be had here")
    for (key, value), instead in REFUSED.items():
        if parts[""].get(key) == value:
            raise UserError(f"{key} is {value}: {instead}")
    for key, values in (("mode", tuple(MODES)), ("resource_type", RESOURCES)):
        if parts[""].get(key, values[0]) not in values:
            raise UserError(f"{key} is {parts[''][key]}; there are {', '.join(values)}")


def _loss(parts: dict[str, dict[str, Any]], classes: int) -> dict[str, Any]:
    """The loss of the program that the file was written for.

    The program of 2019, whose README has the published figures, called the data's folder raw_data_path and minimised
    softmax cross-entropy. Since 2021 the folder is resource_path and the loss is class-balanced.
    """
    if "raw_data_path" in parts[""] and not parts[""].keys() & {"resource_path", "resource_type"}:
        return {"loss": "softmax", "class_weights": ()}
    return {"class_weights": "auto"} if classes != len(PUBLISHED_WEIGHTS) else {}


def _fields(parts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The recipe fields, each of the type it must have. Raises UserError naming the key of one that has not."""
    kinds = typing.get_type_hints(SimplifiedRecipe)
    found = {}
    for (part, key), field in FIELDS.items():
        if key in parts[part]:
            value = parts[part][key]
            if field == "base_model" and type(value) is int:
                value = BASE_NUMBERS.get(value, value)
            found[field] = checked(key, int if field == "eval_size" else kinds[field], value)
    hps, arch = parts["hps"], parts["nn_arch"]
    if "eval_size" in found:
        side = found["eval_size"]
        found |= {"crop_size": (side, side), "resize_range": (side, side)}
    if "weight_decay" in found:
        found["weight_decay"] *= 2  # Keras' l2 is not halved
    if "beta_1" in hps or "beta_2" in hps:
        found["adam_betas"] = tuple(
            checked(k, float, hps.get(k, usual)) for k, usual in (("beta_1", 0.9), ("beta_2", 0.999))
        )
    found |= _loss(parts, found.get("num_classes", len(PUBLISHED_WEIGHTS)))
    base = found["base_model"]
    variant = base if base in BASE else next(name for name in BASE if name[:6] == base[:6])  # of the same family
    return {"variant": variant, **found, ENCODER_MIDDLE_CONF: json.dumps(arch[ENCODER_MIDDLE_CONF])}
