"""Golden numbers of tiny random models, from PyTorch and transformers; and the way back, our saved models read by transformers.

  python tools/goldens/models_goldens.py --write test/goldens/models
  python tools/goldens/models_goldens.py --check MODEL_DIR --logits FILE.json     FILE: {"ids": [[...]], "logits": [[[...]]]}

Versions are pinned in requirements.txt. Each folder holds config.json and model.safetensors (the model), golden.json (batch, loss, 10-step
AdamW curve, greedy continuation, provenance) and golden.safetensors (logits and every gradient, rounded to f32).

Numbers are computed in f64. Where transformers rounds to f32 inside (RMSNorm, rotary tables, the loss), the same formula is put in its
place in f64; the loss of the untouched f32 model is computed too and must agree within 1e-5.
"""

import argparse
import json
import os
import platform
import shutil
import sys

import numpy
import safetensors
import safetensors.torch
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

ROWS, LENGTH = 2, 24
STEPS, LEARNING_RATE, WEIGHT_DECAY, CLIP = 10, 1e-3, 0.1, 1.0
BETAS, EPSILON = (0.9, 0.999), 1e-8
PROMPT, CONTINUATION = 6, 12

LLAMA_COMMON = {"hidden_act": "silu", "attention_dropout": 0.0, "initializer_range": 0.02, "use_cache": True}

# Both spellings of config.json on purpose: version 4 (rope_theta, rope_scaling, torch_dtype) and 5 (rope_parameters, dtype).
MODELS = {
    "llama3": {
        **LLAMA_COMMON, "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 97, "hidden_size": 36,
        "intermediate_size": 52, "num_hidden_layers": 3, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 8,
        "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "rope_theta": 100.0,
        "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32},
        "tie_word_embeddings": False, "attention_bias": False, "mlp_bias": False, "bos_token_id": 1, "eos_token_id": [2, 3], "torch_dtype": "bfloat16",
    },
    "llama-linear": {
        **LLAMA_COMMON, "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 83, "hidden_size": 24,
        "intermediate_size": 44, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64, "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "linear", "factor": 2.5, "rope_theta": 10000.0},
        "tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True, "bos_token_id": 1, "eos_token_id": 2, "dtype": "float32",
    },
    "qwen2": {
        **LLAMA_COMMON, "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "vocab_size": 101, "hidden_size": 40,
        "intermediate_size": 56, "num_hidden_layers": 2, "num_attention_heads": 5, "num_key_value_heads": 1, "max_position_embeddings": 64,
        "rms_norm_eps": 1e-6, "rope_theta": 1000000.0, "sliding_window": 32, "use_sliding_window": False, "max_window_layers": 1,
        "tie_word_embeddings": True, "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "float32",
    },
    "qwen3": {
        **LLAMA_COMMON, "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "vocab_size": 99, "hidden_size": 36,
        "intermediate_size": 50, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 14,
        "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "attention_bias": False,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0}, "layer_types": ["full_attention", "full_attention"],
        "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2, "dtype": "float32",
    },
    "mistral": {
        **LLAMA_COMMON, "architectures": ["MistralForCausalLM"], "model_type": "mistral", "vocab_size": 96, "hidden_size": 32,
        "intermediate_size": 54, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "sliding_window": 48, "tie_word_embeddings": False,
        "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "float32",
    },
    "gpt2": {
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": 103, "n_embd": 36, "n_layer": 2, "n_head": 3,
        "n_positions": 40, "n_ctx": 40, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "initializer_range": 0.02,
        "attn_pdrop": 0.1, "embd_pdrop": 0.1, "resid_pdrop": 0.1, "bos_token_id": 102, "eos_token_id": 102,
    },
    "gpt2-exact": {
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": 77, "n_embd": 20, "n_layer": 2, "n_head": 2,
        "n_positions": 32, "n_inner": 34, "activation_function": "gelu", "layer_norm_epsilon": 1e-6, "initializer_range": 0.02,
        "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0, "scale_attn_by_inverse_layer_idx": True, "reorder_and_upcast_attn": False,
        "tie_word_embeddings": False, "bos_token_id": 76, "eos_token_id": 76, "dtype": "float32",
    },
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", metavar="DIR", help="write all goldens below DIR")
    parser.add_argument("--check", metavar="DIR", help="load this saved model in transformers and compare its logits with --logits")
    parser.add_argument("--logits", metavar="FILE")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="largest allowed absolute difference of a logit (default 1e-4)")
    parser.add_argument("--seed", type=int, default=20)
    arguments = parser.parse_args()
    torch.use_deterministic_algorithms(True)
    if arguments.write is not None:
        for index, (name, config) in enumerate(MODELS.items()):
            write_golden(os.path.join(arguments.write, name), config, arguments.seed + index)
        write_rope(os.path.join(arguments.write, "rope.json"))
    elif arguments.check is not None and arguments.logits is not None:
        check(arguments.check, arguments.logits, arguments.tolerance)
    else:
        parser.error("give --write DIR, or --check DIR with --logits FILE")


def write_golden(folder, config, seed):
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(config, file, indent=2, sort_keys=True)
        file.write("\n")

    generator = torch.Generator().manual_seed(seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), attn_implementation="sdpa", dtype=torch.float32)
    stored_dtype = torch.bfloat16 if config.get("torch_dtype") == "bfloat16" else torch.float32
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            value = noise * 0.15 if parameter.dim() >= 2 else noise * 0.1 + (1.0 if is_norm_weight(name) else 0.0)
            parameter.copy_(value.to(stored_dtype).float())
    safetensors.torch.save_file(stored_tensors(model, config, stored_dtype), os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})

    # Reading it back shows that the file is one that transformers understands.
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="sdpa", dtype=torch.float32)
    model.eval()
    ids, labels = batch(config["vocab_size"], generator)
    untouched = mean_loss(model(input_ids=ids).logits.double(), labels).item()

    to_f64(model)
    logits = model(input_ids=ids).logits
    assert logits.dtype == torch.float64
    loss = mean_loss(logits, labels)
    loss.backward()
    assert abs(loss.item() - untouched) < 1e-5, (loss.item(), untouched)
    tensors = {f"gradient:{name}": parameter.grad.float() for name, parameter in model.named_parameters()}
    tensors["logits"] = logits.detach().float()
    safetensors.torch.save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, os.path.join(folder, "golden.safetensors"))

    greedy = continuation(model, ids[0, :PROMPT])
    losses, norms = train(model, ids, labels)
    golden = {
        "provenance": provenance({"seed": seed, "dtype": "float64"}),
        "definition": {
            "labels": "already shifted: labels[t] is the token after ids[t]; -100 is ignored",
            "loss": "mean over labelled tokens of the batch of -log p, natural logarithm",
            "adamw": f"torch.optim.AdamW, lr {LEARNING_RATE}, betas {BETAS}, eps {EPSILON}, weight decay {WEIGHT_DECAY} on tensors of two or more "
                     f"axes only, clip_grad_norm_ {CLIP}; losses[k] before update k+1, the last after {STEPS} updates; norms before clipping",
            "greedy": f"most likely next tokens after the first {PROMPT} ids of row 0",
        },
        "ids": ids.tolist(), "labels": labels.tolist(), "loss": loss.item(),
        "adamw": {"learningRate": LEARNING_RATE, "beta1": BETAS[0], "beta2": BETAS[1], "epsilon": EPSILON, "weightDecay": WEIGHT_DECAY, "maxGradNorm": CLIP},
        "losses": losses, "norms": norms, "greedy": greedy,
    }
    with open(os.path.join(folder, "golden.json"), "w") as file:
        json.dump(golden, file, indent=1)
        file.write("\n")
    print(f"{folder}: loss {loss.item():.12f} (f32, untouched transformers: {untouched:.12f}), after {STEPS} steps {losses[-1]:.6f}")


def provenance(more):
    return {
        "command": "python tools/goldens/models_goldens.py --write test/goldens/models",
        "python": platform.python_version(), "torch": torch.__version__, "transformers": transformers.__version__,
        "safetensors": safetensors.__version__, "numpy": numpy.__version__, **more,
    }


def write_rope(path):
    """Inverse frequencies of full-size models, as transformers computes them (f32)."""
    from transformers.models.llama.modeling_llama import LlamaConfig, LlamaRotaryEmbedding
    llama3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    cases = [
        {"head_dim": 64, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
        {"head_dim": 128, "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0}},
        {"head_dim": 128, "rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}},
        {"head_dim": 128, "rope_parameters": {**llama3, "rope_theta": 500000.0}},
        {"head_dim": 64, "rope_parameters": {**llama3, "rope_theta": 500000.0, "factor": 32.0}},
    ]
    for case in cases:
        config = LlamaConfig(head_dim=case["head_dim"], max_position_embeddings=131072, rope_parameters=dict(case["rope_parameters"]))
        case["inverse_frequencies"] = [float(f) for f in LlamaRotaryEmbedding(config).inv_freq]
    with open(path, "w") as file:
        json.dump({"provenance": provenance({"dtype": "float32"}), "cases": cases}, file, indent=1)
        file.write("\n")


def is_norm_weight(name):
    return name.endswith(".weight")  # of one axis: all others are biases


def stored_tensors(model, config, dtype):
    tensors = {name: parameter.detach().to(dtype).contiguous().clone() for name, parameter in model.named_parameters()}
    if config["model_type"] != "gpt2" or config.get("tie_word_embeddings") is False:
        return tensors
    # As the published GPT-2 files: no prefix, and the causal mask stored as a buffer.
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    positions = config["n_positions"]
    for layer in range(config["n_layer"]):
        tensors[f"h.{layer}.attn.bias"] = torch.tril(torch.ones(positions, positions)).view(1, 1, positions, positions)
    return tensors


def batch(vocabulary, generator):
    """ids and shifted labels [2, 24]: row 0 has a prompt of 5, row 1 two answers and 7 tokens of filling."""
    tokens = torch.randint(4, vocabulary - 1, (ROWS, LENGTH + 1), generator=generator)
    ids, labels = tokens[:, :-1].contiguous(), tokens[:, 1:].clone()
    labels[0, :5] = -100
    labels[1, :3] = -100
    labels[1, 8:11] = -100
    labels[1, 17:] = -100
    return ids, labels


def mean_loss(logits, labels):
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)


def to_f64(model):
    """The same model in f64 throughout; inverse frequencies keep the f32 values that transformers gives them."""
    model.double()
    for module in model.modules():
        kind = type(module).__name__
        if kind.endswith("RMSNorm"):
            module.forward = lambda x, m=module: m.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + m.variance_epsilon))
        elif kind.endswith("RotaryEmbedding"):
            module.forward = lambda x, position_ids, m=module: rotary_table(m, position_ids)


def rotary_table(module, position_ids):
    angles = position_ids[..., None].double() * module.inv_freq.double()
    doubled = torch.cat((angles, angles), dim=-1)
    return doubled.cos() * module.attention_scaling, doubled.sin() * module.attention_scaling


@torch.no_grad()
def continuation(model, prompt):
    ids = prompt.tolist()
    for _ in range(CONTINUATION):
        ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(prompt):]


def train(model, ids, labels):
    decayed = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}], lr=LEARNING_RATE, betas=BETAS, eps=EPSILON)
    losses, norms = [], []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = mean_loss(model(input_ids=ids).logits, labels)
        loss.backward()
        losses.append(loss.item())
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP).item())
        optimizer.step()
    losses.append(mean_loss(model(input_ids=ids).logits, labels).item())
    return losses, norms


@torch.no_grad()
def check(folder, logits_file, tolerance):
    with open(logits_file) as file:
        given = json.load(file)
    ids = torch.tensor(given["ids"])
    ours = torch.tensor(given["logits"], dtype=torch.float64)
    model, report = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if report.get(problem):
            sys.exit(f"{folder}: {problem}: {sorted(report[problem])}")
    theirs = model.eval()(input_ids=ids).logits.double()
    if theirs.shape != ours.shape:
        sys.exit(f"{folder}: logits {list(ours.shape)}, transformers gives {list(theirs.shape)}")
    difference = (theirs - ours).abs().max().item()
    if not difference <= tolerance:
        sys.exit(f"{folder}: a logit differs by {difference:.3e}, allowed {tolerance:.1e}")
    print(f"{folder}: {ours.numel()} logits, largest difference {difference:.3e}")


if __name__ == "__main__":
    main()
