"""Every transcript in the documentation runs and prints what the page says."""

import pytest

FROM_THE_START = ["README.md", "docs/tutorial.md"]
AFTER_THE_JOURNEY = [
    "docs/how-to/publish-an-update.md",
    "docs/how-to/deltas.md",
    "docs/how-to/adopt.md",
    "docs/how-to/roll-back.md",
    "docs/how-to/check-a-medium-by-hand.md",
    "docs/how-to/kiosk-and-courier.md",
    "docs/how-to/oms.md",
    "docs/how-to/repair.md",
    "docs/how-to/one-way-links.md",
]


@pytest.mark.parametrize("page", FROM_THE_START)
def test_the_journey(transcript, page):
    transcript(page)


@pytest.mark.parametrize("page", AFTER_THE_JOURNEY)
def test_how_to(later, page):
    later(page)


def test_no_page_with_a_transcript_is_forgotten(pages):
    """Pages that aren't in the lists above must not claim to be transcripts of airlock."""
    with_transcript = {name for name, page in pages.items() if "```console" in page.read_text(encoding="utf-8")}
    assert with_transcript == {*FROM_THE_START, *AFTER_THE_JOURNEY}
