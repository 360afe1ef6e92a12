"""The transfer sheet: everything a courier needs on one page, in clear, and nothing that names a model or runs."""

import dataclasses
import html.parser
import re
import shutil
import subprocess

import pytest

from registry.content.digest import digest_of
from registry.workflow.sheet import Sheet, render_text, render_texts
from registry.workflow.sheet_html import render_html

SHEET = Sheet(
    set_id="01KBCDEFGH0123456789XTY0EW",
    medium=2,
    media=3,
    label="XTY0EW-2",
    serial="AA00000000000489",
    made="2026-11-20T19:25:40Z",
    publisher="84159646" + "1" * 56,
    fingerprint="0123456789abcdef" * 4,
    sites=("ab" * 32, "cd" * 32),
    first=5,
    last=9,
    size=118_432_112_640,
    read_back=True,
    sums=digest_of(b"sums"),
)


def variant(**changes):
    return dataclasses.replace(SHEET, **changes)


VARIANTS = {
    "all known": SHEET,
    "serial to fill in": variant(serial=""),
    "not read back": variant(read_back=False, sums=None),
    "no parts": variant(first=0, last=0, size=0),
    "a long label": variant(label="L" * 32, serial="S" * 64),
    "nine sites": variant(sites=tuple(f"{number:064x}" for number in range(9))),
}


class Page(html.parser.HTMLParser):
    """What is in a page: its elements, its text."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.text = [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in ("meta", "br", "path"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data if not self.open or self.open[-1] != "style" else ""


def words(text):
    return re.sub(r"\s+", " ", text.replace("<br>", " "))


@pytest.mark.parametrize("sheet", VARIANTS.values(), ids=VARIANTS)
def test_text_fits_a_page_of_80_ascii_columns(sheet):
    text = render_text(sheet)
    assert text.isascii()
    assert text.endswith("\n")
    assert max(map(len, text.splitlines())) <= 80
    assert len(text.splitlines()) <= 66
    assert "\r" not in text


@pytest.mark.parametrize("sheet", VARIANTS.values(), ids=VARIANTS)
def test_html_is_one_page_that_loads_and_runs_nothing(sheet):
    page = Page(render_html([sheet]))
    assert page.open == []
    assert {tag for tag, _ in page.elements} & {"script", "link", "img", "iframe", "object", "form", "a"} == set()
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "href", "style")], tag
    assert "url(" not in render_html([sheet])
    assert "@import" not in render_html([sheet])
    assert [tag for tag, _ in page.elements].count("main") == 1
    assert "@page { size: A4" in render_html([sheet])


@pytest.mark.parametrize("render", [render_text, lambda sheet: Page(render_html([sheet])).text], ids=["text", "html"])
def test_what_it_says(render):
    said = words(render(SHEET)).lower()
    for fact in (
        "airlock transfer sheet",
        "medium 2 of 3",
        "xty0ew-2",
        "01kbcdefgh0123456789xty0ew",
        "aa00000000000489",
        "2026-11-20t19:25:40z",
        "84159646",
        "site abababab, cdcdcdcd",
        "5 to 9, 118,432,112,640 bytes",
        "yes, every part was opened again after writing",
        SHEET.sums.removeprefix("sha256:"),
        "by phone",
        "never take it from this sheet or from the medium",
        "sha256sum -c sha256sums",
        "certutil -hashfile file sha256",
        "handed over by",
        "received by",
        "signature",
        "found it?",
    ):
        assert fact in said, fact
    assert "0123 4567 89ab cdef 0123 4567 89ab cdef" in render(SHEET)
    assert SHEET.publisher not in said
    assert "not read back" not in said


def test_six_custody_lines():
    assert render_text(SHEET).count("\n__________  ____") == 6
    assert Page(render_html([SHEET])).elements.count(("td", {})) == 24


@pytest.mark.parametrize("render", [render_text, lambda sheet: Page(render_html([sheet])).text], ids=["text", "html"])
def test_leaving_out_the_read_back_is_said_in_capitals(render):
    said = words(render(VARIANTS["not read back"]))
    assert "NOT READ BACK: nobody has seen yet that this medium holds what was written" in said
    assert "it has no SHA256SUMS" in said
    assert "sha256sum -c" not in said


def test_what_is_missing():
    assert "serial      ____" in render_text(VARIANTS["serial to fill in"])
    assert ("dd", {"class": "blank"}) in Page(render_html([VARIANTS["serial to fill in"]])).elements
    assert "none on this medium" in render_text(VARIANTS["no parts"])
    assert "SHA256SUMS  none was noted" in render_text(variant(sums=None))
    assert "printed above" not in words(render_text(variant(sums=None)))


def test_markup_stays_text():
    page = Page(render_html([variant(serial="<script>&\"'")]))
    assert "<script>&\"'" in page.text
    assert "script" not in {tag for tag, _ in page.elements}


def test_several_on_pages_of_their_own():
    both = [SHEET, variant(medium=3)]
    assert [text.splitlines()[0].split()[-3] for text in render_texts(both).split("\f")] == ["2", "3"]
    page = Page(render_html(both))
    assert [tag for tag, _ in page.elements].count("main") == 2
    assert "break-before: page" in render_html(both)


@pytest.mark.parametrize("sheet", [SHEET, VARIANTS["a long label"]], ids=["short", "long"])
def test_a_reader_finds_set_and_fingerprint_in_the_codes(sheet, tmp_path):
    if not (shutil.which("rsvg-convert") and shutil.which("zbarimg")):
        pytest.skip("no reader of QR codes here: apt-get install zbar-tools librsvg2-bin")
    found = []
    for number, svg in enumerate(re.findall(r"<svg .*?</svg>", render_html([sheet]), re.DOTALL)):
        vector, picture = tmp_path / f"{number}.svg", tmp_path / f"{number}.png"
        vector.write_text(svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" '))
        # 33 mm at 200 dots per inch: what a phone's camera sees of the printed code, roughly
        subprocess.run(["rsvg-convert", "--width=260", "--height=260", f"--output={picture}", str(vector)], check=True)
        done = subprocess.run(["zbarimg", "--quiet", "--raw", "--nodbus", str(picture)], check=True, capture_output=True, text=True)
        found.append(done.stdout.strip())
        assert f'aria-label="QR code of the {["set id", "fingerprint of the publisher"][number]}, {found[-1]}"' in svg
    assert found == [sheet.set_id, sheet.fingerprint]
