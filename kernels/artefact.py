"""What a run leaves: one HDF5 file of arrays and attributes that any HDF5 reader opens. The same run writes the same bytes.

So there are no time stamps in it, no versions, nothing of the machine, and everything is written in one order. It goes to a binary
file that somebody else opened, syncs and names; half a file must never have the name of a whole one.
"""

from collections.abc import Mapping
from typing import Any, BinaryIO, Final, NamedTuple, TypeAlias

import h5py
import numpy as np

FORMAT: Final = 1
SETTINGS: Final = "settings"
"""The group whose attributes say how the run was computed."""
ARRAYS: Final = {
    "A": "the field at the end",
    "rho_s": "the density of space at the end",
    "pi": "the momentum of the field at the end, of the model fmia",
    "omega_inverse_square": "the metric factor Omega^-2 at the end",
    "snaps": "the field at evenly spaced moments of the last quarter, the last one at the end",
    "diag": "a row for each of them",
    "spectrum/x": "mean |n| of each shell",
    "spectrum/modes": "how many modes it has",
    "spectrum/power": "mean power of the density |A|^2 in it",
    "spectrum/y": "its logarithm",
    "spectrum/baseline": "the running median that is taken off",
    "peaks/x": "where peaks stand, in shells",
    "peaks/prominence": "by how much they stand out",
    "peaks/matched": "for each of the targets ln 2, ln 3, ln 5, ... the index of its peak, or -1",
}
ALWAYS: Final = ("A", "rho_s", "snaps", "diag")

Plain: TypeAlias = str | int | float | bool


class BadArtefact(Exception):
    """This file is no artefact of a run."""


class Artefact(NamedTuple):
    attributes: dict[str, Plain]
    """Which run it is, and what it came to. What there is no number for is not there."""
    settings: dict[str, Plain]
    arrays: dict[str, np.ndarray]


def write(file: BinaryIO, artefact: Artefact) -> None:
    """Into an empty file open for reading and writing."""
    with h5py.File(file, "w", libver=("earliest", "v108")) as store:
        _attributes(store, {"format": FORMAT, **artefact.attributes})
        _attributes(store.create_group(SETTINGS), artefact.settings)
        for name, says in ARRAYS.items():
            if name in artefact.arrays:
                array = artefact.arrays[name]
                plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
                store.create_dataset(name, data=plain, track_times=False).attrs["says"] = says


def _attributes(place: Any, values: Mapping[str, Plain]) -> None:
    for name in sorted(values):
        place.attrs[name] = values[name]


def read(file: BinaryIO) -> Artefact:
    """Raises BadArtefact, whatever the file is."""
    try:
        with h5py.File(file, "r") as store:
            if store.attrs.get("format") != FORMAT:
                raise BadArtefact("it is of another format")
            arrays = {name: store[name][()] for name in ARRAYS if name in store}
            found = Artefact(_plain(store.attrs), _plain(store[SETTINGS].attrs), arrays)
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError):
        raise BadArtefact("it is no HDF5 file of a run") from None
    _check(found)
    return found


def _plain(attributes: Mapping[str, Any]) -> dict[str, Plain]:
    found: dict[str, Plain] = {}
    for name, value in attributes.items():
        plain = value.item() if isinstance(value, np.generic) else value
        if not isinstance(plain, str | int | float | bool):
            raise BadArtefact(f"{name} is no plain value")
        found[name] = plain
    return found


def _check(found: Artefact) -> None:
    """The shapes that everything which reads a run relies on."""
    if any(name not in found.arrays for name in ALWAYS):
        raise BadArtefact("fields are missing")
    field, rho_s, snaps = found.arrays["A"], found.arrays["rho_s"], found.arrays["snaps"]
    shape = (found.settings.get("n"),) * int(found.settings.get("d", 0))
    if not shape or field.shape != shape or rho_s.shape != shape or snaps.shape[1:] != shape or not len(snaps):
        raise BadArtefact("its fields are not on its grid")
    if "pi" in found.arrays and found.arrays["pi"].shape != shape:
        raise BadArtefact("its momentum is not on its grid")
    if field.dtype.kind != "c" or snaps.dtype.kind != "c" or rho_s.dtype.kind != "f":
        raise BadArtefact("its fields are no fields")
