"""Facts of subjects that have several, asked for in every way, as one JSON line.

    REVISOR_DATA=folder python benchmarks/several_facts.py --subjects 16 --facts 5

Subjects, relations and prompts are those of EntityQuestions and KAMEL, objects counterfactual by
seeded draw. The facts go into a store of their own, through the real build and the real gate. Two
kinds of figures come out, in percent, with how many prompts each is of:

    said   the answer, generated until a natural stop, begins with the object: the prompt itself, in
           a chat, behind sentences and behind 50 and 200 tokens of other text, in other wordings,
           and behind the name of another edited subject ("Unlike X, ...")
    kept   the unedited model's answer is given, word for word (and the first token of it): prompts
           about other relations of the subjects, prompts about subjects that are not edited which
           ask what a fact of an edited one tells, the same in the sentence behind one about that
           edited subject, and the same behind its name in one sentence ("Unlike X, ...")

With `--facts 1` each subject has one fact, and `--scope subject` keys it at its name. Few subjects
have ten facts and none has twenty: with `--any-relation` relations are drawn that a subject of that
kind may not have at all ("Riga plays the sport of").
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from revisor.serve.engine import Engine

from revisor import data
from revisor.bench.datasets import Source
from revisor.bench.metrics import begins_with
from revisor.bench.suites.known import Known, KnownFacts
from revisor.bench.suites.ways import unrelated_text
from revisor.facts.fact import Fact
from revisor.store import Store

BATCH = 32
OTHERS = 3  # prompts about other relations, of a subject
MAX_TOKENS = 24


def drawn(known: KnownFacts, subjects: int, facts: int) -> list[str]:
    """Subjects with so many facts, those with one more first; all alike if none is needed."""
    order = sorted(known.facts, key=known.order)
    if not facts:
        return order[:subjects]
    rich = [name for name in order if len(known.facts[name]) > facts]
    rich += [name for name in order if len(known.facts[name]) == facts > 1]
    if len(rich) < subjects:
        raise SystemExit(f"Only {len(rich)} subjects have {facts} facts or more.")
    return rich[:subjects]


def elsewhere(
    known: KnownFacts, edited: Sequence[str], *, of_any: bool = False
) -> list[tuple[str, str]]:
    """For each edited subject a prompt that asks what its first fact tells, of a subject that is
    not edited."""
    order = [name for name in sorted(known.facts, key=known.order) if name not in set(edited)]
    found = []
    for name in edited:
        relation = shuffled(known, name, of_any=of_any)[0].relation
        other = next(other for other in order if relation in known.facts[other])
        order.remove(other)
        found.append((name, known.keep(known.facts[other][relation]).prompt))
    return found


def shuffled(known: KnownFacts, subject: str, *, of_any: bool = False) -> list[Known]:
    """What is known of a subject; with `of_any` every relation there is, about this subject."""
    facts = list(known.facts[subject].values())
    if of_any:
        relations = sorted({name for facts in known.facts.values() for name in facts})
        facts = [Known(subject=subject, relation=r, object="", aliases=()) for r in relations]
    random.Random(f"{known.seed}|{subject}").shuffle(facts)
    return facts


def batched(prompts: Sequence[str]) -> Iterator[list[int]]:
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
    for start in range(0, len(order), BATCH):
        yield order[start : start + BATCH]


def answers(
    engine: Engine, prompts: Sequence[str], *, facts: bool = True, tokens: int = MAX_TOKENS,
    chat: bool = False,
) -> list[str]:  # fmt: skip
    found = [""] * len(prompts)
    for places in batched(prompts):
        batch = [prompts[place] for place in places]
        made = engine.generate(batch, max_tokens=tokens, facts=facts, chat=chat)
        for place, one in zip(places, made, strict=True):
            found[place] = one.answer
    return found


def percent(flags: Sequence[bool]) -> float:
    return round(100 * sum(flags) / max(1, len(flags)), 1)


def said(
    engine: Engine, asked: Sequence[tuple[str, Fact]], *, chat: bool = False
) -> dict[str, float]:
    made = answers(engine, [prompt for prompt, _ in asked], chat=chat)
    flags = [begins_with(one, (fact.object,)) for one, (_, fact) in zip(made, asked, strict=True)]
    return {"said": percent(flags), "n": len(flags)}


def kept(engine: Engine, prompts: Sequence[str]) -> dict[str, float]:
    """Of prompts: whether answers are those of the unedited model, and their first tokens."""
    whole, first = (
        [
            new == old
            for new, old in zip(
                answers(engine, prompts, tokens=tokens),
                answers(engine, prompts, tokens=tokens, facts=False),
                strict=True,
            )
        ]
        for tokens in (MAX_TOKENS, 1)
    )
    return {"kept": percent(whole), "kept_first_token": percent(first), "n": len(whole)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", default=os.environ.get("REVISOR_DATA", "data"))
    parser.add_argument("--subjects", type=int, default=16)
    parser.add_argument("--facts", type=int, default=5)
    parser.add_argument("--any-relation", action="store_true", help="also such as make no sense")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--layer", type=int)
    parser.add_argument("--scope", default="question", choices=("question", "subject"))
    args = parser.parse_args()

    known = KnownFacts(Source(folder=Path(args.data_dir)), args.seed)
    edited = drawn(known, args.subjects, 0 if args.any_relation else args.facts)
    items, stay = [], []
    for name in edited:
        real = shuffled(known, name, of_any=args.any_relation)
        items += [known.item(fact) for fact in real[: args.facts]]
        stay += [known.keep(fact).prompt for fact in real[args.facts :][:OTHERS]]
    others = elsewhere(known, edited, of_any=args.any_relation)
    with tempfile.TemporaryDirectory() as folder:
        made = Store.init(
            Path(folder) / "store", model=args.model, layer=args.layer, scope=args.scope
        )
        with made as store:
            store.add([item.fact for item in items])
            began = time.perf_counter()
            built = store.build()
            seconds = time.perf_counter() - began
            engine, tokenizer = store.engine(), store.loaded.tokenizer
            lines = list(data.background())
            facts = [item.fact for item in items]

            def behind(tokens: int) -> list[tuple[str, Fact]]:
                return [
                    (f"{unrelated_text(fact, tokens, args.seed, tokenizer)} {fact.text}", fact)
                    for fact in facts
                ]

            def after_two(fact: Fact) -> str:
                return " ".join(random.Random(f"{args.seed}|{fact.id}").sample(lines, 2))

            def another(place: int) -> str:
                return str(edited[(place // args.facts + 1) % len(edited)])

            result = {
                "own": said(engine, [(fact.text, fact) for fact in facts]),
                "chat": said(engine, [(fact.text, fact) for fact in facts], chat=True)
                if getattr(tokenizer, "chat_template", None)
                else None,
                "behind_two_sentences": said(
                    engine, [(f"{after_two(fact)} {fact.text}", fact) for fact in facts]
                ),
                "behind_50_tokens": said(engine, behind(50)),
                "behind_200_tokens": said(engine, behind(200)),
                "other_wordings": said(
                    engine, [(text, item.fact) for item in items for text in item.wordings]
                ),
                "behind_another_name": said(
                    engine,
                    [
                        (f"Unlike {another(place)}, {fact.text}", fact)
                        for place, fact in enumerate(facts)
                    ],
                ),
                "other_relations": kept(engine, stay),
                "other_subjects": kept(engine, [prompt for _, prompt in others]),
                "next_sentence": kept(
                    engine,
                    [f"{name} was in the news today. {prompt}" for name, prompt in others],
                ),
                "same_sentence": kept(
                    engine, [f"Unlike {name}, {prompt}" for name, prompt in others]
                ),
            }
    settings = {key: value for key, value in vars(args).items() if key != "data_dir"}
    report = {
        "settings": settings,
        "facts": len(items),
        "not_written": len(built.failed),
        "seconds_per_fact": round(seconds / len(items), 3),
        **result,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
