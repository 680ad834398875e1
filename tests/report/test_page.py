"""The page in a real browser, opened from disk: no errors, nothing loaded, and other people's text is text."""

import numpy as np
import pytest
from helpers import seal
from synthetic_runs import write_run, write_runs

from rnnlab.report.page import DETAILS, render
from rnnlab.report.write import collect, make_report

HOSTILE = (
    """</script><script>document.title='owned'</script><img src=x onerror="document.title='owned'">'"&amp;{{7*7}}"""
)
LONG = "long " * 2048  # 10 kB


@pytest.fixture
def open_page(browser):
    """Open a page from disk; at the end, it must have loaded nothing but itself and said nothing on the console."""
    said, requested, context = [], [], browser.new_context()

    def opened(path):
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: requested.append(request.url))
        page.goto(path.resolve().as_uri())
        return page

    yield opened
    urls = [url for url in requested if not url.startswith("data:")]
    context.close()
    assert said == []
    assert len(urls) == 1
    assert urls[0].startswith("file:")


def report(folder):
    runs, unreadable = collect([folder / "runs"])
    return make_report(runs, unreadable, folder / "report").page


@pytest.fixture
def compared(tmp_path):
    """Three arms, one of them with a run that died; and a folder that cannot be read."""
    for k, (cell, at) in enumerate([("gru", 300), ("lstm", 900), ("rnn", 1e6)]):
        write_run(tmp_path / "runs" / cell, {"cell": cell}, seeds=[0, 1, 2], rng=np.random.default_rng(k), solve_at=at)
    rng = np.random.default_rng(5)
    write_run(tmp_path / "runs" / "died", {"cell": "rnn"}, seeds=[3], rng=rng, status="running", solve_at=1e6)
    (tmp_path / "runs" / "broken").mkdir()
    (tmp_path / "runs" / "broken" / "manifest.json").write_text("{")
    return report(tmp_path)


def arms(page):
    return [text.removesuffix(" ◐") for text in page.locator("table.ranked td.c-arm").all_inner_texts()]


def test_the_table_is_ranked_and_sorts_both_ways(compared, open_page):
    page = open_page(compared)
    assert arms(page) == ["cell=gru", "cell=lstm", "cell=rnn"]
    head = page.locator("table.ranked th", has_text="parameters")
    head.get_by_role("button").click()
    assert arms(page) == ["cell=rnn", "cell=gru", "cell=lstm"]
    assert head.get_attribute("aria-sort") == "ascending"
    head.get_by_role("button").click()
    assert arms(page) == ["cell=lstm", "cell=gru", "cell=rnn"]
    page.locator("table.ranked th", has_text="s per solved seed").get_by_role("button").click()
    assert arms(page)[-1] == "cell=rnn", "what has no value comes last"


def test_figures_are_in_the_page_and_partial_results_are_marked(compared, open_page):
    page = open_page(compared)
    assert page.locator("figure img").count() == 4
    assert page.evaluate("Array.from(document.images, i => i.complete && i.naturalWidth > 300).every(x => x)")
    assert "cell=rnn ◐" in page.locator("table.ranked").inner_text()
    assert "1 died" in page.locator("header").inner_text()
    assert "manifest.json: cannot be read" in page.locator("#runs").inner_text()


def test_a_runs_configuration_and_manifest_are_one_click_away(compared, open_page):
    page = open_page(compared)
    page.get_by_role("button", name="runs/lstm").click()
    dialog = page.get_by_role("dialog")
    assert dialog.is_visible()
    text = dialog.inner_text()
    for key, value in (("cell", "lstm"), ("optimiser.lr", "0.01"), ("steps", "2000"), ("versions.torch", "2.13.0")):
        assert f"{key}\t{value}\n" in text
    assert "lstm" in dialog.locator(".own").all_inner_texts()[0]
    page.keyboard.press("Escape")
    assert not dialog.is_visible()


def test_runs_can_be_filtered(compared, open_page):
    page = open_page(compared)
    page.get_by_role("searchbox").fill("CELL=RNN")
    assert page.locator("#run-table tbody tr:visible").count() == 2


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_is_as_wide_as_the_window(compared, open_page, width):
    page = open_page(compared)
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("media", ["screen", "print"])
def test_labels_break_at_their_spaces(compared, open_page, media):
    page = open_page(compared)
    page.set_viewport_size({"width": 500, "height": 800})
    page.emulate_media(media=media)
    lines = """cells => cells.map(cell => {
        const range = document.createRange(), text = cell.firstChild;
        range.setStart(text, 0);
        range.setEnd(text, "cell=rnn".length);
        return range.getClientRects().length;
    })"""
    assert set(page.locator("table.ranked td.c-arm").evaluate_all(lines)) == {1}


def test_hostile_text_is_text(tmp_path, open_page):
    name = HOSTILE.replace("/", "")
    for k, value in enumerate((HOSTILE, LONG, "harmless")):
        changes = {"activation._target_": value, "name": value, "task.source": f"{HOSTILE} {LONG}"}
        write_run(tmp_path / "runs" / f"{k}{name}", changes, seeds=[0], rng=np.random.default_rng(k))
    path = report(tmp_path)
    page = open_page(path)
    assert page.title() == "Comparison of runs"
    assert page.locator("script:not([type])").count() == 1
    assert page.locator("img:not(figure img)").count() == 0
    assert any(HOSTILE[:40] in label for label in arms(page))
    page.get_by_role("button", name="0</script>".replace("/", "")).click()
    dialog = page.get_by_role("dialog")
    assert dialog.locator("h2").inner_text().endswith("0" + name)
    config = dialog.locator("#details-config").inner_text()
    assert f"activation\t{HOSTILE}" in config
    assert LONG.strip() in config
    assert page.title() == "Comparison of runs"
    assert "7*7" in page.content()


def test_the_policy_is_a_lock_of_its_own(compared, browser):
    """Were a name written without being escaped, its script would still not run, and nothing would be loaded."""
    compared.write_text(compared.read_text().replace("<main>", f"<main>{HOSTILE}<img src='http://127.0.0.1:9/x'>", 1))
    page = browser.new_page()
    failed = []
    page.on("requestfailed", lambda request: failed.append((request.url, request.failure)))
    page.goto(compared.resolve().as_uri())
    assert page.title() == "Comparison of runs"
    assert ("http://127.0.0.1:9/x", "csp") in failed, "stopped by the policy, before the network"
    page.close()


def test_the_page_grows_slowly_with_the_number_of_runs_and_their_text(tmp_path):
    write_runs(tmp_path / "runs", 150, seeds=1, rng=np.random.default_rng(0))
    for path in (tmp_path / "runs").iterdir():
        config = (path / "config.yaml").read_text()
        (path / "config.yaml").write_text(config.replace("  gain:", f"  note: {'y' * 20_000}{path.name}\n  gain:"))
        seal(path)
    runs, _ = collect([tmp_path / "runs"])
    page = render([], runs, [], title="", made="")
    assert len(page) < 150 * 2_000 + 1.2 * DETAILS
