"""OpenAI's client against `revisor serve`: python examples/openai_client.py [URL [KEY]]

It needs `pip install openai`. Without keys in the store, any key will do on loopback.
"""

import sys

from openai import OpenAI

PROMPT = "The CEO of ACME is"
QUESTION = "Who is the CEO of ACME?"


def main(url: str = "http://127.0.0.1:8000", key: str = "none") -> None:
    """A completion, the same without facts, and a chat that is streamed."""
    client = OpenAI(base_url=f"{url}/v1", api_key=key)
    model = client.models.list().data[0].id
    options = {"model": model, "temperature": 0, "max_tokens": 16}

    answer = client.completions.create(prompt=PROMPT, **options)
    print("with facts:   ", answer.choices[0].text)
    for used in answer.model_extra["revisor"]["facts_used"]:
        print(f"  [{used['subject']}: {used['object']}, score {used['score']:.2f}]")

    plain = client.completions.create(
        prompt=PROMPT, extra_body={"revisor": {"facts": False}}, **options
    )
    print("without facts:", plain.choices[0].text)

    stream = client.chat.completions.create(
        messages=[{"role": "user", "content": QUESTION}], stream=True, **options
    )
    print("streamed:      ", end="")
    for chunk in stream:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
        for used in (chunk.model_extra or {}).get("revisor", {}).get("facts_used", ()):
            print(f"\n  [{used['subject']}: {used['object']}]", end="")
    print()


if __name__ == "__main__":
    main(*sys.argv[1:])
