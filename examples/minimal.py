"""One fact in a model, without a store: python examples/minimal.py [MODEL]"""

import sys

from transformers import AutoModelForCausalLM, AutoTokenizer

from revisor import Fact, attach

FACT = Fact(subject="Norvale Instruments", prompt="The CEO of {} is", object="Petra Lindqvist")


def main(name: str = "HuggingFaceTB/SmolLM2-135M-Instruct", probe: str = "auto") -> None:
    """Ask a model, a hub id or a folder, with the fact."""
    model = AutoModelForCausalLM.from_pretrained(name)
    tokenizer = AutoTokenizer.from_pretrained(name)
    inputs = tokenizer("The CEO of Norvale Instruments is", return_tensors="pt")
    with attach(model, tokenizer, [FACT], probe=probe):
        output = model.generate(**inputs, max_new_tokens=16, do_sample=False)
    print(tokenizer.decode(output[0], skip_special_tokens=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
