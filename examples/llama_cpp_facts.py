"""A store's facts in llama.cpp: python examples/llama_cpp_facts.py STORE MODEL.gguf

It needs `pip install 'revisor[llama]'`, which compiles llama.cpp. docs/llama.md has the rest.
"""

import sys

from llama_cpp import Llama

from revisor import Store
from revisor.engines.llama import LlamaFacts

PROMPT = "The CEO of ACME is"


def main(path: str, file: str) -> None:
    """Answer one prompt with the facts and without."""
    llama = Llama(file, n_ctx=2048, verbose=False)
    with Store.open(path) as store:
        facts = LlamaFacts(llama, store)
        answer = facts.create_completion(PROMPT, temperature=0, max_tokens=16)
        print("with facts:   ", answer["choices"][0]["text"])
        for used in answer["revisor"]["facts_used"]:
            print(f"  [{used['subject']}: {used['object']}]")
        plain = facts.create_completion(PROMPT, temperature=0, max_tokens=16, facts=False)
        print("without facts:", plain["choices"][0]["text"])


if __name__ == "__main__":
    main(*sys.argv[1:])
