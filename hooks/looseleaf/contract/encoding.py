"""Detect the encoding of a text file."""

import codecs
import gzip
import re
from pathlib import Path
from typing import IO

from looseleaf.contract.texts import refused

CHUNK = 1 << 20
# Above this share of the letters beyond ASCII in words of their own, an alphabet is not Latin.
WORDS_SHARE = 0.2


def detect(path: Path) -> str:
    """Return utf-8, utf-16, latin-1 or cp1252; raises LifecycleError with the line that fits none of them."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    line, beyond_ascii, single, letters, in_words = 1, False, set(), 0, 0
    with open_bytes(path) as file:
        if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            return "utf-16"
        file.seek(0)
        valid = True
        while chunk := file.read(CHUNK):
            if b"\0" in chunk:
                at = line + chunk[: chunk.index(0)].count(10)
                raise refused("zero_byte", file=path.name, line=at)
            if valid:
                try:
                    beyond_ascii = beyond_ascii or len(chunk) != len(decoder.decode(chunk))
                    line += chunk.count(10)
                except UnicodeDecodeError as error:
                    line += chunk[: error.start].count(10)
                    beyond_ascii = beyond_ascii or not chunk[: error.start].isascii()
                    valid = False
            if not valid:
                single |= set(chunk) & set(range(0x80, 0xA0))
                letters += sum(map(len, re.findall(rb"[\x80-\xff]", chunk)))
                in_words += sum(map(len, re.findall(rb"[\x80-\xff]{3,}", chunk)))
    if valid and not decoder.getstate()[0]:
        return "utf-8"
    if beyond_ascii:
        raise refused("mixed", file=path.name, line=line)
    # In Western languages, a letter beyond ASCII is among others; words of them are of another alphabet.
    if single & {0x81, 0x8D, 0x8F, 0x90, 0x9D} or in_words > WORDS_SHARE * letters:
        raise refused("not_western", file=path.name, line=line)
    return "cp1252" if single else "latin-1"


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file, unpacking gzip."""
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]
