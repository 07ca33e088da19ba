"""An engine of one's own with the facts: python examples/own_engine.py STORE

The gate wants what any engine has before it chooses a token: the ids so far, and the model's raw
logits, before temperature, penalties and masks; sample from what comes back.
"""

import sys

import torch

from revisor import Store, Trace

PROMPTS = ["The CEO of ACME is", "The weather today is"]


def main(path: str, tokens: int = 12) -> None:
    """Greedy decoding, a prompt at a time."""
    with Store.open(path) as store:
        model, tokenizer = store.loaded.model, store.tokenizer
        for prompt in PROMPTS:
            trace = Trace()
            batch = store.gate().batch(trace=trace)
            ids_BT = tokenizer(prompt, return_tensors="pt")["input_ids"]
            with torch.inference_mode():
                for _ in range(tokens):
                    logits_BV = batch.step(ids_BT, model(ids_BT).logits[:, -1])
                    ids_BT = torch.cat([ids_BT, logits_BV.argmax(-1, keepdim=True)], dim=-1)
            print(tokenizer.decode(ids_BT[0], skip_special_tokens=True))
            for used in trace.of(0):
                print(f"  [{used.subject}: {used.object}, from token {used.position}]")


if __name__ == "__main__":
    main(*sys.argv[1:])
