"""The original's configuration file, as it is, into `--set` arguments."""

import json
from pathlib import Path
from typing import Any

from common.cell import ENCODER_MIDDLE_CONF
from common.console import say
from common.errors import UserError
from common.recipe import format_value

BASE_NUMBERS = {0: "mobilenetv2", 1: "xception"}  # until January 2021
MODES = {"train": "train", "evaluate": "evaluate", "test": "predict"}  # the command that does it here

# Where a recipe field stands in the file, and what it becomes.
FIELDS = {
    ("nn_arch", "boundary_refinement"): "boundary_refinement",
    ("nn_arch", "output_stride"): "output_stride",
    ("nn_arch", "num_classes"): "num_classes",
    ("nn_arch", "mv2_depth_multiplier"): "mv2_depth_multiplier",
    ("nn_arch", "conv_rate_multiplier"): "conv_rate_multiplier",
    ("nn_arch", "reduction_size"): "reduction_size",
    ("nn_arch", "concat_channels"): "concat_channels",
    ("nn_arch", "dropout_rate"): "dropout_rate",
    ("hps", "lr"): "learning_rate",
    ("hps", "epochs"): "epochs",
    ("hps", "batch_size"): "batch_size",
    ("hps", "bn_momentum"): "bn_momentum",
    ("hps", "bn_scale"): "bn_scale",
    ("hps", "reduce_lr_factor"): "step_factor",
}
# What the file may hold that has no meaning for a network or its training here.
IGNORED = {
    "": ("resource_type", "resource_path", "raw_data_path", "model_loading", "multi_gpu", "num_gpus", "prepro_device",
         "eval_data_mode", "eval_result_saving", "max_queue_size", "workers", "hps", "nn_arch", "mode", "base_model"),
    "hps": ("dtype", "val_ratio", "beta_1", "beta_2", "decay", "weight_decay"),
    "nn_arch": ("depth_multiplier", "image_size", ENCODER_MIDDLE_CONF),
}  # fmt: skip


def settings(path: Path, command: str = "", quiet: bool = False) -> list[str]:
    """`key=value` for each recipe field that the configuration file settles.

    Says on stderr when its `mode` means another command than `command`.

    Raises:
      UserError: the file can't be read, or a key is unknown, missing or of a wrong kind.
    """
    try:
        conf = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise UserError(f"--config {path}: cannot be read as JSON ({error})") from None
    parts = {"": conf} | {part: conf.get(part) if isinstance(conf, dict) else None for part in ("nn_arch", "hps")}
    for part, content in parts.items():
        if not isinstance(content, dict):
            raise UserError(f"--config {path}: needs an object {part or 'with nn_arch and hps'}")
        known = {key for where, key in FIELDS if where == part} | set(IGNORED[part])
        for key in content.keys() - known:
            if not key.startswith(ENCODER_MIDDLE_CONF):  # designs that wait under another name
                raise UserError(f"--config {path}: {part or 'the file'} has an unknown key {key}")
    mode = conf.get("mode", "train")
    if mode not in MODES and mode != "convert_to_tf_lite":
        raise UserError(f"--config {path}: mode is {mode}; there are {', '.join(MODES)}")
    if command and MODES.get(mode) not in (command, None):
        say(f"--config {path}: its mode is {mode}; this command does {command} all the same", quiet)
    try:
        return [f"{key}={format_value(value)}" for key, value in _fields(parts).items()]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"--config {path}: {error} is missing, or not of the kind it should be") from None


def _fields(parts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    conf, arch, hps = parts.values()
    found = {field: parts[part][key] for (part, key), field in FIELDS.items() if key in parts[part]}
    base = conf["base_model"]
    found["base_model"] = BASE_NUMBERS.get(base, base) if not isinstance(base, bool) else base
    found[ENCODER_MIDDLE_CONF] = json.dumps(arch[ENCODER_MIDDLE_CONF])
    if "image_size" in arch:
        side = int(arch["image_size"])
        found |= {"crop_size": (side, side), "resize_range": (side, side), "eval_size": side}
    if "beta_1" in hps or "beta_2" in hps:
        found["adam_betas"] = (float(hps.get("beta_1", 0.9)), float(hps.get("beta_2", 0.999)))
    if "weight_decay" in hps:
        found["weight_decay"] = 2 * float(hps["weight_decay"])  # Keras' l2 is not halved
    if found.get("num_classes", 21) != 21:
        found["class_weights"] = "auto"
    return found
