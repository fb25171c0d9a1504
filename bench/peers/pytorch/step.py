"""The same training step in PyTorch, with transformers' own classes: forward, backward, clipping to norm 1 and AdamW, in f32.

    python step.py '{"setting": "eager" | "fused" | "compile", "rows": ..., "length": ..., "config": {...}, "threads": ...}'

Speaks the protocol of support/worker.js: every line on standard input is one step; the answer is {"ms", "peakBytes"}.
"""

import json
import resource
import sys
import time

import torch
import transformers

request = json.loads(sys.argv[1])
config = request["config"]
torch.set_num_threads(request["threads"])
torch.manual_seed(0)
transformers.logging.set_verbosity_error()
classes = {"llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM), "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM)}
make_config, make_model = classes[config["model_type"]]
model = make_model(make_config(**{name: value for name, value in config.items() if name not in ("architectures", "model_type")}))
model.train()
model.config.use_cache = False
ids = torch.arange(request["rows"] * request["length"]).mul(7919).remainder(config["vocab_size"]).view(request["rows"], request["length"])
labels = ids.mul(31).remainder(config["vocab_size"])
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0, fused=request["setting"] != "eager")
run = torch.compile(model) if request["setting"] == "compile" else model


def step():
    run(input_ids=ids, labels=labels).loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


print(json.dumps({"ready": True, "version": torch.__version__, "transformers": transformers.__version__, "parameters": sum(p.numel() for p in model.parameters())}), flush=True)
for _ in sys.stdin:
    started = time.perf_counter()
    step()
    print(json.dumps({"ms": (time.perf_counter() - started) * 1000, "peakBytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}), flush=True)
