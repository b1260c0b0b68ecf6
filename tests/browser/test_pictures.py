"""The pictures of the documents are small, and show what the browser drew."""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path

from tests.browser.palette import _chunk, _unfiltered, small
from tests.browser.screenshots import IMAGES, SHOWN, THEMES

ROOT = Path(__file__).resolve().parents[2]


def picture(rows: list[tuple[int, bytes]], width: int) -> bytes:
    """A PNG of these rows, each with the filter that it was stored under."""
    raw = b"".join(bytes([kind]) + row for kind, row in rows)
    head = struct.pack(">IIBBBBB", width, len(rows), 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", head)
        + _chunk(b"IDAT", zlib.compress(raw))
        + _chunk(b"IEND", b"")
    )


def test_a_small_picture_shows_the_same_colours() -> None:
    red, blue = b"\xff\x00\x00", b"\x00\x00\xff"
    same = bytes(3)
    averaged = b"\x80\x00\x00\x81\x00\x80"
    rows = [(0, red + blue), (1, red + b"\x01\x00\xff"), (2, same * 2), (3, averaged), (4, same * 2)]
    made = small(picture(rows, 2))
    palette = re.search(rb"PLTE(.{6})", made, re.DOTALL)
    data = re.search(rb"IDAT(.*).{4}\x00{4}IEND", made, re.DOTALL)
    assert palette and data
    colours = [palette[1][:3], palette[1][3:]]
    pixels = _unfiltered(zlib.decompress(data[1]), 2, 5, 1)
    shown = [colours[number] for number in pixels]
    assert shown[:6] == [red, blue, red, blue, red, blue]
    assert set(shown) == {red, blue}


def test_each_page_of_the_tour_has_its_picture_in_both_themes() -> None:
    wanted = {f"{name}-{theme}.png" for name in SHOWN for theme in THEMES}
    assert {path.name for path in IMAGES.iterdir()} == wanted
    for name in wanted:
        assert (IMAGES / name).stat().st_size < 120_000, f"{name} is too large"


def test_the_documents_name_no_picture_that_is_not_there() -> None:
    for page in (ROOT / "README.md", ROOT / "docs" / "panel.md"):
        for named in re.findall(r'(?:src|srcset)="([^"]+)"|!\[[^\]]*\]\(([^)]+)\)', page.read_text("utf-8")):
            path = named[0] or named[1]
            if "://" not in path:
                assert (page.parent / path).is_file(), path
