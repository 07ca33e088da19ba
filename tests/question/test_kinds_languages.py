"""What a question of another language than English asks for, and whether it asks."""

from __future__ import annotations

import pytest

from revisor.question.kinds import asks_yes_or_no, fits, said_of_another, works_on_text

ANSWERS = {
    "german": [
        ("Wann wurde {} gegründet?", "1987"),
        ("Wann hat {} geöffnet?", "Dienstag bis Sonntag"),
        ("Wann hat {} geöffnet?", "Tuesday to Sunday"),
        ("Wo hat {} den Hauptsitz?", "Tampere"),
        ("Wie viele Leute arbeiten bei {}?", "rund vierzig"),
        ("Wer leitet {}?", "Jane Roe"),
        ("Die Firma, die {} besitzt, ist", "1987"),
    ],
    "french": [
        ("Quand {} a-t-elle été fondée ?", "le 3 mai 1961"),
        ("L'année où {} a été fondée est", "1987"),
        ("Où se trouve {} ?", "Lyon"),
        ("Combien coûte {} ?", "299 €"),
        ("Combien coûte {} ?", "gratuit"),
        ("Qui dirige {} ?", "Jane Roe"),
    ],
    "spanish": [
        ("¿Cuándo se fundó {}?", "en mayo"),
        ("¿Dónde está {}?", "Lisboa"),
        ("¿Dónde está {}?", "County Mayo"),
        ("¿Cuántos empleados tiene {}?", "unos cuarenta"),
        ("¿Quién dirige {}?", "Jane Roe"),
        ("Cuando {} se fundó, su sede estaba en", "Lisboa"),
    ],
    "chinese": [
        ("{}是什么时候成立的？", "1987年"),
        ("{}几点开门？", "星期二到星期日"),
        ("{}的总部在哪里？", "坦佩雷"),
        ("{}有多少员工？", "四十"),
        ("{}的密码是多少？", "lensgrinder"),
        ("{}的首席执行官是谁？", "简·罗"),
    ],
}
OTHERS = {
    "german": [
        ("Wann wurde {} gegründet?", "Tampere"),
        ("In welchem Jahr wurde {} gegründet?", "Tampere"),
        ("Wo sitzt {}?", "1987"),
        ("Wie viele Einwohner hat {}?", "Tarnsby"),
        ("Wer leitet {}?", "3. Mai 2001"),
        ("Welches Gewicht hat {}?", "$1,249"),
    ],
    "french": [
        ("Quand {} a-t-elle été fondée ?", "Lyon"),
        ("En quelle année {} a-t-elle été fondée ?", "Lyon"),
        ("Où se trouve {} ?", "3 mai 2001"),
        ("Combien d'habitants compte {} ?", "Tarnsby"),
        ("Quel âge a {} ?", "Lyon"),
        ("Qui dirige {} ?", "1987"),
    ],
    "spanish": [
        ("¿Cuándo se fundó {}?", "Lisboa"),
        ("¿En qué año se fundó {}?", "Lisboa"),
        ("¿Dónde está {}?", "mayo"),
        ("¿Cuántos habitantes tiene {}?", "Tarnsby"),
        ("cuanto cuesta {}", "Lisboa"),
        ("¿Quién dirige {}?", "$1,249"),
    ],
    "chinese": [
        ("{}是什么时候成立的？", "坦佩雷"),
        ("{}成立于哪一年？", "坦佩雷"),
        ("{}几点开门？", "坦佩雷"),
        ("{}的总部在哪里？", "1987年"),
        ("{}多少钱？", "坦佩雷"),
        ("{}的首席执行官是谁？", "1987"),
    ],
}
YES_OR_NO = {
    "german": ["Hat {} eine Katze?", "Liegt {} in Finnland?", "Kann man in {} parken?"],
    "french": ["Est-ce que {} a un chat ?", "Est-ce qu'on peut se garer chez {} ?"]
    + ["{} a-t-il un chat ?"],
    "spanish": ["¿Es Jane Roe la directora de {}?", "¿Tiene {} un gato?", "Está {} en Lisboa?"],
    "chinese": ["{}有猫吗？", "{}的名字可以改吗？", "{}是不是在芬兰？"],
}
MORE = {
    "german": [
        "Kannst du mir die Adresse von {} nennen?",
        "Wissen Sie, wer {} leitet?",
        "Gibt es eine Telefonnummer von {}?",
        "{} liegt in",
        "Geboren wurde {} in",
    ],
    "french": [
        "Est-ce que tu sais qui dirige {} ?",
        "Pouvez-vous me donner l'adresse de {} ?",
        "Y a-t-il un numéro de téléphone pour {} ?",
        "Quand {} a-t-il été fondé ?",
        "{} est dirigé par",
    ],
    "spanish": [
        "Es en Lisboa donde está la sede de {}",
        "Fue fundada {} en",
        "¿Puedes decirme quién dirige {}?",
        "¿Puede darme la dirección de {}?",
        "¿Dónde está {}?",
    ],
    "chinese": [
        "你知道{}的首席执行官是谁吗？",
        "能告诉我{}的地址吗？",
        "有{}的电话号码吗？",
        "{}的总部位于",
        "{}的总部在哪里？",
    ],
}
ON_A_TEXT = {
    "german": ["Übersetze: „Die Hauptstadt von {} ist schön.“", "Bitte fasse zusammen: {} ist"],
    "french": ["Traduis en anglais : la longueur du {} m'a surpris.", "Svp, résume : {} est"],
    "spanish": ["Traduce al inglés: La capital de {} es bonita.", "Por favor, corrige: {} es"],
    "chinese": ["翻译成英文：{}的首都是哪里？", "请把“{}的首都是哪里”翻译成英文。"],
}
NO_TEXT = {
    "german": ["Nenne den Chef von {}.", "Die Übersetzung von {} ist"],
    "french": ["Donne-moi l'adresse de {}.", "Qui traduit {} ?"],
    "spanish": ["Dime la capital de {}.", "¿Quién traduce {}?"],
    "chinese": ["告诉我{}的首都。", "{}的译者是谁？"],
}


def every(cases: dict[str, list]) -> list:  # type: ignore[type-arg]
    return [one for some in cases.values() for one in some]


@pytest.mark.parametrize(("question", "obj"), every(ANSWERS))
def test_an_object_of_the_kind_that_is_asked_for_fits(question: str, obj: str) -> None:
    assert fits(question, obj)


@pytest.mark.parametrize(("question", "obj"), every(OTHERS))
def test_an_object_of_another_kind_does_not(question: str, obj: str) -> None:
    assert not fits(question, obj)


@pytest.mark.parametrize("question", every(YES_OR_NO))
def test_a_question_of_yes_or_no_is_told(question: str) -> None:
    assert asks_yes_or_no(question)


@pytest.mark.parametrize("question", every(MORE))
def test_a_question_for_more_than_yes_or_no_is_not_taken_for_one(question: str) -> None:
    assert not asks_yes_or_no(question)


@pytest.mark.parametrize("question", every(ON_A_TEXT))
def test_a_request_about_a_text_is_told(question: str) -> None:
    assert works_on_text(question)


@pytest.mark.parametrize("question", every(NO_TEXT))
def test_a_request_for_an_answer_is_not_taken_for_one(question: str) -> None:
    assert not works_on_text(question)


def test_what_is_said_of_another_is_told() -> None:
    assert said_of_another("La mujer que vive en {} es", "{} es conocida por")
    assert said_of_another("Lyon, {}, où il était", "La langue de {} est")
    assert not said_of_another("En {}, el idioma oficial es", "{} habla")
    assert not said_of_another("Der Chef von {} ist", "{} wird geleitet von")
    assert not said_of_another("在{}，官方语言是", "{}的官方语言是")


def test_the_words_of_one_language_are_none_of_another() -> None:
    """German "war" asks for yes or no, English "war" does not; "Mayo" is no month in English."""
    assert asks_yes_or_no("War Jane Roe die Chefin von {}?")
    assert not asks_yes_or_no("War and peace in {}: the king was")
    assert fits("Where is {}?", "Mayo")
    assert not asks_yes_or_no("Die casting at {} is done by")
