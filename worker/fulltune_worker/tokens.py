"""Reads the token file that `src/data/write-token-file.ts` writes; its form is described in `src/data/token-file.ts`."""

from __future__ import annotations

import hashlib
import os
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .errors import JobError

MAGIC = b"FTTOKENS"
VERSION = 1
HEADER_BYTES = 64
LENGTH_MASK = 0x7FFF_FFFF


@dataclass(frozen=True)
class Document:
    ids: np.ndarray
    """Token ids, int32 [n]."""
    trained: np.ndarray
    """1 where the token is learned, uint8 [n]; the first is 0."""


class TokenFile:
    """One document at a time, by pread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise JobError(
                f"the token file '{path}' cannot be opened: {error.strerror}", "Start the run again: it is written anew from the dataset."
            ) from error
        header = self._read(HEADER_BYTES, 0)
        if header[:8] != MAGIC:
            raise self._damaged("this is not a token file")
        version, summary_bytes = struct.unpack_from("<II", header, 8)
        if version != VERSION:
            raise self._damaged(f"it has version {version}, not {VERSION}")
        documents, tokens = (int(value) for value in struct.unpack_from("<dd", header, 16))
        tail = HEADER_BYTES + tokens * 5 + documents * 4
        if os.fstat(self._file).st_size != tail + documents * 8 + summary_bytes:
            raise self._damaged("its size is not what its header says")
        table = self._read(documents * 8 + summary_bytes, tail)
        if hashlib.sha256(table).digest() != header[32:64]:
            raise self._damaged("its table is damaged")
        self.lengths = np.frombuffer(table, "<u4", documents) & LENGTH_MASK
        """Tokens of each document, uint32 [documents]."""
        ends = np.cumsum(self.lengths, dtype=np.int64)
        self._offsets = HEADER_BYTES + (ends - self.lengths) * 5 + np.arange(documents, dtype=np.int64) * 4

    def read(self, index: int) -> Document:
        if not 0 <= index < len(self.lengths):
            raise JobError(f"the schedule names document {index + 1}; the token file '{self.path}' has {len(self.lengths)}")
        length = int(self.lengths[index])
        payload = self._read(5 * length + 4, int(self._offsets[index]))
        if _checksum(payload[:-4]) != struct.unpack_from("<I", payload, 5 * length)[0]:
            raise self._damaged(f"document {index + 1} is damaged")
        return Document(np.frombuffer(payload, "<i4", length), np.frombuffer(payload, "u1", length, 4 * length))

    def close(self) -> None:
        os.close(self._file)

    def _read(self, count: int, position: int) -> bytes:
        parts = []
        while count > 0:
            part = os.pread(self._file, min(count, 2**30), position)
            if not part:
                raise self._damaged("it is truncated")
            parts.append(part)
            count -= len(part)
            position += len(part)
        return b"".join(parts)

    def _damaged(self, what: str) -> JobError:
        return JobError(f"the token file '{self.path}' cannot be used: {what}", "Delete it: it is written anew from the dataset.")


def _checksum(payload: bytes) -> int:
    """FNV-1a over 32-bit words and the bytes left over, the high bits folded in."""
    whole = len(payload) - len(payload) % 4
    value = 0x811C9DC5
    for word in np.frombuffer(payload, "<u4", whole // 4).tolist():
        value = ((value ^ word) * 0x01000193) & 0xFFFF_FFFF
    for byte in payload[whole:]:
        value = ((value ^ byte) * 0x01000193) & 0xFFFF_FFFF
    return value ^ (value >> 15)
