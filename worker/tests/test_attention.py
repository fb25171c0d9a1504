"""The three forms of the mask let a query see the same keys. On a CPU FlexAttention goes forward only, so its gradients are not compared here."""

import unittest

import torch
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention

from fulltune_worker.attention import attention_mask
from fulltune_worker.batches import MicroBatch

STARTS = torch.tensor([[0] * 50 + [50] * 78, [0] * 128])
"""Two documents in one row, one in the other."""


def batch_of(document_start: torch.Tensor) -> MicroBatch:
    nothing = torch.zeros_like(document_start)
    return MicroBatch(ids=nothing, labels=nothing, positions=nothing, document_start=document_start, one_document=False)


class Masks(unittest.TestCase):
    def test_all_forms_see_the_same_keys(self) -> None:
        torch.manual_seed(0)
        batch = batch_of(STARTS)
        query, key, value = (torch.randn(2, 3, 128, 16) for _ in range(3))
        written = scaled_dot_product_attention(query, key, value, attn_mask=attention_mask(batch, "sdpa", torch.float32))
        with torch.no_grad():
            flexible = flex_attention(query, key, value, block_mask=attention_mask(batch, "flex", torch.float32))
        eager = (query @ key.transpose(2, 3) / 4 + attention_mask(batch, "eager", torch.float32)).softmax(-1) @ value
        torch.testing.assert_close(flexible, written, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(eager, written, atol=1e-5, rtol=1e-5)

    def test_blocks_are_those_of_every_pair(self) -> None:
        generator = torch.Generator().manual_seed(1)
        for length in (100, 128, 300, 1024):
            for documents in (1, 3, 40):
                begins = torch.rand(2, length, generator=generator) < documents / length
                starts = torch.where(begins, torch.arange(length), 0).cummax(1).values
                found = attention_mask(batch_of(starts), "flex", torch.float32)
                pairs = create_block_mask(found.mask_mod, 2, None, length, length, device="cpu")
                for ours, theirs in zip(found.as_tuple(), pairs.as_tuple(), strict=True):
                    if isinstance(theirs, torch.Tensor):
                        self.assertTrue(torch.equal(ours, theirs))
                    elif theirs is not pairs.mask_mod:
                        self.assertEqual(ours, theirs)

    def test_documents_are_kept_apart(self) -> None:
        torch.manual_seed(0)
        query, key, value = (torch.randn(2, 3, 128, 16) for _ in range(3))
        mask = attention_mask(batch_of(STARTS), "sdpa", torch.float32)
        whole = scaled_dot_product_attention(query, key, value, attn_mask=mask)
        alone = scaled_dot_product_attention(query[:1, :, 50:], key[:1, :, 50:], value[:1, :, 50:], is_causal=True)
        torch.testing.assert_close(whole[:1, :, 50:], alone, atol=1e-5, rtol=1e-5)


if __name__ == "__main__":
    unittest.main()
