"""TensorBoard in a real browser, on real runs: every tab opens and shows what the run wrote."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from processes import PATIENCE, wait_until
from support import composed

from rnnlab.schema import validate
from rnnlab.sinks.address import comparison_address
from rnnlab.training.run import run

NAME = "dashboard"
RUN = ("task=adding", "task.length=8", "task.batch=4", "cell.hidden=4", "evaluate.examples=8", "evaluate.every=2")
OFTEN = ("steps=4", "log.every=1", "probe.every=2", "seeds=2", f"name={NAME}")
CHOICES = (("cell=lstm", "optimiser.lr=0.01"), ("cell=gru", "optimiser.lr=0.003"))


@contextmanager
def served(runs) -> Iterator[str]:
    """TensorBoard's address on a free port of this machine, as `make tensorboard` starts it."""
    command = ["tensorboard.main", "--logdir", str(runs), "--host", "127.0.0.1", "--port", "0"]
    log = runs.parent / "tensorboard.log"
    with log.open("w") as told:
        process = subprocess.Popen([sys.executable, "-m", *command], stderr=told)
    try:
        address = re.compile(r"http://127\.0\.0\.1:\d+/")
        wait_until(lambda: address.search(log.read_text()) or process.poll() is not None)
        found = address.search(log.read_text())
        assert found, log.read_text()
        yield found[0]
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def address(browser, tmp_path_factory):
    """Of a TensorBoard that has read two runs. (`browser` first: without one, nothing is trained.)"""
    folder = tmp_path_factory.mktemp("dashboard")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for choice in CHOICES:
            run(validate(composed(*RUN, *OFTEN, *choice)))
    with served(folder / "runs") as url:
        context = browser.new_context()
        wait_until(lambda: len(context.request.get(url + "data/plugin/images/tags").json()) == len(CHOICES))
        context.close()
        yield url


@pytest.fixture
def page(browser, address):
    """A page that may reach nothing but TensorBoard, and must not report an error."""
    context, errors = browser.new_context(viewport={"width": 1600, "height": 1200}), []
    context.set_default_timeout(1000 * PATIENCE)
    context.route(lambda url: not url.startswith((address, "data:", "blob:")), lambda route: route.abort())
    page = context.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" and ours(said) else None)
    page.on("response", lambda answer: errors.append(answer.url) if answer.status >= 400 else None)
    yield page
    context.close()
    assert errors == []


def ours(said) -> bool:
    """Not the browser's word that a font from elsewhere was refused."""
    return "ERR_FAILED" not in said.text


def test_the_printed_address_shows_both_runs_losses_and_slopes(page, address):
    page.goto(comparison_address().replace("http://localhost:6006/", address))
    for tag in ("loss/eval", "loss/train", "loss/baseline", "accuracy/eval", "adjoint_slope/h"):
        page.get_by_text(tag, exact=True).first.wait_for()
    assert page.locator("scalar-card").count() >= 5
    assert page.locator("runs-data-table").get_by_text(re.compile("adding-(lstm|gru)-")).count() == len(CHOICES)


def test_custom_scalars_has_titled_sections_with_curves(page, address):
    page.goto(address + "#custom_scalars")
    for title in ("Loss and metric", "Gradient and clipping", "Adjoint dL/dh_t"):
        page.get_by_text(title, exact=True).wait_for()
    chart = page.locator("tf-custom-scalar-margin-chart-card", has_text="loss at evaluation").first
    chart.get_by_text(f"Matches ({len(CHOICES)})").wait_for()
    chart = page.locator("tf-custom-scalar-multi-line-chart-card", has_text="decay slope").first
    chart.get_by_text("Matches (3)").wait_for()  # h and c of the LSTM, h of the GRU


def test_pictures_are_there_and_large_enough_to_read(page, address):
    page.goto(address + "#images")
    tag = "adjoint/heat_map_h"
    page.get_by_text(tag, exact=True).first.wait_for()
    picture = page.locator("tf-image-loader", has_text=tag).locator("img").first
    picture.wait_for()
    page.wait_for_function("image => image.naturalWidth >= 600", arg=picture.element_handle())


def test_hparams_compares_the_runs_by_what_differs(page, address):
    page.goto(address + "#hparams")
    for name in ("Outcome/accuracy", "Outcome/loss", "Outcome/solved_share", "Outcome/diverged_share"):
        page.get_by_text(name, exact=True).first.wait_for()
    table = page.locator("tf-hparams-table-view")
    for text in ("cell", "optimiser.lr", "lstm", "gru", "0.010000", "0.0030000"):
        table.get_by_text(text, exact=True).first.wait_for()
