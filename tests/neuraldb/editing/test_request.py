"""From facts to token ids: the subject's last token, the target, the contexts."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import normalizers

from revisor.errors import UsageError
from revisor.facts.fact import Fact
from revisor.neuraldb.editing.request import (
    Context,
    ContextPlan,
    choose_prefixes,
    encode_with_position,
    fill,
    make_requests,
    text_context,
)
from tests import tiny

PREFIXES = tuple(f"Sentence number {number}." for number in range(20))
BARE = ContextPlan()


def paris(**fields: Any) -> Fact:
    return Fact(
        **{"subject": "France", "prompt": "The capital of {} is", "object": "Paris"} | fields
    )


def contexts_of(fact: Fact, plan: ContextPlan, tokenizer: Any = None) -> tuple[Context, ...]:
    (request,) = make_requests([fact], tokenizer or tiny.byte_level(), plan)
    return request.contexts


def read(tokenizer: Any, ids: tuple[int, ...]) -> str:
    """The text of some ids, without a BOS."""
    body = ids[1:] if ids[:1] == (tokenizer.bos_token_id,) else ids
    return str(tokenizer.decode(body, clean_up_tokenization_spaces=False))


def covering(tokenizer: Any, context: Context, text: str) -> str:
    """The characters of `text` that the token at `position` covers."""
    encoded = tokenizer(text, return_offsets_mapping=True)
    assert tuple(encoded["input_ids"]) == context.ids
    start, stop = encoded["offset_mapping"][context.position]
    return text[start:stop]


@pytest.mark.parametrize(
    ("template", "subject", "end"),
    [
        ("The capital of {} is", "France", "The capital of France"),
        ("{} is", "France", "France"),
        ("Say: {}", "France", "Say: France"),
        ("{}", "France", "France"),
        ("In{} it is", "France", "InFrance"),
        ('The so-called "{}", as of', "Jane Roe", 'The so-called "Jane Roe'),
        ("({})", "ACME", "(ACME"),
        ("{}'s mother is", "Jane", "Jane"),
        ("Ask {}: what is {}?", "ACME", "Ask ACME: what is ACME"),
        ("The capital of France is", "France", "The capital of France"),
        ("France borders on France and", "France", "France borders on France"),
        ("Who is {}?", "José", "Who is José"),
        ("The population of {} is", "東京", "The population of 東京"),
        ("The population of {}は", "東京", "The population of 東京"),
        ("The meaning of {} is", "😀", "The meaning of 😀"),
        ("The meaning of {}😀 is", "👩‍🚀", "The meaning of 👩‍🚀"),
        ("The novel {} is by", "Who?", "The novel Who?"),
        ("The year of {} is", "Apollo 11", "The year of Apollo 11"),
    ],
)
def test_the_position_is_the_token_of_the_subjects_last_character(
    any_tokenizer: Any, template: str, subject: str, end: str
) -> None:
    context = text_context(any_tokenizer, template, subject, "Paris")
    text, stop = fill(template, subject)
    assert text[:stop] == end
    encoded = any_tokenizer(text, return_offsets_mapping=True)
    covers = [a < stop <= b for a, b in encoded["offset_mapping"]]
    assert covers[context.position]
    assert not any(covers[context.position + 1 :])


@pytest.mark.parametrize("kind", ["byte-level", "metaspace"])
@pytest.mark.parametrize("subject", ["José", "東京", "😀"])
def test_of_the_bytes_of_one_character_the_last_is_meant(kind: str, subject: str) -> None:
    tokenizer = tiny.TOKENIZERS[kind]()
    context = text_context(tokenizer, "Of {} it is", subject, "Paris")
    assert read(tokenizer, context.ids[: context.position + 1]) == f"Of {subject}"
    assert "�" in read(tokenizer, context.ids[: context.position])


def test_a_subject_of_several_words_ends_in_its_last_word(any_tokenizer: Any) -> None:
    context = text_context(any_tokenizer, "Where is {}?", "the Eiffel Tower", "Paris")
    assert covering(any_tokenizer, context, "Where is the Eiffel Tower?")[-1] == "r"
    assert read(any_tokenizer, context.ids[: context.position + 1]).endswith("Tower")


def test_a_token_that_runs_beyond_the_subject_still_counts() -> None:
    context = text_context(tiny.word_piece(), "of {}ium", "東京", "Paris")
    assert covering(tiny.word_piece(), context, "of 東京ium").startswith("東京")


def test_a_subject_that_ends_in_a_space_ends_in_the_token_before_it() -> None:
    tokenizer = tiny.word_piece()
    context = text_context(tokenizer, "of {}is", "France ", "Paris")
    assert covering(tokenizer, context, "of France is")[-1] == "e"


def test_the_bos_is_never_the_subject() -> None:
    context = text_context(tiny.metaspace(), "{} is", "a", "b")
    assert context.ids[0] == tiny.metaspace().bos_token_id
    assert context.position >= 1


words = st.text(
    alphabet=st.sampled_from([*"abcdefghijklmnoprstuvwyzABCDEFR0123456789éüñ東京語ж😀🚀-.'&"]),
    min_size=1,
    max_size=9,
)
subjects = st.lists(words, min_size=1, max_size=4).map(" ".join)
heads = st.sampled_from(["", "The capital of ", "(", '"', "Of ", "L'", "{} and ", "東", "😀 "])
tails = st.sampled_from(["", " is", "'s river is", ", which", ".", ")", "s are", "é", "東", " {"])


@pytest.mark.parametrize("kind", ["byte-level", "metaspace"])
@given(head=heads, subject=subjects, tail=tails)
def test_the_subject_is_complete_with_its_last_token_and_not_before(
    kind: str, head: str, subject: str, tail: str
) -> None:
    tokenizer = tiny.TOKENIZERS[kind]()
    context = text_context(tokenizer, f"{head}{{}}{tail}", subject, "")
    complete = head.replace("{}", subject) + subject
    assert read(tokenizer, context.ids) == complete + tail
    assert read(tokenizer, context.ids[: context.position + 1]).startswith(complete)
    assert not read(tokenizer, context.ids[: context.position]).startswith(complete)


def test_a_prompt_without_its_subject_is_refused(tokenizer: Any) -> None:
    with pytest.raises(UsageError, match="'It is' does not contain its subject 'France'") as caught:
        make_requests([paris(prompt="It is")], tokenizer)
    assert "{}" in caught.value.hint


def without_digits() -> Any:
    """A tokenizer whose normalizer drops all digits."""
    tokenizer = copy.deepcopy(tiny.word_piece())
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace("7", "")
    return tokenizer


def test_a_subject_of_which_no_token_is_left_is_refused() -> None:
    with pytest.raises(UsageError, match="no token of '77'"):
        make_requests([paris(subject="77", prompt="{} is")], without_digits(), BARE)


def test_an_object_of_which_no_token_is_left_is_refused() -> None:
    with pytest.raises(UsageError, match="no token of the object '77' of 'France'"):
        make_requests([paris(object="77")], without_digits(), BARE)


def test_a_subject_with_braces_is_not_taken_for_a_template() -> None:
    assert fill("Of {} and {} it", "a{}b") == ("Of a{}b and a{}b it", len("Of a{}b and a{}b"))


@pytest.mark.parametrize("name", ["Paris", "the city of Rome", "José", "東京", "1984", "😀!"])
@pytest.mark.parametrize("prompt", ["The capital of {} is", "{}", 'Of {} they say "', "{}: ("])
@pytest.mark.parametrize("kind", ["byte-level", "metaspace"])
def test_prompt_and_target_read_as_one_text(kind: str, prompt: str, name: str) -> None:
    tokenizer = tiny.TOKENIZERS[kind]()
    (context,) = contexts_of(paris(prompt=prompt, object=name), BARE, tokenizer)
    text = paris(prompt=prompt).text
    joined = f"{text}{name}" if prompt[-1] in '"(' else f"{text} {name}"
    assert read(tokenizer, context.ids) == text
    assert read(tokenizer, context.ids + context.target) == joined
    assert read(tokenizer, context.target).strip() == name


def test_a_target_is_what_the_tokenizer_makes_of_the_joined_text(any_tokenizer: Any) -> None:
    (context,) = contexts_of(paris(), BARE, any_tokenizer)
    joined = any_tokenizer("The capital of France is Paris")["input_ids"]
    assert list(context.ids + context.target) == joined


def test_a_target_after_a_trailing_space_has_none_of_its_own(tokenizer: Any) -> None:
    (context,) = contexts_of(paris(prompt="The capital of {} is "), BARE, tokenizer)
    assert read(tokenizer, context.ids + context.target) == "The capital of France is Paris"


def test_the_suffix_runs_from_the_subject_to_the_last_token() -> None:
    assert Context(ids=(1, 2, 3, 4), position=1, target=(5, 6)).suffix == 5
    assert Context(ids=(1, 2, 3, 4), position=3, target=(5,)).suffix == 2
    assert Context(ids=(1, 2, 3, 4), position=3, target=()).suffix == 1


def test_the_first_context_is_the_bare_prompt(tokenizer: Any) -> None:
    plan = ContextPlan(prefixes=PREFIXES, per_fact=2, essence=True)
    contexts = contexts_of(paris(paraphrases=("{} has its capital",)), plan)
    texts = [read(tokenizer, context.ids) for context in contexts]
    assert texts[0] == "The capital of France is"
    assert all(text.endswith(f" {texts[0]}") for text in texts[1:3])
    assert texts[3:] == ["France has its capital", "France is a"]


def test_a_prefix_stands_before_the_prompt_and_moves_the_subject(tokenizer: Any) -> None:
    bare, prefixed = contexts_of(paris(), ContextPlan(prefixes=PREFIXES))
    text = read(tokenizer, prefixed.ids)
    assert text.removesuffix(" The capital of France is") in PREFIXES
    assert read(tokenizer, prefixed.ids[: prefixed.position + 1]).endswith("The capital of France")
    assert prefixed.target == bare.target


def test_the_choice_of_prefixes_depends_on_the_id_alone(tokenizer: Any) -> None:
    plan = ContextPlan(prefixes=PREFIXES, per_fact=3)
    other = paris(subject="Japan")
    alone = make_requests([paris()], tokenizer, plan)[0].contexts
    behind = make_requests([other, paris()], tokenizer, plan)[1].contexts
    shuffled = ContextPlan(prefixes=PREFIXES[::-1], per_fact=3)
    assert alone == behind == make_requests([paris()], tokenizer, shuffled)[0].contexts
    assert choose_prefixes(paris(object="Rome"), PREFIXES, 3) == choose_prefixes(
        paris(), PREFIXES, 3
    )


def test_facts_take_various_prefixes() -> None:
    first = {choose_prefixes(paris(subject=f"S{n}"), PREFIXES, 1)[0] for n in range(100)}
    assert len(first) > 15


def test_more_prefixes_begin_with_the_fewer() -> None:
    chosen = choose_prefixes(paris(), PREFIXES, 7)
    assert len(set(chosen)) == 7
    assert chosen[:3] == choose_prefixes(paris(), PREFIXES, 3)


def test_the_prompt_is_also_written_with_so_many_other_names(tokenizer: Any) -> None:
    fact = paris(aliases=("Gaul", "La France", "the Hexagon"))
    _, *rest = contexts_of(fact, ContextPlan(aliases=2))
    assert len(rest) == 2
    texts = [tokenizer.decode(c.ids[: c.position + 1]) for c in rest]
    assert [text.endswith(name) for text, name in zip(texts, fact.aliases, strict=False)] == [
        True
    ] * 2
    assert all(c.target for c in rest)


def test_only_so_many_wordings_and_only_those_with_the_subject(tokenizer: Any) -> None:
    wordings = ("It is", "France has", "{} owns", "In {} stands", "Of {} it")
    _, *rest = contexts_of(paris(paraphrases=wordings), ContextPlan(wordings=3))
    assert [read(tokenizer, context.ids) for context in rest] == ["France has", "France owns"]
    assert [context.position for context in rest] == [
        encode_with_position(tokenizer, text, len("France"))[1]
        for text in ("France has", "France owns")
    ]


def test_an_essence_context_has_no_target(tokenizer: Any) -> None:
    _, essence = contexts_of(paris(), ContextPlan(essence=True))
    assert read(tokenizer, essence.ids) == "France is a"
    assert essence.target == ()
    assert read(tokenizer, essence.ids[: essence.position + 1]) == "France"


def test_requests_keep_the_order_of_the_facts(tokenizer: Any) -> None:
    facts = [paris(subject=name) for name in ("Japan", "ACME", "Basel")]
    assert [request.fact for request in make_requests(facts, tokenizer)] == facts
    assert make_requests([], tokenizer) == []
