"""Weights as Keras 2 writes them, by hand."""

from collections.abc import Mapping

import h5py
import numpy as np


def write_layers(root: h5py.Group, layers: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Put the layers, name -> variable -> values, into the group."""
    root.attrs["layer_names"] = [name.encode() for name in layers]
    for layer, variables in layers.items():
        group = root.create_group(layer)
        group.attrs["weight_names"] = [f"{layer}/{name}:0".encode() for name in variables]
        for name, value in variables.items():
            group[f"{layer}/{name}:0"] = value
