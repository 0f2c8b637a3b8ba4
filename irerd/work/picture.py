"""A look at a stored run, small enough to be sent and drawn: never more points than a screen has, and nothing computed anew.

Of a cube it is the plane through its middle, across the first axis; and the mean of |A|² along that axis, in which nothing hides.
"""

import base64
import json
import math
from typing import Any

import msgspec
import numpy as np

from irerd.work import store
from irerd.worker import JobFailed, Tell
from kernels.score import primes

SIDE = 128
"""Points a side at most."""


class Spec(msgspec.Struct, forbid_unknown_fields=True):
    artefact: str


def picture(spec: bytes, tell: Tell) -> bytes:
    try:
        asked = msgspec.json.decode(spec, type=Spec)
    except msgspec.MsgspecError:
        raise JobFailed("bad-spec") from None
    found = store.get(asked.artefact)
    attributes, settings, arrays = found.artefact
    said = {
        "job_uuid": attributes.get("job_uuid"),
        "artefact_sha256": found.sha256,
        "attributes": attributes,
        "settings": settings,
        "fields": _panels(arrays, "pi" in arrays),
        "spectrum": _spectrum(attributes, settings, arrays),
    }
    try:
        return json.dumps(said, allow_nan=False, sort_keys=True).encode()
    except ValueError:
        raise JobFailed("bad-artefact") from None


def _panels(arrays: dict[str, Any], real: bool) -> dict[str, Any]:
    """In one dimension the snapshots stand below one another, the last at the bottom; the second field is there only at the end."""
    dimensions = arrays["A"].ndim
    field = arrays["snaps"] if dimensions == 1 else _plane(arrays["A"])
    panels = {"rho": _shades(_density(field))}
    if dimensions == 3:
        panels["rho_mean"] = _shades(_density(arrays["A"]).mean(axis=0))
    if real:
        return panels | {"field": _shades(field.real), "pi": _shades(np.atleast_2d(_plane(arrays["pi"])))}
    return panels | {
        "phase": _shades(np.angle(field), -math.pi, math.pi),
        "rho_s": _shades(np.atleast_2d(_plane(arrays["rho_s"]))),
    }


def _density(field: Any) -> Any:
    return np.abs(field.astype(np.complex128)) ** 2


def _plane(values: Any) -> Any:
    return values[len(values) // 2] if values.ndim == 3 else values


def _shades(values: Any, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    """Every so many points, as one byte each: 0 is low, 255 is high. What is no number is shown as low."""
    rows, columns = (np.arange(count) * size // count for size in values.shape for count in (min(size, SIDE),))
    seen = values[np.ix_(rows, columns)].astype(np.float64)
    real = seen[np.isfinite(seen)]
    low = float(real.min()) if low is None and real.size else low or 0.0
    high = float(real.max()) if high is None and real.size else high or 0.0
    share = (seen - low) / (high - low) if high > low else np.zeros_like(seen)
    shades = np.rint(255 * np.clip(np.nan_to_num(share), 0, 1)).astype(np.uint8)
    return {"low": low, "high": high, "rows": [base64.b64encode(row.tobytes()).decode() for row in shades]}


def _spectrum(attributes: dict[str, Any], settings: dict[str, Any], arrays: dict[str, Any]) -> dict[str, Any] | None:
    """In shells, one of which is dk wide; the targets stand where the scale of the score puts them. None where there is none."""
    if "spectrum/x" not in arrays or "peaks/x" not in arrays:
        return None
    dk = 2 * math.pi / float(settings["l"])
    matched = [int(place) for place in arrays["peaks/matched"]]
    numbers = [int(prime) for prime in primes(len(matched))]
    of_peak = {place: prime for place, prime in zip(matched, numbers, strict=True) if place >= 0}
    peaks = zip(arrays["peaks/x"].tolist(), arrays["peaks/prominence"].tolist(), strict=True)
    factor = attributes.get("scaling_factor")
    return {
        "dk": dk,
        "x": arrays["spectrum/x"].tolist(),
        "y": arrays["spectrum/y"].tolist(),
        "baseline": arrays["spectrum/baseline"].tolist(),
        "peaks": [{"x": x, "prominence": prominence, "prime": of_peak.get(place)} for place, (x, prominence) in enumerate(peaks)],
        "targets": [{"prime": prime, "x": math.log(prime) / (factor * dk)} for prime in numbers] if factor else [],
    }
