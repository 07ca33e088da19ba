"""LangChain against `revisor serve`: python examples/langchain_chain.py [URL [KEY]]

It needs `pip install langchain-openai`. Without keys in the store, any key will do on loopback.
"""

import sys

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI
from openai import OpenAI

PROMPT = ChatPromptTemplate.from_messages([("user", "Who is the {role} of {company}?")])


def main(url: str = "http://127.0.0.1:8000", key: str = "none") -> None:
    """A chain with the facts, the same without, and one that is streamed."""
    model = OpenAI(base_url=f"{url}/v1", api_key=key).models.list().data[0].id
    options = {"base_url": f"{url}/v1", "api_key": key, "model": model, "temperature": 0}
    asked = {"role": "CEO", "company": "ACME"}

    chat = ChatOpenAI(**options, max_tokens=16, include_response_headers=True)
    answer = (PROMPT | chat).invoke(asked)
    print("with facts:   ", answer.text)
    print("  ids of them:", answer.response_metadata["headers"]["x-revisor-facts"])

    plain = ChatOpenAI(**options, max_tokens=16, extra_body={"revisor": {"facts": False}})
    print("without facts:", (PROMPT | plain | StrOutputParser()).invoke(asked))

    print("streamed:      ", end="")
    for piece in (PROMPT | chat | StrOutputParser()).stream(asked):
        print(piece, end="", flush=True)
    print()


if __name__ == "__main__":
    main(*sys.argv[1:])
