#!/usr/bin/env python3
"""Measures memory and speed of training steps in PyTorch with random weights, on whatever device is there, and writes one row per configuration.

    python worker/measure.py --out rows.jsonl                  # the grid that suits the device
    python worker/measure.py --out rows.csv --limit 30
    python worker/measure.py --saved                           # bytes per token and layer that autograd saves, per architecture
    node tools/compare-measured.js rows.jsonl                  # predicted / measured

Needs torch and transformers only. Columns are those of a table of public measurements (id, source, model, ..., peak_mem_GiB_per_gpu,
tokens_per_s_per_gpu, mfu, notes), then what such tables leave out: head_dim, tied, loss, metric and the other two ways to count memory. Each
configuration runs in a process of its own, so that one that runs out of memory ends alone and leaves nothing behind.

On CUDA: allocated and reserved peaks of the caching allocator, and what the driver counts. On a CPU, torch's MemTracker counts the live tensors.
"""

import argparse
import csv
import json
import statistics
import subprocess
import sys
import time

COLUMNS = [
    "id", "source", "model", "params", "layers", "hidden", "heads", "kv_heads", "ffn", "vocab", "dtype", "optimizer", "micro_batch", "seq_len", "grad_accum", "checkpointing",
    "attention", "n_gpu", "sharding", "gpu", "peak_mem_GiB_per_gpu", "tokens_per_s_per_gpu", "mfu", "notes",
    "architecture", "head_dim", "tied", "loss", "metric", "reserved_GiB", "device_GiB", "context_GiB",
]
GIB = 2**30

# name: architecture, layers, hidden, heads, kv_heads, head_dim, ffn, vocab, tied
SHAPES = {
    "tiny-llama": ("LlamaForCausalLM", 4, 64, 4, 2, 16, 176, 512, False),
    "tiny-qwen2": ("Qwen2ForCausalLM", 4, 64, 4, 2, 16, 176, 2048, True),
    "tiny-qwen3": ("Qwen3ForCausalLM", 3, 96, 6, 2, 16, 256, 1024, True),
    "tiny-gpt2": ("GPT2LMHeadModel", 4, 64, 4, 4, 16, 256, 512, True),
    "SmolLM2-135M": ("LlamaForCausalLM", 30, 576, 9, 3, 64, 1536, 49152, True),
    "gpt2": ("GPT2LMHeadModel", 12, 768, 12, 12, 64, 3072, 50257, True),
    "Qwen2.5-0.5B": ("Qwen2ForCausalLM", 24, 896, 14, 2, 64, 4864, 151936, True),
    "Llama-3.2-1B": ("LlamaForCausalLM", 16, 2048, 32, 8, 64, 8192, 128256, True),
    "Qwen3-1.7B": ("Qwen3ForCausalLM", 28, 2048, 16, 8, 128, 6144, 151936, True),
    "Llama-3.2-3B": ("LlamaForCausalLM", 28, 3072, 24, 8, 128, 8192, 128256, True),
    "Llama-2-7b-hf": ("LlamaForCausalLM", 32, 4096, 32, 32, 128, 11008, 32000, False),
    "Llama-3.1-8B": ("LlamaForCausalLM", 32, 4096, 32, 8, 128, 14336, 128256, False),
}


def grid(on_gpu, memory_gib):
    """(shape, micro-batch, length, precision, recompute, optimizer, loss, attention) from small to large; those that cannot fit run out of memory and say so."""
    rows = []

    def add(shape, micro_batch, length, precision, recompute="none", optimizer="AdamW(fused)", loss="whole", attention="sdpa"):
        rows.append(dict(shape=shape, micro_batch=micro_batch, seq_len=length, precision=precision, recompute=recompute, optimizer=optimizer, loss=loss, attention=attention))

    if not on_gpu:
        for shape in ["tiny-llama", "tiny-qwen2", "tiny-qwen3", "tiny-gpt2"]:
            add(shape, 4, 128, "f32")
            add(shape, 4, 128, "f32", recompute="full")
            add(shape, 4, 128, "bf16")
            add(shape, 4, 128, "bf16-weights")
        add("tiny-llama", 1, 128, "f32")
        add("tiny-llama", 8, 256, "f32", attention="eager")
        add("tiny-llama", 8, 256, "f32", attention="masked")
        add("tiny-llama", 4, 128, "f32", optimizer="AdamW(foreach)")
        add("tiny-llama", 4, 128, "f32", optimizer="SGD")
        add("tiny-llama", 4, 128, "f32", recompute="layers:2")
        add("tiny-llama", 4, 128, "bf16-weights", recompute="selective")
        add("tiny-qwen2", 8, 256, "f32", loss="chunked:256")
        add("tiny-qwen2", 8, 256, "f32")
        return rows
    for shape in ["SmolLM2-135M", "gpt2", "Qwen2.5-0.5B"]:
        add(shape, 4, 1024, "f32", attention="masked" if shares_keys(shape) else "sdpa")
        for precision in ["bf16", "bf16-weights"]:
            add(shape, 4, 1024, precision)
        add(shape, 8, 1024, "bf16", recompute="full")
        add(shape, 8, 1024, "bf16", recompute="selective")
    add("gpt2", 4, 1024, "bf16", attention="eager")
    add("Qwen2.5-0.5B", 8, 1024, "bf16", loss="chunked:1024")
    add("Qwen2.5-0.5B", 8, 1024, "bf16", optimizer="AdamW(foreach)")
    add("Qwen2.5-0.5B", 8, 1024, "bf16", optimizer="SGD")
    for shape in ["Llama-3.2-1B", "Qwen3-1.7B"]:
        add(shape, 2, 2048, "bf16")
        add(shape, 2, 2048, "bf16-weights")
        add(shape, 4, 2048, "bf16", recompute="full", loss="chunked:1024")
        add(shape, 2, 4096, "bf16-weights", recompute="selective", loss="chunked:1024")
    add("Llama-3.2-3B", 2, 4096, "bf16-weights")
    add("Llama-3.2-3B", 2, 4096, "bf16-weights", recompute="full", loss="chunked:1024")
    add("Llama-3.2-3B", 1, 2048, "bf16", recompute="layers:14", loss="chunked:1024")
    add("Llama-2-7b-hf", 1, 2048, "bf16-weights", recompute="full")
    add("Llama-2-7b-hf", 1, 4096, "bf16-weights", recompute="selective", loss="chunked:1024")
    add("Llama-3.1-8B", 1, 2048, "bf16-weights", recompute="full", loss="chunked:1024")
    add("Llama-3.1-8B", 1, 8192, "bf16-weights", recompute="full", loss="chunked:1024")
    # Weights, gradients and state alone decide whether to try at all.
    return [row for row in rows if parameters_of(row["shape"]) * (8 if row["precision"] == "bf16-weights" else 16) < memory_gib * GIB]


def shares_keys(shape):
    heads, kv_heads = SHAPES[shape][3:5]
    return kv_heads < heads


def parameters_of(shape):
    architecture, layers, hidden, heads, kv_heads, head_dim, ffn, vocab, tied = SHAPES[shape]
    gated = 2 if architecture == "GPT2LMHeadModel" else 3
    return layers * (hidden * (2 * heads + 2 * kv_heads) * head_dim + gated * hidden * ffn) + vocab * hidden * (1 if tied else 2)


# masked: SDPA with a bias, as the worker has it on a GPU where its fused kernels would not let query heads share keys.
IMPLEMENTATIONS = {"sdpa": "sdpa", "masked": "sdpa", "eager": "eager"}


def build_model(config, shape=None, attention=None):
    import torch
    import transformers

    architecture, layers, hidden, heads, kv_heads, head_dim, ffn, vocab, tied = shape or SHAPES[config["shape"]]
    length = config["seq_len"]
    if architecture == "GPT2LMHeadModel":
        settings = transformers.GPT2Config(
            n_layer=layers, n_embd=hidden, n_head=heads, n_inner=ffn, vocab_size=vocab, n_positions=max(length, 1024), attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0,
            tie_word_embeddings=tied, bos_token_id=0, eos_token_id=0,
        )
    else:
        kind = getattr(transformers, architecture.replace("ForCausalLM", "Config"))
        extra = {"head_dim": head_dim} if architecture in ("LlamaForCausalLM", "Qwen3ForCausalLM") else {}
        settings = kind(
            num_hidden_layers=layers, hidden_size=hidden, num_attention_heads=heads, num_key_value_heads=kv_heads, intermediate_size=ffn, vocab_size=vocab,
            max_position_embeddings=max(length, 2048), tie_word_embeddings=tied, pad_token_id=0, bos_token_id=0, eos_token_id=0, **extra,
        )
    settings.use_cache = False
    dtype = torch.bfloat16 if config["precision"] == "bf16-weights" else torch.float32
    with torch.device(config["device"]):
        model = transformers.AutoModelForCausalLM.from_config(settings, attn_implementation=IMPLEMENTATIONS[attention or config["attention"]], dtype=dtype)
    return model.train()


def enable_recompute(model, recompute):
    """none; full; layers:N, the first N; selective: results of products and attention are kept."""
    from functools import partial
    import torch
    from torch.utils.checkpoint import CheckpointPolicy, create_selective_checkpoint_contexts

    if recompute == "none":
        return
    kwargs = {"use_reentrant": False}
    if recompute == "selective":
        aten = torch.ops.aten
        names = [
            "_scaled_dot_product_flash_attention", "_scaled_dot_product_efficient_attention", "_scaled_dot_product_cudnn_attention", "_scaled_dot_product_flash_attention_for_cpu",
        ]
        kept = {aten.mm.default, aten.addmm.default, aten.bmm.default, *(getattr(aten, name).default for name in names if hasattr(aten, name))}
        policy = lambda _context, op, *_args, **_kwargs: CheckpointPolicy.MUST_SAVE if op in kept else CheckpointPolicy.PREFER_RECOMPUTE
        kwargs["context_fn"] = partial(create_selective_checkpoint_contexts, policy)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=kwargs)
    if recompute.startswith("layers:"):
        count = int(recompute.split(":")[1])
        for layer in layers_of(model)[count:]:
            layer.gradient_checkpointing = False


def layers_of(model):
    inner = model.base_model
    return inner.h if hasattr(inner, "h") else inner.layers


def build_optimizer(model, name):
    import torch

    parameters = list(model.parameters())
    if name.startswith("AdamW("):
        how = name[6:-1]
        return torch.optim.AdamW(parameters, lr=1e-4, fused=how == "fused", foreach=how == "foreach")
    if name == "SGD":
        return torch.optim.SGD(parameters, lr=1e-4, momentum=0.9, foreach=False)
    if name == "Adafactor":
        return torch.optim.Adafactor(parameters, lr=1e-4, foreach=False)
    raise ValueError(f"optimizer '{name}': there are AdamW(fused), AdamW(foreach), AdamW(loop), SGD, Adafactor")


def causal_bias(ids, dtype):
    """[B,1,T,T], 0 where a query sees a key."""
    import torch

    rows, length = ids.shape
    hidden = torch.ones(length, length, dtype=torch.bool, device=ids.device).triu(1)
    return torch.zeros(rows, 1, length, length, dtype=dtype, device=ids.device).masked_fill(hidden, torch.finfo(dtype).min)


def loss_of(model, ids, loss, bias=None):
    """whole: as transformers computes it; chunked:N: projection and cross-entropy of N tokens at a time, computed again in backward."""
    import torch
    from torch.utils.checkpoint import checkpoint

    if loss == "whole":
        return model(input_ids=ids, labels=ids, attention_mask=bias, use_cache=False).loss
    tokens = int(loss.split(":")[1])
    hidden = model.base_model(input_ids=ids, attention_mask=bias, use_cache=False)[0][:, :-1].flatten(0, 1)
    labels = ids[:, 1:].flatten()

    def part(rows, targets):
        return torch.nn.functional.cross_entropy(torch.nn.functional.linear(rows, model.lm_head.weight).float(), targets, reduction="sum")

    total = sum(checkpoint(part, hidden[i:i + tokens], labels[i:i + tokens], use_reentrant=False) for i in range(0, len(labels), tokens))
    return total / len(labels)


def measure_one(config):
    """The row's figures, of a process that does nothing else."""
    import torch

    device = config["device"]
    on_gpu = device != "cpu"
    torch.manual_seed(0)
    context = 0
    if on_gpu:
        torch.ones(1, device=device)
        free, total = torch.cuda.mem_get_info()
        context = total - free - torch.cuda.memory_reserved()
    model = build_model(config)
    enable_recompute(model, config["recompute"])
    optimizer = build_optimizer(model, config["optimizer"])
    vocabulary = SHAPES[config["shape"]][7]
    ids = torch.randint(0, vocabulary, (config["micro_batch"], config["seq_len"]), device=device)
    low = {"bf16": torch.bfloat16, "f16": torch.float16}.get(config["precision"])

    def step():
        with torch.autocast(device, low, enabled=low is not None):
            bias = causal_bias(ids, low or model.dtype) if config["attention"] == "masked" else None
            loss = loss_of(model, ids, config["loss"], bias)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    step()
    figures = {}
    if on_gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        step()
        step()
        torch.cuda.synchronize()
        free, total = torch.cuda.mem_get_info()
        figures = dict(allocated=torch.cuda.max_memory_allocated(), reserved=torch.cuda.max_memory_reserved(), device=total - free)
    else:
        from torch.distributed._tools.mem_tracker import MemTracker

        tracker = MemTracker()
        tracker.track_external(model, optimizer, ids)
        with tracker:
            step()
        figures = dict(allocated=max(sum(v for k, v in each.items() if str(k) != "Total") for each in tracker.get_tracker_snapshot("peak").values()))
    times = []
    for _ in range(config["timed_steps"]):
        if on_gpu:
            torch.cuda.synchronize()
        started = time.perf_counter()
        step()
        if on_gpu:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    seconds = statistics.median(times)
    name = torch.cuda.get_device_name() if on_gpu else "CPU"
    total_memory = torch.cuda.get_device_properties(0).total_memory if on_gpu else 0
    return dict(
        figures, context=context, seconds=seconds, gpu=name, total=total_memory, params=sum(p.numel() for p in model.parameters()),
    )


DTYPES = {"f32": "fp32", "bf16": "amp_bf16", "f16": "amp_fp16", "bf16-weights": "pure_bf16"}


def row_of(index, config, result, source):
    architecture, layers, hidden, heads, kv_heads, head_dim, ffn, vocab, tied = SHAPES[config["shape"]]
    gib = lambda key: round(result[key] / GIB, 4 if result[key] > GIB else 6) if key in result else ""
    tokens = config["micro_batch"] * config["seq_len"]
    return {
        "id": f"w{index:03d}", "source": source, "model": config["shape"], "params": result.get("params", ""), "layers": layers, "hidden": hidden, "heads": heads, "kv_heads": kv_heads,
        "ffn": ffn, "vocab": vocab, "dtype": DTYPES[config["precision"]], "optimizer": config["optimizer"], "micro_batch": config["micro_batch"], "seq_len": config["seq_len"],
        "grad_accum": 1, "checkpointing": config["recompute"], "attention": config["attention"], "n_gpu": 1, "sharding": "none", "gpu": result.get("gpu", config["device"].upper()),
        "peak_mem_GiB_per_gpu": gib("allocated"), "tokens_per_s_per_gpu": round(tokens / result["seconds"]) if "seconds" in result else "", "mfu": "",
        "notes": result.get("error", ""), "architecture": architecture, "head_dim": head_dim, "tied": tied, "loss": config["loss"], "metric": "allocated",
        "reserved_GiB": gib("reserved"), "device_GiB": gib("device"), "context_GiB": gib("context"),
    }


def run_one(config):
    """In a process of its own; what goes wrong is a figure too."""
    command = [sys.executable, __file__, "--one", json.dumps(config)]
    done = subprocess.run(command, capture_output=True, text=True)
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            return json.loads(line[7:])
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return {"error": "out of memory" if "OutOfMemoryError" in done.stderr else (lines[-1] if lines else f"exit {done.returncode}")[:200]}


def saved_bytes(architecture, precision, attention):
    """Bytes per token and layer that autograd saves, without weights and their autocast copies: three layers against two."""
    import torch

    # Tokens are as many as no weight has rows or columns, so that shapes tell copies of weights from activations.
    micro_batch, length = 3, 32
    totals = []
    for layers in (2, 3):
        kv_heads = 4 if architecture in ("GPT2LMHeadModel", "GPTNeoXForCausalLM") else 2
        config = dict(seq_len=length, precision=precision, device="cpu")
        torch.manual_seed(0)
        model = build_model(config, shape=(architecture, layers, 64, 4, kv_heads, 16, 176, 128, False), attention=attention)
        weights = {p.untyped_storage().data_ptr() for p in [*model.parameters(), *model.buffers()]}
        shapes = {tuple(p.shape) for p in model.parameters() if p.dim() == 2}
        copies = shapes | {shape[::-1] for shape in shapes}
        seen, alive = {}, []

        def pack(tensor):
            storage = tensor.untyped_storage()
            is_copy = precision == "bf16" and tensor.dtype == torch.bfloat16 and tuple(tensor.shape) in copies
            if storage.data_ptr() not in weights and storage.data_ptr() not in seen:
                seen[storage.data_ptr()] = 0 if is_copy else storage.nbytes()
                alive.append(tensor)
            return tensor

        ids = torch.randint(1, 128, (micro_batch, length))
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                model(input_ids=ids, use_cache=False).logits.float().mean()
        totals.append(sum(seen.values()))
    return (totals[1] - totals[0]) / (micro_batch * length)


def print_saved():
    for architecture in ["LlamaForCausalLM", "Qwen3ForCausalLM", "GPT2LMHeadModel"]:
        for attention in ["sdpa", "eager"]:
            figures = [f"{precision} {saved_bytes(architecture, precision, attention):.0f}" for precision in ("f32", "bf16", "bf16-weights")]
            print(f"{architecture} {attention}: {', '.join(figures)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", help="rows are appended to this .jsonl or .csv file as they are measured")
    parser.add_argument("--device", help="cuda or cpu; default: cuda where there is one")
    parser.add_argument("--limit", type=int, help="no more than so many configurations")
    parser.add_argument("--steps", type=int, default=3, help="steps whose median time is taken")
    parser.add_argument("--saved", action="store_true", help="print the bytes that autograd saves per token and layer, and stop")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print("RESULT " + json.dumps(measure_one(json.loads(options.one))))
        return
    if options.saved:
        print_saved()
        return
    if not options.out:
        parser.error("--out FILE is missing: where the rows go")
    import torch
    import transformers

    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    memory_gib = torch.cuda.get_device_properties(0).total_memory / GIB if device == "cuda" else 0
    source = f"worker/measure.py, torch {torch.__version__}, transformers {transformers.__version__}"
    configurations = grid(device == "cuda", memory_gib)[: options.limit]
    is_csv = options.out.endswith(".csv")
    with open(options.out, "a", newline="", encoding="utf8") as out:
        writer = csv.DictWriter(out, COLUMNS)
        if is_csv and out.tell() == 0:
            writer.writeheader()
        for index, config in enumerate(configurations, 1):
            config = {**config, "device": device, "timed_steps": options.steps}
            row = row_of(index, config, run_one(config), source)
            if is_csv:
                writer.writerow(row)
            else:
                out.write(json.dumps(row) + "\n")
            out.flush()
            shown = row["notes"] or f"{row['peak_mem_GiB_per_gpu'] * 1024:.1f} MiB allocated, {row['tokens_per_s_per_gpu']} tokens/s"
            print(f"{index}/{len(configurations)} {config['shape']} {config['micro_batch']} x {config['seq_len']} {config['precision']} recompute {config['recompute']} {config['optimizer']} {config['loss']} {config['attention']}: {shown}", flush=True)


if __name__ == "__main__":
    main()
