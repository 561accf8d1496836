"""A real browser for the page: Debian's Chromium, driven by Playwright."""

import contextlib
import shutil
import time
from datetime import UTC, datetime, timedelta

import attrs
import pytest

from tests.browser.origin import Origin, first
from tests.web.trees import tree

ARGUMENTS = (
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--metrics-recording-only",
)
PATIENCE = 20.0
"""Seconds of real time within which a page must show what it has been told."""
WATCH = """addEventListener("securitypolicyviolation", (event) => {
    console.error(`violates ${event.effectiveDirective}: ${event.blockedURI} ${event.sample}`);
});"""


@pytest.fixture(scope="package")
def chromium():
    """A browser; a test that wants one is skipped by its own name where there is none."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no Chromium on PATH (Debian: apt install chromium)")
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="no Playwright (pip install 'statusd[test]')"
    )
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=program, args=ARGUMENTS, chromium_sandbox=False)
        yield browser
        browser.close()


@pytest.fixture
def origin():
    """Something to look at, with a tree of nothing."""
    origin = Origin(first(tree()))
    origin.start()
    yield origin
    origin.stop()


@attrs.define(eq=False)
class Look:
    """A page that somebody looks at.

    Attributes:
        page: Playwright's.
        errors: what it complained about: exceptions, violations of its policy, failed requests.
        requests: every URL that it asked for.
    """

    page: object
    errors: list = attrs.field(factory=list)
    requests: list = attrs.field(factory=list)

    def until(self, question, holds=bool):
        """Ask until the answer is as wanted; fail with the last answer after a deadline."""
        deadline = time.monotonic() + PATIENCE
        while not holds(answer := question()):
            assert time.monotonic() < deadline, f"not within {PATIENCE} s; the last answer: {answer}"
            self.page.wait_for_timeout(10)
        return answer

    def text(self, selector):
        return self.page.locator(selector).inner_text()

    def until_text(self, selector, text):
        return self.until(lambda: self.text(selector), lambda found: found == text)

    def until_revision(self, origin):
        """Wait until the page has the origin's newest revision."""
        return self.until_text("#page-revision", str(origin.snapshot.revision))

    def wake(self):
        """Let the page think that somebody looks at it again."""
        self.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


@pytest.fixture
def look(chromium):
    """Opens pages; fails the test when one of them complains, or asks anybody else for anything."""
    looks = []
    with contextlib.ExitStack() as exits:

        def open_page(url, *, allowed=(), clock=False, scheme="light", **options):
            options.setdefault("viewport", {"width": 1100, "height": 800})
            # With `clock`, the page's timers stand still but for what the test lets pass.
            context = chromium.new_context(color_scheme=scheme, **options)
            exits.callback(context.close)
            context.add_init_script(WATCH)
            page = context.new_page()
            page.set_default_timeout(PATIENCE * 1000)
            if clock:
                page.clock.install()
                page.clock.pause_at(datetime.now(UTC) + timedelta(seconds=1))
            looked = Look(page)
            page.on("pageerror", lambda error: looked.errors.append(str(error)))
            page.on("console", lambda message: _note(looked, message, allowed))
            page.on("request", lambda request: looked.requests.append(request.url))
            looks.append((looked, url))
            page.goto(url)
            return looked

        yield open_page
        for looked, url in looks:
            assert looked.errors == []
            assert [asked for asked in looked.requests if not asked.startswith((url, "data:"))] == []


def _note(looked, message, allowed):
    if message.type in {"error", "warning"} and not any(text in message.text for text in allowed):
        looked.errors.append(message.text)
