"""The verifier of docs/verify: what it accepts, what it calls torn, what it calls corrupt, and that the daemon's own agrees (T18).

Three programs meet here, each written by itself: the small generator below, `docs/verify/irer_verify.py`, and `state.verify`, which
is run as a program and never looked into. A generator that shared code with either would prove nothing.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.campaigns import campaign, per_commit

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "docs" / "verify" / "irer_verify.py"
GOLDEN = ROOT / "tests" / "golden" / "golden_log.jsonl"
GOLDEN_ENDS = [0, 512, 2048, 4096]
GOLDEN_ROOT = "d1yDO+kOUSH1EtIJs8fhW8bo5RV4PUqVhhXj9oUXe0A="
GOLDEN_ROOT_OF_FOUR = "PVMDkMiuAmlgS/Q1CvzKewUiTP04V0qBMK09lHZStKE="
DIGEST = "5f1d0c0e9b6a4f7785a3d2c1b0e9f877"
BATCH_OF_LOGS = 200


def load_program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("irer_verify", PROGRAM)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["irer_verify"] = module
    spec.loader.exec_module(module)
    return module


verify = load_program()


def golden() -> bytes:
    return GOLDEN.read_bytes()


def verdict_of_file(path: Path, data: bytes) -> tuple[str, int]:
    path.write_bytes(data)
    (row,) = verify.check([path])["logs"]
    return row["verdict"], row["records"]


def verdict_in_directory(directory: Path, log: str, data: bytes, head: bytes | None) -> tuple[str, int]:
    write_log(directory, log, {f"{log}.jsonl": data}, head)
    (row,) = verify.check([directory])["logs"]
    return row["verdict"], row["records"]


# --- a generator, from the description alone --------------------------------------------------------------------------------------

Members = dict[str, str]  # member name: its JSON text
Twist = Callable[[Members], Any]


def seal(preimage: bytes) -> bytes:
    return preimage[:-1] + b',"event_hash":"' + hashlib.sha256(preimage).hexdigest().encode() + b'"}\n'


def spell(members: Members) -> bytes:
    text = "{" + ",".join(f'"{name}":{members[name]}' for name in sorted(members)) + "}"
    return text.encode("utf-8", "surrogateescape")


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def spell_decimal(digits: str, exponent: int) -> str:
    """0.DIGITS times ten to the exponent, as ECMAScript prints it; at most 15 digits, so that they are the shortest."""
    if -6 < exponent <= 21:
        return format(Decimal(f"{digits}e{exponent - len(digits)}"), "f")
    mantissa = digits if len(digits) == 1 else f"{digits[0]}.{digits[1:]}"
    return f"{mantissa}e{'+' if exponent > 0 else '-'}{abs(exponent - 1)}"


def random_number(draw: random.Random) -> str:
    sign = draw.choice(["", "-"])
    if draw.random() < 0.5:
        number = draw.randrange(2 ** draw.randrange(1, 54))
        return f"{sign if number else ''}{number}"
    digits = str(draw.randrange(1, 10 ** draw.randrange(1, 16))).rstrip("0")
    return sign + spell_decimal(digits, draw.choice([draw.randrange(-8, 25), draw.randrange(-300, 300)]))


def random_text(draw: random.Random, length_max: int) -> str:
    pool = "abcxyz019 ._-/{}[]:,\"\\'\n\r\t\b\f\x00\x1f\x7f\x85éß京\u2028\u2029\ufeff\uffff😀𝄞"
    return "".join(draw.choice(pool) for _ in range(draw.randrange(length_max)))


def random_key(draw: random.Random) -> str:
    return "".join(draw.choice('abcz_09 ~é"\\京\ud7ff') for _ in range(draw.randrange(1, draw.choice([3, 9, 129]))))


def random_value(draw: random.Random, depth: int) -> str:
    kind = draw.randrange(8 if depth else 5)
    if kind == 0:
        return draw.choice(["null", "true", "false"])
    if kind <= 2:
        return random_number(draw)
    if kind <= 4:
        return quoted(random_text(draw, 30))
    if kind == 5:
        return "[" + ",".join(random_value(draw, depth - 1) for _ in range(draw.randrange(4))) + "]"
    return random_object(draw, depth - 1)


def random_object(draw: random.Random, depth: int) -> str:
    members = {random_key(draw): random_value(draw, depth) for _ in range(draw.randrange(5))}
    return "{" + ",".join(f"{quoted(key)}:{members[key]}" for key in sorted(members)) + "}"


@dataclass
class End:
    """The end of a batch, as a head names it."""

    batch: int
    offset: int
    seq: int
    tip: str


@dataclass
class Made:
    """One file of a log, and the ends of its batches."""

    data: bytes
    ends: list[End]
    first_seq: int


def first_payload(log: str, /, **changes: str) -> str:
    members = {
        "align": "512",
        "format": '"irer-log/1"',
        "hash": '"sha-256"',
        "log": f'"{log}"',
        "origin": f'"irer.invalid/00000000000000a1/{log}"',
        "previous": "null",
    } | changes
    return spell(members).decode()


def next_payload(log: str, before: Made, records: list[bytes], /, **changes: str) -> str:
    """log.segment, with the facts of the file before it and the root of the tree over every record before it."""
    last = before.ends[-1]
    previous = {
        "bytes": str(len(before.data)),
        "event_hash": f'"{last.tip}"',
        "first_seq": str(before.first_seq),
        "last_seq": str(last.seq),
        "name": f'"{log}.{before.first_seq:016d}.jsonl"',
        "sha256": f'"{hashlib.sha256(before.data).hexdigest()}"',
    }
    tree = {"root": f'"{naive_root(records).hex()}"', "size": str(len(records))}
    return first_payload(log, **({"previous": spell(previous).decode(), "tree": spell(tree).decode()} | changes))


def make(batches: list[list[Members]], before: Made | None = None, twists: dict[tuple[int, int], Twist] | None = None) -> Made:
    """Places, pads and seals. A twist changes the members of one record (batch in this file, index) after they were placed."""
    at = before.ends[-1] if before else End(-1, 0, -1, "0" * 64)
    data, ends, seq, parent = b"", list[End](), at.seq + 1, at.tip
    for number, batch in enumerate(batches):
        lines: list[bytes] = []
        for index, members in enumerate(batch):
            placed = {
                "actor": '"uid:1000"',
                "boot_id": '"b7f3c1d2"',
                "commit": f"[{at.batch + 1 + number},{index},{len(batch)}]",
                "event_type": '"task.note"',
                "mono_us": str(41_000_000 + seq),
                "parent_hash": f'"{parent}"',
                "seq": str(seq),
                "timestamp": "1767225600.254500",
            } | members
            if index == len(batch) - 1:
                placed["pad"] = '""'
            if twists and (number, index) in twists:
                twists[number, index](placed)
            if index == len(batch) - 1 and placed.get("pad") == '""':
                size = len(data) + sum(map(len, lines)) + len(seal(spell(placed)))
                placed["pad"] = f'"{" " * (-size % 512)}"'
            lines.append(seal(spell(placed)))
            parent, seq = hashlib.sha256(spell(placed)).hexdigest(), seq + 1
        data += b"".join(lines)
        ends.append(End(at.batch + 1 + number, len(data), seq - 1, parent))
    return Made(data, ends, at.seq + 1)


def head_of(log: str, made: Made, end: End, /, **changes: str) -> bytes:
    members = {
        "batch": str(end.batch),
        "log": f'"{log}"',
        "offset": str(end.offset),
        "segment": str(made.first_seq),
        "seq": str(end.seq),
        "tip": f'"{end.tip}"',
    } | changes
    return seal(spell(members))


def genesis(log: str, /, **changes: str) -> list[Members]:
    return [{"actor": '"irer"', "event_type": '"log.genesis"', "payload": first_payload(log, **changes)}]


def segment(log: str, before: Made, records: list[bytes], /, **changes: str) -> list[Members]:
    return [{"actor": '"irer"', "event_type": '"log.segment"', "payload": next_payload(log, before, records, **changes)}]


def fork(old: str, new: str, /, **changes: str) -> list[Members]:
    stated = {
        "new_origin": quoted(new),
        "old_origin": quoted(old),
        "sealed_root": quoted(hashlib.sha256().hexdigest()),
        "sealed_size": "0",
    }
    stated |= changes
    return [{"actor": '"irer"', "event_type": '"log.fork"', "payload": spell(stated).decode()}]


def notes(count: int) -> list[Members]:
    return [{"payload": f'{{"note":"{index}"}}'} for index in range(count)]


def random_batch(draw: random.Random) -> list[Members]:
    batch: list[Members] = []
    for _ in range(draw.choice([1, 1, 1, 2, 3, 5])):
        batch.append(
            {
                "actor": draw.choice(['"irer"', '"uid:1000"', '"engine:mailer"']),
                "boot_id": quoted(f"{draw.getrandbits(32):08x}"),
                "event_type": draw.choice(['"task.note"', '"pool.scaled"', '"gate.refused_many"', '"a.b.c"']),
                "mono_us": str(draw.randrange(2**53)),
                "payload": random_object(draw, 3),
                "timestamp": f"{draw.choice([0, 7, 1767225600, 1867225600])}.{draw.randrange(10**6):06d}",
            }
        )
    if draw.random() < 0.3:
        batch[0]["idem"] = f'{{"digest":"{draw.getrandbits(128):032x}","key":"cli-{draw.getrandbits(32):08x}"}}'
    return batch


def write_log(directory: Path, log: str, files: dict[str, bytes], head: bytes | None) -> None:
    for name, data in files.items():
        (directory / name).write_bytes(data)
    place = directory / "log.d" / log
    place.mkdir(parents=True, exist_ok=True)
    if head is not None:
        (place / "head").write_bytes(head)


def leaves_of(*files: Made) -> list[bytes]:
    return [line for made in files for line in made.data[:-1].split(b"\n")]


def naive_root(records: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, word for word."""
    if not records:
        return hashlib.sha256(b"").digest()
    if len(records) == 1:
        return hashlib.sha256(b"\x00" + records[0]).digest()
    split = 1
    while split * 2 < len(records):
        split *= 2
    return hashlib.sha256(b"\x01" + naive_root(records[:split]) + naive_root(records[split:])).digest()


# --- the golden log ---------------------------------------------------------------------------------------------------------------


def test_the_golden_log_is_accepted_and_has_the_published_root():
    report = verify.check([GOLDEN])
    (row,) = report["logs"]
    assert (row["verdict"], row["records"], row["size"], row["root"]) == ("ok", 8, 8, GOLDEN_ROOT)
    assert report["result"] == "limited"
    assert report["signatures"] == "not checked"


def test_the_generator_makes_the_golden_log():
    """Else the tests below would judge logs nobody writes."""
    lines = golden()[:-1].split(b"\n")
    batches: list[list[Members]] = []
    for line in lines:
        preimage = line[:-81].decode() + "}"
        stamp = preimage.rpartition('"timestamp":')[2][:-1]
        payload = preimage.partition('"payload":')[2].rpartition(',"seq":')[0]
        record = json.loads(line)
        if record["commit"][1] == 0:
            batches.append([])
        batches[-1].append({"payload": payload, "timestamp": stamp, "mono_us": str(record["mono_us"])})
        batches[-1][-1] |= {name: quoted(record[name]) for name in ("actor", "boot_id", "event_type")}
        if "idem" in record:
            batches[-1][-1]["idem"] = json.dumps(record["idem"], separators=(",", ":"))
    assert make(batches).data == golden()


def test_every_cut_of_the_golden_log_keeps_the_whole_batches(tmp_path):
    data, path = golden(), tmp_path / "engine_state.jsonl"
    for length in sorted({*range(0, len(data) + 1, 7), *GOLDEN_ENDS}):
        whole = max(end for end in GOLDEN_ENDS if end <= length)
        kept = {0: 0, 512: 1, 2048: 4, 4096: 8}[whole]
        expected = "corrupt" if whole == 0 else "ok" if whole == length else "torn"
        assert verdict_of_file(path, data[:length]) == (expected, kept), length


def test_every_cut_below_the_watermark_is_corrupt(tmp_path):
    made = Made(golden(), [End(2, 4096, 7, golden()[-67:-3].decode())], 0)
    head = head_of("engine_state", made, made.ends[0])
    assert verdict_in_directory(tmp_path, "engine_state", made.data, head) == ("ok", 8)
    for length in {*range(0, len(made.data), 21), *GOLDEN_ENDS[:-1]}:
        assert verdict_in_directory(tmp_path, "engine_state", made.data[:length], head)[0] == "corrupt", length


def flipped(data: bytes, position: int, bit: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1 << bit]) + data[position + 1 :]


def test_no_flipped_bit_of_the_golden_log_is_silent(tmp_path):
    data, path = golden(), tmp_path / "engine_state.jsonl"
    for position in range(0, len(data), 5):
        for bit in range(8):
            expected = ("corrupt", "torn")[position >= 2048]
            assert verdict_of_file(path, flipped(data, position, bit))[0] == expected, (position, bit)


def test_under_a_watermark_every_flipped_bit_is_corrupt(tmp_path):
    made = Made(golden(), [End(2, 4096, 7, golden()[-67:-3].decode())], 0)
    head = head_of("engine_state", made, made.ends[0])
    for position in range(2048, len(made.data), 5):
        data = flipped(made.data, position, position % 8)
        assert verdict_in_directory(tmp_path, "engine_state", data, head)[0] == "corrupt", position


# --- surgery ----------------------------------------------------------------------------------------------------------------------


def other_lines() -> list[bytes]:
    """Another log of the same shape: sound lines, of somewhere else."""
    return [line + b"\n" for line in make([genesis("engine_state"), notes(3), notes(4)]).data[:-1].split(b"\n")]


def lines_with(change: Callable[[list[bytes]], None]) -> bytes:
    lines = [line + b"\n" for line in golden()[:-1].split(b"\n")]
    change(lines)
    return b"".join(lines)


SURGERY: dict[str, tuple[Callable[[list[bytes]], Any], str]] = {
    "a line spliced in from another log": (lambda lines: lines.__setitem__(1, other_lines()[1]), "corrupt"),
    "a batch spliced in from another log": (lambda lines: lines.__setitem__(slice(1, 4), other_lines()[1:4]), "corrupt"),
    "the last batch from another log": (lambda lines: lines.__setitem__(slice(4, 8), other_lines()[4:8]), "torn"),
    "two lines exchanged": (lambda lines: lines.insert(1, lines.pop(2)), "corrupt"),
    "two lines of the last batch exchanged": (lambda lines: lines.insert(5, lines.pop(6)), "torn"),
    "two batches exchanged": (lambda lines: lines.extend(lines[1:4]) or lines.__delitem__(slice(1, 4)), "corrupt"),
    "a line twice": (lambda lines: lines.insert(2, lines[2]), "corrupt"),
    "the last line twice": (lambda lines: lines.append(lines[-1]), "torn"),
    "a line gone": (lambda lines: lines.pop(2), "corrupt"),
    "a batch gone": (lambda lines: lines.__delitem__(slice(1, 4)), "corrupt"),
    "the genesis gone": (lambda lines: lines.pop(0), "corrupt"),
    "the last line gone": (lambda lines: lines.pop(), "torn"),
    "an empty line before the last batch": (lambda lines: lines.insert(4, b"\n"), "torn"),
    "an empty line inside a batch": (lambda lines: lines.insert(2, b"\n"), "corrupt"),
    "an empty line at the end": (lambda lines: lines.append(b"\n"), "torn"),
    "zeros at the end": (lambda lines: lines.append(bytes(512)), "torn"),
    "CRLF everywhere": (lambda lines: lines.__setitem__(slice(None), [line[:-1] + b"\r\n" for line in lines]), "corrupt"),
    "CRLF in the middle": (lambda lines: lines.__setitem__(2, lines[2][:-1] + b"\r\n"), "corrupt"),
    "CRLF at the end": (lambda lines: lines.__setitem__(7, lines[7][:-1] + b"\r\n"), "torn"),
    "no newline in the middle": (lambda lines: lines.__setitem__(3, lines[3][:-1]), "corrupt"),
    "no newline at the end": (lambda lines: lines.__setitem__(7, lines[7][:-1]), "torn"),
    "a destroyed line, a whole batch behind it": (lambda lines: lines.__setitem__(2, bytes(len(lines[2]))), "corrupt"),
    "everything but the last line destroyed in the last batch": (
        lambda lines: lines.__setitem__(slice(4, 7), [b"?" * sum(map(len, lines[4:7]))]),
        "torn",
    ),
    "a byte order mark": (lambda lines: lines.insert(0, b"\xef\xbb\xbf"), "corrupt"),
}  # fmt: skip


@pytest.mark.parametrize("name", SURGERY)
def test_surgery_on_lines(name, tmp_path):
    change, expected = SURGERY[name]
    data = lines_with(change)
    assert verdict_of_file(tmp_path / "engine_state.jsonl", data)[0] == expected
    tip = golden()[-67:-3].decode()
    head = head_of("engine_state", Made(golden(), [], 0), End(2, 4096, 7, tip))
    behind = data.startswith(golden())  # everything acknowledged is still there
    assert verdict_in_directory(tmp_path, "engine_state", data, head)[0] == ("torn" if behind else "corrupt")


def put(name: str, text: str) -> Twist:
    return lambda members: members.__setitem__(name, text)


def payload(text: str) -> Twist:
    return put("payload", text)


# Sealed with a right hash, a right parent and a right place: only the form betrays them.
FORGERIES: dict[str, Twist] = {
    "5.0 for 5": payload('{"x":5.0}'),
    "5e0 for 5": payload('{"x":5e0}'),
    "minus zero": payload('{"x":-0}'),
    "a capital exponent": payload('{"x":1E+21}'),
    "an exponent without its sign": payload('{"x":1e21}'),
    "digits a double does not have": payload('{"x":9007199254740993}'),
    "a float not in its shortest form": payload('{"x":0.10000000000000001}'),
    "a small float written out": payload('{"x":0.0000001}'),
    "a number beyond the doubles": payload('{"x":1e400}'),
    "NaN": payload('{"x":NaN}'),
    "Infinity": payload('{"x":-Infinity}'),
    "unsorted keys": payload('{"b":1,"a":2}'),
    "duplicate keys": payload('{"a":1,"a":1}'),
    "a duplicate member": put("payload", '{},"payload":{}'),
    "a space": payload('{"x": 1}'),
    "a needless escape": payload('{"x":"\\u00e9"}'),
    "an escaped solidus": payload('{"x":"\\/"}'),
    "capital digits in an escape": payload('{"x":"\\u001F"}'),
    "a long escape for a short one": payload('{"x":"\\u000a"}'),
    "an escaped pair": payload('{"x":"\\ud83d\\ude00"}'),
    "a lone surrogate": payload('{"x":"\\ud800"}'),
    "a raw control character": payload('{"x":"\t"}'),
    "bytes that are not UTF-8": payload('{"x":"\udcff"}'),
    "an overlong encoding": payload('{"x":"\udcc0\udc80"}'),
    "an empty key": payload('{"":1}'),
    "a key of 129 characters": payload(f'{{"{"k" * 129}":1}}'),
    "a key with a control character": payload('{"\x7f":1}'),
    "a key beyond U+D7FF": payload('{"😀":1}'),
    "too deep": payload('{"x":' * 34 + "1" + "}" * 34),
    "a payload that is a list": payload("[]"),
    "seven decimals": put("timestamp", "1767225600.2545000"),
    "no decimals": put("timestamp", "1767225600"),
    "a time as text": put("timestamp", '"1767225600.254500"'),
    "a time with an exponent": put("timestamp", "1.767225600e9"),
    "one member more": put("zeta", "1"),
    "one member less": lambda members: members.__delitem__("mono_us"),
    "a capital in boot_id": put("boot_id", '"B7F3C1D2"'),
    "an actor too long": put("actor", f'"{"a" * 65}"'),
    "an event type in capitals": put("event_type", '"Task.note"'),
    "an event type without a dot": put("event_type", '"task"'),
    "half an idem": put("idem", f'{{"digest":"{DIGEST}"}}'),
    "seq as a float": put("seq", "4.5"),
    "seq one too high": put("seq", "5"),
    "another batch number": put("commit", "[3,0,1]"),
    "another batch size": put("commit", "[2,0,2]"),
    "commit of two numbers": put("commit", "[2,0]"),
    "false for zero": put("commit", "[2,false,1]"),
    "a parent of zeros": put("parent_hash", f'"{"0" * 64}"'),
    "no pad": lambda members: members.pop("pad", None),
    "a pad too long": put("pad", f'"{" " * 7}"'),
    "a pad of tabs": put("pad", '"\\t"'),
    "a genesis in the middle": put("event_type", '"log.genesis"'),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_sealed_line_of_wrong_form_is_never_taken(name, tmp_path):
    """The hash of each is right. Acknowledged, it is corrupt; at the unacknowledged end, the log ends before it."""
    twists = {(2, 0): FORGERIES[name]}
    sound = make([genesis("gate_log"), notes(3), notes(1)])
    forged = make([genesis("gate_log"), notes(3), notes(1)], twists=twists)
    followed = make([genesis("gate_log"), notes(3), notes(1), notes(2)], twists=twists)
    path = tmp_path / "gate_log.jsonl"
    assert verdict_of_file(path, sound.data) == ("ok", 5)
    verdict, kept = verdict_of_file(path, forged.data)
    assert (verdict in ("torn", "corrupt"), kept) == (True, 4)
    assert verdict_of_file(path, followed.data)[0] == "corrupt"
    assert verdict_in_directory(tmp_path, "gate_log", forged.data, head_of("gate_log", forged, forged.ends[-1]))[0] == "corrupt"


def test_a_pad_where_none_belongs(tmp_path):
    made = make([genesis("gate_log"), notes(3), notes(1)], twists={(1, 0): put("pad", '""')})
    assert verdict_of_file(tmp_path / "gate_log.jsonl", made.data)[0] == "corrupt"


def test_a_whole_sector_of_needless_padding(tmp_path):
    sound = make([genesis("gate_log"), notes(1), notes(1)])
    spaces = sound.data[512:1024].count(b" ") + 512
    made = make([genesis("gate_log"), notes(1), notes(1)], twists={(1, 0): put("pad", f'"{" " * spaces}"')})
    assert len(made.data) == len(sound.data) + 512
    assert verdict_of_file(tmp_path / "gate_log.jsonl", made.data)[0] == "corrupt"


HEADS: dict[str, Callable[[Made], bytes | None]] = {
    "missing": lambda made: None,
    "cut": lambda made: head_of("gate_log", made, made.ends[-1])[:-1],
    "flipped": lambda made: flipped(head_of("gate_log", made, made.ends[-1]), 20, 0),
    "twice": lambda made: head_of("gate_log", made, made.ends[-1]) * 2,
    "of another log": lambda made: head_of("gate_log", made, made.ends[-1], log='"cache"'),
    "another tip": lambda made: head_of("gate_log", made, made.ends[1], tip=f'"{"0" * 64}"'),
    "another offset": lambda made: head_of("gate_log", made, made.ends[1], offset="512"),
    "another segment": lambda made: head_of("gate_log", made, made.ends[1], segment="1"),
    "a batch ahead": lambda made: head_of("gate_log", made, made.ends[-1], batch="3", seq="9"),
    "inside a batch": lambda made: head_of("gate_log", made, made.ends[1], seq="2"),
    "a member more": lambda made: head_of("gate_log", made, made.ends[1], zeta="1"),
}


@pytest.mark.parametrize("name", HEADS)
def test_a_wrong_head_is_corrupt(name, tmp_path):
    made = make([genesis("gate_log"), notes(3), notes(1)])
    for end in made.ends:
        assert verdict_in_directory(tmp_path, "gate_log", made.data, head_of("gate_log", made, end)) == ("ok", 5)
    (tmp_path / "log.d" / "gate_log" / "head").unlink()
    assert verdict_in_directory(tmp_path, "gate_log", made.data, HEADS[name](made)) == ("corrupt", 5)


def test_a_new_log_needs_no_head_yet(tmp_path):
    made = make([genesis("gate_log"), notes(1)])
    assert verdict_in_directory(tmp_path, "gate_log", made.data[:512], None) == ("ok", 1)
    assert verdict_in_directory(tmp_path, "gate_log", made.data[:700], None)[0] == "corrupt"


def test_a_log_that_is_gone_is_missed(tmp_path):
    made = make([genesis("gate_log"), notes(1)])
    verdict_in_directory(tmp_path, "gate_log", made.data, head_of("gate_log", made, made.ends[-1]))
    (tmp_path / "gate_log.jsonl").unlink()
    (row,) = verify.check([tmp_path])["logs"]
    assert (row["log"], row["verdict"]) == ("gate_log", "corrupt")


# --- numbers, tree ----------------------------------------------------------------------------------------------------------------

# RFC 8785, appendix B.
NUMBERS = {
    "0000000000000000": "0",
    "8000000000000000": "0",
    "0000000000000001": "5e-324",
    "8000000000000001": "-5e-324",
    "7fefffffffffffff": "1.7976931348623157e+308",
    "ffefffffffffffff": "-1.7976931348623157e+308",
    "4340000000000000": "9007199254740992",
    "c340000000000000": "-9007199254740992",
    "4430000000000000": "295147905179352830000",
    "44b52d02c7e14af5": "9.999999999999997e+22",
    "44b52d02c7e14af6": "1e+23",
    "44b52d02c7e14af7": "1.0000000000000001e+23",
    "444b1ae4d6e2ef4e": "999999999999999700000",
    "444b1ae4d6e2ef4f": "999999999999999900000",
    "444b1ae4d6e2ef50": "1e+21",
    "3eb0c6f7a0b5ed8c": "9.999999999999997e-7",
    "3eb0c6f7a0b5ed8d": "0.000001",
    "41b3de4355555553": "333333333.3333332",
    "41b3de4355555554": "333333333.33333325",
    "41b3de4355555555": "333333333.3333333",
    "41b3de4355555556": "333333333.3333334",
    "41b3de4355555557": "333333333.33333343",
    "becbf647612f3696": "-0.0000033333333333333333",
    "43143ff3c1cb0959": "1424953923781206.2",
}


@pytest.mark.parametrize("bits", NUMBERS)
def test_numbers_are_spelled_as_the_rfc_spells_them(bits):
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    assert verify.number_text(number) == NUMBERS[bits]


def test_the_tree_is_that_of_the_rfc():
    records = leaves_of(Made(golden(), [], 0))
    edge: list[Any] = []
    roots = []
    for seq, record in enumerate(records):
        verify.add_node(edge, (seq, 1, hashlib.sha256(b"\x00" + record).digest()))
        roots.append(base64.b64encode(verify.tree_root(edge)).decode())
        assert verify.tree_root(edge) == naive_root(records[: seq + 1])
    assert (roots[3], roots[7]) == (GOLDEN_ROOT_OF_FOUR, GOLDEN_ROOT)


def test_the_tree_of_no_record():
    assert verify.tree_root([]) == naive_root([])


# --- segments ---------------------------------------------------------------------------------------------------------------------


@dataclass
class Chain:
    """A log in three files. Its last record forgives nothing: change a file, and what follows must notice."""

    first: Made
    second: Made
    active: Made

    def files(self) -> dict[str, bytes]:
        closed = {f"cache.{made.first_seq:016d}.jsonl": made.data for made in (self.first, self.second)}
        return closed | {"cache.jsonl": self.active.data}

    def head(self) -> bytes:
        return head_of("cache", self.active, self.active.ends[-1])


def chain(*last: list[Members], changes: dict[str, str] | None = None) -> Chain:
    first = make([genesis("cache"), notes(3), notes(1)])
    second = make([segment("cache", first, leaves_of(first)), notes(2)], first)
    header = segment("cache", second, leaves_of(first, second), **(changes or {}))
    return Chain(first, second, make([header, notes(2), *last], second))


def row_of(directory: Path, files: dict[str, bytes], head: bytes) -> dict[str, Any]:
    for path in directory.glob("*.jsonl"):
        path.unlink()
    write_log(directory, "cache", files, head)
    (row,) = verify.check([directory])["logs"]
    return dict(row)


def test_three_segments_are_one_log(tmp_path):
    log = chain()
    row = row_of(tmp_path, log.files(), log.head())
    assert (row["verdict"], row["records"], row["segments"], row["tree"]) == ("ok", 11, 3, "ok")
    assert row["root"] == base64.b64encode(naive_root(leaves_of(log.first, log.second, log.active))).decode()
    report = verify.check([tmp_path / name for name in log.files()])
    assert [row["verdict"] for row in report["logs"]] == ["ok"]


@pytest.mark.parametrize("gone", ["cache.0000000000000000.jsonl", "cache.0000000000000005.jsonl", "cache.jsonl"])
def test_a_missing_segment_is_corrupt(gone, tmp_path):
    log = chain()
    files = log.files()
    del files[gone]
    assert row_of(tmp_path, files, log.head())["verdict"] == "corrupt"


def test_a_closed_segment_is_never_torn(tmp_path):
    log = chain()
    for position in range(0, len(log.second.data), 11):
        files = log.files() | {"cache.0000000000000005.jsonl": log.second.data[:position]}
        assert row_of(tmp_path, files, log.head())["verdict"] == "corrupt", position
        files = log.files() | {"cache.0000000000000005.jsonl": flipped(log.second.data, position, 2)}
        assert row_of(tmp_path, files, log.head())["verdict"] == "corrupt", position


def test_segments_renamed_exchanged_or_stray_are_corrupt(tmp_path):
    log = chain()
    files = log.files()
    names = sorted(files)
    exchanged = {names[0]: files[names[1]], names[1]: files[names[0]], names[2]: files[names[2]]}
    renamed = {"cache.0000000000000004.jsonl" if name == names[1] else name: data for name, data in files.items()}
    stray = files | {"cache.0000000000000099.jsonl": b""}
    for wrong in (exchanged, renamed, stray):
        assert row_of(tmp_path, wrong, log.head())["verdict"] == "corrupt"


@pytest.mark.parametrize("fact", ["bytes", "event_hash", "first_seq", "last_seq", "name", "sha256"])
def test_a_wrong_fact_about_the_previous_segment_is_corrupt(fact, tmp_path):
    log = chain()
    stated = json.loads(log.active.data.partition(b"\n")[0])["payload"]["previous"]
    stated[fact] = stated[fact] + 1 if isinstance(stated[fact], int) else stated[fact][::-1]
    log = chain(changes={"previous": json.dumps(stated, separators=(",", ":"))})
    assert row_of(tmp_path, log.files(), log.head())["verdict"] == "corrupt"


def test_a_wrong_root_or_size_of_the_tree_is_corrupt(tmp_path):
    size = len(leaves_of(chain().first, chain().second))
    for tree in (f'{{"root":"{"0" * 64}","size":{size}}}', '{"root":1,"size":8}', "[]", "null"):
        log = chain(changes={"tree": tree})
        assert row_of(tmp_path, log.files(), log.head())["tree"] == "FAILED"


def test_a_rotation_that_stopped_half_way_is_no_fault(tmp_path):
    log = chain()
    number = log.active.first_seq
    files = log.files() | {f"cache.{number:016d}.jsonl": log.active.data}
    assert row_of(tmp_path, files, log.head())["verdict"] == "ok"
    files = log.files() | {f"cache.{number:016d}.jsonl": log.active.data[:512]}
    assert row_of(tmp_path, files, log.head())["verdict"] == "corrupt"


def test_a_pruned_range_reads_hashes_only(tmp_path):
    unpruned = chain()
    last = unpruned.first.ends[-1].seq
    leaves = [hashlib.sha256(b"\x00" + line).digest() for line in leaves_of(unpruned.first)]
    four = hashlib.sha256(b"\x01" + b"".join(hashlib.sha256(b"\x01" + a + b).digest() for a, b in (leaves[:2], leaves[2:4])))
    roots = [four.hexdigest(), leaves[4].hex()]
    facts = {"first_seq": 0, "last_seq": last, "roots": roots, "sha256": hashlib.sha256(unpruned.first.data).hexdigest()}
    wrong = [{"sha256": "0" * 64}, {"last_seq": last - 1}, {"roots": roots[:1]}, {"roots": roots[::-1]}, {"first_seq": 1}]
    for stated, expected in [(facts, "ok"), *[(facts | change, "corrupt") for change in wrong]]:
        record = {"actor": '"irer"', "event_type": '"log.prune"', "payload": json.dumps(stated, separators=(",", ":"))}
        log = chain([record])
        files = log.files()
        del files["cache.0000000000000000.jsonl"]
        row = row_of(tmp_path, files, log.head())
        assert row["verdict"] == expected, stated
        if expected == "ok":
            assert row["root"] == base64.b64encode(naive_root(leaves_of(log.first, log.second, log.active))).decode()
            notes = [item for item in verify.check([tmp_path])["not_verified"] if "hashes only" in item["why"]]
            assert [(item["from"], item["to"]) for item in notes] == [(0, last)]


def forked_chain(origin: str, *forks: list[Members], header: str | None = None) -> tuple[dict[str, bytes], bytes]:
    """Two files; forks at the end of the first, and the origin that the header of the second gives."""
    first = make([genesis("cache"), notes(3), *forks])
    active = make([segment("cache", first, leaves_of(first), origin=quoted(header or origin)), notes(2)], first)
    files = {"cache.0000000000000000.jsonl": first.data, "cache.jsonl": active.data}
    return files, head_of("cache", active, active.ends[-1])


FIRST, OTHER, THIRD = (f"irer.invalid/{number:016x}/cache" for number in (0xA1, 0xB2, 0xC3))

FORKED: dict[str, tuple[tuple[dict[str, bytes], bytes], str, str]] = {
    "no fork": (forked_chain(FIRST), FIRST, "ok"),
    "one": (forked_chain(OTHER, fork(FIRST, OTHER)), OTHER, "ok"),
    "two": (forked_chain(THIRD, fork(FIRST, OTHER), fork(OTHER, THIRD)), THIRD, "ok"),
    "another origin without one": (forked_chain(OTHER), OTHER, "corrupt"),
    "one that the next header does not follow": (forked_chain(FIRST, fork(FIRST, OTHER)), FIRST, "corrupt"),
    "from another origin": (forked_chain(OTHER, fork(THIRD, OTHER)), OTHER, "corrupt"),
    "to another log": (forked_chain(f"{OTHER}_too", fork(FIRST, f"{OTHER}_too")), f"{OTHER}_too", "corrupt"),
    "one with a member more": (forked_chain(OTHER, fork(FIRST, OTHER, zeta="1")), OTHER, "corrupt"),
    "one that says other records were shared": (forked_chain(OTHER, fork(FIRST, OTHER, sealed_size="2")), OTHER, "corrupt"),
    "one that says more were shared than there were": (forked_chain(OTHER, fork(FIRST, OTHER, sealed_size="99")), OTHER, "corrupt"),
    "one of no size": (forked_chain(OTHER, fork(FIRST, OTHER, sealed_size="-1")), OTHER, "corrupt"),
    "one that ledger.json does not know": (forked_chain(OTHER, fork(FIRST, OTHER)), FIRST, "corrupt"),
}


@pytest.mark.parametrize("name", FORKED)
def test_the_origin_changes_only_by_a_fork_from_the_one_in_force(name, tmp_path):
    (files, head), origin, verdict = FORKED[name]
    (tmp_path / "ledger.json").write_text(json.dumps({"logs": {"cache": origin}}))
    row = row_of(tmp_path, files, head)
    assert row["verdict"] == verdict
    if verdict == "ok":
        assert [each["new_origin"] for each in row["forks"]] == {"no fork": [], "one": [OTHER], "two": [OTHER, THIRD]}[name]


def test_a_log_that_ledger_json_does_not_name_is_corrupt_once_it_holds_records(tmp_path):
    log = chain()
    (tmp_path / "ledger.json").write_text('{"logs":{}}')
    assert row_of(tmp_path, log.files(), log.head())["verdict"] == "corrupt"
    bare = make([genesis("cache")])
    assert row_of(tmp_path, {"cache.jsonl": bare.data}, head_of("cache", bare, bare.ends[0]))["verdict"] == "ok"


def test_of_a_head_whose_record_was_pruned_the_place_must_be_possible(tmp_path):
    unpruned = chain()
    facts = {
        "first_seq": 0,
        "last_seq": unpruned.first.ends[-1].seq,
        "roots": subtree_roots(leaves_of(unpruned.first)),
        "sha256": hashlib.sha256(unpruned.first.data).hexdigest(),
    }
    log = chain([{"actor": '"irer"', "event_type": '"log.prune"', "payload": json.dumps(facts, separators=(",", ":"))}])
    files = log.files()
    del files["cache.0000000000000000.jsonl"]
    end = log.first.ends[-1]
    for changes, verdict in (
        ({}, "ok"),
        ({"segment": str(end.seq + 1)}, "corrupt"),
        ({"seq": str(end.seq + 1)}, "corrupt"),
        ({"batch": str(end.batch + 1)}, "corrupt"),
    ):
        assert row_of(tmp_path, files, head_of("cache", log.first, end, **changes))["verdict"] == verdict, changes


# --- the program ------------------------------------------------------------------------------------------------------------------


def run_program(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Isolated, so that nothing but the standard library can be found."""
    return subprocess.run([sys.executable, "-I", str(PROGRAM), *arguments], capture_output=True, text=True, cwd=cwd, timeout=60)


def test_the_page_shows_what_the_program_prints():
    page = (PROGRAM.parent / "README.md").read_text()
    answer = run_program("tests/golden/golden_log.jsonl")
    assert answer.returncode == 0
    assert answer.stdout in page


def test_exit_codes(tmp_path):
    assert run_program().returncode == 2
    assert run_program("--quick", str(GOLDEN)).returncode == 2
    assert run_program(str(tmp_path)).returncode == 2
    assert run_program(str(tmp_path / "absent.jsonl")).returncode == 2
    torn = tmp_path / "engine_state.jsonl"
    torn.write_bytes(golden()[:-1])
    answer = run_program(str(torn))
    assert (answer.returncode, "never acknowledged" in answer.stdout, "NOT VERIFIED" in answer.stdout) == (0, True, True)
    torn.write_bytes(golden()[1:])
    answer = run_program(str(torn), "--json")
    assert (answer.returncode, json.loads(answer.stdout)["result"]) == (1, "failed")


# --- agreement with the daemon's own verifier -------------------------------------------------------------------------------------


@dataclass
class Case:
    """A log as it was written and as it was found; `forged` is the batch with a sealed line of wrong form, if there is one."""

    log: str
    closed: list[Made]
    active: Made
    found: dict[str, bytes]
    head: bytes | None
    head_is_sound: bool
    watermark: int
    what: str
    forged: int | None
    pruned: int  # records
    origin: str | None  # what ledger.json says; None: it does not name the log
    origin_is_sound: bool
    checkpoint: bytes | None = None
    checkpoint_is_sound: bool = True
    sealed: int = 0  # records that a sound checkpoint vouches for


def sector(draw: random.Random, data: bytes, fill: Callable[[], bytes]) -> bytes:
    start = draw.randrange(len(data) // 512 or 1) * 512
    return data[:start] + fill() + data[start + 512 :]


def damaged(draw: random.Random, data: bytes) -> tuple[str, bytes]:
    lines = [line + b"\n" for line in data[:-1].split(b"\n")]
    position, line = draw.randrange(len(data)), draw.randrange(len(lines))
    other = draw.randrange(len(lines))
    exchanged = list(lines)
    exchanged[line], exchanged[other] = lines[other], lines[line]
    return draw.choice(
        [
            ("cut", data[:position]),
            ("bit", flipped(data, position, draw.randrange(8))),
            ("late bit", flipped(data, max(0, len(data) - draw.randrange(1, 600)), draw.randrange(8))),
            ("byte inserted", data[:position] + bytes([draw.randrange(256)]) + data[position:]),
            ("byte deleted", data[:position] + data[position + 1 :]),
            ("sector of zeros", sector(draw, data, lambda: bytes(512))),
            ("sector of noise", sector(draw, data, lambda: draw.randbytes(512))),
            ("last sector of noise", data[:-512] + draw.randbytes(512)),
            ("line twice", b"".join([*lines[:line], lines[line], *lines[line:]])),
            ("line gone", b"".join([*lines[:line], *lines[line + 1 :]])),
            ("lines exchanged", b"".join(exchanged)),
            ("carriage return", b"".join([*lines[:line], lines[line][:-1] + b"\r\n", *lines[line + 1 :]])),
            ("newline gone", b"".join([*lines[:line], lines[line][:-1], *lines[line + 1 :]])),
            ("noise behind", data + draw.randbytes(draw.randrange(1, 700))),
            ("old line behind", data + lines[line]),
            ("zeros behind", data + bytes(512 * draw.randrange(1, 4))),
            ("newline behind", data + b"\n"),
        ]
    )


def random_head(draw: random.Random, log: str, closed: list[Made], active: Made) -> tuple[str, bytes | None, int]:
    made, end = draw.choice([*[(made, made.ends[-1]) for made in closed[-1:]], *[(active, end) for end in active.ends]])
    sound = head_of(log, made, end)
    if draw.random() < 0.85:
        return "", sound, end.batch
    return draw.choice(
        [
            ("no head", None, -1),
            ("head cut", sound[: draw.randrange(len(sound))], -1),
            ("head bit", flipped(sound, draw.randrange(len(sound)), draw.randrange(8)), -1),
            ("head of another seq", head_of(log, made, end, seq=str(end.seq + 1)), end.batch),
            ("head of another tip", head_of(log, made, end, tip=f'"{draw.getrandbits(256):064x}"'), end.batch),
            ("head of another offset", head_of(log, made, end, offset=str(end.offset + 512)), end.batch),
            ("head ahead", head_of(log, made, End(end.batch + 9, end.offset + 4096, end.seq + 9, end.tip)), end.batch + 9),
            ("head of another batch", head_of(log, made, end, batch=str(max(0, end.batch - 1))), end.batch),
            *[
                ("head of another segment", head_of(log, made, end, segment=str(other.first_seq)), end.batch)
                for other in (*closed, active)
                if other is not made
            ],
        ]
    )


def random_files(draw: random.Random, log: str, closed: list[Made], found: dict[str, bytes]) -> str:
    """Changes files as wholes: one lost, renamed, exchanged, rotten or added."""
    name = draw.choice(sorted(found.keys() - {f"{log}.jsonl"}))
    number = closed[-1].ends[-1].seq + 1
    kind = draw.randrange(8) if found[f"{log}.jsonl"] else 0  # of nothing there is no twin
    if kind == 7:
        return f"{log}.jsonl lost {len(found.pop(f'{log}.jsonl'))} bytes"
    if kind == 0:
        return f"{name} lost {len(found.pop(name))} bytes"
    if kind == 1:
        found[f"{log}.{draw.randrange(10**4):016d}.jsonl"] = found.pop(name)
        return f"{name} renamed"
    if kind == 2:
        other = draw.choice(sorted(found))
        found[name], found[other] = found[other], found[name]
        return f"{name} and {other} exchanged"
    if kind == 3:
        found[f"{log}.{number:016d}.jsonl"] = found[f"{log}.jsonl"]
        return "a rotation that stopped half-way"
    if kind == 4:
        found[f"{log}.{number:016d}.jsonl"] = damaged(draw, found[f"{log}.jsonl"])[1]
        return "the active file's twin, damaged"
    what, found[name] = damaged(draw, found[name])
    return f"closed: {what}"


def note_of(origin: str, size: int, root: bytes, secret: bytes = bytes(range(32))) -> bytes:
    """A checkpoint as the description has it, signed with the key of the golden one."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.from_private_bytes(secret)
    body = f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"
    id = hashlib.sha256(f"{origin}\n\x01".encode() + key.public_key().public_bytes_raw()).digest()[:4]
    return f"{body}\n\u2014 {origin} {base64.b64encode(id + key.sign(body.encode())).decode()}\n".encode()


def random_checkpoint(
    draw: random.Random, log: str, closed: list[Made], active: Made, origins: Origins
) -> tuple[str, bytes | None, int]:
    """What was signed, seldom wrong; and up to which record it vouches."""
    if draw.random() < 0.5:
        return "", None, 0
    leaves, end = leaves_of(*closed, active), draw.choice([end for made in (*closed, active) for end in made.ends])
    size = end.seq + 1
    sound = note_of(origins.now, size, naive_root(leaves[:size]))
    if draw.random() < 0.7:
        return "", sound, size
    return draw.choice(
        [
            ("checkpoint of another root", note_of(origins.now, size, draw.randbytes(32)), size),
            ("checkpoint of another size", note_of(origins.now, size + 1, naive_root(leaves[: size + 1])), size),
            ("checkpoint ahead", note_of(origins.now, len(leaves) + 3, draw.randbytes(32)), size),
            ("checkpoint of another log", note_of(origins.other(), size, naive_root(leaves[:size])), size),
            ("checkpoint cut", sound[: draw.randrange(len(sound))], 0),
            ("checkpoint bit", flipped(sound, draw.randrange(len(sound)), draw.randrange(8)), 0),
            ("checkpoint of nothing", note_of(origins.now, 0, naive_root([])), 0),
            ("checkpoint with more lines", sound.replace(b"\n\n", b"\nmore\n\n", 1), 0),
        ]
    )


class Origins:
    """The origin in force while a log is made, and whether each log.fork and each header keeps to it."""

    def __init__(self, draw: random.Random, log: str) -> None:
        self.draw = draw
        self.log = log
        self.now = f"irer.invalid/00000000000000a1/{log}"
        self.what = ""

    def other(self) -> str:
        return f"irer.invalid/{self.draw.getrandbits(64):016x}/{self.log}"

    def batches(self) -> list[list[Members]]:
        """Seldom one fork, seldom a wrong one."""
        if self.draw.random() > 0.12:
            return []
        new, what = self.other(), self.draw.choice([*["forked"] * 5, "from another", "to another log", "a member less", "a number"])
        made = fork(self.now, new)
        if what == "from another":
            made = fork(self.other(), new)
        elif what == "to another log":
            made = fork(self.now, f"{new}_too")
        elif what == "a member less":
            made[0]["payload"] = spell({"new_origin": quoted(new), "old_origin": quoted(self.now)}).decode()
        elif what == "a number":
            made = fork(self.now, new, old_origin="1")
        self.wrong(f"a fork {what}") if what != "forked" else None
        self.now = new
        return [made]

    def header(self) -> dict[str, str]:
        """What the next header says."""
        if self.draw.random() < 0.03:
            self.wrong("a header of another origin")
            return {"origin": quoted(self.other())}
        return {"origin": quoted(self.now)}

    def wrong(self, what: str) -> None:
        self.what = self.what or what


def random_header(draw: random.Random, log: str, closed: list[Made], origins: Origins) -> tuple[str, list[Members]]:
    if not closed:
        return "", genesis(log)
    records = leaves_of(*closed)
    header = segment(log, closed[-1], records, **origins.header())
    if draw.random() < 0.9:
        return "", header
    previous = json.loads(header[0]["payload"])["previous"]
    fact = draw.choice(sorted(previous))
    previous[fact] = previous[fact] + 1 if isinstance(previous[fact], int) else previous[fact][::-1]
    stated = json.dumps(previous, separators=(",", ":"))
    return f"another {fact}", segment(log, closed[-1], records, previous=stated, origin=quoted(origins.now))


def subtree_roots(records: list[bytes]) -> list[str]:
    roots: list[str] = []
    while records:
        size = 2 ** (len(records).bit_length() - 1)
        roots.append(naive_root(records[:size]).hex())
        records = records[size:]
    return roots


def random_prune(draw: random.Random, made: Made) -> tuple[str, list[Members]]:
    """The record that lets the first file go."""
    roots = subtree_roots(leaves_of(made))
    facts = {"first_seq": 0, "last_seq": made.ends[-1].seq, "roots": roots, "sha256": hashlib.sha256(made.data).hexdigest()}
    what = draw.choice(["pruned", "pruned", "pruned", "another root", "another sha256", "another last_seq"])
    if what == "another root":
        facts["roots"] = [roots[0][::-1], *roots[1:]]
    if what == "another sha256":
        facts["sha256"] = "0" * 64
    if what == "another last_seq":
        facts["last_seq"] = made.ends[-1].seq - 1
    text = json.dumps(facts, separators=(",", ":"))
    return what, [{"actor": '"irer"', "event_type": '"log.prune"', "payload": text}]


def random_case(draw: random.Random, log: str) -> Case:
    closed: list[Made] = []
    origins = Origins(draw, log)
    for _ in range(draw.choice([0, 0, 0, 1, 2])):
        header = segment(log, closed[-1], leaves_of(*closed), **origins.header()) if closed else genesis(log)
        batches = [random_batch(draw) for _ in range(draw.randrange(3))]
        closed.append(make([header, *batches, *origins.batches()], closed[-1] if closed else None))
    before = closed[-1] if closed else None
    wrong, header = random_header(draw, log, closed, origins)
    batches = [header, *[random_batch(draw) for _ in range(draw.randrange(6))], *origins.batches()]
    pruned = 0
    if closed and not wrong and draw.random() < 0.2:
        wrong, prune = random_prune(draw, closed[0])
        batches.append(prune)
        pruned = closed[0].ends[-1].seq + 1
    active, what, forged = make(batches, before), wrong or "as written", None
    if not wrong and len(batches) > 1 and draw.random() < 0.25:
        what, twist = draw.choice(list(FORGERIES.items()))
        number = draw.randrange(1, len(batches))
        active = make(batches, before, {(number, draw.randrange(len(batches[number]))): twist})
        forged = active.ends[number].batch
    data = active.data
    if forged is None and draw.random() < (0.3 if pruned else 0.6):
        harm, data = damaged(draw, data)
        what = f"{what}, {harm}" if pruned else harm
    found = {f"{log}.{made.first_seq:016d}.jsonl": made.data for made in closed} | {f"{log}.jsonl": data}
    if pruned:
        del found[f"{log}.{0:016d}.jsonl"]
    elif closed and draw.random() < 0.4:
        what = f"{what}, {random_files(draw, log, closed, found)}"
    about_head, head, watermark = random_head(draw, log, closed, active)
    origin: str | None = origins.now
    if draw.random() < 0.04:
        origin = draw.choice([None, origins.other()])
        origins.wrong("another origin in ledger.json" if origin else "not in ledger.json")
    about, checkpoint, sealed = random_checkpoint(draw, log, closed, active, origins)
    what = f"{what} {about_head} {about} {origins.what}".strip()
    case = Case(log, closed, active, found, head, not about_head, watermark, what, forged, pruned, origin, not origins.what)
    case.checkpoint, case.checkpoint_is_sound, case.sealed = checkpoint, not about, 0 if about else sealed
    return case


def names_of_logs() -> Iterator[str]:
    for first in "abcdefghij":
        for second in "abcdefghijklmnopqrst":
            yield f"log_{first}_{second}"


def daemon_says(directory: Path) -> dict[str, dict[str, Any]]:
    command = [sys.executable, "-m", "state.verify", str(directory), "--jsonl"]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    rows = [json.loads(line) for line in answer.stdout.splitlines()]
    found = {row["log"]: row for row in rows if row.get("done")}
    assert answer.returncode == (0 if all(row["ok"] for row in found.values()) else 1), answer.stderr
    return found


def judge(case: Case, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    say = (case.what, ours, theirs)
    # Of a log with a wrong head or origin, or a file wrong as a whole, each counts the records it got to.
    plain = case.head_is_sound and case.origin == f"irer.invalid/00000000000000a1/{case.log}" and not case.closed
    if theirs["ok"] or (plain and case.origin_is_sound and case.checkpoint_is_sound):
        assert ours["records"] == theirs["records"], say
    # No crash leaves a sealed line of wrong form: where it was never acknowledged, one calls it torn and the other corrupt.
    if case.forged is None or case.forged <= case.watermark:
        assert (ours["verdict"] != "corrupt") == theirs["ok"], say
    if ours["verdict"] != "corrupt":
        active = case.found[f"{case.log}.jsonl"]
        kept = next(end for end in case.active.ends if end.seq == case.pruned + ours["records"] - 1)
        assert kept.batch >= case.watermark and kept.seq + 1 >= case.sealed, say
        assert not theirs["ok"] or ours["sealed"] == str(theirs.get("sealed", "none")), say
        if case.sealed >= max(1, case.pruned) and theirs["ok"]:
            assert ours["sealed"] == str(case.sealed), say
        assert active[: kept.offset] == case.active.data[: kept.offset], say
        sound = [made for made in case.closed if made.first_seq >= case.pruned]
        assert all(case.found[f"{case.log}.{made.first_seq:016d}.jsonl"] == made.data for made in sound), say
        assert base64.b64decode(ours["root"]) == naive_root(leaves_of(*case.closed, Made(active[: kept.offset], [], 0))), say
        assert not theirs["ok"] or ours["torn_bytes"] == theirs.get("torn_bytes", 0) == len(active) - kept.offset, say
    if theirs["ok"] and ours["root"] and "tree" in theirs:
        root = base64.b64decode(ours["root"]).hex()
        assert {"root": root, "size": ours["size"]}.items() <= theirs["tree"].items(), say
    if case.what in ("as written", "pruned"):
        assert ours["verdict"] == "ok", say


def agree_on(directory: Path, seed: int) -> None:
    """Half of the directories have a ledger.json, which names nearly all of their logs."""
    draw = random.Random(seed)
    cases = [random_case(draw, log) for log in names_of_logs()]
    for case in cases:
        write_log(directory, case.log, case.found, case.head)
        if case.checkpoint is not None:
            (directory / "log.d" / case.log / "checkpoint").write_bytes(case.checkpoint)
    if seed % 2:
        logs = {case.log: case.origin for case in cases if case.origin is not None}
        facts = {"boots": 1, "format": 1, "id": "00000000000000a1", "logs": logs, "written_by": "irer"}
        (directory / "ledger.json").write_text(json.dumps(facts, separators=(",", ":"), sort_keys=True) + "\n")
    theirs = daemon_says(directory)
    ours = {row["log"]: row for row in verify.check([directory])["logs"]}
    assert len(cases) == BATCH_OF_LOGS and theirs.keys() == ours.keys() == {case.log for case in cases}
    for case in cases:
        judge(case, ours[case.log], theirs[case.log])


def test_two_verifiers_agree_on_random_logs(tmp_path):
    for seed in range(1, 1 + per_commit("T18") // BATCH_OF_LOGS):
        place = tmp_path / str(seed)
        place.mkdir()
        agree_on(place, seed)


@pytest.mark.campaign
def test_two_verifiers_agree_on_ten_thousand_random_logs(tmp_path):
    def one(index: int) -> None:
        place = tmp_path / str(index)
        place.mkdir()
        try:
            agree_on(place, 1 + index // BATCH_OF_LOGS)
        except AssertionError as error:
            raise AssertionError(f"seed {1 + index // BATCH_OF_LOGS}: {error}") from error
        finally:
            shutil.rmtree(place)

    campaign("T18", one, at_once=BATCH_OF_LOGS)
