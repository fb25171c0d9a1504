"""Loads the configs that `fulltune export` wrote into a folder with the trainers' own classes.

    python check_exports.py FOLDER [--packages DIR]

TRL, transformers and accelerate must be installed; DeepSpeed is checked where it is. DIR holds axolotl, LLaMA-Factory and torchtitan as installed with
`pip install --no-deps --target DIR`: the tables of their published keys are compared with the sources there, and nothing of them is imported.
"""

import argparse
import ast
import dataclasses
import json
import os
import pathlib
import sys
import warnings
from unittest import mock

import yaml

warnings.filterwarnings("ignore")
os.environ.setdefault("DS_ACCELERATOR", "cpu")
passed, failed = 0, 0


def check(name, condition, detail=""):
    global passed, failed
    if condition:
        passed += 1
    else:
        failed += 1
        print(f"FAILED {name}: {detail}")


def attempt(name, work):
    """Counts work() as passed unless it raises or gives a complaint."""
    try:
        complaint = work()
    except (Exception, SystemExit) as error:
        complaint = f"{type(error).__name__}: {error}"
    check(name, not complaint, complaint)


def rows(micro, steps, case):
    product = micro * steps * case["ranks"]
    return "" if product == case["rowsPerUpdate"] else f"{micro} x {steps} x {case['ranks']} = {product}, the plan has {case['rowsPerUpdate']}"


def settings_agree(args, case):
    """Numbers that every TrainingArguments trainer was told."""
    for key, value in case["expect"].items():
        have = getattr(args, key)
        have = getattr(have, "value", have)
        if have != value:
            return f"{key} is {have!r}, the run has {value!r}"
    return rows(args.per_device_train_batch_size, args.gradient_accumulation_steps, case)


def check_trl(path, case):
    from trl import DatasetMixtureConfig, ModelConfig, ScriptArguments, SFTConfig, TrlParser

    parser = TrlParser((ScriptArguments, SFTConfig, ModelConfig, DatasetMixtureConfig))
    script, training, model, data = parser.parse_args_and_config(["--config", str(path), "--use_cpu", "true", "--report_to", "none"], fail_with_unknown_args=True)
    if model.model_name_or_path != case["model"]:
        return f"the model is {model.model_name_or_path}"
    if data.datasets[0].data_files != case["dataset"]:
        return f"the dataset is {data.datasets[0]}"
    return settings_agree(training, case)


def check_training_arguments(path, case):
    """What LLaMA-Factory hands to transformers."""
    from transformers import HfArgumentParser, TrainingArguments

    fields = {field.name for field in dataclasses.fields(TrainingArguments)}
    values = {key: value for key, value in yaml.safe_load(path.read_text()).items() if key in fields and key not in ("fsdp", "fsdp_config", "deepspeed")}
    values.update(use_cpu=True, report_to="none")
    (training,) = HfArgumentParser(TrainingArguments).parse_dict(values)
    return settings_agree(training, case)


def check_accelerate(path, case):
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import launch_command_parser

    config = load_config_from_file(str(path))
    if config.num_processes != case["ranks"] or config.num_machines != case["nodes"]:
        return f"{config.num_processes} processes on {config.num_machines} machines"
    args = launch_command_parser().parse_args(["--config_file", str(path), "script.py"])
    known = {name for name in vars(args)}
    for section in ("fsdp_config", "deepspeed_config"):
        unknown = [key for key in getattr(config, section) if key not in known]
        if unknown:
            return f"accelerate launch does not know {unknown} of {section}"
    return "" if config.distributed_type.value == case["distributedType"] else f"distributed_type is {config.distributed_type}"


def check_deepspeed(path, case):
    from deepspeed.runtime.config import DeepSpeedConfig

    with mock.patch("deepspeed.runtime.config.dist.get_rank", return_value=0), mock.patch("deepspeed.runtime.config.dist.get_world_size", return_value=case["ranks"]):
        config = DeepSpeedConfig(json.loads(path.read_text()))
    if config.zero_optimization_stage != case["zeroStage"]:
        return f"ZeRO stage {config.zero_optimization_stage}, expected {case['zeroStage']}"
    if config.gradient_clipping != 1:
        return f"gradient_clipping is {config.gradient_clipping}"
    return rows(config.train_micro_batch_size_per_gpu, config.gradient_accumulation_steps, case)


def fields_of(path, *names):
    """Annotated fields of the classes in a source file; of all of them without names."""
    classes = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef) and (not names or node.name in names)]
    items = [item.target.id for node in classes for item in node.body if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)]
    return {name for name in items if not name.startswith("_")}


def sections_of(path, root):
    classes = {node.name: node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)}

    def walk(name, prefix):
        for item in classes[name].body:
            if isinstance(item, ast.AnnAssign):
                kind = ast.unparse(item.annotation)
                if kind in classes:
                    yield from walk(kind, f"{prefix}{item.target.id}.")
                else:
                    yield f"{prefix}{item.target.id}"

    return set(walk(root, ""))


def check_tables(tables, packages):
    """A key of our tables that the source does not have is one that nobody publishes."""
    import accelerate.commands.config.config_args as accelerate_config
    import trl
    from transformers import TrainingArguments

    training = {field.name for field in dataclasses.fields(TrainingArguments)}
    trl_root = pathlib.Path(trl.__file__).parent
    published = {
        "trl": training.union(*(fields_of(trl_root / part) for part in ("trainer/sft_config.py", "trainer/base_config.py", "trainer/model_config.py", "scripts/utils.py"))),
        "accelerate": {field.name for field in dataclasses.fields(accelerate_config.ClusterConfig)},
    }
    if packages is not None:
        schemas = packages / "axolotl" / "utils" / "schemas"
        hparams = packages / "llamafactory" / "hparams"
        published["axolotl"] = set().union(*(fields_of(path) for path in schemas.glob("*.py"))) | {"model_config", "model_kwargs", "model_type", "model_revision"}
        older = {"warmup_ratio", "logging_dir", "group_by_length", "length_column_name", "include_inputs_for_metrics", "overwrite_output_dir"}
        published["llama-factory"] = training.union(older, *(fields_of(path) for path in hparams.glob("*.py")))
        published["torchtitan"] = sections_of(packages / "torchtitan" / "config" / "job_config.py", "JobConfig")
    for name, keys in published.items():
        extra = sorted(set(tables[name]) - keys)
        check(f"published keys of {name}", not extra, f"not published: {extra}")


def check_packed():
    """What the export to TRL says of sdpa: its rows end to end, and documents kept apart by their positions."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2)
    documents = [list(range(3, 12)), list(range(20, 27)), list(range(40, 45))]
    rows = [{"input_ids": documents[0] + documents[1], "seq_lengths": [9, 7]}, {"input_ids": documents[2], "seq_lengths": [5]}]
    batch = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)(rows)
    if batch["input_ids"].shape[0] != 1 or "attention_mask" in batch:
        return f"TRL gives {({key: tuple(value.shape) for key, value in batch.items()})}"
    for attention in ("sdpa", "eager"):
        model = LlamaForCausalLM._from_config(config, attn_implementation=attention).train()
        with torch.no_grad():
            packed = model(input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False).logits[0]
            alone = torch.cat([model(input_ids=torch.tensor([document]), use_cache=False).logits[0] for document in documents])
        distance = float((packed - alone).abs().max())
        if distance > 1e-5:
            return f"{attention}: logits differ by {distance}"
    return ""


CHECKS = {"trl": check_trl, "llama-factory": check_training_arguments, "accelerate": check_accelerate, "deepspeed": check_deepspeed}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--packages", type=pathlib.Path)
    options = parser.parse_args()
    cases = json.loads((options.folder / "cases.json").read_text())
    try:
        import deepspeed  # noqa: F401
    except ImportError as error:
        print(f"DeepSpeed is not installed ({error}): its configs are not checked")
        CHECKS.pop("deepspeed")
    for case in cases:
        path = options.folder / case["file"]
        if case["trainer"] in CHECKS:
            attempt(case["file"], lambda: CHECKS[case["trainer"]](path, case))
    attempt("packed rows under sdpa and eager", check_packed)
    check_tables(json.loads((options.folder / "keys.json").read_text()), options.packages)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
