"""What a run leaves, and what may be read from it: the file itself, and the jobs that look into one."""

import base64
import io
import json
import math
import time
import uuid
from pathlib import Path
from random import Random

import h5py
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.engine import Errand
from core.settings import Compute
from core.sim import model
from core.sim.chunk import Chunk, Grid, Initial, Lane, Pump, Settings, plain
from irerd import worker
from irerd.effects.runs import Runs
from irerd.work import chunk as chunks
from irerd.work import store, validate
from irerd.workers import WorkFailed
from kernels import nulls, simulate, start
from kernels.artefact import ARRAYS, Artefact, BadArtefact, read, write
from kernels.params import Signature, coefficients
from kernels.score import log_primes
from tests.sim.disk import SimFiles
from tests.sim.machine import Faults, Machine, SimHost, Spoiled
from tests.sim.oracle import Oracle
from tests.sim.trace import Trace

SIG = Signature(points=16, precision="f64", geometry="coevolve")
JOB = uuid.UUID(int=12, version=5)


def small(extra: float = 0.0) -> Artefact:
    field = np.exp(1j * np.arange(64).reshape(8, 8)) + extra
    arrays = {"A": field, "rho_s": np.ones((8, 8)), "snaps": field[None], "diag": np.full((1, 6), np.nan)}
    return Artefact({"job_uuid": str(JOB), "status": "ok", "resolved": True}, {"n": 8, "d": 2, "l": 20.0, "kernel": "ring"}, arrays)


def written(artefact: Artefact) -> bytes:
    file = io.BytesIO()
    write(file, artefact)
    return file.getvalue()


# --- the file -------------------------------------------------------------------------------------------------------------


def test_a_file_comes_back_as_it_was_and_any_reader_opens_it():
    found = read(io.BytesIO(written(small())))
    assert found.attributes == {**small().attributes, "format": 1} and found.settings == small().settings
    for name, array in small().arrays.items():
        assert np.array_equal(found.arrays[name], array, equal_nan=True) and found.arrays[name].dtype == array.dtype
    with h5py.File(io.BytesIO(written(small()))) as store_:
        assert store_.attrs["status"] == "ok" and store_["settings"].attrs["kernel"] == "ring"
        assert all(store_[name].attrs["says"] == ARRAYS[name] for name in small().arrays)


def test_the_same_run_writes_the_same_bytes_and_no_time():
    assert written(small()) == written(small()) != written(small(1e-15))
    backwards = small()._replace(settings=dict(reversed(small().settings.items())), arrays=dict(reversed(small().arrays.items())))
    assert written(backwards) == written(small())
    now = int(time.time())
    assert not [second for second in range(now - 5, now + 2) if second.to_bytes(4, "little") in written(small())]


WHOLE = written(small())


@given(st.one_of(st.binary(max_size=200), st.integers(0, len(WHOLE) - 1).map(lambda cut: WHOLE[:cut])))
def test_bytes_that_are_no_run_are_refused(data):
    with pytest.raises(BadArtefact):
        read(io.BytesIO(data))


@pytest.mark.parametrize(
    "other",
    [
        small()._replace(settings={"n": 16, "d": 2}),
        small()._replace(settings={"n": 8}),
        small()._replace(arrays={name: array for name, array in small().arrays.items() if name != "snaps"}),
        small()._replace(arrays={**small().arrays, "A": np.ones((8, 8))}),
        small()._replace(arrays={**small().arrays, "snaps": np.ones((0, 8, 8), complex)}),
    ],
    ids=["another grid", "no grid", "no snapshots", "a real field", "empty snapshots"],
)
def test_a_file_whose_fields_do_not_fit_is_refused(other):
    with pytest.raises(BadArtefact):
        read(io.BytesIO(written(other)))


# --- a run in portions ----------------------------------------------------------------------------------------------------


def test_a_run_that_tells_how_far_it_is_has_the_bits_of_one_that_does_not(monkeypatch):
    runs = [coefficients({"eps": 1.0, "dt": 0.03}), coefficients({"eps": 30.0, "lam": 0.0, "g_nl": 0.0, "dt": 0.1})]
    fields = np.stack([start.noise(seed, 2, 16) for seed in (1, 2)])
    density, pump = np.ones((2, 16, 16)), np.zeros((2, 16, 16))
    whole = simulate.simulate(SIG, runs, fields, density, pump, None, 203)
    assert list(whole.status) != [0, 0]  # a bad one is among them
    for values, told in ((1, [32, 64, 96, 128, 160, 192, 203]), (256 * 3, [96, 192, 203]), (2**14, [203])):
        monkeypatch.setattr(simulate, "PORTION_VALUES", values)
        heard: list[int] = []
        parts = simulate.simulate(SIG, runs, fields, density, pump, None, 203, heard.append)
        assert heard == told
        for name in whole._fields:
            assert np.array_equal(getattr(parts, name), getattr(whole, name), equal_nan=name in ("h", "h_max", "diag")), name


# --- looking into a run ---------------------------------------------------------------------------------------------------


def asked(tmp_path, **more) -> str:
    """A run of the very signature above, computed here, and its file."""
    settings = Settings(dtype="complex128", snapshots=8, **more)
    lane = Lane(str(JOB), 3, dict(model.DEFAULTS) | {"kappa": 0.7, "alpha": -0.4, "D_g": 0.8})
    work = Chunk("sncgl_sdg", Grid(16, 20.0, 2), 150, 0.02, settings, 5, [lane])
    path = str(tmp_path / "run.h5")
    answer(f"{tmp_path}/run.h5", "chunk", {"chunk": msgspec.to_builtins(work), "files": [path]})
    return path


def answer(path: str, job: str, spec: dict) -> dict:
    found = worker.JOBS[job](json.dumps(spec).encode(), lambda done, total: None)
    return json.loads(found)


def changed(path: str, change) -> str:
    """The same file, with a change that HDF5 itself finds nothing wrong with."""
    with h5py.File(path, "r+") as store_:
        change(store_)
    return path


def validated(path: str, **more) -> dict:
    return answer(path, "validate", {"artefact": path, **more})


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> bytes:
    """The file of a run, to be copied before it is changed."""
    return Path(asked(tmp_path_factory.mktemp("run"))).read_bytes()


@pytest.fixture
def path(run, tmp_path) -> str:
    (tmp_path / "run.h5").write_bytes(run)
    return str(tmp_path / "run.h5")


def test_what_a_run_says_of_itself_follows_from_its_fields(path):
    found = validated(path, sha256=store.get(path).sha256)
    norm = found["metrics"]["sdg_h_norm_l2"]
    assert found["agrees"] and found["hash_agrees"] and found["tolerance"] == 1e-6
    assert norm["found"] != norm["said"] and norm["found"] == pytest.approx(norm["said"], abs=1e-11)  # another way, same answer


@pytest.mark.parametrize(
    "change",
    [
        lambda store_: store_["rho_s"].write_direct(store_["rho_s"][()] * 1.001),
        lambda store_: store_["A"].write_direct(store_["A"][()] * 1.001),
        lambda store_: store_.attrs.modify("sdg_h_norm_l2", store_.attrs["sdg_h_norm_l2"] * 0.999),
        lambda store_: store_["settings"].attrs.modify("kappa", 0.71),
        lambda store_: store_.attrs.modify("sse_code", "missing"),
    ],
    ids=["space", "the field", "the norm", "a setting", "a code"],
)
def test_a_file_that_was_changed_does_not_agree_with_itself_or_its_hash(path, change):
    before = store.get(path).sha256
    found = validated(changed(path, change), sha256=before)
    assert not found["agrees"] and not found["hash_agrees"]
    by_itself = validated(path)
    assert not by_itself["agrees"] and by_itself["hash_agrees"]


def test_what_the_log_says_counts_more_than_what_the_file_says(path):
    said = store.get(path).artefact.attributes["sdg_h_norm_l2"]
    assert validated(path, claimed={"sdg_h_norm_l2": said})["agrees"]
    assert not validated(path, claimed={"sdg_h_norm_l2": said + 1e-4})["agrees"]


def planted(tmp_path, positions, dtype="complex128", noise=3, points=256, length=40.0) -> tuple[str, dict]:
    """A file of one dimension with waves at these shells in its density, and the score that the pipeline finds in it."""
    random = np.random.Generator(np.random.Philox(noise))
    x = 2 * np.pi * np.arange(points) / points
    wide = random.normal(size=(8, points // 2)) * np.exp(-np.arange(points // 2) / 40)
    waves = sum(0.02 * np.cos(place * x + place) for place in positions)
    rho = 1 + waves + 1e-4 * np.array([sum(a * np.cos(j * x + j * j) for j, a in enumerate(row)) for row in wide])
    fields = np.sqrt(rho).astype(dtype)
    seen, aligned = nulls.measure(fields, length, 5)
    said = {
        "n_targets": 5,
        "status": "ok",
        "h_code": "no_source",
        "job_uuid": str(JOB),
        "log_prime_sse": float(aligned.score),
        "scaling_factor": aligned.scaling_factor,
    }
    arrays = {"A": fields[-1], "snaps": fields, "rho_s": np.ones(points), "diag": np.zeros((8, 6))}
    arrays |= {"spectrum/x": seen.x, "spectrum/y": seen.y, "spectrum/baseline": seen.y - seen.z, "peaks/x": seen.peaks.x}
    arrays |= {"peaks/prominence": seen.peaks.prominence, "peaks/matched": aligned.matched}
    settings = {"n": points, "d": 1, "l": length, "dtype": dtype, "geometry": "off"}
    path = str(tmp_path / f"planted{noise}{dtype}.h5")
    store.put(path, Artefact(said, settings, arrays))
    return path, said


@pytest.mark.parametrize("dtype", ["complex128", "complex64"])
@pytest.mark.parametrize("noise", [2, 3])
def test_a_score_found_in_another_way_is_the_same(tmp_path, noise, dtype):
    places = np.rint(20 * log_primes(5)).astype(int) if noise % 2 else [13, 24, 29, 41, 55]
    path, said = planted(tmp_path, places, dtype, noise)
    found = validated(path)
    row = found["metrics"]["log_prime_sse"]
    assert found["agrees"] and row["found"] == pytest.approx(said["log_prime_sse"], abs=found["tolerance"])
    for other in (said["log_prime_sse"] + 3e-4, said["log_prime_sse"] - 3e-4):
        assert not validated(path, claimed={"log_prime_sse": other})["agrees"]
    # A scale that costs more than another one does is no least cost, even if the cost is right for it.
    x, peaks = validate._peaks(store.get(path).artefact.arrays["snaps"])
    targets = log_primes(5)
    low, high = targets[-1] / x[-2], targets[0] / x[1]
    scales = validate._scales(peaks, targets, low, high)
    cost, worse = max((validate._descended(peaks, targets, scale, low, high), scale) for scale in scales)
    assert cost > said["log_prime_sse"] + 0.1
    assert not validated(path, claimed={"log_prime_sse": cost, "scaling_factor": worse * 40.0 / (2 * math.pi)})["agrees"]


def test_the_nulls_of_a_stored_run_are_those_of_its_fields(tmp_path):
    path, _ = planted(tmp_path, np.rint(10 * log_primes(5)).astype(int), noise=9, points=96)
    told: list[tuple[int, int]] = []
    spec = json.dumps({"artefact": path, "targets": 5}).encode()
    found = json.loads(worker.JOBS["profile"](spec, lambda done, total: told.append((done, total))))
    fields = store.get(path).artefact.arrays["snaps"]
    whole = nulls.profile(fields, JOB, 40.0, 5, 999)
    assert (found["p_phase"], found["p_target"]) == (float(whole.p_phase), float(whole.p_target))
    assert found["log_prime_sse"] == whole.aligned.score and found["ramp_gain"] == whole.ramp_gain
    assert found["integers"]["rank"] == whole.integers.rank and found["survives"] == whole.survives()
    first = nulls.phase_draws(fields, JOB, log_primes(5), 99).score
    assert found["gap_phase"] == pytest.approx(np.nanmedian(first) - found["log_prime_sse"]) and found["gap_phase"] > 0
    assert found["gap_target"] is not None
    assert told[0] == (0, 999) and told[-1] == (999, 999) and len(told) > 20


def test_without_a_score_there_is_nothing_to_compare(path):
    found = answer(path, "profile", {"artefact": path})
    assert found["sse_code"] == "missing" or found["sse_code"] == "no_peaks"
    assert found["p_phase"] is None and found["gap_phase"] is None and not found["survives"]


def test_a_picture_shows_every_field_at_most_so_large(path, tmp_path):
    found = answer(path, "picture", {"artefact": path})
    fields = store.get(path).artefact.arrays
    rows = [base64.b64decode(row) for row in found["fields"]["rho"]["rows"]]
    rho = np.abs(fields["A"]) ** 2
    low, high = found["fields"]["rho"]["low"], found["fields"]["rho"]["high"]
    assert (low, high) == (rho.min(), rho.max()) and len(rows) == 16 and len(rows[0]) == 16
    shades = np.array([list(row) for row in rows])
    assert np.max(np.abs(low + shades / 255 * (high - low) - rho)) <= 0.51 * (high - low) / 255
    assert (found["fields"]["phase"]["low"], found["fields"]["phase"]["high"]) == (-math.pi, math.pi)

    line, said = planted(tmp_path, [13, 24, 29, 41, 55])
    found = answer(line, "picture", {"artefact": line})
    # In one dimension there is a row for each snapshot.
    assert len(found["fields"]["rho"]["rows"]) == 8 and len(base64.b64decode(found["fields"]["rho"]["rows"][0])) == 128
    assert len(found["fields"]["rho_s"]["rows"]) == 1
    spectrum = found["spectrum"]
    assert len(spectrum["x"]) == len(spectrum["y"]) == len(spectrum["baseline"]) == 127
    assert [target["prime"] for target in spectrum["targets"]] == [2, 3, 5, 7, 11]
    assert spectrum["targets"][4]["x"] * spectrum["dk"] * said["scaling_factor"] == pytest.approx(math.log(11))
    assert {round(peak["x"]) for peak in spectrum["peaks"]} >= {13, 24, 29, 41, 55}


def of_another(tmp_path, name: str, grid: Grid, settings: Settings) -> tuple[dict, dict]:
    """A run of another kind, in few steps: its picture, and what is found of its metrics."""
    path = str(tmp_path / f"{name}.h5")
    work = Chunk(name, grid, 20, 0.02, settings, 5, [Lane(str(JOB), 3, model.checked({}, model=name))])
    answer(path, "chunk", {"chunk": msgspec.to_builtins(work), "files": [path]})
    return answer(path, "picture", {"artefact": path})["fields"], validated(path)


def test_a_cube_without_delay_is_shown_by_its_middle_plane_and_its_mean_and_its_residual_is_no_figure(tmp_path):
    start_ = Initial("noise", amplitude=0.7)
    fields, found = of_another(
        tmp_path, "sncgl_sdg", Grid(8, 20.0, 3), Settings(geometry="elliptic", dtype="complex128", initial=start_)
    )
    assert set(fields) == {"rho", "rho_mean", "phase", "rho_s"} and all(len(each["rows"]) == 8 for each in fields.values())
    path = str(tmp_path / "sncgl_sdg.h5")
    arrays = store.get(path).artefact.arrays
    assert fields["rho"]["low"] == np.min(np.abs(arrays["A"][4]) ** 2) and arrays["rho_s"].shape == (8, 8, 8)
    assert fields["rho_mean"]["high"] == np.max(np.mean(np.abs(arrays["A"]) ** 2, axis=0))
    norm = found["metrics"]["sdg_h_norm_l2"]
    assert found["agrees"] and (norm["said_code"], norm["found_code"]) == ("constraint_enforced", "constraint_enforced")
    spoiled = validated(changed(path, lambda store_: store_["rho_s"].write_direct(store_["rho_s"][()] * 1.01)))
    assert not spoiled["agrees"] and spoiled["metrics"]["sdg_h_norm_l2"]["found"] > 1e-3


def test_the_control_model_leaves_its_field_and_its_momentum(tmp_path):
    fields, found = of_another(tmp_path, "fmia", Grid(8, 20.0, 2), Settings(geometry="off", dtype="complex128"))
    arrays = store.get(str(tmp_path / "fmia.h5")).artefact.arrays
    assert set(fields) == {"rho", "field", "pi"} and fields["field"]["low"] == arrays["A"].real.min() < 0
    assert fields["pi"]["high"] == arrays["pi"].max() > 0 and np.all(arrays["rho_s"] == 1) and np.all(arrays["A"].imag == 0)
    assert found["agrees"] and found["metrics"]["sdg_h_norm_l2"]["found_code"] == "no_source"


async def test_the_simulated_machine_answers_with_the_very_jobs(autojump_clock):
    def host() -> tuple[SimHost, SimFiles]:
        trace = Trace()
        machine = Machine(Random(5), trace)
        return SimHost(machine, Faults(), Oracle(pytest.fail, lambda log, record: None), Spoiled()), machine.disk

    found = []
    for _ in range(2):
        simulated, disk = host()
        asked = Errand("hunt_log:3:0", "sim.chunk", plain(msgspec.structs.replace(WORK, settings=Settings(dtype="complex128"))))
        runs = Runs(simulated, Path("/anywhere/state"), Compute)
        told: list[dict] = []
        ended = await runs.run(asked, told.append)
        assert ended.ok and told == [{"done": 10, "total": 10, "unit": "steps"}]
        said = await simulated.work("picture", json.dumps({"artefact": f"/anywhere/state/data/run_{JOB}.h5"}).encode(), timeout_s=1)
        assert json.loads(said)["artefact_sha256"] == ended.result["lanes"][0]["artefact_sha256"]
        found.append((ended, said, disk.tree()))
    assert found[0] == found[1] and len(found[0][2]) == 3
    with pytest.raises(WorkFailed, match="unknown-job"):
        await simulated.work("nothing", b"{}", timeout_s=1)


# --- what a worker does not do --------------------------------------------------------------------------------------------

LANE = Lane(str(JOB), 3, dict(model.DEFAULTS))
WORK = Chunk("sncgl_sdg", Grid(16, 20.0, 2), 10, 0.02, Settings(), 5, [LANE])


@pytest.mark.parametrize(
    ("other", "code"),
    [
        (msgspec.structs.replace(WORK, steps=0), "out-of-range"),
        (msgspec.structs.replace(WORK, grid=Grid(14, 20.0, 2)), "out-of-range"),
        (msgspec.structs.replace(WORK, grid=Grid(16, 20.0, 4)), "out-of-range"),
        (msgspec.structs.replace(WORK, grid=Grid(512, 20.0, 3)), "out-of-range"),
        (msgspec.structs.replace(WORK, grid=Grid(4096, 20.0, 2)), "out-of-range"),
        (msgspec.structs.replace(WORK, model="fmia"), "out-of-range"),
        (msgspec.structs.replace(WORK, settings=Settings(initial=Initial("plane_wave", modes=[1]))), "out-of-range"),
        (msgspec.structs.replace(WORK, settings=Settings(pump=Pump("plane", 1.0, k=[1, 2, 3]))), "out-of-range"),
        (msgspec.structs.replace(WORK, lanes=[Lane(str(JOB), 3, {"gain": 1.0})]), "out-of-range"),
        (msgspec.structs.replace(WORK, lanes=[LANE, LANE]), "bad-spec"),
    ],
    ids=[
        "no steps",
        "a prime",
        "four dimensions",
        "a cube",
        "memory",
        "a geometry of fmia",
        "modes",
        "pump",
        "a name",
        "a file too few",
    ],
)
def test_what_cannot_be_computed_is_refused_before_anything_is(tmp_path, other, code, monkeypatch):
    monkeypatch.setattr(simulate, "portions", lambda sig: pytest.fail("it was begun"))
    spec = json.dumps({"chunk": msgspec.to_builtins(other), "files": [str(tmp_path / "run.h5")]}).encode()
    assert worker.attempt("chunk", spec, lambda done, total: None) == (code,)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("job", ["profile", "validate", "picture"])
def test_a_file_that_is_none_or_not_there_is_said_to_be_so(tmp_path, job):
    (tmp_path / "run.h5").write_bytes(b"no file of a run")
    for name, code in (("run.h5", "bad-artefact"), ("absent.h5", "no-artefact")):
        spec = json.dumps({"artefact": str(tmp_path / name)}).encode()
        assert worker.attempt(job, spec, lambda done, total: None) == (code,)
    assert worker.attempt(job, b"{}", lambda done, total: None) == ("bad-spec",)


def test_the_ring_has_no_depth_where_the_kernel_is_gaussian():
    lane = msgspec.structs.replace(LANE, params={**LANE.params, "a": 0.5, "r": 0.4})
    assert chunks._numbers(WORK, lane)["ring_a"] == 0.0
    ring = msgspec.structs.replace(WORK, settings=Settings(kernel="ring"))
    numbers = chunks._numbers(ring, lane)
    assert (numbers["ring_a"], numbers["ring_r"], numbers["L"], numbers["dt"]) == (0.5, 0.4, 20.0, 0.02)
