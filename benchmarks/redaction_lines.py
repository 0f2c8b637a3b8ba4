"""Telemetry as it comes from machines: identifiers, digests, times and measurements, and nothing that is anybody's.

The lines are drawn from a seed, so that a find in one of them can be looked at again. Nothing here may be personal or secret.
"""

import json
import random
import uuid
from collections.abc import Iterator

WORDS = (
    "task started done failed queued worker pool compute storage network database snapshot segment replay sync batch cursor offset "
    "record hash chain engine resource gate cache entity metrics hunt trial reward energy entropy regime call registered released "
    "retry timeout deadline latency messages calls text number line office host heartbeat checkpoint witness stream reached "
    "password_policy token_count key_id tokens idle card_slot"
).split()
METRICS = (
    "cpu_usage power_draw_w temperature_c latency_ms queue_len bytes_s rss_mb fd_count token_count key_count session_age_s".split()
)


def clean_lines(seed: int, count: int) -> Iterator[str]:
    draw = random.Random(seed)
    kinds = (_record, _plain, _fields, _measurements, _trace, _path, _versions, _numbers, _said)
    for _ in range(count):
        yield draw.choice(kinds)(draw)


def _hex(draw: random.Random, digits: int) -> str:
    return f"{draw.getrandbits(4 * digits):0{digits}x}"


def _uuid(draw: random.Random) -> str:
    return str(uuid.UUID(int=draw.getrandbits(128), version=4))


def _time(draw: random.Random) -> str:
    return (
        f"20{draw.randint(10, 39)}-{draw.randint(1, 12):02}-{draw.randint(1, 28):02}T{draw.randint(0, 23):02}:"
        f"{draw.randint(0, 59):02}:{draw.randint(0, 59):02}.{draw.randint(0, 999999):06}Z"
    )


def _version(draw: random.Random) -> str:
    return ".".join(str(draw.randint(0, 40)) for _ in range(draw.randint(2, 3)))


def _job(draw: random.Random) -> str:
    return f"{draw.choice('tjhw')}-{draw.choice(WORDS)}-{draw.randint(1, 10 ** draw.randint(1, 12))}"


def _record(draw: random.Random) -> str:
    return json.dumps(
        {
            "actor": f"uid:{draw.randint(0, 65534)}",
            "boot_id": _hex(draw, 8),
            "commit": [draw.randint(0, 10**6), draw.randint(0, 255), draw.randint(1, 256)],
            "event_type": f"{draw.choice(WORDS)}.{draw.choice(WORDS)}",
            "idem": {"digest": _hex(draw, 32), "key": f"cli-{_hex(draw, 8)}"},
            "mono_us": draw.randint(0, 10**13),
            "parent_hash": _hex(draw, 64),
            "payload": {"task_id": _job(draw), "duration_s": draw.random() * 100, "units": draw.randint(1, 1000)},
            "seq": draw.randint(0, 10**9),
            "timestamp": round(1_767_225_600 + draw.random() * 10**8, 6),
            "event_hash": _hex(draw, 64),
        },
        separators=(",", ":"),
    )


def _plain(draw: random.Random) -> str:
    words = " ".join(draw.choice(WORDS) for _ in range(draw.randint(3, 9)))
    return (
        f"{_time(draw)} irerd[{draw.randint(1, 4194304)}]: {words} {_job(draw)} "
        f"in {draw.random() * 1000:.3f} ms ({draw.randint(0, 100)}%)"
    )


def _fields(draw: random.Random) -> str:
    pairs = [f"{draw.choice(METRICS)}={draw.choice((draw.random() * 10**6, draw.randint(0, 10**9)))}" for _ in range(6)]
    return f"ts={draw.randint(10**12, 2 * 10**12)} id={_uuid(draw)} trace_id={_hex(draw, 32)} " + " ".join(pairs)


def _measurements(draw: random.Random) -> str:
    return json.dumps(
        {
            "stream": f"node{draw.randint(1, 9999)}/{draw.choice(METRICS)}",
            "t": [draw.randint(10**15, 2 * 10**15) for _ in range(4)],
            "v": [draw.gauss(0, 10 ** draw.randint(-6, 9)) for _ in range(8)],
        }
    )


def _trace(draw: random.Random) -> str:
    return (
        f"traceparent: 00-{_hex(draw, 32)}-{_hex(draw, 16)}-01 "
        f"span={_hex(draw, 16)} mac={':'.join(_hex(draw, 2) for _ in range(6))} "
        f'sha256:{_hex(draw, 64)} cursor=w1.{draw.randint(0, 10**7)} etag="{_hex(draw, 40)}"'
    )


def _path(draw: random.Random) -> str:
    return (
        f"open /var/lib/irer/{draw.choice(WORDS)}/{_hex(draw, 2)}/{_hex(draw, 64)} "
        f"pid={draw.randint(1, 4194304)} size={draw.randint(0, 10**10)} /usr/lib/python3.{draw.randint(8, 14)}/site-packages/"
        f"{draw.choice(WORDS)}-{_version(draw)}.dist-info line {draw.randint(1, 9999)}"
    )


def _versions(draw: random.Random) -> str:
    return (
        f"{draw.choice(WORDS)} v{_version(draw)} kernel {_version(draw)}-generic build {draw.randint(1, 10**8)} "
        f"on 127.0.0.1:{draw.randint(1024, 65535)} "
        f"commit {_hex(draw, 40)} {_hex(draw, 7)} release {_version(draw)}+{_hex(draw, 8)} uptime {draw.randint(0, 10**7)} s"
    )


def _numbers(draw: random.Random) -> str:
    numbers = " ".join(str(draw.randint(0, 10 ** draw.randint(1, 19))) for _ in range(6))
    place = f"{draw.uniform(-90, 90):.7f},{draw.uniform(-180, 180):.7f}"
    return f"{draw.choice(WORDS)} {draw.choice(WORDS)} {numbers} {place} {draw.random():.17g}"


def _said(draw: random.Random) -> str:
    """Numbers behind single words, one or two at a time, as a program says them that counts."""
    parts = []
    for _ in range(6):
        parts.append(draw.choice(WORDS))
        parts += [str(draw.randint(0, 10 ** draw.randint(1, 13))) for _ in range(draw.randint(1, 2))]
    return f"{_time(draw)} " + " ".join(parts)
