"""Secrets in free text: keys of known shape, tokens, private keys, and whatever stands behind a name that announces a secret.

A keyword decides cheaply whether a pattern is worth running. Every pattern is bounded and begins where a word begins, so that no
input makes it slow.
"""

import base64
import binascii
import math
import re
from collections import Counter
from collections.abc import Iterator

from core.redact.found import Find, contains_any
from core.redact.names import announced
from core.redact.views import MARKS, SECRET_MARK

VALUE_CHARS_MAX = 1024


def secrets(text: str) -> Iterator[Find]:
    """Everything secret in one view of a text."""
    lower = text.lower()
    if "-----begin" in lower:
        yield from _private_keys(text)
    if _has_long_word(text):
        # Drawn letters are of both cases, or a digest's, or many.
        long = [match for match in _LONG.finditer(text) if match.end() - match.start() >= 36 or not match.group().islower()]
        if long:
            yield from _shapes(text, " ".join([match.group() for match in long]))
            yield from _encoded(long)
    if "://" in text:
        yield from _logins(text)
    first = _FIRST_HINT.search(lower)
    if first is not None:
        if contains_any(lower, _SCHEME_HINTS):
            yield from _headers(text)
        yield from _named(text, lower, first.start())


_LONG = re.compile(
    r"[A-Za-z0-9+/_-](?<![A-Za-z0-9+/_-][A-Za-z0-9+/_-])(?![0-9a-f-]{15,200}+(?![A-Za-z0-9+/_=-]))[A-Za-z0-9+/_-]{15,16384}+={0,2}"
)
"""Every key of known shape, and all base64 worth decoding, has so many letters in a row. Digests, UUIDs and numbers are left out:
they are what most long words of a log are."""


_LONG_CLASSES = bytes(code if code < 128 and (chr(code).isalnum() or chr(code) in "+/_-") else 32 for code in range(256))
_DIGEST_CHARS = b"0123456789abcdef-"
LONG_CHARS_MIN = 16
LONG_LOWER_CHARS_MIN = 34
"""Two less than with the signs that may end it."""
DIGEST_CHARS_MAX = 200


def _has_long_word(text: str) -> bool:
    """Whether the pattern of long words may find any that is looked at: told by cutting the text up, which is soon done."""
    raw = text.encode("latin-1", "replace")
    for word in raw.translate(_LONG_CLASSES).split():
        if (
            len(word) >= LONG_CHARS_MIN
            and (len(word) >= LONG_LOWER_CHARS_MIN or not word.islower())
            and (word.translate(None, _DIGEST_CHARS) or len(word) > DIGEST_CHARS_MAX or (b"=" in raw and word + b"=" in raw))
        ):
            return True
    return False


def secret_shapes(text: str) -> Iterator[Find]:
    """Keys and tokens that are known by how they look."""
    return _shapes(text, text)


def _shapes(text: str, words: str) -> Iterator[Find]:
    """`words` are the long words of the text: there the beginnings of most keys are looked for, which is soon done."""
    heads = {part[:2] for part in words.encode("latin-1", "replace").translate(_PARTED).split()}
    for head in sorted(_SHAPES.keys() & heads):
        for literal, pattern, kind in _SHAPES[head]:
            if literal in words:
                for match in pattern.finditer(text):
                    yield Find(match.start(), match.end(), kind, None)
    for literal, pattern, kind in _SHAPES_OF_PARTS:
        if literal in text:
            for match in pattern.finditer(text):
                yield Find(match.start(), match.end(), kind, None)
    if "eyJ" in words:
        yield from _web_tokens(text)


# --- shapes ---------------------------------------------------------------------------------------------------------


def _key(literal: str, rest: str) -> re.Pattern[str]:
    """The literal comes first, so that `re` looks for it as fast as it can; then that no word has begun before it."""
    return re.compile(f"{re.escape(literal)}(?<![A-Za-z0-9]{re.escape(literal)}){rest}")


_TABLE = """
engine-key  irk_                          [A-Za-z0-9_-]{20,64}
cloud-key   AKIA ASIA ABIA ACCA           [A-Z0-9]{16}(?![A-Za-z0-9])
cloud-key   AIza                          [0-9A-Za-z_-]{35}
cloud-key   GOCSPX-                       [0-9A-Za-z_-]{20,40}
cloud-key   LTAI                          [0-9A-Za-z]{12,24}(?![0-9A-Za-z])
cloud-key   doo_v1_ dop_v1_ dor_v1_       [0-9a-f]{64}
cloud-key   dapi                          [0-9a-f]{32}(?:-[0-9])?
api-key     ghp_ gho_ ghu_ ghs_ ghr_      [0-9A-Za-z]{30,255}
api-key     github_pat_                   [0-9A-Za-z_]{22,255}
api-key     glpat- gldt- glrt- glcbt- glptt- glft- glsoat- glagent- gloas- glsa_ glc_    [0-9A-Za-z_=-]{20,255}
api-key     xoxa- xoxb- xoxe- xoxo- xoxp- xoxr- xoxs- xapp-    [0-9A-Za-z-]{12,250}
api-key     sk_live_ sk_test_ rk_live_ rk_test_ pk_live_ sk_prod_    [0-9A-Za-z]{10,200}
api-key     whsec_                        [0-9A-Za-z+/=]{20,100}
api-key     sk-                           (?:[a-z]{2,10}[0-9]{0,2}-){0,2}(?=[A-Za-z_-]{0,60}[0-9])[0-9A-Za-z_-]{20,255}
api-key     hf_                           [0-9A-Za-z]{30,60}
api-key     npm_                          [0-9A-Za-z]{36}
api-key     pypi-                         [0-9A-Za-z_-]{50,512}
api-key     SK                            [0-9a-f]{32}(?![0-9A-Za-z])
api-key     key-                          [0-9a-f]{32}(?![0-9A-Za-z])
api-key     shpat_ shpca_ shppa_ shpss_   [0-9A-Fa-f]{32}
api-key     lin_api_                      [0-9A-Za-z]{32,64}
api-key     NRAK-                         [0-9A-Z]{27}
api-key     sq0atp- sq0csp-               [0-9A-Za-z_-]{22,43}
api-key     PMAK-                         [0-9a-f]{24}-[0-9a-f]{34}
api-key     figd_                         [0-9A-Za-z_-]{36,60}
api-key     ntn_                          [0-9A-Za-z]{40,60}
api-key     sbp_                          [0-9a-f]{40}
api-key     pscale_                       (?:tkn|pw|oauth)_[0-9A-Za-z_.=-]{32,64}
api-key     dckr_pat_                     [0-9A-Za-z_-]{20,60}
api-key     ATATT3                        [0-9A-Za-z_=-]{50,300}
api-key     sntrys_                       [0-9A-Za-z_+/=-]{40,300}
api-key     rubygems_                     [0-9a-f]{48}
private-key AGE-SECRET-KEY-1              [0-9A-Z]{50,60}
"""
"""Kind, how a key begins, and how it goes on."""

_SHAPES: dict[bytes, list[tuple[str, re.Pattern[str], str]]] = {}
"""By their first two letters: a key begins where a run of letters and digits does."""
for _kind, *_literals, _rest in (line.split() for line in _TABLE.strip().splitlines()):
    for _literal in _literals:
        _SHAPES.setdefault(_literal[:2].encode(), []).append((_literal, _key(_literal, _rest), _kind))
_PARTED = bytes(code if code < 128 and chr(code).isalnum() else 32 for code in range(256))
_SHAPES_OF_PARTS = [
    (literal, re.compile(pattern), kind)
    for kind, literal, pattern in (
        ("cloud-key", "ya29.", r"ya29\.(?<![A-Za-z0-9]ya29\.)[0-9A-Za-z_-]{20,512}"),
        ("cloud-key", "Q~", r"(?<![0-9A-Za-z_~.-])[0-9A-Za-z_~.-]{3}[0-9]Q~[0-9A-Za-z_~.-]{31,34}"),
        ("cloud-key", "AccountKey=", r"(?<=AccountKey=)[0-9A-Za-z+/]{40,100}={0,2}"),
        ("api-key", "hooks.slack.com", r"(?<=hooks\.slack\.com)/(?:services|workflows)/[0-9A-Za-z/_-]{20,120}"),
        ("api-key", "SG.", r"SG\.(?<![A-Za-z0-9]SG\.)[0-9A-Za-z_-]{16,64}\.[0-9A-Za-z_-]{16,64}"),
        ("api-key", ":AA", r"(?<![0-9A-Za-z])[0-9]{8,10}:AA[0-9A-Za-z_-]{32,34}(?![0-9A-Za-z_-])"),
        ("api-key", "hv", r"hv[sbr]\.(?<![A-Za-z0-9]hv[sbr]\.)[0-9A-Za-z_-]{24,300}"),
    )
]
"""What tells these is not within one word."""

_BEGIN = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----", re.IGNORECASE)
_END = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----", re.IGNORECASE)
_PEM_BODY = re.compile(r"[A-Za-z0-9+/=\s:,\\.-]*")


def _private_keys(text: str) -> Iterator[Find]:
    """A block cut off before its end still holds most of a key: then as far as it looks like one."""
    done = 0
    for begin in _BEGIN.finditer(text):
        if begin.start() < done:
            continue
        end = _END.search(text, begin.end())
        if end is not None:
            done = end.end()
        else:
            body = _PEM_BODY.match(text, begin.end())
            done = len(text.rstrip()) if body is None or body.end() == len(text) else body.end()
        yield Find(begin.start(), done, "private-key", None)
        if end is None and done >= len(text.rstrip()):
            return


_WEB_TOKEN = re.compile(
    r"(?<![A-Za-z0-9_-])(eyJ[A-Za-z0-9_-]{5,4096}+)\.[A-Za-z0-9_-]{0,16384}+(?>(?:\.[A-Za-z0-9_-]{0,16384}+){1,3})"
)


def _web_tokens(text: str) -> Iterator[Find]:
    """JSON Web Tokens, signed or encrypted: the first part must be a header."""
    for match in _WEB_TOKEN.finditer(text):
        head = _decoded(match[1])
        if head is not None and head.startswith(b"{") and any(name in head for name in (b'"alg"', b'"typ"', b'"enc"', b'"kid"')):
            yield Find(match.start(), match.end(), "jwt", None)


_LOGIN = re.compile(r"://(?P<user>[^\s/?#:@\"'<>]{0,128}+)(?::(?P<password>[^\s/?#\"'<>]{1,256}))?@")


def _logins(text: str) -> Iterator[Find]:
    """Passwords and tokens in front of the host of a URL."""
    for match in _LOGIN.finditer(text):
        if match["password"] is not None:
            if match["password"] != SECRET_MARK:
                yield Find(match.start("password"), match.end("password"), "password", None)
        elif len(match["user"]) >= 16 and looks_secret(match["user"]):
            yield Find(match.start("user"), match.end("user"), "token", None)


# --- headers --------------------------------------------------------------------------------------------------------

_SCHEME_HINTS = ("bearer", "basic", "token ", "digest ", "negotiate", "apikey ")
_SCHEME = re.compile(
    r"(?<![A-Za-z0-9])(?P<scheme>bearer|basic|token|digest|negotiate|apikey)[ \t]{1,4}[\"']?(?P<value>[A-Za-z0-9._~+/=-]{8,4096}+)",
    re.IGNORECASE,
)


def _headers(text: str) -> Iterator[Find]:
    for match in _SCHEME.finditer(text):
        value, scheme = match["value"], match["scheme"].lower()
        if scheme == "basic":
            raw = _decoded(value)
            if raw is not None and b":" in raw and _printable(raw):
                yield Find(match.start("value"), match.end("value"), "basic-auth", None)
        elif scheme == "bearer" and (any(c.isdigit() for c in value) or len(value) >= 20 or "_" in value):
            yield Find(match.start("value"), match.end("value"), "bearer", None)
        elif looks_secret(value):
            yield Find(match.start("value"), match.end("value"), "token", None)


# --- names and their values -----------------------------------------------------------------------------------------

_NAME_HINTS = (
    r"p(?:ass|wd|hrase)|s(?:ecret|ess|ig)|key|t(?:oken|ras(?<=contras)|ion(?<=nection))|o(?:tp|kie(?<=cookie)|v(?<=recov))"
    r"|u(?<=au)th|r(?<=cr)ed|v(?<=cv)[vc]|y(?<=identified by)"
)
_NAME_HINT = re.compile(_NAME_HINTS)
_FIRST_HINT = re.compile(
    r"p(?:ass|wd|hrase|ikey )|s(?:ecret|ess|ig|(?<=bas)ic)|key|t(?:oken|ras(?<=contras)|ion(?<=nection))"
    r"|o(?:tp|kie(?<=cookie)|v(?<=recov)|tiate(?<=negotiate))|u(?<=au)th|r(?:(?<=cr)ed|(?<=bear)er)|v(?<=cv)[vc]"
    r"|y(?<=identified by)|gest "
)
"""Most letters of a log are digits of digests: no alternative begins with one of those, so they are passed over at once."""
_NAME = re.compile(r"[A-Za-z][\w.-]{1,63}+(?: (?:key|token|phrase|code|secret|password|string)(?![A-Za-z]))?", re.IGNORECASE)
_ASSIGNED = re.compile(
    r"""(?:
      (?P<quote>["'])?\s{0,4}(?:=>|:=|==|=|:|>)\s{0,4}      # name = value, "name": value, <name>value
    | (?P<pair>["'])\s{0,4},\s{0,4}                                  # ("name", "value")
    | [ ]{1,2}(?=["'(])                                    # name 'value'
    | [ ]{1,2}(?:is|was|were)[ ]{1,2}(?:now[ ]|:[ ]?)?      # name is value
    )""",
    re.VERBOSE,
)
_FLAG = re.compile(r"-(?<![A-Za-z0-9_-]-)-?(?P<name>[A-Za-z][A-Za-z0-9-]{1,40})[ ]{1,2}(?=[^\s-])")
_IDENTIFIED = re.compile(r"identified by (?=['\"])", re.IGNORECASE)
_QUOTED = re.compile(r""""((?>(?:[^"\\\n]|\\.){0,1024}))"?|'((?>(?:[^'\\\n]|\\.){0,1024}))'?""")
_BARE = re.compile(r"""(?>(?:[^\s"'`&<>,;]|[,;](?!\s|["']?[\w.-]{1,40}["']?\s?[=:]|\Z)){1,1024})""")
_LINE = re.compile(r"[^\n\r\"'<>]{1,1024}")
_SCHEME_FIRST = re.compile(r"(?:bearer|basic|token|digest|negotiate|apikey|aws4-hmac-sha256)[ \t]{1,4}", re.IGNORECASE)

_OF_A_LINE = ("authorization", "cookie")
SCHEME_CHARS_MAX = 24
"""Of `bearer` and its like, with the gap behind it, a gap in which any other value ends."""

STATES = frozenset(
    """none null nil true false yes no ok empty missing required invalid expired wrong incorrect valid unset set changed unknown
    undefined optional str string int bytes bool redacted hidden masked denied refused rejected accepted failed ok revoked rotated
    not is was must has cannot should will may and or for in of to the a an on at by from with too object text public pseudonym open
    document never always enabled disabled absent present checked unavailable forgotten reset incorrect. secret password token key
    str, optional[str] secret.""".split()
)


def _named(text: str, lower: str, first: int) -> Iterator[Find]:
    """`first` is where the first hint may stand."""
    covered = range(0)
    for place in sorted(_name_starts(text, lower, first)):
        name = _NAME.match(text, place)
        said = announced(name.group()) if name is not None else None
        if name is None or said is None:
            continue
        match = _ASSIGNED.match(text, name.end())
        if match is None:
            continue
        start = match.end() if match["pair"] is None else _paired(text, place, match.end())
        if start is None or (start in covered and said.kind not in _OF_A_LINE and text[start] not in "([{"):
            continue  # what stands there ends where the value ends that it is a part of
        between = match.group()
        prose = between.endswith(" ") and not any(sign in between for sign in "=:>,")
        opening = text[max(0, place - 3) : place].rstrip("-")[-1:]
        if opening == text[start : start + 1] and opening in _QUOTES and match["quote"] is None:  # `["password=", "hunter2"]`
            following = _NEXT.match(text, start + 1)
            start = start if following is None else following.end()
        end = 0
        for find in _value(text, start, said.kind, strong=said.strong, prose=prose):
            yield find
            end = find.end
        if said.strong and end and said.kind not in _OF_A_LINE:
            if _bare_end(text, find.start) >= end:
                covered = range(find.start, end - SCHEME_CHARS_MAX)
        if said.strong and end and opening == text[end : end + 1] and opening in _QUOTES:
            yield from _going_on(text, end, said.kind)
    for match in _FLAG.finditer(text) if "-" in text else ():
        said = announced(match["name"])
        if said is not None:
            yield from _value(text, match.end(), said.kind, strong=said.strong, prose=False)
    for match in _IDENTIFIED.finditer(text) if "identified by" in lower else ():
        yield from _value(text, match.end(), "password", strong=True, prose=False)


_FIELD = re.compile(r"""["'][\w.-]{1,64}["']\s{0,4}:""")
_ITS_VALUE = re.compile(r"""[^{}]{0,200}?["'](?:value|val|content)["']\s{0,4}:\s{0,4}""", re.IGNORECASE)


def _paired(text: str, place: int, end: int) -> int | None:
    """Where a quoted name has its value: beside it, as in `["--password", "…"]`, or in `{"name": "API_KEY", "value": "…"}`."""
    opening = len(text[max(0, place - 3) : place].rstrip("-")) + max(0, place - 3)
    if text[max(0, opening - 2) : opening - 1] not in ("(", "[", ",", " "):
        return None
    if _FIELD.match(text, end) is None:
        return end
    field = _ITS_VALUE.match(text, end)
    return field.end() if field is not None else None


_NAME_CHARS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"
_NAME_HEAD = "0123456789_.-"
NAME_CHARS_MAX = 64


def _name_starts(text: str, lower: str, first: int) -> set[int]:
    """Where a name begins that holds a hint, or the word before it does: `api key` is one name."""
    starts: set[int] = set()
    if len(lower) != len(text):
        lower, first = text, 0
    for hint in _NAME_HINT.finditer(lower, first):
        start = _left(text, hint.start())
        if start not in starts:
            starts.add(start)
            if start and text[start - 1] == " ":
                starts.add(_left(text, start - 1))
    return starts


def _left(text: str, place: int) -> int:
    before = text[max(0, place - NAME_CHARS_MAX) : place]
    name = before[len(before.rstrip(_NAME_CHARS)) :]
    return place - len(name.lstrip(_NAME_HEAD))


def assigned(text: str) -> Iterator[tuple[int, int, Find]]:
    """Where strong names begin and end that have a value after a sign, and that value."""
    lower = text.lower()
    first = _FIRST_HINT.search(lower)
    for place in sorted(_name_starts(text, lower, first.start())) if first is not None else ():
        name = _NAME.match(text, place)
        said = announced(name.group()) if name is not None else None
        if name is None or said is None or not said.strong:
            continue
        match = _ASSIGNED.match(text, name.end())
        if match is not None and ("=" in match.group() or ":" in match.group()):
            find = next(_value(text, match.end(), said.kind, strong=True, prose=False), None)
            if find is not None:
                yield place, name.end(), find


_QUOTES = frozenset("\"'")


def _going_on(text: str, end: int, kind: str) -> Iterator[Find]:
    """`["--password=hun", "ter2"]`: where a text of a list is a name and its value, the value may go on in the next one."""
    following = _NEXT.match(text, end + 1)
    quoted = _QUOTED.match(text, following.end()) if following is not None else None
    if quoted is not None and text[quoted.end() : quoted.end() + 4].lstrip()[:1] != ":":
        first, last = quoted.span(1 if quoted.group(1) is not None else 2)
        if _worth(text[first:last], strong=True):
            yield Find(first, last, kind, None)


_NEXT = re.compile(r"""\s{0,8},\s{0,8}(?=["'])""")
LISTED_MAX = 64
"""So many texts of a list belong to the name in front of it."""


def _value(text: str, start: int, kind: str, *, strong: bool, prose: bool) -> Iterator[Find]:
    while text[start : start + 1] in ("(", "[", "{") or text[start : start + 2] in ('b"', "b'", 'u"', "u'", 'r"', "r'"):
        start += 1
    listed = strong and text[start - 1 : start] == "["
    for _ in range(LISTED_MAX if listed else 1):
        quoted = _QUOTED.match(text, start)
        if quoted is None:
            break
        place = 1 if quoted.group(1) is not None else 2
        first, last = quoted.span(place)
        scheme = _SCHEME_FIRST.match(text, first, last)
        first = scheme.end() if scheme is not None else first
        value = text[first:last]
        if value and _worth(value, strong) and not (prose and value.lower() in STATES):
            yield Find(first, last, kind, None)
        following = _NEXT.match(text, quoted.end()) if listed else None
        if following is None:
            return
        start = following.end()
    scheme = _SCHEME_FIRST.match(text, start)
    first = scheme.end() if scheme is not None else start
    if strong and kind not in _OF_A_LINE:
        value = text[first : _bare_end(text, first)]
    else:
        bare = (_LINE if strong else _BARE).match(text, first)
        value = bare.group() if bare is not None else ""
    value = value.rstrip(")]}.,;:")
    if not value or not _worth(value, strong) or value.lower() in STATES or (prose and not _unlike_prose(value)):
        return
    yield Find(first, first + len(value), kind, None)


def _bare_end(text: str, start: int) -> int:
    """Where a value without quotes ends, however long it is: found by the piece, for each takes memory by its length."""
    while (piece := _BARE.match(text, start)) is not None:
        start = piece.end()
    return start


def _worth(value: str, strong: bool) -> bool:
    if not strong and not looks_secret(value):
        return False
    if value.strip(MARKS + " ") == "" and SECRET_MARK in value:
        return False
    return not (set(value) <= _COVERED or value in ("[secret]", "[secret", "<secret>", "..."))


_COVERED = frozenset("*.xX•-_ ")
"""What a secret is painted over with."""


def _unlike_prose(value: str) -> bool:
    """`the password is hunter2`, but not `the password is wrong`."""
    return len(value) >= 6 and not value.isalpha() and not re.fullmatch(r"[a-z]+(?:-[a-z]+)*", value)


# --- how a secret looks ---------------------------------------------------------------------------------------------

_DIGEST = re.compile(
    r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}|(?:sha[0-9]{1,3}[:=-]|md5:|0x)?(?:[0-9a-f]{1,16}|[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{48}"
    r"|[0-9a-f]{56}|[0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128})",
    re.IGNORECASE,
)
_TRACE = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_LABEL = re.compile(r"\A(?:[A-Za-z]{1,24}[-_.:/]){1,4}")
_DIGIT = re.compile(r"[0-9]")
_ALPHABET = re.compile(r"[A-Za-z0-9+/_=.~!@#$%^&*-]{16,1024}")
ENTROPY_BITS_MIN = 3.2


def looks_secret(value: str) -> bool:
    """Drawn rather than written; asked only beside a name that announces a secret. UUIDs, digests and trace ids are not."""
    if _ALPHABET.fullmatch(value) is None or _DIGEST.fullmatch(_LABEL.sub("", value)) or _TRACE.fullmatch(value):
        return False
    classes = (value != value.upper()) + (value != value.lower()) + (_DIGIT.search(value) is not None)  # all of it is ASCII
    if classes < 2 or value.isdigit() or _NUMBERED.fullmatch(value):
        return False
    return entropy(value) >= ENTROPY_BITS_MIN


_NUMBERED = re.compile(r"(?:[A-Za-z]{1,24}[-_.:/@]?){1,4}[0-9]{1,20}(?:[-_.:/][0-9]{1,12}){0,4}|[0-9T:.Z+-]{1,40}")
"""`worker-17`, `cpu.total.3`, a time: made by counting."""


def entropy(value: str) -> float:
    """Bits a character, as its own letters say."""
    return -sum(count / len(value) * math.log2(count / len(value)) for count in Counter(value).values())


# --- base64 ---------------------------------------------------------------------------------------------------------

_TEXT_HEADS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef")
"""Every fourth letter of base64 holds the highest bit of a byte, which is 0 in text."""
_PAIR = re.compile(rb"[^\s:]{1,64}:\S{4,256}")


def _encoded(words: list[re.Match[str]]) -> Iterator[Find]:
    """Base64 that decodes to a login or to text which holds a secret."""
    for match in words:
        raw = match.group()
        if raw[0] not in _TEXT_HEADS or raw[4] not in _TEXT_HEADS or raw[8] not in _TEXT_HEADS or raw[12] not in _TEXT_HEADS:
            continue
        inside = _decoded(raw)
        if inside is None or not _printable(inside):
            continue
        if _PAIR.fullmatch(inside) and b"://" not in inside:
            yield Find(match.start(), match.end(), "basic-auth", None)
        elif len(inside) <= 4096 and next(secrets(inside.decode()), None) is not None:
            yield Find(match.start(), match.end(), "secret", None)


def _decoded(value: str) -> bytes | None:
    value = value.rstrip("=").translate({45: 43, 95: 47})
    try:
        return base64.b64decode(value + "=" * (-len(value) % 4))
    except (binascii.Error, ValueError):
        return None


def _printable(raw: bytes) -> bool:
    return raw.isascii() and raw.translate(None, b"\r\n\t").decode().isprintable()
