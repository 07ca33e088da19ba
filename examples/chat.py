"""A chat with a store's facts, read from standard input: python examples/chat.py STORE

Each answer is streamed; behind it stand the facts that were used. An empty line ends the chat.
"""

import sys

from transformers import TextStreamer

from revisor import Store, Trace


def main(path: str) -> None:
    """Answer each line of standard input as the next turn of one chat."""
    with Store.open(path) as store:
        model, tokenizer = store.loaded.model, store.tokenizer
        streamer = TextStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
        messages: list[dict[str, str]] = []
        for line in map(str.strip, sys.stdin):
            if not line:
                break
            messages.append({"role": "user", "content": line})
            inputs = tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"
            ).to(model.device)
            trace = Trace()
            with store.attached(model, tokenizer, trace=trace):
                output = model.generate(
                    **inputs, max_new_tokens=64, do_sample=False, streamer=streamer
                )
            answer = tokenizer.decode(
                output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True
            )
            messages.append({"role": "assistant", "content": answer})
            for used in trace.of(0):
                print(f"  [{used.subject}: {used.object}, score {used.score:.2f}]")


if __name__ == "__main__":
    main(*sys.argv[1:])
