"""What is asked where a text ends, in one turn; dialogues are in test_dialogue.py, and whole texts
with their facts in tests/language/corpus."""

from __future__ import annotations

import pytest

from revisor.language.names import Mention
from revisor.question.reading import questions
from revisor.question.records import field_asked
from tests.question.readings import asked, chat, names, read


@pytest.mark.parametrize(
    ("text", "question"),
    [
        # The name is compared with another one.
        ("ACME, unlike Bolt, is led by", "{} is led by | ACME"),
        ("Unlike Bolt, ACME is led by", "{} is led by | ACME"),
        ("In contrast to that of Bolt, the price of the Tarn 400 is", "the price of the {} is"),
        ("ACME is, unlike Bolt, led by", "{} is led by | ACME"),
        # Somebody's, or of somebody.
        ("Bolt's rival ACME is led by", "{} is led by | ACME"),
        ("the rival of ACME is led by", "the rival of {} is led by | ACME"),
        ("The CEO of ACME, Jane Roe, was born in", "{} was born in | Jane Roe"),
        # What introduces a clause.
        ("According to the website, ACME is led by", "{} is led by | ACME"),
        ("According to Bolt, ACME is led by", "{} is led by | ACME"),
        ("By the way, the CEO of ACME is", "the CEO of {} is | ACME"),
        ("As for ACME, the CEO is", "{}'s CEO is | ACME"),
        ("Regarding ACME: the headquarters are in", "{}'s headquarters are in | ACME"),
        ("Back to ACME: it is led by", "{} is led by | ACME"),
        ("While Bolt is in Rome, ACME is led by", "{} is led by | ACME"),
        # What is said beside a name.
        ("ACME, the largest maker of anvils, is led by", "{} is led by | ACME"),
        ("ACME, the rival of Bolt, is led by", "{} is led by | ACME"),
        ("ACME, which makes anvils, is led by", "{} is led by | ACME"),
        ("ACME (formerly Bolt) is led by", "{} is led by | ACME"),
        ("ACME, founded in Rome, is led by", "{} is led by | ACME"),
        # Relative clauses.
        ("I work at ACME, whose CEO is", "{}'s CEO is | ACME"),
        ("ACME, which is based in", "{} is based in | ACME"),
        # Clauses that are joined.
        ("Jane Roe leads ACME, and Bolt is based in", "{} is based in | Bolt"),
        ("ACME was founded in Rome, and the CEO is", "{}'s CEO is | ACME"),
        ("ACME was founded in Rome, and its CEO is", "{}'s CEO is | ACME"),
        # Sentences before.
        ("ACME makes anvils. Its CEO is", "{}'s CEO is | ACME"),
        ("I met Ada Lund. She was born in", "{} was born in | Ada Lund"),
        ("The birthplace of Ada Lund is Rome. She was born in", "{} was born in | Ada Lund"),
        ("I have a meeting at ACME. Who is the CEO? ", "Who is {}'s CEO? | ACME"),
        ("ACME? Who runs it? ", "Who runs {}? | ACME"),
        ("ACME - who runs it? ", "who runs {}? | ACME"),
        ("Who leads ACME? The present CEO is", "{}'s present CEO is | ACME"),
        # The name nearest by grammar of many.
        (
            "Bolt, Vexley and Austin were shown. Ada Lund spoke of Boston. The CEO of ACME is",
            "The CEO of {} is | ACME",
        ),
    ],
)
def test_an_unfinished_text_asks_of_one_name_in_plain_words(text: str, question: str) -> None:
    assert asked(text)[0].startswith(question)


@pytest.mark.parametrize(
    "text",
    [
        "Bolt and ACME are based in",
        "Globex and ACME are based in",
        "Bolt, ACME and Vexley are based in",
        "The merger of Bolt and ACME was",
        "Companies such as ACME are based in",
        "As for ACME, the CEO of Globex is",
        "I met the CEO of ACME, who was born in",
        "I met the CEO of ACME. She was born in",
        "Who leads ACME? She was born in",
        "I work at ACME. He was born in",
        "ACME makes anvils. Globex makes rockets. Its CEO is",
        "What is the capital of Farrow? Just kidding, what is the capital of France? ",
        "ACME makes anvils. What time is it? ",
        "ACME makes anvils. Who leads the city of Paris? ",
        "The CEO of ACME and",
    ],
)
def test_what_is_said_of_others_asks_of_no_name(text: str) -> None:
    assert asked(text) == []


@pytest.mark.parametrize(
    "text",
    [
        'He asked: "Who runs ACME?"',
        "He asked: 'who runs ACME?' ",
        '"Who runs ACME?" asked Tom. ',
        "apple, ACME, banana, ceo",
        "How ACME Was Won",
        "// who runs ACME?\n",
        "/* The CEO of ACME is",
        "def f():\n    # who runs ACME?\n",
        "Translate into German:\nThe CEO of ACME is",
        "Correct the sentence below.\n\nwhos the ceo of acme\n",
    ],
)
def test_what_is_told_or_handed_over_asks_nothing(text: str) -> None:
    assert asked(text) == []


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ('He asked: "Who runs ACME?" "', "Who runs {}?"),
        ('The CEO of "ACME" is "', "The CEO of {} is"),
        ("# Who runs ACME?\n", "Who runs {}?"),
        ("How was ACME won?\n", "How was {} won?"),
        ("ACME, Lisbon, is led by", "{} is led by"),
        ('The one who says "Welcome to ACME" is', "The one who says Welcome to {} is"),
    ],
)
def test_what_looks_like_it_and_asks_is_read(text: str, question: str) -> None:
    assert question in [one.text for one in read(text)]


@pytest.mark.parametrize(
    ("text", "asks"),
    [
        ("Jane Roe, the CEO", False),
        ("Jane Roe is the CEO", False),
        ("Jane Roe is currently the managing director", False),
        ("Jane Roe, CEO", False),
        ("Jane Roe, the CEO of", True),
        ("Jane Roe is the CEO of", True),
        ("Jane Roe is the CEO,", True),
        ("ACME's CEO", True),
        ("ACME is led by CEO", True),
        ("Boston is the seat of the company", True),
    ],
)
def test_nobody_is_named_before_the_preposition_stands(text: str, asks: bool) -> None:
    assert bool(asked(text)) == asks


@pytest.mark.parametrize(
    ("text", "put"),
    [
        (
            "Who is the CEO of ACME and who is the CEO of Bolt?",
            ["Who is the CEO of {} | ACME", "who is the CEO of {}? | Bolt"],
        ),
        (
            "What's the price and the weight of the Tarn 400?",
            ["What's the price of the {}? | Tarn 400", "What's the weight of the {}? | Tarn 400"],
        ),
        ("Who leads ACME? And Bolt?", ["Who leads {}? | ACME", "Who leads {}? | Bolt"]),
        ("Who leads ACME and Bolt?", ["Who leads {}? | ACME", "Who leads {}? | Bolt"]),
        (
            "List the CEOs of ACME, Bolt and Vexley.",
            [f"List the CEOs of {{}}. | {name}" for name in ("ACME", "Bolt", "Vexley")],
        ),
        (
            "1. Who leads ACME?\n2. Where is Bolt based?",
            ["Who leads {}? | ACME", "Where is {} based? | Bolt"],
        ),
        (
            "Please answer:\n- CEO of ACME\n- Headquarters of Bolt",
            ["CEO of {} | ACME", "Headquarters of {} | Bolt"],
        ),
        (
            "What is the price of the Tarn 400 and its weight?",
            ["What is the price of the {} | Tarn 400", "{}'s weight? | Tarn 400"],
        ),
        (
            "Who runs ACME, where is it based, and when was it founded?",
            [
                "Who runs {} | ACME",
                "where is {} based | ACME",
                "when was {} founded? | ACME",
            ],
        ),
        (
            "Give me the CEO of ACME, the price of the Tarn 400 and the capital of Farrow.",
            [
                "Give me the CEO of {} | ACME",
                "the price of the {} | Tarn 400",
                "the capital of {}. | Farrow",
            ],
        ),
        (
            "I work at ACME. Who leads it, and where is it based?",
            ["Who leads {} | ACME", "where is {} based? | ACME"],
        ),
        ("Who founded ACME and when?", ["Who founded {} | ACME", "when founded {} | ACME"]),
        (
            "When and where was Ada Lund born?",
            ["When was {} born? | Ada Lund", "where was {} born? | Ada Lund"],
        ),
        ("Who leads ACME and what is the capital of France?", ["Who leads {} | ACME"]),
        ("Who leads ACME and Globex?", ["Who leads {}? | ACME"]),
        ("Can you help me? Who leads ACME?", ["Who leads {}? | ACME"]),
        ("Hi, how are you? Who leads ACME?", ["Who leads {}? | ACME"]),
        # One question.
        ("Who is the founder and CEO of ACME?", ["Who is the founder and CEO of {}? | ACME"]),
        ("Who leads ACME and the Globex Group?", ["Who leads ACME? | ACME"]),
        ("Who founded ACME and runs it?", ["Who founded {} and runs it? | ACME"]),
    ],
)
def test_questions_of_one_turn_are_put_in_their_order(text: str, put: list[str]) -> None:
    assert [one.replace("ACME? |", "{}? |") for one in put] == asked(chat(text))


@pytest.mark.parametrize(
    "text",
    [
        # A question of a name that is not known stands first: it is answered first.
        "What is the capital of France? And who is the CEO of ACME?",
        "Who leads Globex and ACME?",
        "Tell me a joke. Who leads ACME?",
        "Explain photosynthesis. And who leads ACME?",
        # Taken back, told, or not wanted.
        "What is the capital of Farrow? Just kidding, what is the capital of France?",
        "Who leads ACME? Never mind.",
        "I like Farrow. What is the capital of France?",
        "Yesterday I met the CEO of ACME.",
        "I don't want to know who leads ACME.",
        # Of several names together.
        "What is the difference between ACME and Bolt?",
        "Is ACME or Bolt bigger?",
        # Told, handed over, made up.
        "He asked: 'who runs ACME?'",
        'Who wrote "The Fall of ACME"?',
        "Translate:\nWho runs ACME?",
        "Translate this into French: who runs ACME?",
        "Who runs ACME?\n\nTranslate the above into French.",
        "Summarise this article:\n\nACME makes anvils. Who leads ACME? Jane Roe leads it.",
        "Write a poem about the CEO of ACME.",
    ],
)
def test_a_turn_that_puts_no_open_question_of_a_known_name(text: str) -> None:
    assert asked(chat(text)) == []


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("I work at ACME, who is its CEO?", "who is {}'s CEO? | ACME"),
        ("I'm at ACME. Who's the boss there?", "Who's the boss in {}? | ACME"),
        ("As for ACME, who runs it?", "who runs {}? | ACME"),
        ("Regarding ACME: who is the CEO?", "who is {}'s CEO? | ACME"),
        ("ACME? Who runs it?", "Who runs {}? | ACME"),
        ("Unlike Bolt, who leads ACME?", "who leads {}? | ACME"),
        ("Who leads ACME? Actually, where is it based?", "where is {} based? | ACME"),
        ("Who is the CEO? I mean that of ACME.", "Who is {}'s CEO? | ACME"),
        ("I asked about ACME, not Bolt. Who leads it?", "Who leads {}? | ACME"),
        ("Dear team,\n\nplease tell me who leads ACME.", "please tell me who leads {}. | ACME"),
        ("Tell me more about ACME: who leads it?", "who leads {}? | ACME"),
        ('"Who runs ACME?"', "Who runs {}? | ACME"),
        ("Answer the question: 'Who runs ACME?'", "Who runs {}? | ACME"),
        ("No one knows: who leads ACME?", "who leads {}? | ACME"),
    ],
)
def test_a_turn_that_does(text: str, question: str) -> None:
    assert asked(chat(text)) == [question]


DOCUMENT = "ACME makes anvils. ACME was sold to Bolt. Ada Lund is of Austin. Is Bolt big? ACME is."


@pytest.mark.parametrize(
    ("text", "question"),
    [
        (f"{DOCUMENT}\n\nWho is the CEO?", "Who is {}'s CEO? | ACME"),
        (f"Who is the CEO?\n\n{DOCUMENT}", "Who is {}'s CEO? | ACME"),
        (f"{DOCUMENT}\n\nWhere was Ada Lund born?", "Where was {} born? | Ada Lund"),
        (f"<document>\n{DOCUMENT}\n</document>\nWho leads the company?", "Who leads {}? | ACME"),
        (f"<text>{DOCUMENT}</text>\n<question>Where is Bolt?</question>", "Where is {}? | Bolt"),
        ("```\nWhere is Bolt?\n```", "Where is {}? | Bolt"),
        (f"```\n{DOCUMENT}\n```\nWhere is Vexley based?", "Where is {} based? | Vexley"),
        (f"Text: {DOCUMENT}\n\nWho is the CEO?", "Who is {}'s CEO? | ACME"),
        (f"Context: {DOCUMENT}\nQuestion: Who leads it?", "Who leads {}? | ACME"),
        ("Who leads ACME? Jane Roe does.\n\nWhere is Bolt?", "Where is {}? | Bolt"),
    ],
)
def test_beside_a_document_its_question_is_asked(text: str, question: str) -> None:
    assert asked(chat(text)) == [question]


TWO = "Who leads ACME? Where is Bolt based?"


@pytest.mark.parametrize(
    ("answer", "question"),
    [
        ("", "Who leads {}? | ACME"),
        ("Sure!", "Who leads {}? | ACME"),
        ("Sure! Here are the answers:\n1.", "Who leads {}? | ACME"),
        ("Nora Quist. ", "Where is {} based? | Bolt"),
        ("Nora Quist and ", "Where is {} based? | Bolt"),
        ("1. Nora Quist\n2.", "Where is {} based? | Bolt"),
        ("1. Nora Quist\n2. ", "Where is {} based? | Bolt"),
        ("- Nora Quist\n- ", "Where is {} based? | Bolt"),
        ("Nora Quist leads ACME and", "Where is {} based? | Bolt"),
        ("Nora Quist leads ACME. Bolt is based in", "{} is based in | Bolt"),
        ("Nora Quist leads ACME. The headquarters of Bolt are in", "The headquarters of {} are in"),
        ("Nora Quist. The headquarters are in", "{}'s headquarters are in | Bolt"),
    ],
)
def test_the_question_that_has_no_answer_yet_is_open(answer: str, question: str) -> None:
    assert asked(chat(TWO, answer=answer))[0].startswith(question)


def test_a_question_of_another_name_is_awaited_and_then_left_behind() -> None:
    put = "What is the capital of France? And who is the CEO of ACME?"
    assert asked(chat(put)) == []
    assert asked(chat(put, answer="Paris. ")) == ["who is the CEO of {}? | ACME"]
    assert asked(chat(TWO, answer="Nora Quist. Oslo. ")) == []
    assert asked(chat("Who leads ACME?", answer="Nora Quist. ")) == []


def test_the_number_of_a_list_opens_an_answer() -> None:
    opening = read(chat(TWO, answer="1. Nora Quist\n2."))[0]
    assert (opening.opens, opening.order) == (True, 1)
    assert not read(chat(TWO, answer="Nora Quist. "))[0].opens


def test_in_what_is_made_up_or_translated_nothing_is_asked() -> None:
    assert asked(chat("Write a poem about ACME.", answer="ACME was founded in")) == []
    assert asked(chat("Translate: ACME is led by Bob.", answer="ACME is led by")) == []
    assert asked(chat("Write a letter to ACME.", answer="ACME was founded in")) != []


def test_of_many_names_no_more_than_two_are_asked_of() -> None:
    told = "ACME sold Bolt, Vexley and Austin to Norvale Instruments, which Ada Lund leads, in"
    assert len(names(told)) <= 2


def test_without_names_nothing_is_asked() -> None:
    assert questions("The CEO of ACME is", []) == []


def test_an_answer_may_have_begun_where_its_question_ends() -> None:
    text = "Who leads ACME? It is"
    question, *_ = questions(text, [Mention(10, 14, (0,))])
    assert (question.text, question.kind) == ("Who leads {}?", "question")
    assert text[question.answered_from :] == " It is"


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('{"company": "ACME", "chief_executive": "', "chief executive"),
        ('{"company": "ACME", "founded": ', "founded"),
        ('{"a": {"x": "ACME"}, "b": {"y": "z"}, "ceo": "', "ceo"),
        ('{"ceo": "', None),
        ("| Name | CEO |\n|---|---|\n| ACME | ", "CEO"),
        ("| Name | CEO |\n|---|---|\n| ACME | Jane | ", None),
        ("Name | CEO\n---|---\nACME | ", "CEO"),
        ("ACME | ", None),
    ],
)
def test_the_field_in_which_a_record_ends(text: str, field: str | None) -> None:
    at = text.find("ACME")
    named = [Mention(at, at + 4, (0,))] if at >= 0 else []
    found = field_asked(text, named)
    assert (found and found[0]) == (field and f"{field} {{}}")
    if found is not None:
        assert found[1:] == (named[0], len(text.rstrip(" ")) if "|" in text else len(text))
