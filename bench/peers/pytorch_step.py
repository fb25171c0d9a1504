"""The same training step in PyTorch: forward, backward, clipping and AdamW in f32, transformers' own Llama, the same shapes and threads as ../step.js.

    pip install torch==2.13.0 && pip install -r bench/peers/requirements.txt
    python bench/peers/pytorch_step.py b        a: 10 M parameters, 4 x 256 tokens; b: SmolLM2-135M's shape, 1 x 512

Settings tried: eager with fused and unfused AdamW; the faster one is printed too.
"""

import json
import resource
import statistics
import sys
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM

SHAPES = {
    "a": (4, 256, dict(hidden_size=256, intermediate_size=768, num_hidden_layers=8, num_attention_heads=8, num_key_value_heads=8, vocab_size=4096)),
    "b": (1, 512, dict(hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3, vocab_size=49152)),
}
RUNS = 5

name = sys.argv[1] if len(sys.argv) > 1 else "b"
rows, length, sizes = SHAPES[name]
torch.set_num_threads(2)
torch.manual_seed(0)
model = LlamaForCausalLM(LlamaConfig(**sizes, max_position_embeddings=2048, tie_word_embeddings=True))
model.train()
ids = torch.arange(rows * length).mul(7919).remainder(sizes["vocab_size"]).view(rows, length)

for fused in (True, False):
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0, fused=fused)
    times = []
    for run in range(-2, RUNS):
        started = time.perf_counter()
        model(input_ids=ids, labels=ids).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if run >= 0:
            times.append(time.perf_counter() - started)
    median = statistics.median(times)
    print(json.dumps({
        "bench": "step", "peer": f"PyTorch {torch.__version__} eager, {'fused' if fused else 'plain'} AdamW", "shape": name, "medianMs": round(median * 1000),
        "bestMs": round(min(times) * 1000), "tokensPerSecond": round(rows * length / median), "peakResidentBytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }))
    del optimizer
