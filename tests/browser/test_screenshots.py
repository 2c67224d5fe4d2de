"""The pictures of the console's README, made anew when asked: `--screenshots`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.conftest import PHONE, Opened, playwright_api
from tests.browser.fake_server import CONSOLE, Fake
from tests.browser.views import case_id

playwright_api()
PICTURES = CONSOLE / "docs"
BYTES_MAX = 150_000
DESK = {"width": 1120, "height": 640}
SHOTS: dict[str, tuple[str, dict[str, Any]]] = {
    "overview-light": ("#/", {"viewport": DESK}),
    "overview-dark": ("#/", {"viewport": DESK, "color_scheme": "dark"}),
    "case": (f"#/cases/{case_id(1)}", {"viewport": DESK}),
    "approvals": ("#/approvals", {"viewport": DESK}),
    "phone": ("#/", {"viewport": PHONE}),
}


@pytest.mark.parametrize("name", SHOTS)
def test_a_picture_is_made_when_asked(
    opened: Opened, fake: Fake, name: str, request: pytest.FixtureRequest
) -> None:
    if not request.config.getoption("--screenshots", default=False):
        pytest.skip("makes pictures only with --screenshots")
    address, options = SHOTS[name]
    page = opened(fake.url, **options).settled(address)
    page.wait_for_selector("#live[data-state=live]")
    page.screenshot(path=PICTURES / f"{name}.png")

    assert (PICTURES / f"{name}.png").stat().st_size < BYTES_MAX


def test_the_readme_shows_the_pictures_that_are_made() -> None:
    text = (CONSOLE / "README.md").read_text(encoding="utf-8")

    assert [name for name in SHOTS if f"(docs/{name}.png)" not in text] == []
