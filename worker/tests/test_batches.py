"""Rows laid out, dealt to ranks, and what rank and file errors say; on a token file that is written here by the description of its form."""

import hashlib
import struct
import tempfile
import unittest
from pathlib import Path

import torch

from fulltune_worker.attention import attention_mask
from fulltune_worker.batches import IGNORED, lay_out, micro_batches
from fulltune_worker.errors import JobError
from fulltune_worker.tokens import TokenFile, _checksum

DOCUMENTS = [([5, 6, 7], [0, 1, 1]), ([8, 9], [0, 0]), ([1, 2, 3, 4], [0, 0, 1, 1])]


def write(path: Path) -> None:
    body = b""
    for ids, trained in DOCUMENTS:
        payload = struct.pack(f"<{len(ids)}i", *ids) + bytes(trained)
        body += payload + struct.pack("<I", _checksum(payload))
    lengths = struct.pack("<3I", 3, 2 | 0x8000_0000, 4)
    tail = lengths + struct.pack("<3I", 2, 0, 2) + b"{}"
    header = b"FTTOKENS" + struct.pack("<IIdd", 1, 2, 3.0, 9.0) + hashlib.sha256(tail).digest()
    path.write_bytes(header + body + tail)


class Batches(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "tokens"
        write(self.path)

    def test_rows_are_laid_out(self) -> None:
        file = TokenFile(self.path)
        batch = lay_out(file, [[0, 1], [2]], 6, 2)
        self.assertEqual(batch.ids.tolist(), [[5, 6, 7, 8, 9, 0], [1, 2, 3, 4, 0, 0]])
        self.assertEqual(batch.labels.tolist(), [[6, 7, *[IGNORED] * 4], [IGNORED, 3, 4, IGNORED, IGNORED, IGNORED]])
        self.assertEqual(batch.positions.tolist(), [[0, 1, 2, 0, 1, 0], [0, 1, 2, 3, 0, 1]])
        self.assertEqual(batch.document_start.tolist(), [[0, 0, 0, 3, 3, 5], [0, 0, 0, 0, 4, 4]])
        file.close()

    def test_masks_keep_documents_apart(self) -> None:
        file = TokenFile(self.path)
        sees = attention_mask(lay_out(file, [[0, 1]], 6, 1), "sdpa", torch.float32)[0, 0].eq(0).int().tolist()
        self.assertEqual(sees, [[1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 0, 0], [0, 0, 0, 1, 1, 0], [0, 0, 0, 0, 0, 1]])
        self.assertIsNone(attention_mask(lay_out(file, [[2]], 6, 1), "sdpa", torch.float32))
        file.close()

    def test_every_rank_gets_as_many_micro_batches(self) -> None:
        file = TokenFile(self.path)
        ranks = [micro_batches(file, [[0], [1], [2]], (3, 4), 1, rank, 2) for rank in range(2)]
        self.assertEqual([[batch.ids.shape[1] for batch in rank] for rank in ranks], [[3, 4], [3, 4]])
        trained = [int((batch.labels != IGNORED).sum()) for rank in ranks for batch in rank]
        self.assertEqual(trained, [2, 2, 0, 0])
        file.close()

    def test_damage_is_told(self) -> None:
        content = bytearray(self.path.read_bytes())
        content[66] ^= 1
        self.path.write_bytes(bytes(content))
        with self.assertRaisesRegex(JobError, "document 1 is damaged"):
            TokenFile(self.path).read(0)
        self.path.write_bytes(bytes(content[:-1]))
        with self.assertRaisesRegex(JobError, "size"):
            TokenFile(self.path)
        with self.assertRaisesRegex(JobError, "cannot be opened"):
            TokenFile(self.path.with_name("none"))


if __name__ == "__main__":
    unittest.main()
