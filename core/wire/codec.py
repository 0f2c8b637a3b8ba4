"""CBOR as both ends speak it: a strict reader of untrusted bytes and a writer that sends nothing such a reader refuses.

The values are map with text keys, list, text, bytes, whole number within 2**53, finite float, bool, null and `Typed`, an
array of numbers. cbor2's defaults suit trusted data (tags compile expressions, share values, build cycles; trailing bytes
are ignored), so this module never calls it with them, and never lets a value through that a message may not hold.
"""

import math
import sys
from array import array
from collections.abc import Callable, Iterable
from functools import partial
from importlib import import_module
from io import BytesIO
from math import isfinite
from struct import Struct
from typing import Any, NoReturn

import cbor2
import msgspec

from core.wire.frames import FRAME_MAX, MAGIC

DEPTH_MAX = 32
VALUES_MAX = 100_000
INT_MAX = 2**53 - 1


class CodecError(ValueError):
    """These bytes, or this value, are not a message."""


class ValuesError(CodecError):
    """More values than a body may hold. `message` is the body as far as it is known: its envelope can be read."""

    def __init__(self, detail: str, message: dict[str, Any]) -> None:
        super().__init__(detail)
        self.message = message


class Typed:
    """An array of numbers as it travels (RFC 8746): little-endian bytes, their type, and a row-major shape.

    Counts as one value. Reading the numbers refuses NaN and infinity unless the field says that they have a meaning.
    """

    __slots__ = ("data", "dtype", "shape")

    def __init__(self, dtype: str, data: bytes, shape: tuple[int, ...] | None = None) -> None:
        if dtype not in _CODES:
            raise CodecError(f"an array of {dtype} cannot be sent; use one of {', '.join(_CODES)}")
        width = array(_CODES[dtype]).itemsize
        if len(data) % width:
            raise CodecError(f"an array of {dtype} cannot be {len(data)} bytes long")
        count = len(data) // width
        if shape is not None and (not shape or min(shape) < 0 or math.prod(shape) != count):
            raise CodecError(f"an array of {count} numbers does not have the shape {list(shape)[:8]}")
        self.dtype = dtype
        self.data = data
        self.shape = (count,) if shape is None else shape

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Typed):
            return NotImplemented
        return (self.dtype, self.shape, self.data) == (other.dtype, other.shape, other.data)

    def __hash__(self) -> int:
        return hash((self.dtype, self.shape, self.data))

    def __repr__(self) -> str:
        return f"Typed({self.dtype!r}, shape={self.shape})"

    @classmethod
    def of(cls, numbers: Iterable[float], dtype: str = "float64", shape: tuple[int, ...] | None = None) -> "Typed":
        """From plain numbers. A NumPy array is `Typed(a.dtype.name, a.tobytes(), a.shape)` once it is little-endian."""
        items = array(_CODES[dtype], numbers)
        if sys.byteorder == "big":
            items.byteswap()
        return cls(dtype, items.tobytes(), shape)

    def numbers(self, *, finite: bool = True) -> "array[Any]":
        """The numbers, row by row."""
        items: array[Any] = array(_CODES[self.dtype])
        items.frombytes(self.data)
        if sys.byteorder == "big":
            items.byteswap()
        if finite and self.dtype.startswith("float") and not (math.isfinite(sum(items)) or all(map(math.isfinite, items))):
            raise CodecError("an array holds NaN or infinity")
        return items

    def numpy(self, *, finite: bool = True) -> Any:
        """As a read-only NumPy array; NumPy is imported only here."""
        numpy: Any = import_module("numpy")
        found = numpy.frombuffer(self.data, dtype=numpy.dtype(self.dtype).newbyteorder("<")).reshape(self.shape)
        if finite and not numpy.isfinite(found).all():
            raise CodecError("an array holds NaN or infinity")
        return found


_CODES = {"uint8": "B", "uint32": "I", "uint64": "Q", "int32": "i", "int64": "q", "float32": "f", "float64": "d"}
_TAGS = {64: "uint8", 70: "uint32", 71: "uint64", 78: "int32", 79: "int64", 85: "float32", 86: "float64"}
_TAG_OF = {dtype: tag for tag, dtype in _TAGS.items()}
_TAG_SHAPED = 40

BUILT_IN_TAGS = (0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799)
"""The tags cbor2 reads by itself, without asking `tag_hook`. A test walks all tags, so an upgrade that adds one is seen."""


def _deny(*_: Any) -> NoReturn:
    raise CodecError("this tag is not allowed")


def _allow(tag: cbor2.CBORTag, _immutable: bool) -> Typed:
    value: Any = tag.value
    dtype = _TAGS.get(tag.tag)
    if dtype is not None and type(value) is bytes:
        return Typed(dtype, value)
    if tag.tag == _TAG_SHAPED and isinstance(value, list | tuple) and len(value) == 2:
        shape, plain = value
        flat = type(plain) is Typed and len(plain.shape) == 1
        if flat and isinstance(shape, list | tuple) and all(type(size) is int for size in shape):
            return Typed(plain.dtype, plain.data, tuple(shape))
    raise CodecError(f"tag {tag.tag} is not allowed")


_STRICT: dict[str, Any] = {
    "max_depth": DEPTH_MAX,
    "allow_indefinite": False,
    "allow_duplicate_keys": False,
    "strict_hashable_types": True,
    "str_errors": "strict",
    "semantic_decoders": dict.fromkeys(BUILT_IN_TAGS, _deny),
    "tag_hook": _allow,
}


def decode(body: bytes, values_max: int = VALUES_MAX) -> dict[str, Any]:
    """The message in `body`. Raises CodecError for whatever is not one, ValuesError when it is only too many values."""
    return Reader().read(body, values_max)


class Reader:
    """Reads bodies one after the other, for one owner. What a bad one leaves behind is seen by none after it."""

    __slots__ = ("_decoder",)

    def __init__(self) -> None:
        self._decoder: cbor2.CBORDecoder | None = None
        """Made once: it takes as long to make as to read a small body."""

    def read(self, body: bytes, values_max: int = VALUES_MAX) -> dict[str, Any]:
        """As `decode`."""
        message = self.take(body)
        clean(message, values_max)
        return message

    def take(self, body: bytes) -> dict[str, Any]:
        """The same but for `clean`, which is left to whoever asks."""
        source = BytesIO(body)
        decoder, self._decoder = self._decoder, None
        try:
            if decoder is None:
                decoder = cbor2.CBORDecoder(source, **_STRICT)
            else:
                decoder.fp = source
            message = decoder.decode()
        except Exception as error:
            raise CodecError(_reason(error)) from error
        self._decoder = decoder
        if type(message) is not dict:
            raise CodecError("a body is one map")
        if (left := len(body) - source.tell()) != 0:
            raise CodecError(f"{left} bytes follow the map")
        return message


def _reason(error: BaseException) -> str:
    """One line for the peer. It names the rule that was broken; it quotes nothing of the body."""
    while error.__cause__ is not None and not isinstance(error, CodecError):
        error = error.__cause__
    if isinstance(error, CodecError):
        return str(error)
    if isinstance(error, cbor2.CBORDecodeEOF):
        return "the body ends in the middle of a value"
    if isinstance(error, UnicodeDecodeError):
        return "a text is not UTF-8"
    text = str(error)
    for word, rule in _RULES.items():
        if word in text:
            return rule
    return "the body is not CBOR of the form irer reads"


_RULES = {
    "Duplicate": "a map has a key twice",
    "map key": "the keys of a map are texts",
    "indefinite": "lengths are definite",
    "depth": f"nesting is deeper than {DEPTH_MAX}",
}

_HALF = "a text holds half a character (a lone surrogate)"
_PLAIN = frozenset({str, bytes, bool, type(None), Typed})
_LEAST_INT = -INT_MAX


def clean(message: dict[str, Any], values_max: int = VALUES_MAX, within: str = "") -> None:
    """Refuses what no message may hold, walking level by level so that no depth of nesting costs stack.

    Every message passes here at both ends, so the commonest kinds are asked for first. `within` names the one member, a map, that
    is still to be looked at.
    """
    level: list[Any] = [message]
    left, depth = values_max, DEPTH_MAX
    if within:
        left, depth, level = left - len(message), depth - 1, [message[within]]
    for _ in range(depth):
        deeper: list[Any] = []
        for container in level:
            left -= len(container)
            if left < 0:
                raise ValuesError(f"a body holds at most {values_max} values", message)
            if type(container) is dict:
                for key in container:
                    if type(key) is not str:
                        raise CodecError("the keys of a map are texts")
                container = container.values()
            for value in container:
                kind = type(value)
                if kind is str:
                    continue
                if kind is int:
                    if not _LEAST_INT <= value <= INT_MAX:
                        raise CodecError("a whole number is beyond 2**53 - 1; send it as text")
                elif kind is dict or kind is list or kind is tuple:
                    deeper.append(value)
                elif kind is float:
                    if not isfinite(value):
                        raise CodecError("NaN and infinity are not values")
                elif kind not in _PLAIN:
                    raise CodecError(f"a value of type {kind.__name__} cannot be in a message")
        if not deeper:
            return
        level = deeper
    raise CodecError(f"nesting is deeper than {DEPTH_MAX}")


def _write_typed(encoder: cbor2.CBOREncoder, value: Typed) -> None:
    """What cbor2 asks for a value it does not know; after `clean` that is an array."""
    plain = cbor2.CBORTag(_TAG_OF[value.dtype], value.data)
    flat = len(value.shape) == 1
    encoder.encode(plain if flat else cbor2.CBORTag(_TAG_SHAPED, [list(value.shape), plain]))


_MAPS = [bytes((0xA0 + length,)) for length in range(24)]
_LISTS = [bytes((0x80 + length,)) for length in range(24)]
_NUMBERS = [bytes((number,)) for number in range(24)]
_HEADS = [bytes((0x60 + length,)) for length in range(24)] + [bytes((0x78, length)) for length in range(24, 256)]


def text_bytes(value: str) -> bytes:
    """A text as it stands in a body. Raises CodecError."""
    parts: list[bytes] = []
    put_text(parts, value)
    return b"".join(parts)


def put_text(parts: list[bytes], value: str) -> None:
    """Add a text as it stands in a body. Raises CodecError."""
    try:
        raw = value.encode()
    except UnicodeEncodeError:
        raise CodecError(_HALF) from None
    length = len(raw)
    parts += _HEADS[length] if length < 256 else _long_head(length), raw


def _long_head(length: int) -> bytes:
    if length < 65_536:
        return b"\x79" + length.to_bytes(2, "big")
    return b"\x7a" + length.to_bytes(4, "big") if length < 2**32 else b"\x7b" + length.to_bytes(8, "big")


_word = Struct(">BI").pack


def number_bytes(value: int) -> bytes:
    """A whole number that is not negative, as it stands in a body."""
    if value > 65_535:
        return _word(0x1A, value) if value < 2**32 else b"\x1b" + value.to_bytes(8, "big")
    if value > 255:
        return b"\x19" + value.to_bytes(2, "big")
    return bytes((0x18, value)) if value > 23 else bytes((value,))


def put_value(parts: list[bytes], value: Any, beside: int) -> None:
    """Add a value as it stands in a body whose other values, no more than `beside`, are known to be good.

    Raises CodecError where it may not stand there, or holds a Struct: `encode` then says what is wrong with the whole, if anything.
    """
    before = len(parts)
    try:
        if not _small(value, parts.append, SMALL_DEPTH) or len(parts) - before > VALUES_MAX - beside:
            del parts[before:]
            clean({"": value}, VALUES_MAX - beside)
            parts.append(cbor2.dumps(value, default=_write_typed))
    except UnicodeEncodeError:
        raise CodecError(_HALF) from None


SMALL_DEPTH = 6
"""Levels of a value that is judged and written in one pass."""
SMALL_LENGTH = 24
"""Members of one container of it."""
KEYS_MAX = 4_096
"""Keys whose bytes are remembered."""


class _Keys(dict[str, bytes]):
    """The bytes of keys: they are the names of fields, and come again."""

    def __missing__(self, key: str) -> bytes:
        if type(key) is not str:
            raise CodecError("the keys of a map are texts")
        found = text_bytes(key)
        if len(self) < KEYS_MAX:
            self[key] = found
        return found


_keys = _Keys()
_double = partial(Struct(">Bd").pack, 0xFB)


def _small(value: Any, put: Callable[[bytes], None], depth: int) -> bool:
    """Judge and write a small value at once, half the work of `clean` and cbor2. False where it is not small, or nothing such:
    what was put is then of no use. Raises CodecError.
    """
    kind = type(value)
    if kind is dict:
        if len(value) >= SMALL_LENGTH or not depth:
            return False
        put(_MAPS[len(value)])
        for key, item in value.items():
            put(_keys[key])
            kind = type(item)
            if kind is str:
                raw = item.encode()
                size = len(raw)
                put(_HEADS[size] if size < 256 else _long_head(size))
                put(raw)
            elif kind is float and isfinite(item):
                put(_double(item))
            elif item is None:
                put(b"\xf6")
            elif kind is int and 0 <= item <= INT_MAX:
                put(_NUMBERS[item] if item < 24 else number_bytes(item))
            elif kind is bool:
                put(b"\xf5" if item else b"\xf4")
            elif not _small(item, put, depth - 1):
                return False
    elif kind is str:
        put(text_bytes(value))
    elif kind is bool:
        put(b"\xf5" if value else b"\xf4")
    elif kind is int:
        if not 0 <= value <= INT_MAX:
            return False
        put(number_bytes(value))
    elif value is None:
        put(b"\xf6")
    elif kind is float:
        if not isfinite(value):
            return False
        put(_double(value))
    elif kind is list or kind is tuple:
        if len(value) >= SMALL_LENGTH or not depth:
            return False
        put(_LISTS[len(value)])
        for item in value:
            if type(item) is float and isfinite(item):
                put(_double(item))
            elif not _small(item, put, depth - 1):
                return False
    else:
        return False
    return True


def framed(body: bytes) -> bytes:
    """A whole frame. Raises CodecError for one that is too long."""
    size = len(body)
    if size > FRAME_MAX:
        raise CodecError(f"a message of {size} bytes is over the limit of {FRAME_MAX}")
    return _frame_head(MAGIC, size) + body


_frame_head = Struct(">3sI").pack


def encode(message: dict[str, Any]) -> bytes:
    """A whole frame. Raises CodecError for what the other end would refuse. Structs within become maps."""
    try:
        clean(message)
    except ValuesError:
        raise
    except CodecError:
        message = _plain(message)
        clean(message)
    try:
        body = cbor2.dumps(message, default=_write_typed)
    except UnicodeEncodeError:
        raise CodecError(_HALF) from None
    return framed(body)


def _plain(message: dict[str, Any]) -> dict[str, Any]:
    try:
        found: dict[str, Any] = msgspec.to_builtins(message, builtin_types=(bytes,))
    except Exception as error:
        raise CodecError(f"this cannot be in a message: {error}") from error
    return found
