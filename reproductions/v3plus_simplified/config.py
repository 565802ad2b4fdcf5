"""The original's configuration file, as it is, into `--set` arguments."""

import json
import typing
from pathlib import Path
from typing import Any

from common.console import say
from common.errors import UserError
from common.recipe.cell import ENCODER_MIDDLE_CONF
from common.recipe.recipe import format_value
from common.recipe.values import checked
from reproductions.v3plus_simplified.recipe import BASE, SimplifiedRecipe

BASE_NUMBERS = {0: "mobilenetv2", 1: "xception"}  # until January 2021
MODES = {"train": "train", "evaluate": "evaluate", "test": "predict"}  # the command that does it here

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
# What must be as it is in every version of the file: nothing else is done here.
FIXED = {("hps", "val_ratio"): 0.1, ("hps", "decay"): 0, ("hps", "dtype"): "float32"}
# Keys that stand for something else than one field, or for nothing here: paths, devices, queues.
OTHERS = {
    "": ("resource_type", "resource_path", "raw_data_path", "model_loading", "multi_gpu", "num_gpus", "prepro_device",
         "eval_data_mode", "eval_result_saving", "max_queue_size", "workers", "hps", "nn_arch", "mode"),
    "hps": ("beta_1", "beta_2"),
    "nn_arch": ("depth_multiplier", ENCODER_MIDDLE_CONF),
}  # fmt: skip
# What an evaluation takes of the file; the numbers of the training are the weights' own.
EVALUATION = (
    *SimplifiedRecipe.WEIGHT_FIELDS,
    *SimplifiedRecipe.EVALUATION_FIELDS,
    "variant",
    "crop_size",
    "class_weights",
)


def settings(path: Path, command: str = "train", quiet: bool = False) -> list[str]:
    """`key=value` for each recipe field that the configuration file settles for `command`.

    Says on stderr when its `mode` means another command.

    Raises:
      UserError: the file can't be read, or a key is unknown, missing, or has a value that can't be.
    """

    def refuse(reason):
        raise UserError(f"--config {path}: {reason}")

    try:
        conf = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        refuse(f"cannot be read as JSON ({error})")
    if not isinstance(conf, dict):
        refuse("holds no object with nn_arch and hps")
    parts = {"": conf, "nn_arch": conf.get("nn_arch"), "hps": conf.get("hps")}
    for part, content in parts.items():
        if not isinstance(content, dict):
            refuse(f"needs an object {part}")
        known = {key for where, key in (*FIELDS, *FIXED) if where == part} | set(OTHERS[part])
        for key in content.keys() - known:
            if not key.startswith(ENCODER_MIDDLE_CONF):  # designs that wait under another name
                refuse(f"{part or 'the file'} has an unknown key {key}")
    for (part, key), value in FIXED.items():
        if parts[part].get(key, value) != value:
            refuse(f"{key} is {parts[part][key]!r}; only {value} can be had here")
    mode = conf.get("mode", "train")
    if mode not in (*MODES, "convert_to_tf_lite"):
        refuse(f"mode is {mode}; there are {', '.join(MODES)}")
    if command in MODES.values() and MODES.get(mode) not in (command, None):
        say(f"--config {path}: its mode is {mode}; this command does {command} all the same", quiet)
    for part, key in (("", "base_model"), ("nn_arch", ENCODER_MIDDLE_CONF)):
        if key not in parts[part]:
            refuse(f"{key} is missing")
    try:
        found = _fields(parts)
    except UserError as error:
        refuse(str(error))
    return [f"{k}={format_value(v)}" for k, v in found.items() if command in ("train", "describe") or k in EVALUATION]


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
    if found.get("num_classes", 21) != 21:
        found["class_weights"] = "auto"
    name = found["base_model"] if found["base_model"] in BASE else "densenet121"
    return {"variant": name, **found, ENCODER_MIDDLE_CONF: json.dumps(arch[ENCODER_MIDDLE_CONF])}
