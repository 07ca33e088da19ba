"""A store's facts in vLLM, without a server: python examples/vllm_offline.py STORE MODEL

vLLM finds revisor by itself and reads which store it is from REVISOR_STORE. MODEL is what the
store was made for. docs/vllm.md has the rest.
"""

import os
import sys

PROMPT = "The CEO of ACME is"


def main(path: str, model: str) -> None:
    """Answer one prompt with the facts and without."""
    os.environ["REVISOR_STORE"] = path
    from vllm import LLM, SamplingParams

    llm = LLM(model=model)
    for facts in (True, False):
        sampling = SamplingParams(temperature=0, max_tokens=16, extra_args={"revisor_facts": facts})
        answer = llm.generate([PROMPT], sampling)[0].outputs[0].text
        print("with facts:   " if facts else "without facts:", answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
