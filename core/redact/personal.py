"""Personal data in free text: e-mail, card, IBAN, IP address, social security, phone and national numbers.

Each recogniser finds a candidate cheaply, then lets check digits, ranges and the words around decide. Text is read from left to
right with bounded steps: no input makes it slow. Context is a name in front of the value, as a field's, in plain words.
"""

import ipaddress
import re
from collections.abc import Iterable, Iterator

from core.redact import numbers
from core.redact.found import Find, contains_any

LOCAL_CHARS_MAX = 64
NUMBER_CHARS_MAX = 48
ODD_CARD_CHARS_MAX = 40
BEFORE_CHARS = 100
AFTER_CHARS = 50


def personal(text: str, context: str = "") -> Iterator[Find]:
    """Everything personal in one view of a text."""
    if "@" in text:
        yield from _emails(text)
    lower = f"{context} {text}".lower() if context else text.lower()
    quiet = context == "" and text.isascii() and _SPEAKING.search(lower) is None
    classes = b"!" + text.encode("latin-1", "replace").translate(_CLASSES)
    if quiet and _MAY_TELL.search(classes) is None:
        for head in _IBAN_HEAD.finditer(classes):
            yield from _iban(text, head.start() - 1)
    else:
        yield from _numbers(text, classes, context, _Hints(lower, len(text), quiet))
    if "::" in text or text.count(":") > 4:
        yield from _addresses_v6(text)
    if not quiet and _HINTS["letters"].search(lower) is not None:
        yield from _lettered(text)


def _numbers(text: str, classes: bytes, context: str, hints: "_Hints") -> Iterator[Find]:
    """Numbers and IBANs, from left to right."""
    for place in (_STARTS_QUIET if hints.quiet else _STARTS).finditer(classes):
        kind = place.lastindex
        if kind is None:
            continue
        start = place.start()  # the sign in front of it is the first of the match, and of what stands before the text
        if kind == 2:
            yield from _iban(text, start)
        elif not hints.quiet or text[start - 1 : start] in _PLUS or _MAY_TELL.search(place[1]) is not None:
            yield from _number(text, text[start : place.end() - 1], start, context, hints)


_SIGNS = {sign: "0" for sign in "0123456789"} | {sign: sign for sign in " ()/-_+."}
_CLASSES = bytes(ord(_SIGNS.get(sign, "a" if sign.isascii() and sign.isalpha() else "!")) for sign in map(chr, range(256)))
_GAP = rb"[ .()/-]{1,3}"
_DECIMAL = rb"(?<!\+)0++\.0++(?!" + _GAP + rb"+0)"
_RUN_ON = rb"(?>(?:" + _GAP + rb"+0++)*)"  # not `(?:…)*+`: up to Python 3.11.4 that keeps half of a last turn that failed
_STARTS = re.compile(rb"[! .()/+-](?:" + _DECIMAL + rb"|(?=0[0 .()/-]{6})(0++" + _RUN_ON + rb")|(aa00))")
"""A decimal number, which is nobody's, a run of digits with gaps, or how an IBAN begins, where a word begins: all in one pass over
classes of characters."""
_LOUD = rb"(?:0++(?=" + _GAP + rb"+0)|(?<=\+)0++|(?<=\+[ ()/-])0++)"
_STARTS_QUIET = re.compile(rb"[! .()/+-](?:" + _DECIMAL + rb"|(?=0[0 .()/-]{6})(" + _LOUD + _RUN_ON + rb")|(aa00))")
"""The same without numbers that have neither gaps nor a plus, of which nothing is said where no word speaks."""
_MORE = rb"00?(?:00)?" + _GAP + rb"0"
_MAY_TELL = re.compile(
    rb" (?:0000 0000(?<=0000 0000 0000)|000000 (?<=0000 000000 ))"
    rb"|-(?:000-0000(?<=000-000-0000)|00-0000(?<=000-00-0000)|0000-0000(?<=0000-0000-0000)|000000-(?<=0000-000000-)|00?-"
    + (_MORE + rb")")
    + rb"|\.(?:000\.0000(?<=000\.000\.0000)|(?<=0\.)0{1,3}\.0{1,3}\.0|0000\.0000(?<=0000\.0000\.0000)|000000\.(?<=0000\.000000\.)"
    + (rb"|00?\." + _MORE + rb")")
    + (rb"|\)(?<=000\)) ?000|\((?=0++" + _GAP + rb"0)|\+|/00?/" + _MORE)
)
"""What every number has in it or before it, in classes of characters, that is looked at closer where no word speaks: a telling
shape, a bracket or a plus, or a date in front of more. In a text without any only IBANs are looked for. Each alternative begins
with one character of its own: all others are passed over at once.
"""
_IBAN_HEAD = re.compile(rb"aa00(?<=[! .()/+-]aa00)")


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

_DATE = re.compile(r"(?:(?:19|20)[0-9]{2}([-/.])[0-9]{1,2}\1[0-9]{1,2}|[0-9]{1,2}([-/.])[0-9]{1,2}\2(?:19|20)[0-9]{2})(?![0-9])")
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
_EXTENSION = re.compile(r" ?(?:x|ext\.?|extension) ?[0-9]{1,6}(?![0-9A-Za-z])", re.IGNORECASE)

_HINTS = {
    "card": re.compile(
        r"c(?:ard|c|redit|art)|pan|visa|am(?:ex|erican ex)|ma(?:ster|estro)|d(?:ebit|i(?:ners|scover))|jcb|union|mir|rupay"
        r"|k(?:art|ort)|tarjeta|atm"
    ),
    "other": re.compile(
        r"s(?:sn|ocial|teuer|in)|n(?:hs|ir|if|i(?<=dni))|h(?:ealth service|(?<=aadh))|i(?:dentit?|nsur|tin)|u(?:id number"
        r"|rger(?<=burger)|rit(?<=curit))|pf(?<=cpf)|pesel|tax|sn(?<=bsn)|tizen|resident|身份"
    ),
    "letters": re.compile(r"insurance|ni(?:no| num|e)|o(?<=co)dice|xtranj"),
}
"""Words without which a number of that kind is not looked for. Hardly an alternative begins with a digit of a digest."""


_SPEAKING = re.compile(
    r"s(?:sn|ocial|teuer|in\b|ms|n(?<=bsn)|k(?<=desk)|wering(?<=nswering))"
    r"|h(?:s(?<=nhs)|ealth service|(?<=aadh)|otline|elpline|andy|ospital|eir(?<=their)|(?<=\bh)(?:er|is)\b)"
    r"|i(?:dentit?|nsur|tin|ners(?<=diners)|scover|t(?:(?<=debit)|(?<=credit))|(?<=ni)(?:e|f|no|r| num)|(?<=dni)"
    r"|rect(?=[ \t]*(?:\Z|[\r\n,;.)\\]))|ce(?:(?<=codice)|(?<=office)(?=[ \t]*(?:\Z|[\r\n,;.)\\])))|zen(?<=tizen))"
    r"|u(?:id number|rger(?<=burger)|rit(?<=curit)|nion|r(?<=\bour)\b)"
    r"|p(?:f(?<=cpf)|esel|hone|ager|an_?[np]|(?<=\bp)an)"
    r"|v(?:isa|iber|il)|jcb|jeta(?<=tarjeta)|k(?:art|ort|ontakt)"
    r"|r(?:esident|d(?<=card)|t(?<=\bcart)|upay|eception)"
    r"|m(?:ex|erican ex|aster|aestro|ir\b|obil|y\b|ergency|sisdn|essages? (?:at|to|on)|(?<=\batm)\b)"
    r"|x(?:tranj|(?<=fax|tax))|gsm|whatsapp|l(?:ine(?<=direct line)|(?<=dial|cell)|(?<=tel)|ular|andline)|yo(?<=\by)ur\b"
    r"|c(?:(?<=\bcc)|(?<=cc)(?=_?[np])|t(?<=ontact))"
    r"| (?<=[lhtged] )(?:me|us|h(?:im|er)|them|you)"
)
"""Every word that can stand in front of a number, or behind it, and make it somebody's, or the better part of that word. Where a
word begins with a digit of a digest a later letter is looked for, so that most of a log is passed over at once."""


_NO_HINTS = dict.fromkeys(_HINTS, False)


class _Hints:
    """Which words may be near: without any, a number that says nothing by itself is not looked at closer.

    The whole text is asked once. Where it holds a word, a few numbers ask about their own surroundings too, and many do not.
    """

    __slots__ = ("_asked", "_known", "lower", "quiet")

    def __init__(self, lower: str, chars: int, quiet: bool) -> None:
        """`lower` is the text of so many `chars`, behind its context if it has one."""
        self.lower = lower
        self.quiet = quiet
        """Whether no word of the text speaks of a number: then only its shape does. Most texts are quiet."""
        self._known: dict[str, bool] = _NO_HINTS if quiet else {}
        self._asked = 0 if len(lower) == chars > 256 else NEAR_MAX

    def near(self, kind: str, start: int, end: int) -> bool:
        known = self._known.get(kind)
        if known is None:
            known = self.anywhere(kind)
        if known and self._asked < NEAR_MAX:
            self._asked += 1
            return _HINTS[kind].search(self.lower, max(0, start - BEFORE_CHARS), end + AFTER_CHARS) is not None
        return known

    def anywhere(self, kind: str) -> bool:
        known = self._known.get(kind)
        if known is None:
            known = self._known[kind] = _HINTS[kind].search(self.lower) is not None
        return known


NEAR_MAX = 6


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


def _number(text: str, run: str, start: int, context: str, hints: _Hints) -> Iterable[Find]:
    """What is found in one run of digits. Most runs are nobody's, and that is told before anything is looked at closely."""
    if run.isdigit():
        plus = text[max(0, start - 2) : start].endswith(("+", "+("))
        if len(run) <= 19 and (plus or _telling(text, run, start, context, hints)):
            return _plain(text, start, start + len(run), context, hints)
        return ()
    if text[start - 1 : start] not in _PLUS:
        if run in _OWN or (len(run) == 10 and _DATE.match(run)):
            return ()
        if (
            context == ""
            and not _has_telling_shape(run)
            and _DATE.match(run) is None
            and _is_mute(text, start, start + len(run), hints)
        ):
            return ()
    return _grouped(text, run, start, context, hints)


def _word(context: str, text: str, start: int, chars: int = BEFORE_CHARS) -> str:
    before = text[max(0, start - chars) : start]
    return f"{context}: {before}" if context else before


def _telling(text: str, run: str, start: int, context: str, hints: _Hints) -> bool:
    """Whether a closer look at a number without gaps can come to anything; most can not, and are told by this."""
    if hints.quiet:
        return False
    count = len(run)
    end = start + count
    if count >= 12 and run[:2] in numbers.CARD_STARTS and numbers.card(run, rare=True):
        return True
    if count in _NATIONAL_DIGITS and (count not in (8, 17) or text[end : end + 2].strip("- ")) and hints.near("other", start, end):
        return True
    if count > PHONE_DIGITS_PLAIN_MAX:
        return False
    if context != "" or _called_after(text, end):
        return True
    return _may_be_called(text[max(0, start - 24) : start]) and _called(text[max(0, start - 60) : start])


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


def _grouped(text: str, run: str, start: int, context: str, hints: _Hints) -> Iterator[Find]:
    """A run of digits with gaps may hold several numbers side by side."""
    end = start + len(run)
    if len(run) < 14 and len(run.encode().translate(None, _GAP_BYTES)) < PHONE_DIGITS_MIN and _IP4.match(text, start) is None:
        return
    telling = text[start - 1 : start] == "+" or _has_telling_shape(run)
    place = start
    while place < end:
        date = _DATE.match(text, place, end)
        if date is not None and not _IP4.match(text, place):
            place = date.end()
        else:
            find = None if _is_dull(text, place, end, context, hints) else _at(text, place, end, context, hints)
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


def _has_telling_shape(run: str) -> bool:
    """Whether a number may be within that needs no word beside it, by how digits and gaps follow each other."""
    shape = run.encode().translate(_SHAPES)
    return (
        (b" " in shape and (b"0000 0000 0000" in shape or b"0000 000000 " in shape))
        or (b"-" in shape and any(telling in shape for telling in _TELLING_DASHES))
        or (b"." in shape and (any(telling in shape for telling in _TELLING_DOTS) or _DOTTED.search(run) is not None))
        or (b")" in shape and (b"000)000" in shape or b"000) 000" in shape))
    )


_TELLING_DASHES = (b"0000-0000-0000", b"0000-000000-", b"000-00-0000", b"000-000-0000")
_TELLING_DOTS = (b"0000.0000.0000", b"0000.000000.", b"000.000.0000")
_DOTTED = re.compile(r"(?:[0-9]{1,3}\.){3}[0-9]")
_GAP_BYTES = b" .()/-"
_SHAPES = bytes(48 if chr(code).isdigit() else code for code in range(128)) + bytes(range(128, 256))


def _is_dull(text: str, start: int, end: int, context: str, hints: _Hints) -> bool:
    """Whether a number has no shape, and no word near it, that could make it somebody's."""
    if context or text[start - 1 : start] in _PLUS or _SHAPED.match(text, start) is not None:
        return False
    return _is_mute(text, start, end, hints)


def _is_mute(text: str, start: int, end: int, hints: _Hints) -> bool:
    """Whether a number that no shape tells of has no word near it either."""
    if hints.quiet:
        return True
    end = min(end, start + NUMBER_CHARS_MAX)
    if hints.near("other", start, end) or _may_be_called(text[max(0, start - 60) : start]) or _called_after(text, end):
        return False
    if not 12 < end - start <= ODD_CARD_CHARS_MAX:
        return True
    head = text[start : start + 2]
    if head.isdigit() and head not in numbers.CARD_STARTS:
        return True
    return not numbers.card(text[start:end].encode().translate(None, _GAP_BYTES).decode(), rare=True)


_PLUS = frozenset("+(")
_SHAPED = re.compile(
    r"(?:[0-9]{1,3}\.){3}[0-9]|[0-9]{4}([ .-])[0-9]{4}\1[0-9]{4}|[0-9]{4}([ .-])[0-9]{6}\2|[0-9]{3}([- .])[0-9]{2}\3[0-9]{4}"
    r"|(?:(?:001|1)[ .-]{1,2})?(?:[0-9]{3}\)|[0-9]{3}([.-])[0-9]{3}\4[0-9]{4})"
)
"""How every number begins that needs no word beside it, or is a social security number."""


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
    digits = _only_digits(text[start:end]) if 12 < end - start <= ODD_CARD_CHARS_MAX else ""
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
    if not (context or _may_be_called(before) or _called_after(text, end)):
        return None
    if (
        _called(before)
        or (context and _PHONE_NAME.search(context))
        or _called_after(text, end)
        or (weak and contains_any(before.lower(), _WEAK_STEMS) and _PHONE_WEAK.search(before.rstrip("+(")))
    ):
        return _phone_find(text, start, end)
    return None


def _called(before: str) -> bool:
    """Whether a phrase ends here that a phone number follows. The pattern is dear, so a stem of such a phrase must be there."""
    return contains_any(before.lower(), _STRONG_STEMS) and _PHONE_STRONG.search(before.rstrip("+(").lstrip()) is not None


_STRONG_STEMS = (
    "phone", "tel", "mob", "cell", "fax", "desk", "direct line", "handy", "vil", "celular", "gsm", "pager", "hotline", "helpline",
    "whatsapp", "sms", "viber", "msisdn", " me", " us", " him", " her", " them", " you", "dial", "answering", "message",
)  # fmt: skip
_WEAK_STEMS = ("my", "our", "his", "her", "their", "contact", "kontakt", "reception", "hospital", "emergency")


_LAST_WORDS = frozenset(
    """phone phones telephone smartphone cellphone tel telefono telefone teléfono téléphone telefon mobil mobile cell fax desk line
    handy móvil movil celular gsm pager hotline helpline whatsapp sms viber msisdn call reach text dial ring contact message
    messages calls texts me us him her them you back the my our is are was at to on from no nr num number numbers registered
    register registration office telecom kontakt mob ph cellular hospital reception answering phonenumber dialing dialling texting
    calling or and home work direct fone app""".split()
)


_LAST_LETTERS = frozenset(word[-2:] for word in _LAST_WORDS)


def _may_be_called(before: str) -> bool:
    """Whether the last word in front of a number can end a phrase that a phone number follows."""
    bare = before.rstrip(" \n\r\t:=#.,\"'()+_-/")
    word = bare.rpartition(" ")[2]
    if word.isalpha():
        return word.lower() in _LAST_WORDS
    if bare[-2:].lower() not in _LAST_LETTERS:
        return False
    place = len(bare)
    while place and bare[place - 1].isalpha():
        place -= 1
    return bare[place:].lower() in _LAST_WORDS


def _called_after(text: str, end: int) -> bool:
    return text[end : end + 1] in _BEFORE_A_NAME and _PHONE_AFTER.match(text, end) is not None


_BEFORE_A_NAME = frozenset(" -(")


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

_IBAN_START = re.compile(r"[A-Za-z]{2}[0-9]{2}[ -]?[A-Za-z0-9]{2}")


def _iban(text: str, start: int) -> Iterator[Find]:
    if _IBAN_START.match(text, start) is None:
        return
    length = numbers.iban_chars(text[start : start + 2].upper())
    if length is None:
        return
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
    return re.compile(rf"(?:{pattern})(?![0-9A-Za-z_]|[-.][0-9])", re.IGNORECASE)


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
