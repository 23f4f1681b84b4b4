"""The site in a browser: it loads without errors and without other hosts, and the live page computes what the library computes."""

import contextlib
import json
import shutil
import threading
from functools import partial
from http.server import ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote_plus, unquote, urlsplit

import live
import numpy as np
import pytest
from anchors import Anchors
from build import Quiet
from test_questions import GUIDES, ROWS

HTML = Path(__file__).resolve().parents[2] / "build" / "docs" / "html"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
CONTRAST = (Path(__file__).parent / "contrast.js").read_text().partition("\n")[2]
# One page of every kind.
KINDS = ("index", "live", "graph", "laws", "laws/softmax", "guides/index", "guides/kernel", "mechanisms/attention", "mechanisms/gated_delta_rule",
         "reading/2_softmax", "reading/4_streaming", "api/index", "api/caches", "api/fastest", "search", "field", "changelog",
         "conventions", "genindex", "_modules/tinyattn/plot")
TALLEST = 15_000
PAGES = sorted(path.relative_to(HTML).as_posix() for path in HTML.rglob("*.html") if "_static" not in path.parts)


@pytest.fixture(scope="module")
def site():
    if not PAGES:
        pytest.skip("the site is not built: python docs/build.py --only-build")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(HTML))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def browser(site):
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[browser]'")
    with playwright.sync_playwright() as started, contextlib.closing(
            started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)) as opened:
        yield opened


def phone(browser, site):
    """Returns a page of phone width that notes what goes wrong and whom it asks."""
    opened = browser.new_page(viewport={"width": 390, "height": 800})
    opened.troubles = []

    def note(trouble: str, when: bool) -> None:
        if when:
            opened.troubles.append(trouble)

    opened.on("console", lambda said: note(said.text, said.type in ("error", "warning")))
    opened.on("pageerror", lambda error: note(str(error), True))
    opened.on("request", lambda asked: note(f"foreign: {asked.url}", not asked.url.startswith((site, "data:", "blob:"))))
    opened.on("response", lambda given: note(f"{given.status}: {given.url}", given.status >= 400))
    return opened


@pytest.fixture
def page(browser, site):
    opened = phone(browser, site)
    yield opened
    opened.close()


def test_every_link_leads_somewhere(site):
    read = {name: Anchors((HTML / name).read_text()) for name in PAGES}
    dead = []
    for name, anchors in read.items():
        for link in anchors.links:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (HTML / name).parent.joinpath(unquote(parts.path)).resolve() if parts.path else HTML / name
            other = target.relative_to(HTML.resolve()).as_posix() if target.is_relative_to(HTML.resolve()) else None
            if other not in read or (parts.fragment and unquote(parts.fragment) not in read[other].ids):
                dead.append(f"{name}: {link}")
    assert not dead


def test_words_before_a_colon_in_the_docstring_of_a_property_are_no_type(site):
    assert not [name for name in PAGES if name.startswith("api/") and '>Type<span class="colon"' in (HTML / name).read_text()]


def test_every_page_loads_without_errors_other_hosts_or_a_sideways_scroll(page, site):
    read, kinds = [name for name in PAGES if not name.startswith("_modules/")], [f"{kind}.html" for kind in KINDS]
    wide = []
    for width, names in ((390, read), (1020, kinds), (1100, kinds), (1400, kinds)):  # the theme shows a bar more from 1,008 on
        page.set_viewport_size({"width": width, "height": 800})
        for name in names:
            page.goto(site + name, wait_until="load")
            if page.evaluate("document.documentElement.scrollWidth") > width:
                wide.append(f"{name} at {width}")
    assert not page.troubles + wide


def test_no_page_is_taller_than_its_readers_patience_and_headings_nest(page, site):
    page.set_viewport_size({"width": 1280, "height": 800})
    tall, jumps = [], []
    for name in (name for name in PAGES if not name.startswith("_modules/")):
        page.goto(site + name, wait_until="load")
        if page.evaluate("document.documentElement.scrollHeight") > TALLEST:
            tall.append(name)
        levels = page.evaluate("[...document.querySelectorAll('article :is(h1, h2, h3, h4, h5)')].map(one => +one.tagName[1])")
        if levels and (levels[0] != 1 or 1 in levels[1:] or any(b > a + 1 for a, b in pairwise(levels))):
            jumps.append(name)
    assert not tall + jumps


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(page, site, scheme):
    page.emulate_media(color_scheme=scheme)
    faint = {}
    for name in KINDS:
        page.goto(f"{site}{name}.html", wait_until="load")
        faint |= {colours: (name, ratio, text) for ratio, colours, text in page.evaluate(CONTRAST)}
    assert not faint


def test_faint_text_is_noticed(page, site):
    page.goto(site + "index.html")
    page.evaluate("document.querySelector('article p').style.color = '#888'")
    assert any(ratio.startswith("3.5") for ratio, *_ in page.evaluate(CONTRAST))


@pytest.mark.parametrize("width", [390, 1280])
def test_the_keyboard_reaches_what_the_pointer_reaches(page, site, width):
    page.set_viewport_size({"width": width, "height": 800})
    for name in KINDS:
        page.goto(f"{site}{name}.html", wait_until="load")
        assert page.evaluate("""[...document.querySelectorAll('a[href], button, input, select, summary, label[for]:not(.overlay)')]
            .filter(one => one.checkVisibility({visibilityProperty: true}) && !one.disabled && one.tabIndex < 0)
            .filter(one => one.tagName !== 'LABEL' || document.getElementById(one.htmlFor)?.getClientRects().length === 0)
            .map(one => one.outerHTML)""") == [], name
    page.goto(site + "index.html")
    label = page.locator("label[for='__navigation']:not(.overlay)" if width == 390 else "label[for^='toctree-checkbox']").first
    label.focus()
    page.keyboard.press("Enter")
    assert page.evaluate("name => document.getElementById(name).checked", label.get_attribute("for"))


@pytest.mark.parametrize(("words", "first"), [("sliding window", "sliding_window"), ("causal", "ops.masks.causal"), ("KV cache", "Choose a cache"),
                                              ("hide padding", "Hide padding"), ("roll back", "Choose a cache"), ("lse", "Attention with LSE")])
def test_a_search_finds_the_page_near_the_top(page, site, words, first):
    page.goto(f"{site}search.html?q={quote_plus(words)}", wait_until="load")
    page.wait_for_function("document.querySelector('.search-summary')?.textContent.startsWith('Search finished')")
    found = page.eval_on_selector_all("#search-results li > a", "all => all.slice(0, 8).map(one => one.textContent)")
    assert any(first in title for title in found), found


def test_a_question_as_it_is_typed_leads_to_its_answer_in_two_clicks(page, site):
    page.goto(f"{site}search.html?q=mask", wait_until="load")
    page.wait_for_function("Search.hasIndex()")
    found = {question: page.evaluate("words => Search._performSearch(...Search._parseQuery(words)).reverse().slice(0, 8).map(one => one[0])",
                                     question.rstrip("?")) for question, *_ in ROWS}
    answers = {question: {"guides/questions", (GUIDES / more[more.index("(") + 1 : more.index(".md")]).resolve().relative_to(GUIDES.parent).as_posix()}
               for question, _, more in ROWS}
    assert {question for question, pages in found.items() if not answers[question] & set(pages)} == set()


def test_formulas_are_set_and_fit_on_a_phone(page, site):
    for name in ("attention", "bigbird_attention", "latent_attention_expanded", "native_sparse_attention", "shifted_window_attention"):
        page.goto(f"{site}mechanisms/{name}.html")
        page.wait_for_selector("mjx-container[jax=CHTML] mjx-math", state="attached")
        page.wait_for_function("MathJax.startup.promise.then(() => true)")
        assert page.query_selector("mjx-merror") is None and not page.troubles
        assert page.evaluate("[...document.querySelectorAll('div.math')].filter(one => one.scrollWidth > one.clientWidth).length") == 0, name


def test_a_mechanism_chosen_in_the_graph_shows_its_own_laws(page, site):
    page.goto(site + "graph.html#laws-of-mesa")
    assert page.locator(".edges details[open]").count() == page.locator("#laws-of-mesa:visible").count() == 1  # a link unfolds its target
    page.goto(site + "graph.html?again")
    assert page.evaluate("document.documentElement.scrollHeight") < 4_000  # on a phone everything is folded
    page.locator(".graph details:has(.node[data-name=delta_rule]) summary").press("Enter")
    page.locator(".graph .node[data-name=delta_rule]").press("Enter")
    ends = page.eval_on_selector_all(".chosen-laws .edge", "all => all.map(one => one.dataset.ends.split(' '))")
    tied = {name for pair in ends for name in pair} - {"delta_rule"}
    assert page.inner_text("#edge-said") == f"delta_rule: {len(ends)} laws tie it to {len(tied)} other mechanisms."
    assert set(page.eval_on_selector_all(".graph .tied", "all => all.map(one => one.dataset.name)")) == tied
    page.wait_for_function("document.getElementById('edge-said').getBoundingClientRect().bottom <= innerHeight")  # the page scrolls smoothly
    page.locator(".focus button").press("Enter")
    visible = set(page.locator(".graph .node:visible").all_inner_texts())
    assert visible >= tied | {"delta_rule"} and "axial_attention" not in visible
    page.select_option(".focus select", "axial_attention")
    assert page.inner_text("#edge-said").startswith("axial_attention: ")
    assert {"axial_attention"} < set(page.locator(".graph .node:visible").all_inner_texts()) != visible
    page.set_viewport_size({"width": 1280, "height": 800})
    page.locator(".families [data-family=grid]").press("Enter")
    assert page.locator(".graph .family:visible h3").all_inner_texts() == ["Grid"]
    assert page.eval_on_selector_all(".families [aria-pressed=true]", "all => all.map(one => one.textContent)") == ["grid"]
    assert not page.evaluate(CONTRAST) + page.troubles


@pytest.fixture(scope="module")
def started(browser, site):
    """The live page with its Python started, by the keyboard."""
    if not (HTML / "_static" / "pyodide" / "pyodide.js").exists():
        pytest.skip("the site was built without the browser's Python")
    page = phone(browser, site)
    page.goto(site + "live.html")
    page.first = page.inner_html("#shown")
    page.focus("#start")
    page.keyboard.press("Enter")
    page.wait_for_function("window.numbers !== undefined", timeout=120_000)
    yield page
    page.close()


@pytest.fixture
def running(started):
    started.evaluate("form.reset(); draw()")
    return started


def test_the_first_picture_is_what_the_browser_computes(running):
    assert running.inner_html("#shown") == running.first and not running.troubles


def test_numbers_are_those_of_the_library_for_every_mechanism(running):
    names = running.eval_on_selector_all("select[name=mechanism] option", "all => all.map(one => one.value)")
    for name in names:
        running.select_option("select[name=mechanism]", name)
        there, here = running.evaluate("numbers"), live.compute(json.loads(running.evaluate("JSON.stringify(settings())")))
        assert running.evaluate("document.getElementById('state').className") == "", running.inner_text("#state")
        assert (there["words"], there["cache_bytes"]) == (here["words"], here["cache_bytes"])
        for part in ("weights", "norms"):
            np.testing.assert_allclose(there[part], here[part], rtol=1e-10, atol=1e-12, err_msg=name)


def test_a_change_changes_the_picture_and_a_refusal_is_said(running):
    before, seen = running.inner_html("#shown"), np.array(running.evaluate("numbers.mask"))
    running.fill("input[name=window]", "2")
    assert running.inner_html("#shown") != before
    narrow = np.array(running.evaluate("numbers.mask"))
    assert (seen.sum(axis=-1).max(), narrow.sum(axis=-1).max()) == (4, 3)
    running.fill("input[name=sentence]", "")
    assert "expected at least one word" in running.inner_text("#state")
    running.fill("input[name=sentence]", "<b>bold</b> & \"quoted\"")
    assert running.evaluate("document.querySelectorAll('#shown b').length") == 0
    assert "&lt;" in running.inner_html("#shown") and not running.troubles
