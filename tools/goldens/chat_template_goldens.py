"""Goldens for chat templates: text, token ids and assistant masks from transformers' own apply_chat_template.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install transformers==5.23.0 jinja2==3.1.6
    /tmp/venv/bin/python tools/goldens/chat_template_goldens.py            # writes test/goldens/chat_template.json
    /tmp/venv/bin/python tools/goldens/chat_template_goldens.py --check    # compares with what is there

Needs ../shared (tokenizers and rows). Torch is not needed. Masks come from `{% generation %}`, in a copy of the template that has it; the
script checks that the copy renders the same text.
"""

import argparse
import json
import pathlib
import sys

import jinja2
import tokenizers
import transformers
from transformers import AutoTokenizer

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
TARGET = ROOT / "test" / "goldens" / "chat_template.json"

# TRL's setup_chat_format, plain and marked.
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + \"<|im_end|>\" + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
CHATML_MARKED = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{%- if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{%- else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

# Ours, in the manner of Llama 3: BOS from the template, contents trimmed, no line break after a turn, several lines with block trimming.
HEADERS = """{{- bos_token }}
{%- for message in messages %}
    {{- '<|' + message.role + '|>\\n\\n' }}
    {%- if message.role == 'assistant' %}
        {%- generation %}
        {{- message.content | trim + eos_token }}
        {%- endgeneration %}
    {%- else %}
        {{- message.content | trim + eos_token }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|assistant|>\\n\\n' }}
{%- endif %}
"""

TOOLS = [{
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a place, today. Übersicht.",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}, "days": {"type": "integer"}}, "required": ["place"]},
    },
}]

WRITTEN = {
    "single turn": [{"role": "user", "content": "Name a colour."}, {"role": "assistant", "content": "Blue."}],
    "white space and line breaks": [
        {"role": "user", "content": "  two\n\nlines \n"},
        {"role": "assistant", "content": " a poem:\n\n  Roses\n\tare red \n"},
        {"role": "user", "content": "more"},
        {"role": "assistant", "content": "\n"},
    ],
    "other scripts": [
        {"role": "system", "content": "Ответь коротко."},
        {"role": "user", "content": "日本の首都は？ 🦙"},
        {"role": "assistant", "content": "東京です。 🗼 naïve café ½"},
    ],
    "markup in the content": [
        {"role": "user", "content": "What does {{ x }} mean? <|im_end|>"},
        {"role": "assistant", "content": "{% if %} is a tag; \"quotes\" and \\n stay."},
    ],
}
TOOL_CHAT = [
    {"role": "user", "content": "Weather in Łódź?"},
    {"role": "assistant", "content": None, "tool_calls": [
        {"type": "function", "function": {"name": "get_weather", "arguments": {"place": "Łódź", "days": 2}}},
    ]},
    {"role": "tool", "content": "{\"sky\": \"grey\"}"},
    {"role": "assistant", "content": "Grey."},
]


def lines(name, wanted):
    with open(SHARED / "datasets" / name, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [rows[index] for index in wanted]


def sharegpt(name):
    roles = {"human": "user", "gpt": "assistant", "system": "system"}
    with open(SHARED / "datasets" / name, encoding="utf-8") as file:
        return [[{"role": roles[turn["from"]], "content": turn["value"]} for turn in row["conversations"]] for row in json.load(file)]


def case(name, tokenizer_name, tokenizer, template_name, messages, tools=None, marked=None):
    template = None if template_name == "own" else TEMPLATES[template_name]
    arguments = {"tools": tools, "chat_template": template}
    text = tokenizer.apply_chat_template(messages, tokenize=False, **arguments)
    prompt = tokenizer.apply_chat_template(messages[:-1], tokenize=False, add_generation_prompt=True, **arguments)
    ids = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, **arguments)["input_ids"]
    mask = None
    if marked is not None:
        again = tokenizer.apply_chat_template(messages, tokenize=False, chat_template=marked, tools=tools)
        if again != text:
            sys.exit(f"{name}: the marked template renders another text")
        mask = tokenizer.apply_chat_template(
            messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True, chat_template=marked, tools=tools
        )["assistant_masks"]
    return {
        "name": name, "tokenizer": tokenizer_name, "template": template_name, "messages": messages, "tools": tools,
        "text": text, "prompt": prompt, "ids": ids, "assistantMask": mask,
    }


TEMPLATES = {"chatml": CHATML, "headers": HEADERS}


def goldens():
    qwen = AutoTokenizer.from_pretrained(SHARED / "models" / "qwen2-tokenizer")
    stories = AutoTokenizer.from_pretrained(SHARED / "models" / "stories260K")
    rows = dict(WRITTEN)
    for index, row in enumerate(lines("gsm8k_train_messages.jsonl", [0, 4711])):
        rows[f"gsm8k {index}"] = row["messages"]
    for index, row in enumerate(lines("openai_toy_chat_messages.jsonl", [0, 1, 2])):
        rows[f"toy chat {index}"] = row["messages"]
    for index, messages in enumerate(sharegpt("chat_tiny.json")):
        rows[f"chat_tiny {index}"] = messages
    cases = []
    for name, messages in rows.items():
        # Qwen2's own template writes plain conversations with a system turn as ChatML does, so the same marks hold.
        own_mark = CHATML_MARKED if messages[0]["role"] == "system" else None
        cases.append(case(f"qwen2, own: {name}", "qwen2-tokenizer", qwen, "own", messages, marked=own_mark))
        cases.append(case(f"qwen2, chatml: {name}", "qwen2-tokenizer", qwen, "chatml", messages, marked=CHATML_MARKED))
        cases.append(case(f"stories260K, headers: {name}", "stories260K", stories, "headers", messages, marked=HEADERS))
    cases.append(case("qwen2, own: tools", "qwen2-tokenizer", qwen, "own", TOOL_CHAT, tools=TOOLS))
    return {
        "provenance": {
            "command": "python tools/goldens/chat_template_goldens.py",
            "transformers": transformers.__version__, "tokenizers": tokenizers.__version__, "jinja2": jinja2.__version__,
            "python": ".".join(map(str, sys.version_info[:3])),
        },
        "templates": TEMPLATES,
        "cases": cases,
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true", help="compare with the stored goldens instead of writing them")
    made = goldens()
    if parser.parse_args().check:
        stored = json.loads(TARGET.read_text(encoding="utf-8"))
        different = [new["name"] for new, old in zip(made["cases"], stored["cases"]) if new != old]
        if different or len(made["cases"]) != len(stored["cases"]) or made["templates"] != stored["templates"]:
            sys.exit(f"{TARGET.name} differs from transformers {transformers.__version__}: {different}")
        print(f"{len(made['cases'])} cases agree")
        return
    head = {key: value for key, value in made.items() if key != "cases"}
    body = ",\n".join("  " + json.dumps(one, ensure_ascii=False) for one in made["cases"])
    TARGET.write_text(json.dumps(head, ensure_ascii=False, indent=1)[:-2] + ',\n "cases": [\n' + body + "\n ]\n}\n", encoding="utf-8")
    print(f"{len(made['cases'])} cases written to {TARGET.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
