"""`verify RUN CELL --to ENGINE --model MODEL`: does the real engine decode as a cell of a stored run does?"""

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from decodebench.commands.arguments import Arguments
from decodebench.errors import ConfigError

if TYPE_CHECKING:
    from decodebench.deploy import Drawn, Look, Parting, Proof, Verdict

_SAID = 5
"""Prompts that are named, at most."""


def verify(words: Sequence[str]) -> int:
    """Run the engine and say what was found; the exit code is 0 (the same decoding), 1 (another one) or 2 (the draws
    were too few to say)."""
    parser = Arguments(
        "verify",
        usage="RUN CELL --to ENGINE --model MODEL [--flag VALUE ...]",
        does="Run the real engine on the run's prompts, with the settings that export writes, and say whether it\n"
        "decodes as the cell does. Greedy and beam search must give the same texts; of a sampler the first tokens of\n"
        "many draws are held against what it keeps (docs/engines.md). Exit code 0: the same decoding, 1: another\n"
        "one, 2: too few draws to say, 3: bad input.",
        takes="a run folder, a cell, --to ENGINE and --model MODEL",
        examples=(
            "verify results/NAME CELL --to llama_cpp --model model.gguf",
            "verify results/mine top_p --to llama_cpp --model model.gguf --settings mine.json",
            "verify results/mine greedy --to mlx_lm --model folder --python .venv-mlx/bin/python",
        ),
    )
    parser.positional("RUN", "the folder of a run")
    parser.positional("CELL", "a cell of it by its strategy, its label or its id")
    parser.flag("--to", metavar="ENGINE", help="llama_cpp, mlx_lm, vllm, ... (docs/engines.md)")
    parser.flag("--model", metavar="MODEL", help="the run's model in the engine's format")
    parser.flag("--python", metavar="PYTHON", help="the interpreter that has the engine (default: this one)")
    parser.flag("--draws", metavar="N", help="draws of each prompt's first token, of a sampler (default: 1000)")
    parser.flag("--prompts", metavar="N", help="how many of the run's prompts (default: 8)")
    parser.flag("--settings", metavar="FILE", help="settings to verify (default: those that export would write)")
    parser.flag("--tolerance", metavar="T", help="how far off its probabilities may be, as a share (default: 0.001)")
    arguments = parser.read(words)
    for flag in ("to", "model"):
        if getattr(arguments, flag) is None:
            raise ConfigError(f"verify: needs --{flag} (see verify --help)")
    draws, prompts = _number("draws", arguments.draws, 1000), _number("prompts", arguments.prompts, 8)

    from decodebench.deploy import engine_named, prove

    if arguments.to == "transformers":
        raise ConfigError("--to=transformers: it is what the run's own log-probs are of; allowed is another engine")
    proof = prove(
        Path(arguments.run),
        arguments.cell,
        engine_named(arguments.to),
        arguments.model,
        python=arguments.python or sys.executable,
        settings=None if arguments.settings is None else Path(arguments.settings),
        draws=draws,
        prompts=prompts,
        tolerance=_share(arguments.tolerance or "0.001"),
    )
    print("\n".join(_said(proof)))
    return proof.exit_code


def _number(name: str, value: str | None, otherwise: int) -> int:
    if value is not None and not re.fullmatch("[1-9][0-9]{0,6}", value):
        raise ConfigError(f"--{name}={value}: allowed is a number from 1")
    return otherwise if value is None else int(value)


def _share(value: str) -> float:
    if not re.fullmatch(r"[0-9]{0,3}\.?[0-9]{0,9}", value) or not re.search("[1-9]", value) or float(value) > 1:
        raise ConfigError(f"--tolerance={value}: allowed is a number above 0, at most 1")
    return float(value)


def _said(proof: "Proof") -> Iterator[str]:
    counted = "1 prompt" if proof.prompts == 1 else f"{proof.prompts} prompts"
    if proof.verdict is None:
        yield f"{proof.engine} {proof.version}: one text of each of {counted}"
        yield from _said_of_texts(proof)
        return
    yield f"{proof.engine} {proof.version}: {proof.draws} draws of the first token of each of {counted}"
    yield from _said_of_draws(proof, proof.verdict)


def _said_of_texts(proof: "Proof") -> Iterator[str]:
    yield f"texts: {proof.prompts - len(proof.partings)} of {proof.prompts} equal"
    for one in proof.partings[:_SAID]:
        yield f"  {_parted(proof, one)}"
    if len(proof.partings) > _SAID:
        yield f"  and {len(proof.partings) - _SAID} more"
    if proof.exit_code:
        yield "another decoding"
    elif proof.partings:
        yield f"the same decoding, but for choices closer than --tolerance {proof.tolerance:g}"
    else:
        yield "the same decoding"


def _parted(proof: "Proof", one: "Parting") -> str:
    ours, theirs = (_spelt(proof, token) for token in (one.ours, one.theirs))
    margin = "" if one.margin is None else f"; ours was {one.margin:.4g} ahead by our log-probs"
    return f"prompt {one.prompt_id}: token {one.at} is {ours} here and {theirs} there{margin}"


def _said_of_draws(proof: "Proof", verdict: "Verdict") -> Iterator[str]:
    sizes = [look.kept for look in verdict.looks]
    yield f"kept sets: {verdict.mean_kept:.4g} tokens on average, {min(sizes)} to {max(sizes)}"
    if verdict.alone:
        many = "every kept set is" if verdict.alone == len(sizes) else f"{verdict.alone} of {len(sizes)} are"
        yield f"  {many} of one token, of which a check says little"
    if proof.reads_prompts and proof.longest_prompt <= 64:
        yield f"  no prompt has more than {proof.longest_prompt} tokens: a window of 64 left on would not show"
    for what, found in (("outside", "kept by no arithmetic, but drawn"), ("unseen", "surely kept, but never drawn")):
        tokens = sum(len(getattr(look, what)) for look in verdict.looks)
        yield f"{found}: {_tokens(tokens)}"
    if verdict.p_value is None:
        yield "frequencies: the draws fill no two classes"
    else:
        worst = min(look.p_value for look in verdict.looks if look.p_value is not None)
        yield (
            f"frequencies: {verdict.misfit:.4g} at {verdict.freedom} degrees of freedom, p = {verdict.p_value:.2g}; "
            f"the worst prompt has p = {worst:.2g}"
        )
    for look in verdict.wrong[:_SAID]:
        yield f"  {_wrong(proof, look)}"
    if len(verdict.wrong) > _SAID:
        yield f"  and {len(verdict.wrong) - _SAID} more prompts"
    yield _conclusion(proof, verdict)


def _conclusion(proof: "Proof", verdict: "Verdict") -> str:
    if not verdict.found:
        return "too few draws to say anything (--draws)"
    if verdict.fits:
        return f"the same decoding, as far as {proof.draws * proof.prompts} draws can tell"
    alarm = f"another decoding (a right one is called so in {verdict.false_alarms:.2g} of verifications)"
    if proof.fits_within is None:
        return alarm
    return f"{alarm}; it would fit with --tolerance {proof.fits_within:g}, as other weights or kernels may need"


def _wrong(proof: "Proof", look: "Look") -> str:
    parts = [
        f"{name}: {', '.join(_drawn(proof, one) for one in found[:3])}"
        for name, found in (("outside", look.outside), ("unseen", look.unseen), ("frequencies", look.odd))
        if found
    ]
    return f"prompt {look.prompt_id} ({look.kept} kept): {'; '.join(parts) or 'the rare tokens together'}"


def _drawn(proof: "Proof", one: "Drawn") -> str:
    return f"{_spelt(proof, one.token)} {one.count} times, expected {one.expected:.4g}"


def _tokens(count: int) -> str:
    return "none" if count == 0 else "1 token" if count == 1 else f"{count} tokens"


def _spelt(proof: "Proof", token: int | None) -> str:
    if token is None:
        return "the end"
    text = proof.spelt.get(token)
    return "no token" if text is None else f"{text!r} ({token})"
