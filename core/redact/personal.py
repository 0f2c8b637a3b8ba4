"""Personal data in free text: e-mail, card, IBAN, IP address, social security, phone and national numbers.

Each recogniser finds a candidate cheaply, then lets check digits, ranges and the words around decide. Text is read from left to
right with bounded steps: no input makes it slow. Context is a name in front of the value, as a field's, in plain words.
"""

import ipaddress
import re
from collections.abc import Iterator

from core.redact import numbers
from core.redact.found import Find, contains_any

LOCAL_CHARS_MAX = 64
NUMBER_CHARS_MAX = 48
BEFORE_CHARS = 100
AFTER_CHARS = 50


def personal(text: str, context: str = "") -> Iterator[Find]:
    """Everything personal in one view of a text."""
    if "@" in text:
        yield from _emails(text)
    hints = _Hints(text, context)
    yield from _numbers(text, context, hints)
    yield from _ibans(text)
    yield from _addresses_v6(text)
    if contains_any(hints.lower, _LETTER_HINTS):
        yield from _lettered(text)


# --- e-mail ---------------------------------------------------------------------------------------------------------

_LOCAL = re.compile(r"[\w!#$%&'*+/=?^`{|}~.-]{1,64}\Z")
_DOMAIN = re.compile(r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}(?:xn--[A-Za-z0-9]{2,20}|[^\W\d_]{2,24})(?![\w-])")
_NO_TOP = frozenset(
    """png jpg jpeg gif svg webp ico js css html json jsonl txt log toml yaml yml conf lock service socket mount timer target slice
    scope path device swap local localdomain internal invalid""".split()
)


def _emails(text: str) -> Iterator[Find]:
    place = text.find("@")
    while place >= 0:
        domain = _DOMAIN.match(text, place + 1)
        if domain is not None and domain.group().rpartition(".")[2].lower() not in _NO_TOP:
            found = _local(text, place)
            if found is not None and not _is_login(text, found, place, domain.end()):
                yield Find(found, domain.end(), "email", text[found : domain.end()].lower().replace('"', ""))
        place = text.find("@", place + 1)


def _local(text: str, place: int) -> int | None:
    """Where the part in front of the @ begins."""
    start = max(0, place - LOCAL_CHARS_MAX)
    if place and text[place - 1] == '"':
        opened = text.rfind('"', start, place - 1)
        return opened if opened >= 0 and opened + 1 < place - 1 and "\n" not in text[opened:place] else None
    match = _LOCAL.search(text[start:place])
    if match is None:
        return None
    raw = match.group()
    # What joins a value to its name (`to=a@b.example`, `path/a@b.example`) belongs to no address worth the name.
    joined = max(raw.rfind(sign) for sign in "=/?&|{}'`!#$%*^~")
    kept = raw[joined + 1 :].lstrip(".-+")
    return place - len(kept) if kept else None


def _is_login(text: str, start: int, at: int, end: int) -> bool:
    """`git@host.example:path` and `ssh://git@host.example` name a machine's account."""
    account = text[start:at].lower()
    return (account == "git" and text[end : end + 1] in (":", "/")) or text[max(0, start - 3) : start] == "://"


# --- numbers --------------------------------------------------------------------------------------------------------

_RUN = re.compile(r"[0-9](?<![0-9A-Za-z_][0-9])(?=[0-9 .()/-]{6})[0-9]*+(?:[ .()/-]{1,3}+[0-9]++)*+")
_DATE = re.compile(r"(?:(?:19|20)[0-9]{2}([-/.])[0-9]{1,2}\1[0-9]{1,2}|[0-9]{1,2}([-/.])[0-9]{1,2}\2(?:19|20)[0-9]{2})(?![0-9])")
_FLOAT = re.compile(r"[0-9]++\.[0-9]++\Z")
_UUID = re.compile(r"[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}")
_TOKEN_BEFORE = re.compile(r"[0-9A-Za-z_][0-9A-Za-z_-]{0,39}-\Z")
_DIGITS = re.compile(r"[0-9]+")

_IP4 = re.compile(r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![0-9]|\.[0-9])")
_SSN = re.compile(r"[0-9]{3}([- .])[0-9]{2}\1[0-9]{4}(?![0-9]|-[0-9])")
_CARD = re.compile(
    r"(?:[0-9]{4}([ .-])[0-9]{4}\1[0-9]{4}\1[0-9]{4}(?:\1[0-9]{3})?|[0-9]{4}([ .-])[0-9]{6}\2[0-9]{4,5})(?![0-9]|[-.][0-9])"
)
_NANP = re.compile(
    r"(?:(?:001|1)[ .-]{1,2})?(?:[0-9]{3}\) ?[0-9]{3}[ .-][0-9]{4}"
    r"|[0-9]{3}-[0-9]{3}-[0-9]{4}|[0-9]{3}\.[0-9]{3}\.[0-9]{4})(?![0-9])"
)
_TELLING = re.compile(
    r"(?:[0-9]{1,3}\.){3}[0-9]|[0-9]{4}([ .-])[0-9]{4}\1[0-9]{4}|[0-9]{4}([ .-])[0-9]{6}\2|[0-9]{3}-[0-9]{2}-[0-9]{4}"
    r"|[0-9]{3}\) ?[0-9]{3}|[0-9]{3}([.-])[0-9]{3}\3[0-9]{4}"
)
"""Shapes that need no word beside them."""
_EXTENSION = re.compile(r" ?(?:x|ext\.?|extension) ?[0-9]{1,6}(?![0-9A-Za-z])", re.IGNORECASE)

_CARD_HINTS = (
    "card", "cc", "pan", "visa", "amex", "american ex", "master", "maestro", "credit", "debit", "diners", "discover", "jcb",
    "union", "mir", "rupay", "kart", "tarjeta", "carte", "carta", "kort", "atm",
)  # fmt: skip
_OTHER_HINTS = (
    "ssn", "social", "nhs", "health service", "dni", "nif", "identi", "nir", "curit", "cpf", "tax", "pesel", "bsn", "burger",
    "citizen", "steuer", "sin", "insur", "aadh", "uid number", "itin", "身份", "resident",
)  # fmt: skip
_LETTER_HINTS = ("insurance", "nino", "ni num", "codice", "nie", "extranj")


class _Hints:
    """Which words may be near: without any, a number that says nothing by itself is not looked at closer.

    A few numbers ask about their surroundings, many share one answer about the whole text.
    """

    __slots__ = ("_asked", "_known", "lower")

    def __init__(self, text: str, context: str) -> None:
        self.lower = f"{context} {text}".lower() if context else text.lower()
        self._known: dict[str, bool] = {}
        self._asked = 0 if len(self.lower) == len(text) > 256 else NEAR_MAX

    def near(self, kind: str, start: int, end: int) -> bool:
        known = self._known.get(kind)
        if known is None:
            if self._asked < NEAR_MAX:
                self._asked += 1
                return contains_any(self.lower[max(0, start - BEFORE_CHARS) : end + AFTER_CHARS], _HINTS[kind])
            known = self._known[kind] = contains_any(self.lower, _HINTS[kind])
        return known


NEAR_MAX = 6
_HINTS = {"card": _CARD_HINTS, "other": _OTHER_HINTS}


_CARD_WORDS = re.compile(
    r"\b(?:cards?|cc|ccn|pan|visa|amex|american express|master ?card|maestro|credit|debit|diners|discover|jcb|union ?pay|mir|rupay"
    r"|(?:kredit|geb)?karten?(?:nummer)?|tarjeta|carte|carta|cart[aã]o|kort|atm)\b"
    r"|(?:card|cc|pan)_?(?:number|num|no|nr|pan)|(?:credit|debit|payment|bank)_?card",
    re.IGNORECASE,
)
_PHONE_NAME = re.compile(
    r"\b(?:tele)?(?:phones?|fones?|tel|mobile|cell|fax|msisdn|whatsapp|sms|handy|gsm|pager|hotline|telefon|telefono|phonenumber)\b",
)
_PHONE_STRONG = re.compile(
    r"(?:(?:tele|cell|smart)?phones?|\btel(?:efono?|efone|éfono|éphone)?|\bmobile?|\bcell|\bfax|\bdesk|\bdirect line|\bhandy"
    r"|\bm[óo]vil|\bcelular|\bgsm|\bpager|\bhotline|\bhelpline|\bwhatsapp|\bsms|\bviber|\bmsisdn"
    r"|\b(?:call|reach|text|dial|ring|phone|contact|message)(?:ing|ed)? (?:me|us|him|her|them|you)"
    r"|\b(?:dial|answering|messages?) (?=(?:at|to|on)\b))"
    r"[ ._\"']{0,3}(?:(?:is|at|to|on|from|no|nr|num|number|#|me|us|back|the|my)[ .:]{1,3}){0,4}[\s:=\"'(#,-]{0,6}\Z",
    re.IGNORECASE,
)
_PHONE_WEAK = re.compile(
    r"\b(?:my|our|your|his|her|their)\b[^\n0-9]{0,20}\b(?:regist\w{0,8}|number|contact|line|mob|ph|no)\b[^\n0-9]{0,12}\Z"
    r"|\b(?:contact|kontakt|reception|hospital|emergency)(?: (?:no|nr|number|line))?[.:]{1,2} ?\Z",
    re.IGNORECASE,
)
_PHONE_AFTER = re.compile(
    r"(?: ?- ?| ?\(| )(?:office|fax|mobile|cell|desk|phone|tel|landline|handy|direct)\b(?=[ \t]*(?:\Z|[\r\n,;.)\\]))", re.IGNORECASE
)
_IP_WORDS = re.compile(
    r"\b(?:ips?|ipv4|addr(?:ess)?e?s?|host(?:name)?|peer|client|remote|server|from|gateway|dns|listen|bind|route|ping|connect\w{0,5}|source|src|dst"
    r"|proxy|login|subnet)\b",
    re.IGNORECASE,
)
_VERSION_WORDS = re.compile(
    r"(?:\b(?:v|ver|versions?|release[ds]?|build|firmware|driver|kernel|upgrade\w?|update\w?|revision|oid|section|chapter|schema)"
    r"|[<>=~^!]=?)[\s\"':=@]{0,4}(?:(?:to|from|is) )?\Z|(?:\bv|[A-Za-z0-9]-|[A-Za-z]_)\Z",
    re.IGNORECASE,
)
_SSN_WORDS = re.compile(r"\bssns?\b|social security|\bsocial\b", re.IGNORECASE)


_OWN = frozenset(("127.0.0.1", "0.0.0.0"))  # noqa: S104 - looked for, not listened on


def _numbers(text: str, context: str, hints: _Hints) -> Iterator[Find]:
    for match in _RUN.finditer(text):
        start, end = match.span()
        if end - start < 7:
            continue
        run = match.group()
        if run in _OWN:
            continue
        plus = text[start - 1 : start] == "+"
        if run.isdigit():
            if end - start <= 19 and (plus or _telling(text, start, end, context, hints)):
                yield from _plain(text, start, end, context, hints)
        elif plus or (_FLOAT.match(run) is None and not (end - start == 10 and _DATE.match(run))):
            yield from _grouped(text, start, end, context, hints)


def _word(context: str, text: str, start: int, chars: int = BEFORE_CHARS) -> str:
    before = text[max(0, start - chars) : start]
    return f"{context}: {before}" if context else before


def _telling(text: str, start: int, end: int, context: str, hints: _Hints) -> bool:
    """Whether a closer look at a number without gaps can come to anything; most can not, and are told by this."""
    count = end - start
    if count >= 12 and numbers.card(text[start:end], rare=True):
        return True
    if count in _NATIONAL_DIGITS and (count not in (8, 17) or text[end : end + 2].strip("- ")) and hints.near("other", start, end):
        return True
    if count > PHONE_DIGITS_PLAIN_MAX:
        return False
    return context != "" or _may_be_called(text[max(0, start - 24) : start]) or _PHONE_AFTER.match(text, end) is not None


def _plain(text: str, start: int, end: int, context: str, hints: _Hints) -> Iterator[Find]:
    """A number without gaps says little by itself: names and words around it must speak too."""
    digits = text[start:end]
    count = end - start
    if (
        count in _NATIONAL_DIGITS
        and hints.near("other", start, end)
        and (national := _national(text, start, end, context)) is not None
    ):
        yield national
        return
    if _inside_token(text, start, end):
        return
    if (
        12 <= count <= 19
        and numbers.card(digits, rare=True)
        and hints.near("card", start, end)
        and _says(_CARD_WORDS, text, start, end, context)
    ):
        yield Find(start, end, "card", digits)
    elif (
        count == 9
        and hints.near("other", start, end)
        and numbers.social_security(digits)
        and _says(_SSN_WORDS, text, start, end, context)
    ):
        yield Find(start, end, "ssn", digits)
    elif (phone := _phone(text, start, end, context, weak=False)) is not None:
        yield phone


_NATIONAL_DIGITS = frozenset((8, 9, 10, 11, 12, 15, 17, 18))


def _grouped(text: str, start: int, end: int, context: str, hints: _Hints) -> Iterator[Find]:
    """A run of digits with gaps may hold several numbers side by side."""
    if end - start < 14 and sum(map(str.isdigit, text[start:end])) < PHONE_DIGITS_MIN and _IP4.match(text, start) is None:
        return
    telling = _TELLING.search(text, start, end) is not None or text[start - 1 : start] == "+"
    place = start
    while place < end:
        date = _DATE.match(text, place, end)
        if date is not None and not _IP4.match(text, place):
            place = date.end()
        else:
            find = _at(text, place, end, context, hints)
            if find is not None:
                yield find
                place = max(find.end, place + 1)
            else:
                if not telling:
                    return
                group = _DIGITS.match(text, place, end)
                place = group.end() if group is not None else place + 1
        following = _DIGITS.search(text, place, end)
        if following is None:
            return
        place = following.start()


def _at(text: str, start: int, end: int, context: str, hints: _Hints) -> Find | None:
    end = min(end, start + NUMBER_CHARS_MAX)
    address = _IP4.match(text, start)
    if address is not None and text[start - 1 : start] != ".":
        found = _address_v4(text, start, address.end(), context)
        if found is not None:
            return found
    if _inside_token(text, start, end):
        return None
    number = _CARD.match(text, start)
    if number is not None:
        digits = _only_digits(number.group())
        alone = not (text[start - 1 : start] in ("-", " ") and text[start - 2 : start - 1].isdigit())
        if numbers.card(digits, rare=False) and (alone or _says(_CARD_WORDS, text, start, number.end(), context)):
            return Find(start, number.end(), "card", digits)
    social = _SSN.match(text, start)
    if social is not None and text[start - 1 : start] not in ("-", "."):
        digits = _only_digits(social.group())
        if numbers.social_security(digits) and (social[1] == "-" or _says(_SSN_WORDS, text, start, social.end(), context)):
            return Find(start, social.end(), "ssn", digits)
    if (found := _odd_card(text, start, end, context, hints)) is not None:
        return found
    if hints.near("other", start, end) and (found := _national(text, start, end, context)) is not None:
        return found
    return _phone(text, start, end, context, weak=True)


def _odd_card(text: str, start: int, end: int, context: str, hints: _Hints) -> Find | None:
    """A card grouped in no usual way, beside a word that says so."""
    digits = _only_digits(text[start:end]) if 12 < end - start <= 40 else ""
    if (
        12 <= len(digits) <= 19
        and numbers.card(digits, rare=True)
        and hints.near("card", start, end)
        and _says(_CARD_WORDS, text, start, end, context)
    ):
        return Find(start, end, "card", digits)
    return None


def _says(words: re.Pattern[str], text: str, start: int, end: int, context: str) -> bool:
    return words.search(_word(context, text, start)) is not None or words.search(text[end : end + AFTER_CHARS]) is not None


def _inside_token(text: str, start: int, end: int) -> bool:
    """Part of an identifier: `job-20261121`, a UUID, a digest."""
    after = text[end : end + 1]
    if after and (after.isalpha() or after == "_") and _EXTENSION.match(text, end) is None and after.isascii():
        return True
    if text[start - 1 : start] != "-":
        return _UUID.match(text, start) is not None
    before = text[max(0, start - 40) : start]
    return _TOKEN_BEFORE.search(before) is not None and any(character.isdigit() for character in before.rpartition(" ")[2])


def _only_digits(text: str) -> str:
    return "".join(_DIGITS.findall(text))


# --- phones ---------------------------------------------------------------------------------------------------------

PHONE_DIGITS_MIN = 7
PHONE_DIGITS_MAX = 15
PHONE_DIGITS_PLAIN_MAX = 12


def _phone(text: str, start: int, end: int, context: str, *, weak: bool) -> Find | None:
    before = text[max(0, start - 60) : start]
    plus = before.endswith(("+", "+("))
    digits = _only_digits(text[start:end])
    if plus and 8 <= len(digits) <= PHONE_DIGITS_MAX + 1 and digits[0] != "0" and (weak or len(digits) >= 10):
        return _phone_find(text, start - (2 if before.endswith("(") else 1), end)
    american = _NANP.match(text, start, end)
    if american is not None and _nanp_valid(american.group()) and not before.endswith((".", "-")):
        return _phone_find(text, start, american.end())
    if not PHONE_DIGITS_MIN <= len(digits) <= (PHONE_DIGITS_MAX if weak else PHONE_DIGITS_PLAIN_MAX):
        return None
    if not (context or _may_be_called(before) or _PHONE_AFTER.match(text, end)):
        return None
    if (
        _PHONE_STRONG.search(before.rstrip("+(").lstrip() or "")
        or (context and _PHONE_NAME.search(context))
        or _PHONE_AFTER.match(text, end)
        or (weak and _PHONE_WEAK.search(before.rstrip("+(")))
    ):
        return _phone_find(text, start, end)
    return None


_LAST_WORDS = frozenset(
    """phone phones telephone smartphone cellphone tel telefono telefone teléfono téléphone telefon mobil mobile cell fax desk line
    handy móvil movil celular gsm pager hotline helpline whatsapp sms viber msisdn call reach text dial ring contact message
    messages calls texts me us him her them you back the my our is are was at to on from no nr num number numbers registered
    register registration office telecom kontakt mob ph cellular hospital reception answering phonenumber dialing dialling texting
    calling or and home work direct fone app""".split()
)


def _may_be_called(before: str) -> bool:
    """Whether the last word in front of a number can end a phrase that a phone number follows."""
    bare = before.rstrip(" \n\r\t:=#.,\"'()+_-/")
    place = len(bare)
    while place and bare[place - 1].isalpha():
        place -= 1
    return bare[place:].lower() in _LAST_WORDS


def _nanp_valid(number: str) -> bool:
    """Area and exchange begin with 2 to 9, the exchange loosely so, for made-up numbers are private too."""
    digits = _only_digits(number)[-10:]
    return digits[0] in "23456789" and digits[3:] != "0000000"


def _phone_find(text: str, start: int, end: int) -> Find:
    extension = _EXTENSION.match(text, end)
    until = extension.end() if extension is not None else end
    if text[start - 1 : start] == "(" and ")" in text[start:end]:
        start -= 1
    if text[start - 1 : start] == "+":
        start -= 1
    digits = _only_digits(text[start:end].replace("(0)", ""))
    digits = digits.removeprefix("00") if digits.startswith("00") and len(digits) > 9 else digits
    return Find(start, until, "phone", digits + ("x" + _only_digits(extension.group()) if extension is not None else ""))


# --- IP addresses ---------------------------------------------------------------------------------------------------

_NOBODY_V4 = re.compile(r"(?:127|0|22[4-9]|23[0-9]|255)\.|[0-9]+\.0\.0\.0\Z")
"""Loopback, this host, multicast, masks, whole networks: addresses that are nobody's."""


def _address_v4(text: str, start: int, end: int, context: str) -> Find | None:
    raw = text[start:end]
    octets = raw.split(".")
    if any(int(octet) > 255 or (len(octet) > 1 and octet[0] == "0") for octet in octets) or _NOBODY_V4.match(raw):
        return None
    after = text[end : end + 1]
    if (after.isalpha() and after.isascii()) or after == "_":
        return None
    before = _word(context, text, start, 40)
    if _VERSION_WORDS.search(before) and not before.lower().endswith("ip-"):
        return None
    if all(int(octet) < 32 for octet in octets) and octets[0] != "10":
        named = _IP_WORDS.search(before) or text[start - 2 : start] == "//" or (after == ":" and text[end + 1 : end + 2].isdigit())
        if not named:
            return None
    return Find(start, end, "ip", raw)


_COLONS = re.compile(r"::|:[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{1,4}:")
_V6_CHARS = "0123456789abcdefABCDEF:"
_V6_RIGHT = re.compile(r"[0-9A-Fa-f:]{0,40}(?:(?<=:)(?:[0-9]{1,3}\.){3}[0-9]{1,3})?")


def _addresses_v6(text: str) -> Iterator[Find]:
    done = 0
    for match in _COLONS.finditer(text):
        if match.start() < done:
            continue
        before = text[max(0, match.start() - 40) : match.start()]
        right = _V6_RIGHT.match(text, match.start())
        if right is None:
            continue
        start, end = match.start() - len(before) + len(before.rstrip(_V6_CHARS)), right.end()
        while end > start + 2 and text[end - 1] == ":" and text[end - 2] != ":":
            end -= 1
        done = end
        value = _address_v6(text, start, end)
        if value is not None:
            yield Find(start, end, "ip", value)


def _address_v6(text: str, start: int, end: int) -> str | None:
    raw = text[start:end]
    around = text[start - 1 : start] + text[end : end + 1]
    if len(raw) < 6 or any(character.isalnum() or character in "_." for character in around.replace(".", "", 1)):
        return None
    if "::" not in raw and raw.count(":") != 7:
        return None
    try:
        address = ipaddress.IPv6Address(raw)
    except ValueError:
        return None
    if address.is_loopback or address.is_unspecified or address.is_multicast:
        return None
    if address.ipv4_mapped is not None:
        return None if _NOBODY_V4.match(str(address.ipv4_mapped)) else str(address.ipv4_mapped)
    if "::" not in raw:
        return address.compressed if any(len(group) > 2 for group in raw.split(":")) else None
    # `dead::beef` may be a name in a program: an address given out to somebody begins in one of these ranges.
    return address.compressed if int(address) >> 125 == 1 or int(address) >> 121 == 0x7E or int(address) >> 118 == 0x3FA else None


# --- IBAN -----------------------------------------------------------------------------------------------------------

_IBAN_START = re.compile(r"[0-9](?<=[A-Za-z][A-Za-z][0-9])(?<![0-9A-Za-z_][A-Za-z][A-Za-z][0-9])[0-9][ -]?[A-Za-z0-9]{2}")


def _ibans(text: str) -> Iterator[Find]:
    for match in _IBAN_START.finditer(text):
        start = match.start() - 2
        length = numbers.iban_chars(text[start : start + 2].upper())
        if length is None:
            continue
        kept, end = [], start
        for character in text[start : start + length + length // 2]:
            end += 1
            if character.isascii() and character.isalnum():
                kept.append(character)
                if len(kept) == length:
                    break
            elif character not in " -" or text[end - 2] in " -":
                break
        following = text[end : end + 1]
        if len(kept) == length and not (following.isalnum() or following == "_"):
            value = "".join(kept).upper()
            if numbers.iban(value):
                yield Find(start, end, "iban", value)


# --- national numbers -----------------------------------------------------------------------------------------------


def _shape(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern + r"(?![0-9A-Za-z_]|[-.][0-9])", re.IGNORECASE)


_NATIONAL: list[tuple[re.Pattern[str], re.Pattern[str], numbers.Check]] = [
    (re.compile(words, re.IGNORECASE), _shape(shape), check)
    for words, shape, check in (
        (r"\bitin\b|taxpayer|tax id", r"9[0-9]{2}[- ]?[0-9]{2}[- ]?[0-9]{4}", numbers.taxpayer_us),
        (r"\bnhs\b|health service", r"[0-9]{3}[- ]?[0-9]{3}[- ]?[0-9]{4}", numbers.health_uk),
        (r"\bdni\b|\bnif\b|identidad", r"[0-9]{8}[- ]?[A-Z]", numbers.identity_spain),
        (
            r"\bnir\b|s[ée]curit[ée] sociale",
            r"[12][0-9]{14}|[12] [0-9]{2} [0-9]{2} [0-9]{2} [0-9]{3} [0-9]{3} [0-9]{2}",
            numbers.registry_france,
        ),
        (r"\bcpf\b|\btax", r"[0-9]{3}\.?[0-9]{3}\.?[0-9]{3}-?[0-9]{2}", numbers.taxpayer_brazil),
        (r"\bpesel\b", r"[0-9]{11}", numbers.person_poland),
        (r"\bbsn\b|burgerservice|citizen", r"[0-9]{9}|[0-9]{4}\.[0-9]{2}\.[0-9]{3}", numbers.citizen_netherlands),
        (r"steuer|\btax", r"[0-9]{11}|[0-9]{2} [0-9]{3} [0-9]{3} [0-9]{3}", numbers.taxpayer_germany),
        (r"\bsin\b|social insurance", r"[0-9]{3}[- ]?[0-9]{3}[- ]?[0-9]{3}", numbers.luhn),
        (r"aadha?ar|\buid number", r"[0-9]{4}[- ]?[0-9]{4}[- ]?[0-9]{4}", numbers.resident_india),
        (r"身份|resident|identity", r"[1-9][0-9]{5}(?:19|20)[0-9]{9}[0-9X]", numbers.resident_china),
    )
]


def _national(text: str, start: int, end: int, context: str) -> Find | None:
    """A number of some country's, beside the word that names it there."""
    around = f"{_word(context, text, start)} {text[end : end + AFTER_CHARS]}"
    for words, shape, check in _NATIONAL:
        match = shape.match(text, start)
        if match is not None and words.search(around):
            value = match.group().translate(_GAPS).upper()
            if check(value):
                return Find(start, match.end(), "national-id", value)
    return None


_LETTERED: list[tuple[re.Pattern[str], numbers.Check]] = [
    (re.compile(rf"(?<![A-Za-z0-9_]){shape}(?![A-Za-z0-9_])", re.IGNORECASE), check)
    for shape, check in (
        (r"[A-Z]{2} ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]", numbers.insurance_uk),
        (r"[XYZ][ -]?[0-9]{7}[ -]?[A-Z]", numbers.identity_spain),
        (r"[A-Z]{6}[0-9LMNP-V]{2}[A-EHLMPRST][0-9LMNP-V]{2}[A-Z][0-9LMNP-V]{3}[A-Z]", numbers.fiscal_italy),
    )
]


def _lettered(text: str) -> Iterator[Find]:
    for shape, check in _LETTERED:
        for match in shape.finditer(text):
            value = match.group().translate(_GAPS).upper()
            if check(value):
                yield Find(match.start(), match.end(), "national-id", value)


_GAPS = {ord(gap): None for gap in " -."}
