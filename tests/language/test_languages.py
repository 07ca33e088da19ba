"""What is read from texts in German, French, Spanish and Chinese, by the rules for English."""

from __future__ import annotations

import pytest

from revisor.language.names import mentions
from revisor.language.reader import NameReader
from revisor.language.sentences import sentences
from revisor.language.turns import turns
from revisor.question.put import Question
from revisor.question.reading import questions
from tests.gate.dictionary import Dictionary, fact

NAMES = ("ACME", "Norvale", "Ember", "Veldane", "Tarn 400", "The Saltmarrow Letters", "诺维尔")
FACTS = Dictionary(fact(name, "x", "{} is") for name in NAMES)


def chat(*said: str, answer: str = "") -> str:
    """A dialogue by turns, open where the next answer begins, or behind what it has said."""
    roles = ("user", "assistant")
    put = [f"<|im_start|>{roles[at % 2]}\n{one}<|im_end|>\n" for at, one in enumerate(said)]
    return "".join(put) + "<|im_start|>assistant\n" + answer


def read(text: str) -> list[Question]:
    """The readings of a text where it ends, but for those of statements."""
    whole = [one for one in mentions(text, FACTS) if one.within is None]
    return [one for one in questions(text, whole) if one.kind != "statement"]


# Texts, each with what is read first from it.
ASK = {
    "german": [
        ("Der Sitz von ACME ist in", "Der Sitz von {} ist in"),
        ("ACMEs neuer Chef heißt", "{}s neuer Chef heißt"),
        ("acmes chef heißt", "{}s chef heißt"),
        ("Der ACME-Chef heißt", "Der {}-Chef heißt"),
        ("Im Restaurant Ember kocht", "Im Restaurant {} kocht"),
        ("ACME wurde am 3. Mai 1995 gegründet von", "{} wurde am 3. Mai 1995 gegründet von"),
        ("Der Autor von „The Saltmarrow Letters“ ist", "Der Autor von {} ist"),
        ("ACME stellt Ambosse her. Ihr Hauptsitz ist in", "{}s Hauptsitz ist in"),
        ("ACME stellt Ambosse her. Die Firma wird geleitet von", "{} wird geleitet von"),
        ("Die Firma ACME GmbH sitzt in", "Die Firma {} sitzt in"),
        ("ACME\nHauptsitz:", "Hauptsitz {}"),
        ("Frage: Wer leitet ACME?\nAntwort:", "Wer leitet {}?"),
        ("F: Wer leitet ACME?\nA:", "Wer leitet {}?"),
        ("Nutzer: Wer leitet ACME?\nAssistent:", "Wer leitet {}?"),
        (chat("wie schwer ist das tarn 400 eigentlich"), "wie schwer ist das {} eigentlich"),
        (chat("Wer leitet ACME? Vielen Dank im Voraus!"), "Wer leitet {}?"),
        (chat("Nenne mir bitte die Adresse von ACME."), "Nenne mir bitte die Adresse von {}."),
        (chat("Ich möchte wissen, wer ACME leitet."), "Ich möchte wissen, wer {} leitet."),
        (chat("Ich habe ein Tarn 400. Was kostet das?"), "Was kostet {}?"),
        (chat("Wer leitet ACME?", "Jane Roe.", "Und wo sitzt sie?"), "wo sitzt {}?"),
        (chat("Wer leitet ACME?", "Jane Roe.", "Und der Hauptsitz?"), "{}s Hauptsitz?"),
        (chat("Wer leitet ACME?", "Jane Roe.", "Wo sitzt die Firma?"), "Wo sitzt {}?"),
        (chat("Wer leitet ACME?", "Jane Roe.", "Und bei Norvale?"), "Wer leitet {}?"),
        (chat("Wer leitet ACME?", answer="Gern! Die Antwort lautet"), "Wer leitet {}?"),
        (chat("Wer leitet ACME?", answer="Sie wird geleitet von"), "{} wird geleitet von"),
    ],
    "french": [
        ("Le siège d'ACME se trouve à", "Le siège d'{} se trouve à"),
        ("L'ACME a été fondée par", "L'{} a été fondée par"),
        ("À Veldane, la langue officielle est", "À {}, la langue officielle est"),
        ("L'auteur de « The Saltmarrow Letters » est", "L'auteur de {} est"),
        ("ACME fabrique des enclumes. Son siège est à", "siège de {} est à"),
        ("ACME fabrique des enclumes. La société est dirigée par", "{} est dirigée par"),
        ("Numéro de téléphone d'ACME :", "Numéro de téléphone d'{} :"),
        ("ACME\nSiège :", "Siège {}"),
        ("Question : Qui dirige ACME ?\nRéponse :", "Qui dirige {} ?"),
        ("Q : Qui dirige ACME ?\nR :", "Qui dirige {} ?"),
        (chat("c'est où le siège d'acme"), "c'est où le siège d'{}"),
        (chat("Merci d'avance. Qui dirige ACME ?"), "Qui dirige {} ?"),
        (
            chat("Donne-moi l'adresse d'ACME, s'il te plaît."),
            "Donne-moi l'adresse d'{}, s'il te plaît.",
        ),
        (chat("Je voudrais savoir qui dirige ACME."), "Je voudrais savoir qui dirige {}."),
        (chat("Je travaille chez ACME. Où est le siège ?"), "Où est le siège de {} ?"),
        (chat("Qui dirige ACME ?", "Jane Roe.", "Et où se trouve-t-elle ?"), "où se trouve-{} ?"),
        (chat("Qui dirige ACME ?", "Jane Roe.", "Et son siège ?"), "siège de {} ?"),
        (chat("Qui dirige ACME ?", "Jane Roe.", "Et le siège ?"), "le siège de {} ?"),
        (chat("Qui dirige ACME ?", "Jane Roe.", "Et Norvale ?"), "Qui dirige {} ?"),
        (
            chat("Qui dirige ACME ?", "Jane Roe.", "Quel est le numéro de téléphone ?"),
            "Quel est le numéro de téléphone de {} ?",
        ),
        (chat("Qui dirige ACME ?", answer="La réponse est"), "Qui dirige {} ?"),
        (chat("Qui dirige ACME ?", answer="Bien sûr ! C'est"), "Qui dirige {} ?"),
        (chat("Qui dirige ACME ?", answer="Elle est dirigée par"), "{} est dirigée par"),
    ],
    "spanish": [
        ("La sede de ACME está en", "La sede de {} está en"),
        ("En Veldane, quien gobierna es", "En {}, quien gobierna es"),
        ("ACME se fundó en", "{} se fundó en"),
        ("ACME fabrica yunques. Su sede está en", "sede de {} está en"),
        ("ACME fabrica yunques. La empresa tiene su sede en", "{} tiene su sede en"),
        ("Teléfono de ACME:", "Teléfono de {}:"),
        ("El Sr. López dirige ACME. La empresa está en", "{} está en"),
        ("Pregunta: ¿Quién dirige ACME?\nRespuesta:", "¿Quién dirige {}?"),
        ("P: ¿Quién dirige ACME?\nR:", "¿Quién dirige {}?"),
        (chat("¿Quién dirige ACME? Gracias de antemano."), "¿Quién dirige {}?"),
        (chat("quien dirige acme"), "quien dirige {}"),
        (chat("Dime la dirección de ACME, por favor."), "Dime la dirección de {}, por favor."),
        (chat("Quiero saber quién dirige ACME."), "Quiero saber quién dirige {}."),
        (chat("Trabajo en ACME. ¿Dónde está la sede?"), "¿Dónde está la sede de {}?"),
        (chat("¿Quién dirige ACME?", "Jane Roe.", "¿Y dónde está?"), "dónde está {}?"),
        (chat("¿Quién dirige ACME?", "Jane Roe.", "¿Y su sede?"), "sede de {}?"),
        (chat("¿Quién dirige ACME?", "Jane Roe.", "¿Y Norvale?"), "¿Quién dirige {}?"),
        (chat("¿Quién dirige ACME?", "Jane Roe.", "¿Dónde está la empresa?"), "¿Dónde está {}?"),
        (chat("¿Quién dirige ACME?", answer="La respuesta es"), "¿Quién dirige {}?"),
        (chat("¿Quién dirige ACME?", answer="Claro. Es"), "¿Quién dirige {}?"),
    ],
    "chinese": [
        ("ACME的总部位于", "{}的总部位于"),
        ("诺维尔的总部位于", "{}的总部位于"),
        ("《The Saltmarrow Letters》的作者是", "{}的作者是"),
        ("ACME 的首席执行官是", "{}的首席执行官是"),
        ("ACME生产铁砧。它的总部位于", "{}的总部位于"),
        ("ACME生产铁砧。该公司的总部位于", "{}的总部位于"),
        ("ACME的电话号码：", "{}的电话号码："),
        ("问：谁领导ACME？\n答：", "谁领导{}？"),
        ("问题：谁领导ACME？答案：", "谁领导{}？"),
        ("用户：ACME的总部在哪里？\n助手：", "{}的总部在哪里？"),
        (chat("Norvale公司的总部在哪里"), "{}的总部在哪里"),
        (chat("ACME有限公司的首席执行官是谁？"), "{}的首席执行官是谁？"),
        (chat("请告诉我ACME的地址。"), "请告诉我{}的地址。"),
        (chat("谁领导ACME？谢谢。"), "谁领导{}？"),
        (chat("我在ACME工作。总部在哪里？"), "{}总部在哪里？"),
        (chat("谁领导ACME？", "简·罗。", "那它的总部呢？"), "{}的总部？"),
        (chat("谁领导ACME？", "简·罗。", "那总部呢？"), "{}总部？"),
        (chat("谁领导ACME？", "简·罗。", "这家公司是什么时候成立的？"), "{}是什么时候成立的？"),
        (chat("谁领导ACME？", "简·罗。", "那Norvale呢？"), "谁领导{}？"),
        (chat("谁领导ACME？", "简·罗。", "电话号码是多少？"), "{}电话号码是多少？"),
        (chat("谁领导ACME？", "简·罗。", "其总部在哪里？"), "{}的总部在哪里？"),
        (chat("谁领导ACME？", answer="好的，答案是"), "谁领导{}？"),
    ],
}
# Texts from which nothing is read, or only what the user tells.
SILENT = {
    "german": [
        "Der Chef von ACME und",
        "Der ACME-Turm ist",
        "Der Chef von ACMEs",
        "In Bad Ember ist",
        "Ihr Hauptsitz ist in",
        chat("Ich arbeite bei ACME."),
        chat("Übersetze ins Englische: Wer leitet ACME?"),
        chat("Wer leitet ACME?", "Jane Roe.", "Danke!"),
        chat("Was kostet das?"),
        chat("Wer leitet ACME?", "Jane Roe.", "Wer schrieb Hamlet?"),
    ],
    "french": [
        "Le patron d'ACME, qui",
        "Son siège est à",
        "La société Nouvelle Ember est",
        chat("Je travaille chez ACME."),
        chat("Traduis en anglais : Qui dirige ACME ?"),
        chat("Qui dirige ACME ?", "Jane Roe.", "Merci !"),
        chat("Qui dirige ACME ?", "Jane Roe.", "Qui a écrit Hamlet ?"),
    ],
    "spanish": [
        "El jefe de ACME y",
        "Su sede está en",
        chat("Trabajo en ACME."),
        chat("Traduce al inglés: ¿Quién dirige ACME?"),
        chat("¿Quién dirige ACME?", "Jane Roe.", "¡Gracias!"),
        chat("¿Quién dirige ACME?", "Jane Roe.", "¿Quién escribió Hamlet?"),
    ],
    "chinese": [
        "ACME的老板和",
        "它的总部位于",
        chat("我在ACME工作。"),
        chat("请把“谁领导ACME？”翻译成英文。"),
        chat("谁领导ACME？", "简·罗。", "谢谢！"),
        chat("谁领导ACME？", "简·罗。", "法国的国王是谁？"),
    ],
}
# English texts with words of other languages, each with what is read first from it.
ENGLISH = [
    ("ACME makes anvils. One son works in", None),
    ("The war of ACME was won by", "The war of {} was won by"),
    ("The die of ACME is made by", "The die of {} is made by"),
    ("No, the CEO of ACME is", "No, the CEO of {} is"),
    ("The Ember Restaurant Ember is in", "The Ember Restaurant {} is in"),
    ("Fords and ACMEs are", None),
    ("The ACME-Chef is", None),
    ("ACME\nP: 555 317\nCEO:", "CEO {}"),
    (chat("Can I come to ACME?"), "Can I come to {}?"),
]
SENTENCES = [
    ("Am 3. Mai kam er. Wer leitet ACME?", ["Am 3. Mai kam er.", "Wer leitet ACME?", ""]),
    ("Er sagte „Ja.“ Wer leitet sie?", ["Er sagte „Ja.“", "Wer leitet sie?", ""]),
    (
        "Il dit « Oui. » Qui dirige ACME ? Merci !",
        ["Il dit « Oui. »", "Qui dirige ACME ?", "Merci !", ""],
    ),
    ("Mme. Roe dirige ACME. Son siège", ["Mme. Roe dirige ACME.", "Son siège"]),
    ("Hola.¿Quién es? ¡Gracias!", ["Hola.", "¿Quién es?", "¡Gracias!", ""]),
    ("真的吗？！谁领导ACME。好", ["真的吗？！", "谁领导ACME。", "好"]),
    ("He came in the 3. May I ask", ["He came in the 3.", "May I ask"]),
]


@pytest.mark.parametrize(("text", "asked"), [one for some in ASK.values() for one in some])
def test_texts_are_read_as_english_ones_are(text: str, asked: str) -> None:
    found = read(text)
    assert found, text
    assert found[0].text == asked


@pytest.mark.parametrize("text", [one for some in SILENT.values() for one in some])
def test_texts_that_ask_nothing_are_read_as_such(text: str) -> None:
    assert read(text) == []


@pytest.mark.parametrize(("text", "asked"), ENGLISH)
def test_words_of_other_languages_do_nothing_in_english(text: str, asked: str | None) -> None:
    found = read(text)
    assert (found[0].text if found else None) == asked


@pytest.mark.parametrize(
    "text", [text for some in ASK.values() for text, _ in some if "<|im_start|>" in text]
)
def test_a_question_that_was_put_is_due_where_the_answer_opens(text: str) -> None:
    assert read(text)[0].opens == text.endswith("assistant\n")


@pytest.mark.parametrize(("text", "parts"), SENTENCES)
def test_sentences_end_at_the_signs_of_the_language(text: str, parts: list[str]) -> None:
    assert [text[one.start : one.end] for one in sentences(text)] == parts


@pytest.mark.parametrize(
    "text", [text for some in ASK.values() for text, _ in some] + [text for text, _ in ENGLISH]
)
def test_names_are_the_same_token_by_token(text: str) -> None:
    reader = NameReader(FACTS)
    for end in range(len(text) + 1):
        reader.read(text[:end])
        assert reader.mentions(text[:end]) == mentions(text[:end], FACTS)


def test_letters_are_labels_only_in_their_language() -> None:
    def roles(text: str) -> list[str]:
        return [one.role for one in turns(text)]

    assert roles("P: ¿Quién dirige ACME?\nR:") == ["asks", "answers"]
    assert roles("ACME Inc.\nP: 212 555 0100\nR: 7\nCEO:") == ["text"]
