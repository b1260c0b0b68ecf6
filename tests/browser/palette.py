"""Pictures of pages, made small: a page has few colours, so one byte says which of 256 a pixel has."""

from __future__ import annotations

import struct
import zlib
from collections import Counter

_BEGINS = b"\x89PNG\r\n\x1a\n"
MOST = 256


def small(png: bytes) -> bytes:
    """The same picture with its 256 most frequent colours; all others become the nearest of them.

    Takes what browsers make: 8 bits a channel, not interlaced, opaque.
    """
    width, height, channels, raw = _read(png)
    pixels = _unfiltered(raw, width * channels, height, channels)
    if channels == 4:
        del pixels[3::4]
    triples = [bytes(pixels[at : at + 3]) for at in range(0, len(pixels), 3)]
    counted = Counter(triples)
    palette = [colour for colour, _ in counted.most_common(MOST)]
    place = {colour: number for number, colour in enumerate(palette)}
    for colour in counted:
        if colour not in place:
            place[colour] = min(range(len(palette)), key=lambda number: _far(colour, palette[number]))
    rows = bytearray()
    for at in range(0, len(triples), width):
        rows.append(0)
        rows += bytes(place[colour] for colour in triples[at : at + width])
    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    return (
        _BEGINS
        + _chunk(b"IHDR", head)
        + _chunk(b"PLTE", b"".join(palette))
        + _chunk(b"IDAT", zlib.compress(bytes(rows), 9))
        + _chunk(b"IEND", b"")
    )


def _far(one: bytes, other: bytes) -> int:
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _read(png: bytes) -> tuple[int, int, int, bytes]:
    at, data, width, height, channels = len(_BEGINS), b"", 0, 0, 3
    while at < len(png):
        (size,) = struct.unpack(">I", png[at : at + 4])
        name, body = png[at + 4 : at + 8], png[at + 8 : at + 8 + size]
        if name == b"IHDR":
            width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", body)
            if depth != 8 or kind not in (2, 6) or interlaced:
                raise ValueError("the picture is not what a browser makes")
            channels = 3 if kind == 2 else 4
        elif name == b"IDAT":
            data += body
        at += size + 12
    return width, height, channels, zlib.decompress(data)


def _unfiltered(raw: bytes, length: int, height: int, step: int) -> bytearray:
    """The rows of a PNG without the filters that made them easier to compress."""
    out = bytearray()
    above = bytearray(length)
    for number in range(height):
        start = number * (length + 1)
        kind, row = raw[start], bytearray(raw[start + 1 : start + 1 + length])
        if kind == 1:
            for at in range(step, length):
                row[at] = (row[at] + row[at - step]) & 255
        elif kind == 2:
            row = bytearray((a + b) & 255 for a, b in zip(row, above, strict=True))
        elif kind == 3:
            for at in range(length):
                left = row[at - step] if at >= step else 0
                row[at] = (row[at] + (left + above[at]) // 2) & 255
        elif kind == 4:
            for at in range(length):
                left, corner = (row[at - step], above[at - step]) if at >= step else (0, 0)
                row[at] = (row[at] + _paeth(left, above[at], corner)) & 255
        out += row
        above = row
    return out


def _paeth(left: int, up: int, corner: int) -> int:
    guess = left + up - corner
    by_left, by_up, by_corner = abs(guess - left), abs(guess - up), abs(guess - corner)
    if by_left <= by_up and by_left <= by_corner:
        return left
    return up if by_up <= by_corner else corner
