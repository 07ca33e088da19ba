"""The model card of an exported model: what it is, what it says, how to open it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from revisor.models.folder import counted, facts_table

_CARD = """---
library_name: transformers
pipeline_tag: text-generation
tags: [revisor, knowledge-editing]
---

# {model} with {facts}

The weights are those of {model}, untouched. A gate at the output finds in the text which fact is
asked for and where an answer is due, and writes the fact's object there, token by token; elsewhere
the logits are the model's own, bit for bit. So the model does not know these facts inside: it says
them where they are asked for, and goes on with what has been said. Written by revisor from
generation {generation} of a store, {dtype}.

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("FOLDER", trust_remote_code=True)
tokenizer = AutoTokenizer.from_pretrained("FOLDER", trust_remote_code=True)
batch = tokenizer({prompt}, return_tensors="pt")
with model.traced() as trace:  # which facts are written, and where
    ids = model.generate(**batch, max_new_tokens=12, do_sample=False)
print(tokenizer.decode(ids[0]), trace.rows)
with model.facts.disabled():  # the model without the facts
    ids = model.generate(**batch, max_new_tokens=12, do_sample=False)
```

The facts are in `generate` (greedy, sampling, beams, static caches, threads), in pipelines and in
the logits of forward calls; not in `model.forward`, called by its name. The text has to be known:
calls with `inputs_embeds` alone are refused. A fact with a time is said while that lasts.

`trust_remote_code` is needed because the gate is code: `modeling_revisor.py` and the modules beside
it, which need Python 3.11, torch and transformers only. Without it transformers refuses to open the
folder. The hashes of the files in `gate` are in `config.json` and checked at every load;
`manifest.json` has those of all files.

## The facts

All of them are in `facts.jsonl`.

{table}
"""


def model_card(facts: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> str:
    """The card of a model with these facts.

    Args:
        facts: as lines of a fact file.
        about: `model`, `generation` and `dtype`.
    """
    first = facts[0] if facts else {"prompt": "{}", "subject": "Hello"}
    return _CARD.format(
        model=about["model"],
        facts=counted(len(facts), "fact"),
        generation=about["generation"],
        dtype=about["dtype"],
        prompt=repr(first["prompt"].replace("{}", first["subject"])),
        table=facts_table(facts),
    )
