"""report.md and report.html: what they show and in what order, how they escape, and the font that the page brings."""

import base64
import html
import re
import warnings
from io import BytesIO
from pathlib import Path

import pytest
from fontTools.ttLib import TTFont
from hypothesis import given
from hypothesis import strategies as st

from decodebench.errors import visible
from decodebench.report import render
from decodebench.report.fonts import font_face
from decodebench.report.formats import edges, language, markdown_fence, markdown_inline
from sample_run import NO_TTFT, cell, generation, golden, manifest, measurement, pages, save


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = golden(tmp_path_factory.mktemp("report") / "run")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        render(run)
    return run


def test_html_escapes_texts_and_keeps_newlines(rendered: Path) -> None:
    page = (rendered / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; 알아듣습니다.\n그리고" in page
    assert "&lt;b&gt;&#34;Fish &amp; chips&#34;&lt;/b&gt;" in page
    assert "␀␛[31m" in page
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", page)
    assert 'lang="ko"' in page


def test_html_is_one_file_that_asks_for_no_other(rendered: Path) -> None:
    page = (rendered / "report.html").read_text(encoding="utf-8")
    sources = re.findall(r'src="([^"]*)"', page)
    assert len(sources) == 3
    assert all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    assert [url[:22] for url in re.findall(r"url\((.*?)\)", page)] == ["data:font/woff;base64,"]
    assert not re.search(r"<link|@import", page)


def embedded_letters(page: str) -> set[str]:
    found = re.search(r"url\(data:font/woff;base64,([^)]*)\)", page)
    assert found is not None
    with TTFont(BytesIO(base64.b64decode(found[1]))) as font:
        return {chr(code) for code in font.getBestCmap()}


def test_html_embeds_the_hangul_that_it_shows(rendered: Path) -> None:
    page = (rendered / "report.html").read_text(encoding="utf-8")
    shown = {letter for letter in page if "가" <= letter <= "힣"}
    assert embedded_letters(page) == shown
    assert {"야", "듣", "럼"} <= shown
    assert "SIL Open Font License" in page[: page.index("@font-face")]
    # The family is named where it serves only what the named system fonts lack, and before those without Hangul.
    assert '"Malgun Gothic", "Noto Sans CJK KR", "NanumGothic", embedded, system-ui, sans-serif' in page


def test_the_embedded_font_keeps_its_licence_and_has_jamo_and_kanji_but_no_latin() -> None:
    made = font_face("Straße “a” – α й ↵ 한 \u1112\u1161\u11ab 漢 か")
    assert made == font_face("か漢\u1112\u1161\u11ab한")
    assert embedded_letters(made) == set("か漢\u1112\u1161\u11ab한")
    with TTFont(BytesIO(base64.b64decode(made.split("base64,")[1].split(")")[0]))) as font:
        assert "SIL Open Font License" in font["name"].getDebugName(13)


def test_a_page_in_latin_letters_embeds_no_font() -> None:
    assert font_face("Plain “text” – with signs ↑ and 🧿"[:-1]) == ""


def test_html_answers_first_and_explains_last(rendered: Path) -> None:
    page = (rendered / "report.html").read_text(encoding="utf-8")
    assert re.findall(r'<section id="(\w+)">', page) == ["comparison", "texts", "plots", "details"]
    opening, details = page[: page.index('id="comparison"')], page[page.index('id="details"') :]
    assert "gemma: 268 M parameters, cpu float32 · seed_ko: 2 prompts" in opening
    assert "same bits for any batch" not in opening
    assert "same bits for any batch" in details


def test_html_shows_newlines_at_the_ends_and_empty_texts(tmp_path: Path) -> None:
    made = ["\n\n  시작\n끝 \n", "", "\n"]
    texts = [generation("a", "p", sample, text=text) for sample, text in enumerate(made)]
    run = save(tmp_path, manifest([cell("a")]), texts, [measurement("a", "diversity", 0.5)])
    _, page = pages(run)
    dim = '<span class="edge" title="newline">{}</span>'
    inside = re.findall(r'<div class="text"[^>]*>(.*?)</div>', page, re.S)
    assert inside == [f"{dim.format('↵↵')}  시작\n끝 {dim.format('↵')}", "", dim.format("↵")]
    assert "2 more samples" in page


def test_html_shows_intervals_texts_failures_and_manifest(rendered: Path) -> None:
    page = html.unescape((rendered / "report.html").read_text(encoding="utf-8"))
    assert "[0.150, 0.350]" in page
    # The mean of -1, -2 and -3.
    assert page.count("rank 1 · 3 tokens, ended · mean logprob -2.00") == 2, "both prompts show both ranks of beam"
    assert page.count("sample 0 · 3 tokens, ended") == 2
    assert page.count("<summary>1 more rank</summary>") == 2
    assert "1 failed cell" in page
    assert "failed: ModelError: logits are NaN <at> step 3" in page
    # 200 tokens alone, 150 computed: 50 saved, a quarter.
    assert "150, 50 (25%) fewer than if each text had been made alone" in page
    assert "load 3.20 s, decode 12.0 s" in page
    assert "licence: Gemma Terms of Use" in page
    assert '"schema_version": 1' in page
    assert NO_TTFT in page


def test_markdown_holds_what_the_html_holds(rendered: Path) -> None:
    page = (rendered / "report.md").read_text(encoding="utf-8")
    assert page.startswith("# sample run\n\n```text\npython -m decodebench -m strategy=greedy,beam,broken\n```")
    assert "| 0.250 [0.150, 0.350] |" in page.replace("  ", "")
    titles = ["Failed cells", "Comparison", "Texts", "Plots", "Every metric", "What the run did"]
    assert re.findall(r"^## (.*)", page, re.M) == [*titles, "Models and prompts", "Setting"]
    assert "failed: ModelError: logits are NaN \\<at\\> step 3" in page
    assert f"¹ {NO_TTFT} (ttft_s of beam)" in page
    assert "No interval for e2e_s, ttft_s: one prompt only, an interval needs two." in page
    assert page.count("<details><summary>beam: 1 more rank</summary>\n\nrank 1 ·") == 2
    assert page.count("</details>") == 2
    for image in re.findall(r"!\[.*?\]\((.*?)\)", page):
        assert (rendered / image).is_file()
    # The text of greedy holds three backticks, so its fence has four.
    assert "````text\n네, 저는 <script>" in page
    assert page.count("그럼요 & 물론이죠 ␀␛[31m |pipe|") == 4, "two prompts, two ranks"


@given(st.text(alphabet="`a\n", max_size=30))
def test_no_line_of_a_text_closes_its_fence(text: str) -> None:
    opening, *inside, closing = markdown_fence(text).split("\n")
    assert opening == closing + "text"
    assert not any(closing in line for line in inside)


def test_pages_fold_all_but_the_first_prompts(tmp_path: Path) -> None:
    prompts = [f"<p{at}>" for at in range(5)]
    run = save(tmp_path, manifest([cell("a")]), [generation("a", p) for p in prompts], [measurement("a", "rep_4", 0.5)])
    page, page_html = pages(run)
    assert page_html.count('<details class="prompt" open>') == 3
    assert re.findall(r"^### (.*)", page, re.M) == ["seed_ko · \\<p0\\>", "seed_ko · \\<p1\\>", "seed_ko · \\<p2\\>"]
    assert "<details><summary>seed_ko · &lt;p3&gt;</summary>" in page


def test_prompts_of_two_wordings_are_not_mixed(tmp_path: Path) -> None:
    texts = [generation("a", "p", prompt="first"), generation("a", "p", prompt="second")]
    run = save(tmp_path, manifest([cell("a")]), texts, [measurement("a", "diversity", 0.5)])
    page, _ = pages(run)
    assert page.count("### seed_ko · p") == 2


def test_text_formats() -> None:
    assert visible("a\x00b\tc\nd\x7f") == "a␀b\tc\nd␡"
    assert markdown_inline("top_p *x* _y_ | <b>\nz") == "top_p \\*x\\* \\_y\\_ \\| \\<b\\> z"
    assert [language(text) for text in ("안녕", "ㅋㅋ", "hello", "")] == ["ko", "ko", "", ""]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("\n\n a b\n\nc ", ("↵↵", " a b\n\nc ", "")),
        ("a \n \n", ("", "a ", "↵↵")),
        ("\n\n", ("↵↵", "", "")),
        ("  ", ("", "  ", "")),
        (" a", ("", " a", "")),
        ("", ("", "", "")),
    ],
)
def test_edges_by_hand(text: str, parts: tuple[str, str, str]) -> None:
    assert edges(text) == parts


@given(st.text(alphabet="ab \n", max_size=12))
def test_edges_lose_no_letter_and_no_newline(text: str) -> None:
    before, body, after = edges(text)
    assert (before + body + after).replace("↵", "\n").count("\n") == text.count("\n")
    assert body.strip() == text.strip()
    assert body.count("\n") == text.strip().count("\n")
