"""Numbers in texts, as exact fractions."""

import re
import unicodedata
from fractions import Fraction

_PLAIN = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|(?<![0-9])\.[0-9]+"
_SMALL = {"십": 10, "백": 100, "천": 1000}
_BIG = {"만": 10**4, "억": 10**8, "조": 10**12}
_COUNTED = (
    "원 달러 유로 엔 위안 명 인 개 년 번 대 가구 톤 평 미터 킬로 리터 세대 마리 그루 장 권 곳 표 회 건 일 시간 분 초 "
    "세 살 점 배 여"
)
_PARTICLES = "입니다 이다 이에요 예요 이고 이며 은 는 이 가 을 를 의 에 으로 과 와 도"
_FOLLOWS = "|".join(f"{_COUNTED} {_PARTICLES}".split())
"""What may follow a sign of 10,000 and its like in one word: 5만원, 5만은; 5조각 (five pieces) is not 5조."""
_SIGNS = f"[{''.join(_SMALL | _BIG)}]+"
_KOREAN = rf"(?:(?:{_PLAIN}){_SIGNS}\s?)*(?:{_PLAIN}){_SIGNS}(?:[0-9]+)?(?=[^가-힣]|$|{_FOLLOWS})"
_FRACTION = rf"(?<!/)(?:{_PLAIN})\s?/\s?(?:{_PLAIN})(?![/0-9])"
_SCIENTIFIC = rf"(?:{_PLAIN})[eE][+-]?[0-9]{{1,3}}(?![0-9A-Za-z])"
_SIGN = r"(?:(?<![\w.)\]])[-+](?:\\?[$₩€£¥])?)?"
_NUMBER = re.compile(rf"{_SIGN}(?:{_KOREAN}|{_FRACTION}|{_SCIENTIFIC}|{_PLAIN})")
_PART = re.compile(rf"({_PLAIN})|({_SIGNS})")
_LONGEST = 400
"""Characters of a number; a model caught in a loop writes longer ones."""


def last_number(text: str) -> str | None:
    """The last number of a text as it is written there (in Unicode form NFKC)."""
    found = _NUMBER.findall(_readable(text))
    return found[-1] if found else None


def number_in(text: str) -> Fraction | None:
    """The value of the last number of a text; None where there is none, or one of more than 400 digits.

    1,234.5 has separators of thousands and a decimal point; 3/4 and \\frac{3}{4} are fractions; 1.5e3 is 1500; 3만 5천
    is 35,000. What stands around a number (₩, 원, %, a unit) is left out: 12% is 12.
    """
    written = last_number(text)
    if written is None or len(written) > _LONGEST:
        return None
    sign = -1 if written.startswith("-") else 1
    bare = re.sub(r"^[-+]?\\?[$₩€£¥]?", "", written).replace(",", "")
    if "/" in bare:
        over, under = (Fraction(part.strip()) for part in bare.split("/"))
        return None if under == 0 else sign * over / under
    return sign * (_korean(bare) if re.search(_SIGNS, bare) else Fraction(bare))


def is_near(number: Fraction, reference: Fraction, tolerance: float, relative: float) -> bool:
    """Whether |number - reference| is at most `tolerance`, or at most `relative` x |reference|, without rounding."""
    allowed = max(Fraction(str(tolerance)), Fraction(str(relative)) * abs(reference))
    return abs(number - reference) <= allowed


def in_digits(number: Fraction) -> str:
    """One spelling for each number: its decimals where they end, else the fraction in lowest terms.

    >>> in_digits(Fraction("1500.50")), in_digits(Fraction(-1, 3))
    ('1500.5', '-1/3')
    """
    places = 0
    while places < _LONGEST and 10**places % number.denominator:
        places += 1
    if 10**places % number.denominator:
        return str(number)
    digits = str(abs(number.numerator) * 10**places // number.denominator).zfill(places + 1)
    whole, decimals = digits[: len(digits) - places], digits[len(digits) - places :]
    return ("-" if number < 0 else "") + whole + (f".{decimals}" if decimals else "")


def _readable(text: str) -> str:
    text = unicodedata.normalize("NFKC", text).replace("\u2212", "-").replace("{,}", ",")
    text = re.sub(r"\\[,!;]", "", text)
    return re.sub(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}", r"\1/\2", text)


def _korean(written: str) -> Fraction:
    """2억 3천5백만 100 -> 2 x 10^8 + (3000 + 500) x 10^4 + 100."""
    total, section, number = Fraction(0), Fraction(0), Fraction(0)
    for plain, signs in _PART.findall(written):
        if plain:
            section, number = section + number, Fraction(plain)
        for sign in signs:
            if sign in _SMALL:
                section, number = section + (number or 1) * _SMALL[sign], Fraction(0)
            else:
                total, section, number = total + (section + number) * _BIG[sign], Fraction(0), Fraction(0)
    return total + section + number
