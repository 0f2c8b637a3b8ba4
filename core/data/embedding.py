"""Texts as vectors, with no model and no table: signed hashing of words and of the 3 to 5 letters that make them up.

The same text gives the same bytes on every machine: nothing here depends on Unicode tables, on a locale, or on the order in
which floats are added. It knows spelling, not meaning: texts that share words are near one another, synonyms are not.
"""

import base64
import binascii
import math
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from heapq import nsmallest
from operator import mul
from sys import byteorder
from typing import NamedTuple
from zlib import crc32

MODEL = "hashed-256"
DIMENSION = 256
TABLE_MODEL = "wordllama-256"
"""Means of the token vectors of one table, which is read from a package's files and known by their digests."""
SERIES_MODEL = "series-256"
"""Of telemetry; whatever makes vectors of texts."""
OWN = {MODEL: DIMENSION, TABLE_MODEL: 256, SERIES_MODEL: 256}
"""Models whose vectors irer makes itself, with their dimensions."""
DIMENSION_MAX = 4_096
TEXT_CHARS_MAX = 16_384
LETTERS = (3, 4, 5)
UNIT_OFF_MAX = 1e-3

_WORD = re.compile("[0-9a-z\u00c0-\u1fff\u2070-\u2fff\u3040-\ud7ff\ue000-\uffef\U00010000-\U0010ffff]+")
"""What lies between ASCII signs, and between the spaces and signs of other scripts: ranges, so that no Unicode version matters."""
_SMALL = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


class NoEmbedding(ValueError):
    """There is no vector for this: the text says why in words for its caller."""


class Found(NamedTuple):
    """A stored vector that is near: how near, and the record that stored it."""

    relevance: float
    seq: int
    event: str


# --- from a text ------------------------------------------------------------------------------------------------------------


def check_text(text: str) -> None:
    """Raises NoEmbedding for what has no vector."""
    if not text:
        raise NoEmbedding("it is empty: there is nothing to find it by")
    if len(text) > TEXT_CHARS_MAX:
        raise NoEmbedding(f"it has {len(text):,} characters; {TEXT_CHARS_MAX:,} is the most. Give it in parts")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NoEmbedding("it holds half a character (a lone surrogate), which is no text. Send whole characters") from None
    if _WORD.search(text.translate(_SMALL)) is None:
        raise NoEmbedding("it holds no word: only signs and spaces. Add a word to find it by")


def embed(text: str) -> bytes:
    """The vector of a text: 256 little-endian float32, of length 1. Raises NoEmbedding."""
    check_text(text)
    return unit(spread(text, DIMENSION))


def spread(text: str, places: int) -> list[float]:
    """What a text's words and letters come to in so many places."""
    buckets: list[list[float]] = [[] for _ in range(places)]
    for feature, times in _features(text).items():
        hashed = crc32(feature.encode())
        root = math.sqrt(times)
        buckets[(hashed & 0x7FFF_FFFF) % places].append(root if hashed & 0x8000_0000 else -root)
    return [math.fsum(bucket) for bucket in buckets]


def _features(text: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for word, times in Counter(_WORD.findall(text.translate(_SMALL))).items():
        found[f"w{word}"] += times
        edged = f" {word} "
        for length in LETTERS:
            for place in range(len(edged) - length + 1):
                found[f"g{edged[place : place + length]}"] += times
    return found


# --- vectors as bytes -------------------------------------------------------------------------------------------------------


def unit(values: Sequence[float]) -> bytes:
    """These numbers at length 1, as float32. Raises NoEmbedding for what has no direction."""
    if not all(map(math.isfinite, values)):
        raise NoEmbedding("a vector holds finite numbers only: no NaN, no infinity")
    most = max(map(abs, values), default=0.0)
    if not most:
        raise NoEmbedding("a vector of zeros points nowhere, so nothing is near it")
    scaled = [value / most for value in values]
    length = math.sqrt(math.fsum(map(mul, scaled, scaled)))
    return _little(array("f", [value / length for value in scaled])).tobytes()


def numbers(raw: bytes) -> "array[float]":
    return _little(array("f", raw))


def bytes_of(values: Sequence[float]) -> bytes:
    return _little(array("f", values)).tobytes()


def _little(values: "array[float]") -> "array[float]":
    if byteorder == "big":
        values.byteswap()
    return values


def text_of(raw: bytes) -> str:
    """A vector as it stands in a record."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def raw_of(text: str, dimension: int) -> bytes:
    """The vector of a record again. Raises NoEmbedding for what cannot be one."""
    try:
        raw = base64.b64decode(text.encode() + b"=" * (-len(text) % 4), b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise NoEmbedding("it is no vector") from None
    if len(raw) != 4 * dimension or text_of(raw) != text:
        raise NoEmbedding("it is no vector of that dimension")
    values = numbers(raw)
    if not abs(math.fsum(map(mul, values, values)) - 1) <= UNIT_OFF_MAX:  # nor is a sum that is no number
        raise NoEmbedding("it is not of length 1")
    return raw


def stored_raw(text: str) -> bytes:
    """The same of a record, which was judged before it became one; empty where it is none."""
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return b""


# --- how near ---------------------------------------------------------------------------------------------------------------


def relevance(one: Sequence[float], other: Sequence[float]) -> float:
    """The cosine of two vectors of length 1. Products of float32 are exact and their sum is rounded once, so all machines agree."""
    return math.fsum(map(mul, one, other))


def rank(found: Found) -> tuple[float, int]:
    """The nearest first; of equals, the one that was stored first."""
    return -found.relevance, found.seq


def nearest(query: Sequence[float], rows: Iterable[tuple[int, str, Sequence[float]]], k: int) -> list[Found]:
    """The k nearest of these rows, by comparing each."""
    return nsmallest(k, _compared(query, rows), key=rank)


def _compared(query: Sequence[float], rows: Iterable[tuple[int, str, Sequence[float]]]) -> Iterator[Found]:
    for seq, event, vector in rows:
        yield Found(relevance(query, vector), seq, event)
