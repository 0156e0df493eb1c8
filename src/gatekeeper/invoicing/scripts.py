"""How is a line of text cut into runs, each of one direction, that are drawn from left to right?

Lines run from left to right; words of Arabic or Hebrew in them run the other way, numbers within those do not. What
cannot be seen (controls, marks that turn text around) is spelled out, so that nobody is shown another text than there
is.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

# Joiners and variation selectors change their neighbours' shapes, and are needed for that.
JOINERS = "\u200c\u200d\ufe0e\ufe0f"
HIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Zl", "Zp"))
RIGHT_TO_LEFT = frozenset(("R", "AL"))
NUMBERS = frozenset(("EN", "AN"))
LEFT_TO_RIGHT = "L"
BRACKETS = (("(", ")"), ("[", "]"), ("{", "}"), ("\u00ab", "\u00bb"))
BREAKS_AFTER = "-_/.,;:@|"
# Han, kana, and their punctuation: lines may break after any of them. Hangul breaks at its spaces.
IDEOGRAPHIC = re.compile("[\u2e80-\u30ff\u31f0-\u31ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]")
KANA = re.compile("[\u3040-\u30ff]")
HANGUL = re.compile("[\u1100-\u11ff\u3130-\u318f\uac00-\ud7af]")
PLAIN = re.compile(r"[ -~]*\Z")
# A word that runs to the left: it begins and ends with such a letter, or ends with a number that follows one.
TURNED = re.compile("[R](?:[NM]*[RE]|M)*")


def visible(text: str) -> str:
    """Return a text with each character that cannot be seen spelled out, and white space as single spaces."""
    spaced = " ".join(text.split())
    if PLAIN.match(spaced):
        return spaced
    return "".join(
        f"[U+{ord(letter):04X}]" if unicodedata.category(letter) in HIDDEN and letter not in JOINERS else letter
        for letter in spaced
    )


def region(text: str) -> str:
    """Return where a text's characters of the Han are at home, as far as its other characters tell."""
    if KANA.search(text):
        return "jp"
    return "kr" if HANGUL.search(text) else "sc"


def runs(line: str) -> Sequence[tuple[str, bool]]:
    """Return a line's runs in the order in which they are drawn, and whether each runs to the left."""
    if PLAIN.match(line):
        return [(line, False)] if line else []
    kinds = "".join(_kind(letter) for letter in line)
    found: list[tuple[str, bool]] = []
    end = 0
    for turned in TURNED.finditer(kinds):
        if turned.start() > end:
            found.append((line[end : turned.start()], False))
        end = _closed(line, turned.start(), turned.end())
        found += _turned(line[turned.start() : end], kinds[turned.start() : end])
    if end < len(line):
        found.append((line[end:], False))
    return found


def _closed(line: str, start: int, end: int) -> int:
    """Return where words that run to the left end: with the bracket that closes one of theirs."""
    for opening, closing in BRACKETS:
        if line[end : end + 1] == closing and line.count(opening, start, end) > line.count(closing, start, end):
            return end + 1
    return end


def _kind(letter: str) -> str:
    direction = unicodedata.bidirectional(letter)
    if direction in RIGHT_TO_LEFT:
        return "R"
    if direction in NUMBERS:
        return "E"
    if direction == "NSM" or letter in JOINERS:
        return "M"
    return LEFT_TO_RIGHT if direction == LEFT_TO_RIGHT else "N"


def _turned(text: str, kinds: str) -> Sequence[tuple[str, bool]]:
    """Return the runs of words that run to the left: the last one is drawn first, numbers as they are."""
    parts = [
        (text[part.start() : part.end()], not part.group().startswith("E")) for part in re.finditer("E+|[^E]+", kinds)
    ]
    return parts[::-1]


def clusters(run: str) -> Iterator[str]:
    """Yield a run's characters, each with the marks and joiners that belong to it."""
    begin = 0
    for end in range(1, len(run)):
        if not _belongs(run[end - 1], run[end]):
            yield run[begin:end]
            begin = end
    if run:
        yield run[begin:]


def _belongs(before: str, letter: str) -> bool:
    return letter in JOINERS or before == "\u200d" or unicodedata.category(letter).startswith("M")


def pieces(text: str) -> Iterator[str]:
    """Yield a text in pieces between which a line may break."""
    begin = 0
    for end in range(1, len(text)):
        before = text[end - 1]
        breaks = before in BREAKS_AFTER and not text[end].isdigit()
        if (before == " " != text[end]) or breaks or IDEOGRAPHIC.match(before):
            yield text[begin:end]
            begin = end
    if text:
        yield text[begin:]
