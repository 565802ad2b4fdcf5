"""Keras `.h5` files, weights or whole models of Keras 2 and 3, by layer name."""

import re
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

from common.errors import brief
from common.weights.hdf5 import read_arrays
from common.weights.npz import open_npz

Layers = dict[str, dict[str, np.ndarray]]  # layer -> variable -> array


def read_h5(path: Path) -> Layers:
    """Read layer name -> variable (kernel, depthwise_kernel, bias, gamma, ...) -> array.

    The layers of models inside the model are listed like the model's own layers.

    Raises:
      ValueError: what is wrong with the file.
    """
    return _by_layer(read_arrays(path, keras_arrays))


def read_npz(path: Path) -> Layers:
    """Read the same from an `.npz` keyed `layer/variable`."""
    archive, shapes = open_npz(path)
    with archive:
        return _by_layer({key: archive[key] for key in shapes})


def _by_layer(arrays: Mapping[str, np.ndarray]) -> Layers:
    layers: Layers = {}
    for key, array in arrays.items():
        layer, _, name = key.rpartition("/")
        layers.setdefault(layer, {})[name.partition(":")[0]] = array
    return layers


def keras_arrays(file: h5py.File) -> dict[str, np.ndarray]:
    """`layer/variable` -> array, of an open Keras file."""
    root = file.get("model_weights", file)
    layers = _keras2(root) if _texts(root, "layer_names") else _keras3(root)
    arrays = {f"{layer}/{name}": value for layer, values in layers.items() for name, value in values.items()}
    for name in arrays:
        _text(name, "the name of an array")
    return arrays


def _keras2(root: h5py.Group) -> Layers:
    """Groups by layer, their arrays named by the attribute `weight_names`: `res2a/kernel:0`.

    A model inside the model is one such group; its arrays' names begin with their layers' names. In a layer's own
    group this name may have a number more than the group's (`conv2d_1/kernel:0` in group conv2d).
    """
    layers: Layers = {}
    for group in _texts(root, "layer_names"):
        holder = _member(root, group, h5py.Group)
        for name in _texts(holder, "weight_names"):
            owner = name.split("/")[-2] if "/" in name else group
            layer = group if re.fullmatch(rf"{re.escape(group)}(_\d+)?", owner) else owner
            layers.setdefault(layer, {})[name.rpartition("/")[2].partition(":")[0]] = np.asarray(
                _member(holder, name, h5py.Dataset)
            )
    return layers


def _keras3(root: h5py.Group) -> Layers:
    """Groups `vars` of numbered arrays; the attribute `name`, or the group around them, is the layer's name."""
    layers: Layers = {}

    def visit(path: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Group) and path.endswith("/vars") and len(item):
            layer = _text(item.attrs.get("name", path.split("/")[-2]), "its attribute name")
            arrays = [np.asarray(_member(item, str(i), h5py.Dataset)) for i in range(len(item))]
            names = _names(arrays)
            if len(names) != len(arrays):
                raise ValueError(f"{brief(path)} has {len(arrays)} arrays, as no layer with weights of that kind has")
            layers[layer] = dict(zip(names, arrays, strict=True))

    root.visititems(visit)
    return layers


def _names(arrays: list[np.ndarray]) -> tuple[str, ...]:
    """The names of variables that Keras 3 stores by position, in the order in which Keras lists a layer's variables."""
    if arrays[-1].ndim == 0:  # EfficientNet's normalisation of pictures
        return ("mean", "variance", "count")
    if arrays[0].ndim == 1:  # batch norm, without gamma when it does not scale
        return ("gamma", "beta", "moving_mean", "moving_variance")[-len(arrays) :]
    if len(arrays) > 1 and arrays[1].ndim == 4:
        return ("depthwise_kernel", "pointwise_kernel", "bias")[: len(arrays)]
    return ("kernel", "bias")[: len(arrays)]


def _texts(group: h5py.Group, name: str) -> list[str]:
    """A list attribute; beyond 64 kB Keras writes it in parts, `<name>0`, `<name>1`, ..."""
    parts = [group.attrs[name]] if name in group.attrs else []
    while f"{name}{len(parts)}" in group.attrs:
        parts.append(group.attrs[f"{name}{len(parts)}"])
    what = f"its attribute {name}"
    if not all(np.ndim(part) == 1 for part in parts):
        raise ValueError(f"{what} is no list of names")
    return [_text(value, what) for part in parts for value in part]


def _text(value: object, what: str) -> str:
    """A text of the file. Raises ValueError, which begins with `what`, when it is none, or not UTF-8."""
    try:
        text = value.decode() if isinstance(value, bytes) else value
        if isinstance(text, str) and text.encode():
            return text
    except UnicodeError:
        raise ValueError(f"{what} is not UTF-8") from None
    raise ValueError(f"{what} is no text")


def _member(group: h5py.Group, name: str, kind: type) -> h5py.Group | h5py.Dataset:
    """The item that a file lists. Raises ValueError when it is not in the file, or of another kind."""
    item = group.get(name)
    if not isinstance(item, kind):
        raise ValueError(
            f"{brief(f'{group.name}/{name}'.lstrip('/'))} is listed but is no {kind.__name__.lower()} in it"
        )
    return item
