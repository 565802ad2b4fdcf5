"""Read Keras weights by layer name: `.h5` of Keras 2 and 3, `.npz`, and TF.js layers models."""

import json
from pathlib import Path

from common.errors import UserError, plain_reason
from common.files import read_text
from common.weights.keras_h5 import Layers, read_h5, read_npz
from converters import tfjs
from converters.formats import refuse_other_formats


def read_keras_weights(path: Path) -> Layers:
    """Layer name -> variable (kernel, bias, gamma, beta, moving_mean, moving_variance) -> array.

    Args:
      path: `.h5` (weights or whole model), `.npz` keyed `layer/variable`, or the `model.json` of a
        TF.js layers model with its shards beside it.

    Raises:
      UserError: missing, of another format, or damaged.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such weight file")
    readers = {".h5": read_h5, ".hdf5": read_h5, ".keras": _refuse_zip, ".npz": read_npz, ".json": _read_tfjs}
    refuse_other_formats(path, *readers)
    if path.suffix not in readers:
        raise UserError(f"{path}: is none of {', '.join(readers)}")
    try:
        layers = readers[path.suffix](path)
    except UserError:
        raise
    except Exception as error:  # zip, JSON, HDF5 and numpy each have their own
        raise UserError(
            f"{path}: cannot be read as Keras weights ({plain_reason(error)}); fetch or write it again"
        ) from None
    if not layers:
        raise UserError(f"{path}: holds no layer with weights")
    return layers


def _refuse_zip(path: Path) -> Layers:
    raise UserError(f"{path}: is a Keras 3 archive; unzip it and give its model.weights.h5")


def _read_tfjs(path: Path) -> Layers:
    model = json.loads(read_text(path, "cannot be read as Keras weights"))
    if tfjs.is_graph_model(model):
        raise UserError(f"{path}: is a TF.js graph model, not a layers model; converters.tfjs_to_tf reads those")
    layers: Layers = {}
    for key, array in tfjs.read_weights(model["weightsManifest"], path.parent).items():
        layer, _, name = key.rpartition("/")
        layers.setdefault(layer, {})[name] = array
    return layers
