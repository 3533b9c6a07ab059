"""What is odd about a model that loads all the same: each doubt is one line for the manifest and the report."""

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

PROBES = (
    "2023 650841823",
    "대한민국 헌법 제1조, 민주공화국이다.",
    "두  칸   세 칸\n\n줄\t탭 ",
    "it's 3.14 and WE'LL see, naïve café",
    "def f(x):\n    return x[0] != '_' and x['a_b'] >= 10**6  # TODO",
)
"""Digits, Hangul, white space, contractions and code: what tokenizers cut differently."""

_SHOWN = 12

_BY_TOKENIZER = (
    "the tokenizer puts it there: change add_bos_token, add_eos_token or the post_processor in its files, or set "
    "prompts.template=chat"
)


def tokenizer_doubts(tokenizer: Any, file: Path | None) -> tuple[str, ...]:
    """Whether the tokenizer gives a probe other ids, or ids another text, than the tokenizer.json it was read from.

    transformers obeys the class that tokenizer_config.json or the model type names, and builds that class's own rules
    around the vocabulary: where the class is wrong, the model is fed ids that it was not trained on. None: no such
    file.
    """
    if file is None:
        return ()
    from tokenizers import Tokenizer

    own = Tokenizer.from_file(str(file))
    name = type(tokenizer).__name__
    # Which special tokens are added may be set beside the class; where it is not, the class must not change it.
    told = tokenizer.init_kwargs.keys() & {"add_bos_token", "add_eos_token"}
    for probe, special in product(PROBES, (False,) if told else (False, True)):
        ids = tokenizer(probe, add_special_tokens=special).input_ids
        theirs = own.encode(probe, add_special_tokens=special).ids
        if ids != theirs:
            return (
                f"tokenizer class {name} cuts {probe!r} into ids {_few(ids)}, the folder's tokenizer.json into "
                f"{_few(theirs)}; the class comes from tokenizer_config.json (tokenizer_class) or the model type",
            )
        text = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        if text != own.decode(ids):
            return (
                f"tokenizer class {name} makes {text!r} of the ids {_few(ids)}, the folder's tokenizer.json "
                f"{own.decode(ids)!r}; the class comes from tokenizer_config.json (tokenizer_class) or the model type",
            )
    return ()


def prompt_doubts(
    tokenizer: Any,
    text: str,
    template: str | None,
    ids: Sequence[int],
    eos_ids: Sequence[int],
    others: Sequence[int] | None = None,
) -> tuple[str, ...]:
    """What is odd about the ids of a prompt, as the end of "2 of 9 prompts ...": a text that is left out, an end token
    behind it, two BOS before it, and who wrote them. `ids` are what `encode` gives for `text` and `template`, `others`
    what it gives for a text that no prompt has.
    """
    found = []
    bos = tokenizer.bos_token_id
    if ids == others:
        found.append(
            "are left out by the tokenizer's chat template, so that all are the same; use prompts.template=null, or a "
            "format string around {text}"
        )
    if ids[-1] in eos_ids and not (len(ids) == 1 and ids[0] == bos):
        who = _who(tokenizer, text, template, lambda of: bool(of) and of[-1] == ids[-1])
        found.append(f"end with an end token (id {ids[-1]}), and are continued behind it; {who}")
    if bos is not None and tuple(ids[:2]) == (bos, bos):
        who = _who(tokenizer, text, template, lambda of: bool(of) and of[0] == bos)
        found.append(f"begin with two BOS tokens (ids {bos}, {bos}); {who}")
    return tuple(found)


def _who(tokenizer: Any, text: str, template: str | None, has: Callable[[Sequence[int]], bool]) -> str:
    """Where a special token of a prompt comes from, and so what is to be changed."""

    def bare(part: str) -> Sequence[int]:
        ids: Sequence[int] = tokenizer(part, add_special_tokens=False).input_ids
        return ids

    if has(bare(text)):
        return "it stands in the prompt's text: take it out of there"
    if template == "chat":
        return "the tokenizer's chat template writes it: change its chat_template, or prompts.template"
    if template is not None and has(bare(template.format(text=text))):
        return "prompts.template writes it: take it out of there"
    return _BY_TOKENIZER


def _few(ids: Sequence[int]) -> str:
    """Ids in brackets, the first of many."""
    more = f", ... ({len(ids)} in all)" if len(ids) > _SHOWN else ""
    return f"[{', '.join(map(str, ids[:_SHOWN]))}{more}]"
