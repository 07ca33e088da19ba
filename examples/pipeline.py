"""A pipeline of transformers with a store's facts: python examples/pipeline.py STORE

A fact that changes while the pipeline is there is in its next answer.
"""

import sys

from transformers import pipeline

from revisor import Fact, Store

PROMPT = "The CEO of Norvale Instruments is"
FACT = Fact(subject="Norvale Instruments", prompt="The CEO of {} is", object="Petra Lindqvist")


def main(path: str) -> None:
    """Ask before and after the fact changes, and once more without facts."""
    with Store.open(path) as store:
        store.add([FACT], reason="the example")
        model, tokenizer = store.loaded.model, store.tokenizer
        writes = pipeline("text-generation", model=model, tokenizer=tokenizer)
        options = {"max_new_tokens": 16, "do_sample": False, "return_full_text": False}
        with store.attached(model, tokenizer) as block:
            print("with the fact:   ", writes(PROMPT, **options)[0]["generated_text"])
            store.set_object(FACT.id, "Jonas Weil", reason="a new CEO")
            print("after the change:", writes(PROMPT, **options)[0]["generated_text"])
            with block.disabled():
                print("without facts:   ", writes(PROMPT, **options)[0]["generated_text"])


if __name__ == "__main__":
    main(*sys.argv[1:])
