"""Questions with answers: the capital of a country, in English (`capitals_en`) and Korean (`capitals_ko`).

capitals.tsv has countries whose capital is not in dispute, with the spellings that are accepted, the usual one first.
It was written for this project. Each prompt asks three other questions before, with their answers. The Korean questions
offer three capitals to choose from: open ones are beyond a small model (docs/data.md).
"""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from decodebench.errors import ConfigError
from decodebench.prompts.formats import Row, Table

_QUESTIONS = {
    "capitals_en": ("Q: What is the capital of {}?\nA:", "_en"),
    "capitals_ko": ("질문: {}의 수도는 다음 중 어디입니까? {}\n답:", "_ko"),
}
CAPITALS = tuple(_QUESTIONS)
_SHOTS = ("sweden", "kenya", "peru")
"""The three whose answers each prompt gives; they are not asked."""
_PATH = Path(__file__).parent / "capitals.tsv"


def capitals_table(key: str, corpus: str, **unused: int | None) -> Table:
    """The questions of a set, ordered by hash, so that the first so many are spread over countries.

    Raises ConfigError for a length or a year, of which these have none.
    """
    for name, value in unused.items():
        if value is not None:
            raise ConfigError(
                f"prompts.{name}={value}: has no effect with {key}, which is made of questions; allowed: null"
            )
    question, language = _QUESTIONS[corpus]
    countries = _countries(language)
    asked = {id_: question.format(name, _offered(id_, countries)) for id_, (name, _) in countries.items()}
    shots = "".join(f"{asked[id_]} {countries.pop(id_)[1][0]}\n\n" for id_ in _SHOTS)
    return Table(
        ["id", "text", "reference"],
        [
            Row(f"country {id_}", {"id": id_, "text": shots + asked[id_], "reference": countries[id_][1]})
            for id_ in sorted(countries, key=_hash)
        ],
    )


def _offered(id_: str, countries: Mapping[str, tuple[str, list[str]]]) -> str:
    """The capital of a country and those of two others, whichever by hash, in an order by hash."""
    others = sorted((other for other in countries if other != id_), key=lambda other: _hash(f"{id_} {other}"))
    three = sorted([id_, *others[:2]], key=lambda one: _hash(f"{one} of {id_}"))
    return ", ".join(countries[one][1][0] for one in three)


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def _countries(language: str) -> dict[str, tuple[str, list[str]]]:
    """By id, in which both languages agree: the name of a country and the accepted spellings of its capital."""
    header, *lines = (line.split("\t") for line in _PATH.read_text(encoding="utf-8").splitlines())
    rows = [dict(zip(header, cells, strict=True)) for cells in lines]
    return {
        row["country_en"].removeprefix("the ").lower().replace(" ", "_"): (
            row[f"country{language}"],
            row[f"capital{language}"].split("|"),
        )
        for row in rows
    }
