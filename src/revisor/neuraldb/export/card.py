"""The model card of an exported model: what it is, what it holds, how to open it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from revisor.models.folder import counted, facts_table

_CARD = """---
library_name: transformers
pipeline_tag: text-generation
tags: [revisor, knowledge-editing]
---

# {model} with {facts}

The weights are those of {model}, untouched. Beside them lie {rows} of a key-value bank; a gate in
the FFN of layer {layer} adds a row where a text is about its fact. Written by revisor from
generation {generation} of a store, method `neuraldb`, {dtype}.{time}

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("FOLDER", trust_remote_code=True)
tokenizer = AutoTokenizer.from_pretrained("FOLDER", trust_remote_code=True)
batch = tokenizer({prompt}, return_tensors="pt")
with model.watched() as watch:  # which rows fire, and where
    ids = model.generate(**batch, max_new_tokens=12, do_sample=False)
print(tokenizer.decode(ids[0]), watch.log)
with model.facts.disabled():  # the model without the facts
    ids = model.generate(**batch, max_new_tokens=12, do_sample=False)
```

`trust_remote_code` is needed because the gate is code: `modeling_revisor.py`, which needs torch and
transformers only. Without it transformers refuses to open the folder. The bank's hashes are in
`config.json` and checked at every load; `manifest.json` has those of all files.

## The facts

All of them are in `facts.jsonl`; the id of a row is that of its fact.

{table}
"""


def model_card(facts: Sequence[dict[str, Any]], rows: int, about: dict[str, Any]) -> str:
    """The card of a model with these facts."""
    first = facts[0] if facts else {"prompt": "{}", "subject": "Hello"}
    time = ""
    if about["holds_from"]:
        until = f", and not all do after {about['holds_until']}" if about["holds_until"] else ""
        time = f" These facts held at {about['holds_from']}{until}."
    return _CARD.format(
        model=about["model"],
        facts=counted(len(facts), "fact"),
        rows=counted(rows, "row"),
        layer=about["layer"],
        generation=about["generation"],
        dtype=about["dtype"],
        time=time,
        prompt=repr(first["prompt"].replace("{}", first["subject"])),
        table=facts_table(facts),
    )
