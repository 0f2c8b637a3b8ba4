"""The one filter: what any engine logs or shows goes through here first.

Secrets become `[redacted:KIND]`, personal data keyed pseudonyms: one value, one pseudonym, wherever it stands. It never changes
what it is given, never fails, and does nothing more to what it has already done. It reads no clock and no file, and what went
wrong inside it is told by the name of the exception's type alone.
"""

import hmac
from bisect import bisect
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Any

from core.redact.found import Find
from core.redact.names import announced, plain_words
from core.redact.personal import personal
from core.redact.secret import assigned, looks_secret, secret_shapes, secrets
from core.redact.views import View, is_listed, is_mark, is_plain, joined, unmarked, views

KEY_BYTES_MIN = 16
DEPTH_MAX = 32
PASSES_MAX = 8
KEY_CHARS_MAX = 128
NUMBER_MIN = 100_000
"""A smaller number stands for nobody."""
PARTS_MAX = 1024
JOINED_CHARS_MAX = 65_536
FAILED = "[redacted:error]"

_NAME_FIELDS = ("name", "key", "field", "header", "variable", "var", "param", "parameter", "setting", "option", "k")
_VALUE_FIELDS = frozenset(("value", "val", "v", "content", "data", "default", "values"))


def _ignore(name: str) -> None:
    """Nobody asked to be told."""


class Redactor:
    def __init__(self, key: bytes, on_error: Callable[[str], None] = _ignore) -> None:
        """`on_error` gets the type name of an exception that was met within; what it was met in is stored as `[redacted:error]`."""
        if len(key) < KEY_BYTES_MIN:
            raise ValueError(f"a redaction key has at least {KEY_BYTES_MIN} bytes")
        self._key = key
        self._on_error = on_error

    def __repr__(self) -> str:
        return "Redactor([secret])"

    def pseudonym(self, kind: str, value: str) -> str:
        """The keyed alias of one value: the same in every log of a ledger, and nothing without its key."""
        message = b"irer/pn/1\0" + kind.encode() + b"\0" + value.encode("utf-8", "surrogatepass")
        return "pn_" + hmac.digest(self._key, message, "sha256").hex()[:32]

    def alias(self, value: str, kind: str | None = None) -> str:
        """The pseudonym of a whole text. An e-mail address or a card gets the one it has in free text too."""
        try:
            if is_mark(value):
                return value
            if kind is None:
                bare = value.strip()
                for find in personal(bare, "phone ip card"):
                    if find.value is not None and find.end - find.start == len(bare):
                        return self.pseudonym(find.kind, find.value)
            return self.pseudonym(kind or "value", value)
        except Exception as error:
            return self._failed(error)

    def text(self, text: str, context: str = "") -> str:
        """A text without its secrets and personal data. `context` is what its field is called, in plain words."""
        try:
            for _ in range(PASSES_MAX):
                found = finds(text, context)
                if not found:
                    return text
                text = self._without(text, found)
            return FAILED  # it never came to rest, so nothing of it is kept
        except Exception as error:
            return self._failed(error)

    def value(self, value: Any, name: str = "") -> Any:
        """A redacted copy of a JSON value. What is of no such type, bytes too, is refused and stored as `[redacted:error]`."""
        try:
            said = announced(unmarked(name)) if name else None
            return self._value(value, plain_words(unmarked(name)), said.kind if said and said.strong else "", said is not None, 0)
        except Exception as error:
            return self._failed(error)

    # --- within -----------------------------------------------------------------------------------------------------

    def _failed(self, error: Exception) -> str:
        self._on_error(type(error).__name__)
        return FAILED

    def _without(self, text: str, found: list[Find]) -> str:
        parts: list[str] = []
        last = 0
        for find in found:
            mark = f"[redacted:{find.kind}]" if find.value is None else self.pseudonym(find.kind, find.value)
            parts += (text[last : find.start], mark)
            last = find.end
        parts.append(text[last:])
        return "".join(parts)

    def _value(self, value: Any, context: str, secret: str, weak: bool, depth: int) -> Any:
        """`secret` is the kind that a name above announced, `weak` whether one hinted at it."""
        kind = type(value)
        if kind is str:
            return self._string(value, context, secret, weak)
        if value is None or kind is bool:
            return value
        if kind is int or kind is float:
            return self._number(value, context, secret)
        if depth >= DEPTH_MAX:
            return "[redacted:deep]"
        if isinstance(value, dict):
            return self._object(value, context, secret, weak, depth + 1)
        if isinstance(value, (list, tuple)):
            return self._list(value, context, secret, weak, depth + 1)
        if isinstance(value, str):
            return self._string(str(value), context, secret, weak)
        raise TypeError

    def _string(self, value: str, context: str, secret: str, weak: bool) -> str:
        if secret:
            return value if not value or (is_mark(value) and value[0] == "[") else f"[redacted:{secret}]"
        if weak and looks_secret(value) and not is_mark(value):
            return "[redacted:token]" if "token" in context else "[redacted:secret]"
        kept = self.text(value, context)
        if weak and kept != value and looks_secret(kept) and not is_mark(kept):  # as it would look to whoever redacts it again
            return "[redacted:token]" if "token" in context else "[redacted:secret]"
        return kept

    def _number(self, value: int | float, context: str, secret: str) -> int | float | str:
        if secret:
            return f"[redacted:{secret}]"
        if not context or not (value >= NUMBER_MIN or value <= -NUMBER_MIN) or (type(value) is float and not value.is_integer()):
            return value
        written = str(abs(int(value)))
        kept = self.text(written, context)
        return value if kept == written else kept

    def _list(self, value: list[Any] | tuple[Any, ...], context: str, secret: str, weak: bool, depth: int) -> list[Any]:
        """A name and its value may stand side by side, as in `["--password", "hunter2"]`, and a flag's value be cut in two."""
        made: list[Any] = []
        beside = secret
        beside_weak = weak
        rest = ""
        for item in value if secret else _uncut(list(value), context):
            one = self._item(item, context, beside, beside_weak, depth)
            if rest and (_may_go_on(item) or _may_go_on(one)):
                one = self._item(item, context, rest, True, depth)
            rest = beside if not secret and beside and type(one) is str and one and made[-1].startswith("-") else ""
            made.append(one)
            beside, beside_weak = secret, weak
            if not secret and type(made[-1]) is str and (name := _lone_name(made[-1])):
                said = announced(name)
                if said is not None:
                    beside, beside_weak = (said.kind if said.strong else ""), True
        return made if secret else _uncut(made, context)

    def _item(self, item: Any, context: str, secret: str, weak: bool, depth: int) -> Any:
        try:
            return self._value(item, context, secret, weak, depth)
        except Exception as error:
            return self._failed(error)

    def _object(self, value: dict[Any, Any], context: str, secret: str, weak: bool, depth: int) -> dict[str, Any]:
        named = _named_field(value)
        made: dict[str, Any] = {}
        for key, item in value.items():
            if type(key) is not str:
                raise TypeError
            kept = self.text(key)
            if kept != key and len(kept) > KEY_CHARS_MAX:
                kept = "[redacted:key]"
            bare = unmarked(kept)
            said = announced(bare) if not secret else None
            if said is None and named is not None and key.lower() in _VALUE_FIELDS:
                said = announced(unmarked(self.text(named)).strip(" :=-"))
                bare = f"{bare} {named}"
            below = secret or (said.kind if said is not None and said.strong else "")
            words = plain_words(bare)
            made[_free(made, kept)] = self._item(item, f"{context} {words}".strip()[-200:], below, weak or said is not None, depth)
        return made


def _uncut(items: list[Any], context: str) -> list[Any]:
    """A key of known shape, or a card, may be cut up over neighbouring texts."""
    if not 2 <= len(items) <= PARTS_MAX:
        return items
    for _ in range(PASSES_MAX):
        if not any([_across(items, run, context) for run in _runs(items)]):
            break
    return items


def _runs(items: list[Any]) -> Iterator[range]:
    """Neighbouring texts that are not yet redacted."""
    start = 0
    for place, item in enumerate([*items, None]):
        if type(item) is not str or not 2 <= len(item) <= 4096 or is_mark(item):
            if place - start > 1:
                yield range(start, place)
            start = place + 1


def _across(items: list[Any], run: range, context: str) -> bool:
    """Redact the parts of what is only whole when they are joined."""
    whole = "".join(items[place] for place in run)
    if len(whole) > JOINED_CHARS_MAX:
        return False
    kinds: dict[int, str] = {}
    found = [*secret_shapes(whole), *(find for find in personal(whole, context) if find.kind == "card")]
    for find in found:
        begin, parts = 0, []
        for place in run:
            end = begin + len(items[place])
            if begin < find.end and end > find.start:
                parts.append(place)
            begin = end
        if len(parts) > 1:  # what is whole in one of them is cut out of it, not it with all it says
            kinds.update(dict.fromkeys(parts, find.kind))
    kinds.update(_of_cut_names(items, run, whole))
    for place, kind in kinds.items():
        items[place] = f"[redacted:{kind}]"
    return bool(kinds)


def _of_cut_names(items: list[Any], run: range, whole: str) -> Iterator[tuple[int, str]]:
    """`["--pass", "word=hunter2"]`: the texts that hold what a name says which is cut up itself, at most two."""
    begins = [0, *accumulate(len(items[place]) for place in run)]
    view = views(whole)[0]
    for begin, end, find in assigned(view.text) if "=" in whole or ":" in whole else ():
        begin, end = view.place(begin, end)
        last = begins[bisect(begins, end - 1) - 1]
        if begin < last and not _says_all(whole[last:end]):
            start, until = view.place(find.start, find.end)
            first = bisect(begins, start) - 1
            for place in run[first : min(bisect(begins, until - 1), first + 2)]:
                yield place, find.kind


def _says_all(rest: str) -> bool:
    """Whether what is left of a cut up name announces a secret by itself: then it was found without what stands before it."""
    said = announced(rest)
    return said is not None and said.strong


def _may_go_on(item: Any) -> bool:
    """Whether a text can be a part of the value that a flag announced: it is no flag and no name itself."""
    return type(item) is str and item[:1] not in ("", "-") and ((name := _lone_name(item)) == "" or announced(name) is None)


def _lone_name(text: str) -> str:
    """What may be a name and nothing more."""
    name = unmarked(text).strip(" :=-") if len(text) <= 64 else ""
    return "" if " " in name else name


def _named_field(value: dict[Any, Any]) -> str | None:
    """The name in `{"name": "PASSWORD", "value": …}`."""
    if len(value) > 16:
        return None
    for key in value:
        if type(key) is str and key.lower() in _NAME_FIELDS and type(value[key]) is str and len(value[key]) <= 128:
            return str(value[key])
    return None


def _free(made: dict[str, Any], key: str) -> str:
    """Two keys may come to the same mark; neither value is lost for it."""
    if key not in made:
        return key
    count = 2
    while f"{key}#{count}" in made:
        count += 1
    return f"{key}#{count}"


def finds(text: str, context: str) -> list[Find]:
    """What is to be taken out, from left to right and apart."""
    if is_plain(text):
        found = [*secrets(text), *personal(text, context)]
        if is_listed(text):
            found += _cut_up(View(text, None), context)
        return _apart(found) if len(found) > 1 else found
    found = []
    for view in views(text):
        if view.places is None:
            found += secrets(view.text)
            found += personal(view.text, context)
        else:
            for source in (secrets(view.text), personal(view.text, context)):
                for find in source:
                    start, end = view.place(find.start, find.end)
                    found.append(Find(start, end, find.kind, find.value))
    if is_listed(view.text):
        found += _cut_up(view, context)
    return _apart(found) if len(found) > 1 else found


def _cut_up(view: View, context: str) -> list[Find]:
    """What is whole only when the texts of a list that is written out are put together."""
    whole = joined(view)
    found = [*secret_shapes(whole.text), *(find for find in personal(whole.text, context) if find.kind == "card")]
    places = whole.places
    if places is not None:
        for begin, end, find in assigned(whole.text):
            cuts = [place for place in range(begin + 1, find.end) if places[place] - places[place - 1] > 1]
            last = max((cut for cut in cuts if cut < end), default=begin)
            if last > begin and not _says_all(whole.text[last:end]):
                within = [cut for cut in cuts if cut > find.start]
                found.append(find._replace(end=within[1] if len(within) > 1 else find.end))
    return [Find(*whole.place(find.start, find.end), find.kind, find.value) for find in found]


def _apart(found: list[Find]) -> list[Find]:
    """Where finds overlap the whole goes: as a secret if one of them is, else as the longest."""
    found.sort(key=lambda find: (find.start, -find.end, find.value is not None))
    apart = [found[0]]
    for find in found[1:]:
        last = apart[-1]
        if find.start >= last.end:
            apart.append(find)
            continue
        best = last if (last.value is None, last.end - last.start) >= (find.value is None, find.end - find.start) else find
        apart[-1] = Find(last.start, max(last.end, find.end), best.kind, best.value)
    return apart
