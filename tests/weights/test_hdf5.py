"""HDF5 files that borrow their values from other files are refused: those may be anybody's."""

import h5py
import numpy as np
import pytest

from common.errors import UserError
from common.weights.hdf5 import is_hdf5, read_arrays
from common.weights.keras_h5 import keras_arrays
from common.weights.weights import Weights


def whole(path):
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"conv"]
        group = file.create_group("conv")
        group.attrs["weight_names"] = [b"conv/kernel:0"]
        group["conv/kernel:0"] = np.ones((1, 1, 2, 3), np.float32)
    return path


def external_values(path, folder):
    (folder / "secret.bin").write_bytes(np.ones(6, np.float32).tobytes())
    with h5py.File(whole(path), "a") as file:
        del file["conv/conv/kernel:0"]
        file["conv"].create_dataset(
            "conv/kernel:0", (1, 1, 2, 3), np.float32, external=[(str(folder / "secret.bin"), 0, 24)]
        )


def external_link(path, folder):
    whole(folder / "other.h5")
    with h5py.File(whole(path), "a") as file:
        del file["conv"]
        file["conv"] = h5py.ExternalLink(str(folder / "other.h5"), "conv")


def virtual(path, folder):
    whole(folder / "other.h5")
    layout = h5py.VirtualLayout((1, 1, 2, 3), np.float32)
    layout[...] = h5py.VirtualSource(str(folder / "other.h5"), "conv/conv/kernel:0", (1, 1, 2, 3))
    with h5py.File(whole(path), "a") as file:
        del file["conv/conv/kernel:0"]
        file["conv"].create_virtual_dataset("conv/kernel:0", layout)


@pytest.mark.parametrize("borrow", [external_values, external_link, virtual])
def test_values_in_other_files_are_refused(tmp_path, borrow):
    assert Weights(whole(tmp_path / "whole.h5")).shapes == {"conv/kernel": (1, 1, 2, 3)}
    borrow(tmp_path / "w.h5", tmp_path)
    with pytest.raises(UserError, match=r"w.h5: cannot be read as Keras weights \(.*in another file"):
        Weights(tmp_path / "w.h5")


NOT_NAMES = {
    "bytes": ([b"\xff\xfe"], "its attribute layer_names is not UTF-8"),
    "number": (3, "its attribute layer_names is no list of names"),
    "numbers": ([3, 4], "its attribute layer_names is no text"),
    "another": ([b"other"], "other is listed but is no group in it"),
}


@pytest.mark.parametrize("kind", NOT_NAMES)
def test_names_that_are_none_are_one_sentence(tmp_path, kind):
    names, reason = NOT_NAMES[kind]
    with h5py.File(whole(tmp_path / "w.h5"), "a") as file:
        file.attrs["layer_names"] = names
    with pytest.raises(
        UserError, match=rf"w\.h5: cannot be read as Keras weights \({reason}\); fetch or write it again"
    ):
        Weights(tmp_path / "w.h5")


def test_an_array_that_is_listed_and_not_there(tmp_path):
    with h5py.File(whole(tmp_path / "w.h5"), "a") as file:
        file["conv"].attrs["weight_names"] = [b"conv/bias:0"]
    with pytest.raises(UserError, match=r"conv/conv/bias:0 is listed but is no dataset in it"):
        Weights(tmp_path / "w.h5")


def test_arrays_of_keras_3_that_are_too_many(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        for i in range(7):
            file[f"layers/conv/vars/{i}"] = np.ones((1, 1, 2, 3), np.float32)
    with pytest.raises(UserError, match=r"layers/conv/vars has 7 arrays, as no layer with weights of that kind has"):
        Weights(tmp_path / "w.h5")


def test_a_circle_of_groups_ends(tmp_path):
    with h5py.File(whole(tmp_path / "w.h5"), "a") as file:
        file["conv/again"] = file["/"]
        file["conv/soft"] = h5py.SoftLink("/conv")
    assert Weights(tmp_path / "w.h5").shapes == {"conv/kernel": (1, 1, 2, 3)}


def test_a_file_is_known_by_its_signature(tmp_path):
    assert is_hdf5(whole(tmp_path / "w.bin"))
    assert not is_hdf5(tmp_path / "none")
    with pytest.raises(ValueError):
        read_arrays(tmp_path / "none", keras_arrays)
