"""The questions for capitals: each once, each with an answer that no example gives, and no length to choose."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from decodebench.errors import ConfigError
from decodebench.prompts import PromptsConfig, load_prompts
from decodebench.records import Prompt

CONF = Path(__file__).parents[2] / "conf" / "prompts"
ASKS = {"capitals_en": r"Q: What is the capital of (.+)\?", "capitals_ko": r"질문: (.+)의 수도는 다음 중 어디입니까\?"}


def prompts_of(name: str, **changes: Any) -> tuple[Prompt, ...]:
    values = yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8"))
    return load_prompts(PromptsConfig(**{**values, **changes}))


@pytest.mark.parametrize("name", ASKS)
def test_each_country_is_asked_once_after_three_others(name: str) -> None:
    prompts = prompts_of(name)
    assert len(prompts) >= 100
    asked = [re.findall(ASKS[name], prompt.text) for prompt in prompts]
    shots = {tuple(countries[:3]) for countries in asked}
    assert len(shots) == 1
    assert {len(countries) for countries in asked} == {4}
    assert len({countries[3] for countries in asked} | set(*shots)) == len(prompts) + 3
    header = prompts[0].text.split("\n\n")[:-1]
    assert len(header) == 3
    for prompt in prompts:
        assert prompt.text.split("\n\n")[:-1] == header
        assert prompt.text.endswith(("\nA:", "\n답:"))
        assert prompt.language == name[-2:]
        assert len(prompt.references) >= 1
        for answer in prompt.references:
            assert answer == answer.strip() != ""
            assert not re.search(rf"^(A|답): {re.escape(answer)}$", prompt.text, re.M), "no example gives it away"
    firsts = [prompt.references[0] for prompt in prompts]
    assert len(set(firsts)) == len(firsts)


def test_the_answer_is_one_of_three_that_are_offered_at_any_place() -> None:
    places = []
    for prompt in prompts_of("capitals_ko"):
        offered = prompt.text.splitlines()[-2].split("? ")[1].split(", ")
        assert len(set(offered)) == 3
        places.append(offered.index(prompt.references[0]))
    # 147 throws of a die with three sides: each comes 49 times, plus or minus 4 standard deviations of 5.7
    assert all(26 <= places.count(place) <= 72 for place in range(3))


def test_answers_that_one_knows() -> None:
    english, korean = ({p.id: p.references for p in prompts_of(name)} for name in ASKS)
    assert english.keys() == korean.keys()
    assert (english["france"], korean["france"]) == (("Paris",), ("파리",))
    assert {"Washington, D.C.", "Washington"} < set(english["united_states"])
    assert korean["austria"] == ("빈", "비엔나")
    assert all(re.search("[가-힣]", answer) for answers in korean.values() for answer in answers)
    assert not english.keys() & {"sweden", "kenya", "peru"}, "these are the examples"


def test_a_limit_only_cuts_and_lengths_have_no_effect() -> None:
    assert prompts_of("capitals_en", limit=5) == prompts_of("capitals_en")[:5]
    with pytest.raises(
        ConfigError, match=r"^prompts\.prompt_words=6: has no effect with prompts\.corpus=capitals_ko, whi"
    ):
        prompts_of("capitals_ko", prompt_words=6)
    with pytest.raises(
        ConfigError, match=r"^prompts\.corpus=capital_en: allowed: capitals_en, .*; did you mean capitals_en"
    ):
        prompts_of("capitals_en", corpus="capital_en")
