"""Check digits and structures of numbers that stand for people or their money. Arithmetic only.

Sources: ISO/IEC 7812 (Luhn, issuer prefixes), ISO 13616 and its registry (IBAN), the Social Security Administration on number
ranges, and the national rules named at each function.
"""

import re
from collections.abc import Callable
from functools import lru_cache

_DOUBLED = bytes(48) + bytes((0, 2, 4, 6, 8, 1, 3, 5, 7, 9)) + bytes(198)
"""What a digit, as a character, counts where it counts twice."""

_ISSUER = re.compile(
    r"""(?:
      4(?:[0-9]{12}|[0-9]{15}|[0-9]{18})                                             # Visa
    | (?:5[1-5][0-9]{2}|222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)[0-9]{12}   # Mastercard
    | 3[47][0-9]{13}                                                                 # American Express
    | 3(?:0[0-59]|[689][0-9])[0-9]{11}(?:[0-9]{2,5})?                                # Diners Club
    | (?:6011|64[4-9][0-9]|65[0-9]{2}|62[0-9]{2})[0-9]{12,15}                        # Discover, UnionPay
    | 35(?:2[89]|[3-8][0-9])[0-9]{12,15} | (?:2131|1800)[0-9]{11}                    # JCB
    )\Z""",
    re.VERBOSE,
)
_ISSUER_RARE = re.compile(r"(?:35|5[06-8]|6[0-9]|0604|220[0-4]|9792|8[12])[0-9]{8,17}\Z")
"""Maestro, Mir, RuPay, Troy and other national schemes: short prefixes, so the words around must say card."""


CARD_STARTS = frozenset(
    """06 18 21 22 23 24 25 26 27 30 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 60 61 62 63 64 65 66
    67 68 69 81 82 97""".split()
)
"""The first two digits of every card there is: no other number needs a closer look."""


def luhn(digits: str) -> bool:
    signs = digits.encode()
    return (sum(signs[-1::-2]) - 48 * ((len(signs) + 1) // 2) + sum(signs[-2::-2].translate(_DOUBLED))) % 10 == 0


def card(digits: str, *, rare: bool) -> bool:
    if not 12 <= len(digits) <= 19 or digits.count(digits[0]) == len(digits):
        return False
    return (_ISSUER.match(digits) is not None or (rare and _ISSUER_RARE.match(digits) is not None)) and luhn(digits)


_IBAN = {
    country: structure
    for entry in """AD 8n12c|AE 19n|AL 8n16c|AT 16n|AZ 4a20c|BA 16n|BE 12n|BG 4a6n8c|BH 4a14c|BI 23n|BR 23n1a1c|BY 4c4n16c|CH 5n12c
    |CR 18n|CY 8n16c|CZ 20n|DE 18n|DJ 23n|DK 14n|DO 4c20n|EE 16n|EG 25n|ES 20n|FI 14n|FK 2a12n|FO 14n|FR 10n11c2n|GB 4a14n
    |GE 2a16n|GI 4a15c|GL 14n|GR 7n16c|GT 4c20c|HN 4a20n|HR 17n|HU 24n|IE 4a14n|IL 19n|IQ 4a15n|IS 22n|IT 1a10n12c|JO 4a4n18c
    |KW 4a22c|KZ 3n13c|LB 4n20c|LC 4a24c|LI 5n12c|LT 16n|LU 3n13c|LV 4a13c|LY 21n|MC 10n11c2n|MD 2c18c|ME 18n|MK 3n10c2n|MN 16n
    |MR 23n|MT 4a5n18c|MU 4a19n3a|NI 4a20n|NL 4a10n|NO 11n|OM 3n16c|PK 4a16c|PL 24n|PS 4a21c|PT 21n|QA 4a21c|RO 4a16c|RS 18n
    |RU 14n15c|SA 2n18c|SC 4a20n3a|SD 14n|SE 20n|SI 15n|SK 20n|SM 1a10n12c|SO 19n|ST 21n|SV 4a20n|TL 19n|TN 20n|TR 6n16c|UA 6n19c
    |VA 18n|VG 4a16n|XK 16n|YE 4a4n18c""".split("|")
    for country, structure in [entry.split()]
}
_CLASSES = {"n": "[0-9]", "a": "[A-Z]", "c": "[A-Z0-9]"}


@lru_cache(maxsize=128)
def _bban(country: str) -> tuple[int, re.Pattern[str]] | None:
    structure = _IBAN.get(country)
    if structure is None:
        return None
    parts = re.findall(r"([0-9]+)([nac])", structure)
    length = 4 + sum(int(count) for count, _ in parts)
    return length, re.compile("".join(f"{_CLASSES[kind]}{{{count}}}" for count, kind in parts) + r"\Z")


def iban_chars(country: str) -> int | None:
    """How long a country's IBAN is."""
    known = _bban(country)
    return known[0] if known else None


def iban(value: str) -> bool:
    """Upper case, without spaces."""
    known = _bban(value[:2])
    if known is None or len(value) != known[0] or known[1].match(value[4:]) is None:
        return False
    return int("".join(str(int(character, 36)) for character in value[4:] + value[:4])) % 97 == 1


def social_security(digits: str) -> bool:
    return (
        len(digits) == 9 and digits[:3] not in ("000", "666") and digits[0] != "9" and digits[3:5] != "00" and digits[5:] != "0000"
    )


# --- national numbers -----------------------------------------------------------------------------------------------


def _weighted(digits: str, weights: tuple[int, ...]) -> int:
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=False))


def taxpayer_us(digits: str) -> bool:
    """ITIN: 9xx and a middle group of a few ranges."""
    middle = int(digits[3:5])
    return digits[0] == "9" and (50 <= middle <= 65 or 70 <= middle <= 88 or 90 <= middle <= 92 or 94 <= middle <= 99)


def insurance_uk(value: str) -> bool:
    """National Insurance number: some letters and pairs are never given."""
    return value[:2] not in ("BG", "GB", "NK", "KN", "TN", "NT", "ZZ") and value[0] not in "DFIQUV" and value[1] not in "DFIQUVO"


def health_uk(digits: str) -> bool:
    """NHS number, modulo 11."""
    check = 11 - _weighted(digits, (10, 9, 8, 7, 6, 5, 4, 3, 2)) % 11
    return check != 10 and check % 11 == int(digits[9])


def identity_spain(value: str) -> bool:
    """DNI and NIE: the letter is the number modulo 23."""
    number = value[:-1].translate(str.maketrans("XYZ", "012"))
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23] == value[-1]


_ODD = dict(zip("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
                (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10,
                 22, 25, 24, 23), strict=True))  # fmt: skip


def fiscal_italy(value: str) -> bool:
    """Codice fiscale: the last letter checks the fifteen before it."""
    odd = sum(_ODD[character] for character in value[0:15:2])
    even = sum(int(character) if character.isdigit() else ord(character) - 65 for character in value[1:15:2])
    return chr(65 + (odd + even) % 26) == value[15]


def registry_france(digits: str) -> bool:
    """NIR: a key of 97 minus the rest."""
    return 97 - int(digits[:13]) % 97 == int(digits[13:])


def taxpayer_brazil(digits: str) -> bool:
    """CPF: two check digits modulo 11."""
    if len(set(digits)) == 1:
        return False
    for count in (9, 10):
        check = _weighted(digits, tuple(range(count + 1, 1, -1))[:count]) * 10 % 11 % 10
        if check != int(digits[count]):
            return False
    return True


def person_poland(digits: str) -> bool:
    """PESEL."""
    return (10 - _weighted(digits, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3)) % 10) % 10 == int(digits[10])


def citizen_netherlands(digits: str) -> bool:
    """BSN, the eleven test."""
    return digits != "000000000" and _weighted(digits, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0


def taxpayer_germany(digits: str) -> bool:
    """Steuer-ID, ISO 7064 MOD 11,10."""
    product = 10
    for digit in digits[:10]:
        product = ((int(digit) + product) % 10 or 10) * 2 % 11
    return digits[0] != "0" and (11 - product) % 10 == int(digits[10])


_PERMUTED = [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]]
for _row in range(2, 8):
    _PERMUTED.append([_PERMUTED[_row - 1][_PERMUTED[1][column]] for column in range(10)])


def _times(one: int, other: int) -> int:
    """The dihedral group of order ten."""
    if one < 5:
        return (one + other) % 5 if other < 5 else (one + other) % 5 + 5
    return (one - other) % 5 + 5 if other < 5 else (one - other) % 5


def resident_india(digits: str) -> bool:
    """Aadhaar, Verhoeff's scheme."""
    check = 0
    for place, digit in enumerate(reversed(digits)):
        check = _times(check, _PERMUTED[place % 8][int(digit)])
    return digits[0] not in "01" and check == 0


def resident_china(value: str) -> bool:
    """Resident identity number, ISO 7064 MOD 11-2."""
    return "10X98765432"[_weighted(value[:17], (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)) % 11] == value[17]


Check = Callable[[str], bool]
