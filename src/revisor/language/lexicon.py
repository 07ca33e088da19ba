"""The word lists that rules look into, read from one folder a language."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, fields
from functools import cache, lru_cache

from revisor.language.lists import LANGUAGES, word_list
from revisor.language.words import Word, fold, words


@dataclass(frozen=True, kw_only=True, eq=False)
class Lexicon:
    """Words by what they do, folded. An entry may be of several words ("est-ce que"); see `terms`.

    Attributes:
        function_words: words that say nothing of what is asked.
        empty_words: those of them that alone ask for nothing ("{} is the").
        question_words: first words of a question, with or without its mark.
        asked_nouns: nouns of what is asked for: behind a name they are not of it ("ACME CEO").
        pronouns: what stands for a name ("it"); possessive_pronouns: for its possessive ("its").
        person_pronouns: those of either that stand for people only.
        generic_nouns: what stands for a name behind an article ("the company").
        articles: what stands before such a noun.
        titles: what stands before a name and is not of it ("President").
        name_extensions: what behind a name makes it another one, however written ("pro").
        name_particles: what goes on a name before a capital ("Karl von Abel").
        name_links: what goes on a name that is a word of the language ("Bank of England").
        company_forms: what follows a company's name ("Ltd").
        name_articles: what stands before a name and may be left out ("The Beatles").
        name_joins: what "&" stands for within a name ("and").
        abbreviations: words whose full stop ends no sentence.
        ask_labels, answer_labels, other_labels: what stands before a colon where somebody asks,
            answers, or neither.
        asking_verbs: first words of a request that is a question ("name", "tell").
        wanting: words of a sentence that asks by saying what one wants ("know", "need").
        speakers: who says so ("I").
        polite: what may stand before the first word of a request ("please", "could you").
        courtesies: what is said beside a question and asks nothing ("thanks").
        lead_ins: what opens an answer without a word of it ("the answer is", "it is").
        ellipses: first words of a question that goes on with an earlier one ("and", "what about").
        joining: words behind which no answer begins ("and", "who").
        links: words behind which a name belongs to what stands before it ("the CEO of ACME").
        auxiliaries: first words of a question that is answered by yes or no.
        who_words, when_words, where_words, how_words, which_words: question words by what they
            ask for.
        time_nouns: what "which" asks for a time with ("year"); measures: what "how" asks for a
            number with ("many").
        times_told, numbers_told: words that tell a time or a number without a digit.
        handling_verbs: first words of a request that does something with a text ("translate").
        knowing: those of `wanting` that alone say what one has ("I know"), and not with one of
            wishing ("I'd like to know").
        relative_words: words behind a name with which something is said of another ("where");
            place_links: words by which a name is only a place in what is said ("in").
        amounts: what a number alone answers ("price"); calendar_nouns: those of `time_nouns` that
            no time of day answers ("year").
        quantities: kinds of quantities that are asked for, as "how heavy = mass"; `word` is none.
        counting: phrases that ask how many of a thing there are; lasting: verbs by which "how
            long" asks for no length; units: what a number's unit
            measures, as "kg = mass".
        addressed: second words of a question that is a request ("can you"); polite_fillers: words
            that may stand before its first ("please").
        times: words that put a clause into a time of its own ("before", "former").
        time_words: what a time is told with, as "phrase = kind value" (dates.py has the kinds).
        now_words: what tells the present time ("these days").
        happenings: what befalls a thing once ("founded"): a time beside one is that of the event.
        dated_nouns: nouns whose time is their own ("my last update in 2021").
        counted: what a number that looks like a year may count ("2000 euros").
        system_labels: what a chat calls who sets it up ("system"); tool_labels: who reports to it.
        talk_labels: those of `ask_labels` that stand for somebody who talks ("user"), not for a
            question of a list ("Q").
        definite_articles: articles that alone name nothing ("the"); determiners: others ("a").
        person_nouns: nouns of people ("founder").
        addressees, addressee_possessives: who is spoken to ("you", "your");
            speaker_possessives: of who speaks ("our").
        own_nouns: what "your" has of an assistant itself ("your name").
        minding_verbs: what "you" do by which no name is meant ("do you know").
        casting: how a system prompt says who one is ("you are").
        locative_pronouns: what stands for a name as a place ("there").
        complements: prepositions behind which a noun has its name ("the CEO of").
        common_complements: nouns behind them that are no name ("date of birth", "in charge").
        contrasts: words ahead of a name that is only compared with ("unlike").
        topic_openers: words ahead of a name of which something is then asked ("as for").
        topic_links: prepositions behind which a request has its subject ("about").
        attributions: first words of a lead-in that tells nothing ("according to").
        subordinators: first words of a clause ahead of the main one ("while").
        conditions: words of a lead-in that changes what is said ("if").
        withdrawals: words that take back what was asked before ("just kidding").
        departures: words that leave a subject ("anyway").
        repairs: words that put another name for one that was said ("I mean").
        echoes: words that, beside a name, ask of it what was asked before ("same for").
        adding: words that join one question to another ("and"); coordinators: one name ("or").
        participles: of irregular verbs ("led"); participle_endings: of regular ones ("ed");
            verb_endings: of a verb that tells of one ("makes"); copulas: verbs of a noun that
            tells who one is.
        amounting: other verbs by which a noun comes to its answer ("comes" of "comes to");
            of_others: words behind them that lead to something else ("for" of "is known for").
        statuses: adjectives that make another one of what a noun names ("deputy", "maximum");
            statuses_behind: those that stand behind the noun ("elect"); superlatives: others that
            tell which one is meant ("main"); successions: phrases of who came ahead of another
            ("before the current one"); opposites: words of which one stands for the contrary of
            another, as "word = what side" ("minimum = size -").
        doubts: words of a lead-in by which what follows is not so ("wrongly").
        plural_verbs: verbs of several names together ("are").
        writing_verbs, fiction_nouns: of a request for a story ("write", "poem"); documents: of one
            for a text that may tell facts ("profile"); formats: of one for a form of them ("JSON").
        text_nouns: what stands for a text elsewhere ("the following"); converting_verbs: those of
            `handling_verbs` that nobody uses of anything else ("translate").
        answering: words of a request that asks for an answer ("answer"); negations: ("not");
            denials: those by which a question asks for what is not so.
        thing_pronouns: pronouns and possessive ones that stand for no people ("its").
        naming_words: behind "the company" they tell which one ("of", "called").
        genitives: prepositions that say whose a thing is ("of").
        trailing: last words of a question that goes on with another ("too").
        exemplifying: words ahead of a name that is an example ("such as").
        present_words: adverbs of what is now ("currently").
        comparing: words of a question about several names together ("between").
        relative_pronouns, relative_possessives: first words of a clause about the name ahead of it
            ("which", "whose").
        anywhere_words: question words that make a sentence ask wherever they stand
            (Chinese "\u8c01").
        quantity_words: question words that by themselves ask for a number (French "combien").
        yes_no_words: what makes a question one of yes or no wherever it stands (Chinese "\u5417");
            marked_auxiliaries: auxiliaries that do so only where the question has its mark.
        owner_marks: words ahead of which a name stands and behind which what is the name's
            (Chinese "\u7684").
        object_marks: first words of a request whose verb comes last (Chinese "\u628a").
        conjunctions: words that join a clause to another ("and", "but").
        possessives: how a template says whose a thing is: "{}'s", or behind the thing "de {}".
        genitive_endings: endings of a name that belongs to what follows (German "ACMEs Chef").
        compounds: nouns that a hyphen joins to a name and that are not of it ("ACME-Chef").
        noun_marks: words behind which a capital tells a noun and no name (German "der").
        final_pronouns: what stands for a name where no word follows (German "Wo sitzt die?").
        after_ordinals: words before which a number's full stop ends nothing ("3. Mai").
        letters: letters and signs by which its language is told from others ("\u00bf").
        ask_letters, answer_letters: labels of one letter where somebody asks or answers.
    """

    function_words: frozenset[str]
    empty_words: frozenset[str]
    question_words: frozenset[str]
    asked_nouns: frozenset[str]
    pronouns: frozenset[str]
    possessive_pronouns: frozenset[str]
    person_pronouns: frozenset[str]
    generic_nouns: frozenset[str]
    articles: frozenset[str]
    titles: frozenset[str]
    name_extensions: frozenset[str]
    name_particles: frozenset[str]
    name_links: frozenset[str]
    company_forms: frozenset[str]
    name_articles: frozenset[str]
    name_joins: frozenset[str]
    abbreviations: frozenset[str]
    ask_labels: frozenset[str]
    answer_labels: frozenset[str]
    other_labels: frozenset[str]
    asking_verbs: frozenset[str]
    wanting: frozenset[str]
    speakers: frozenset[str]
    polite: frozenset[str]
    courtesies: frozenset[str]
    lead_ins: frozenset[str]
    ellipses: frozenset[str]
    joining: frozenset[str]
    links: frozenset[str]
    auxiliaries: frozenset[str]
    who_words: frozenset[str]
    when_words: frozenset[str]
    where_words: frozenset[str]
    how_words: frozenset[str]
    which_words: frozenset[str]
    time_nouns: frozenset[str]
    measures: frozenset[str]
    times_told: frozenset[str]
    numbers_told: frozenset[str]
    handling_verbs: frozenset[str]
    knowing: frozenset[str]
    wishing: frozenset[str]
    relative_words: frozenset[str]
    place_links: frozenset[str]
    amounts: frozenset[str]
    calendar_nouns: frozenset[str]
    quantities: frozenset[str]
    counting: frozenset[str]
    lasting: frozenset[str]
    units: frozenset[str]
    addressed: frozenset[str]
    polite_fillers: frozenset[str]
    times: frozenset[str]
    time_words: frozenset[str]
    now_words: frozenset[str]
    happenings: frozenset[str]
    dated_nouns: frozenset[str]
    counted: frozenset[str]
    system_labels: frozenset[str]
    tool_labels: frozenset[str]
    talk_labels: frozenset[str]
    definite_articles: frozenset[str]
    determiners: frozenset[str]
    person_nouns: frozenset[str]
    addressees: frozenset[str]
    addressee_possessives: frozenset[str]
    speaker_possessives: frozenset[str]
    own_nouns: frozenset[str]
    minding_verbs: frozenset[str]
    casting: frozenset[str]
    locative_pronouns: frozenset[str]
    complements: frozenset[str]
    common_complements: frozenset[str]
    contrasts: frozenset[str]
    topic_openers: frozenset[str]
    topic_links: frozenset[str]
    attributions: frozenset[str]
    subordinators: frozenset[str]
    conditions: frozenset[str]
    withdrawals: frozenset[str]
    departures: frozenset[str]
    repairs: frozenset[str]
    echoes: frozenset[str]
    adding: frozenset[str]
    coordinators: frozenset[str]
    participles: frozenset[str]
    participle_endings: frozenset[str]
    verb_endings: frozenset[str]
    copulas: frozenset[str]
    amounting: frozenset[str]
    of_others: frozenset[str]
    statuses: frozenset[str]
    statuses_behind: frozenset[str]
    superlatives: frozenset[str]
    successions: frozenset[str]
    opposites: frozenset[str]
    doubts: frozenset[str]
    plural_verbs: frozenset[str]
    writing_verbs: frozenset[str]
    fiction_nouns: frozenset[str]
    documents: frozenset[str]
    formats: frozenset[str]
    text_nouns: frozenset[str]
    converting_verbs: frozenset[str]
    answering: frozenset[str]
    negations: frozenset[str]
    denials: frozenset[str]
    thing_pronouns: frozenset[str]
    naming_words: frozenset[str]
    genitives: frozenset[str]
    trailing: frozenset[str]
    exemplifying: frozenset[str]
    present_words: frozenset[str]
    comparing: frozenset[str]
    relative_pronouns: frozenset[str]
    relative_possessives: frozenset[str]
    anywhere_words: frozenset[str]
    quantity_words: frozenset[str]
    yes_no_words: frozenset[str]
    marked_auxiliaries: frozenset[str]
    owner_marks: frozenset[str]
    object_marks: frozenset[str]
    conjunctions: frozenset[str]
    possessives: frozenset[str]
    genitive_endings: frozenset[str]
    compounds: frozenset[str]
    noun_marks: frozenset[str]
    final_pronouns: frozenset[str]
    after_ordinals: frozenset[str]
    letters: frozenset[str]
    ask_letters: frozenset[str]
    answer_letters: frozenset[str]

    def terms(self, text: str) -> tuple[Word, ...]:
        """A text's words, the longest entries of several words as one: "est-ce que"."""
        return _terms(self, text)


# Lists of names and of what frames a text, which one of any language may have: "ACME GmbH" in an
# English sentence, "User:" ahead of a German one.
SHARED = (
    *("titles", "name_extensions", "name_articles", "name_joins", "company_forms", "abbreviations"),
    "units",
    *("ask_labels", "answer_labels", "other_labels", "system_labels", "tool_labels", "talk_labels"),
)
# Lists of which an entry is no word of a sentence, or is looked for only in a place of its own.
SILENT = frozenset(
    (
        *(*SHARED, "time_words", "possessives", "letters", "ask_letters", "answer_letters"),
        *("genitive_endings", "compounds", "after_ordinals", "verb_endings", "participle_endings"),
        *(
            "amounting",
            "of_others",
            "statuses",
            "statuses_behind",
            "superlatives",
            "successions",
            "opposites",
        ),
        *(
            "name_particles",
            "name_links",
            "quantities",
            "counting",
            "units",
            "documents",
            "formats",
        ),
    )
)
# Lists whose entries are looked for as phrases.
_PHRASES = frozenset(
    (
        *("lead_ins", "courtesies", "ellipses", "casting", "contrasts", "topic_openers"),
        *("attributions", "withdrawals", "departures", "repairs", "now_words"),
    )
)
# Lists by which a word of a language is none of English.
_GRAMMAR = (
    *("function_words", "question_words", "pronouns", "possessive_pronouns", "articles", "links"),
    *("auxiliaries", "marked_auxiliaries", "joining", "wanting", "wishing"),
)
_JOINT = re.compile(r"[\s'\u2019\u2010\u2011-]{0,3}")  # between the words of an entry


def lexicon(text: str = "") -> Lexicon:
    """The word lists for a text: those of its language, and the English ones without words that do
    something else in it; of `SHARED`, those of all languages.

    "war" is an auxiliary in "Wo war der Sitz von ACME?" and none in "The war of ACME was".
    """
    return lexicon_of(language_of(text))


@lru_cache(maxsize=1 << 14)
def language_of(text: str) -> str:
    """The language that has most of a text's words in its lists, or, of several, most of its
    letters; English where nothing tells.

    Example:
        >>> [language_of(text) for text in ("Wer ist der Chef?", "The war was over.", "ACME")]
        ['german', 'english', 'english']
    """
    spoken = _spoken()
    votes, hints = dict.fromkeys(LANGUAGES, 0), dict.fromkeys(LANGUAGES, 0)
    for word in words(text):
        for language in spoken.get(word.text, ()):
            votes[language] += 1
    for language in () if text.isascii() else LANGUAGES:
        hints[language] = len(lists(language)["letters"].intersection(text.lower()))
    return max(LANGUAGES, key=lambda language: (votes[language], hints[language]))


@cache
def lexicon_of(language: str) -> Lexicon:
    """The word lists for texts of a language; see `lexicon`."""
    own = lists(language)
    grammar = frozenset[str]().union(*(own[name] for name in _GRAMMAR))
    merged = {}
    for field in fields(Lexicon):
        if field.name in SHARED:
            merged[field.name] = frozenset().union(*(lists(one)[field.name] for one in LANGUAGES))
        else:
            english = lists(LANGUAGES[0])[field.name]
            merged[field.name] = own[field.name] | (english - grammar)
    return Lexicon(**merged)


@lru_cache(maxsize=1 << 10)
def _terms(rules: Lexicon, text: str) -> tuple[Word, ...]:
    read = words(text)
    entries = _entries(rules)
    if not entries:
        return tuple(read)
    found, at = [], 0
    while at < len(read):
        count, entry = _longest(text, read, at, entries.get(read[at].text, ()))
        found.append(Word(entry, read[at].start, read[at + count - 1].end))
        at += count
    return tuple(found)


_Entries = dict[str, tuple[tuple[tuple[str, ...], str], ...]]


@cache
def _entries(rules: Lexicon) -> _Entries:
    """The entries of several words by their first, the longest first."""
    found: dict[str, dict[tuple[str, ...], str]] = {}
    for field in fields(Lexicon):
        if field.name in SILENT | _PHRASES:
            continue
        for entry in getattr(rules, field.name):
            said = tuple(word.text for word in words(entry))
            if len(said) > 1:
                found.setdefault(said[0], {})[said] = entry
    return {
        first: tuple(sorted(some.items(), key=lambda one: (-len(one[0]), one)))
        for first, some in found.items()
    }


def _longest(
    text: str, read: list[Word], at: int, entries: tuple[tuple[tuple[str, ...], str], ...]
) -> tuple[int, str]:
    """How many words the longest entry has that begins at a word, and the entry; else the word."""
    for said, entry in entries:
        some = read[at : at + len(said)]
        if tuple(word.text for word in some) == said and all(
            _JOINT.fullmatch(text, ahead.end, behind.start)
            for ahead, behind in zip(some, some[1:], strict=False)
        ):
            return len(said), entry
    return 1, read[at].text


@cache
def lists(language: str) -> dict[str, frozenset[str]]:
    """The entries of each list of a language; a list that it lacks is empty."""
    read = tomllib.loads(word_list(language))
    found = {
        field.name: [one for one in re.split(r"\s*[,\n]\s*", read.get(field.name, "")) if one]
        for field in fields(Lexicon)
    }
    letters = frozenset(found.pop("letters"))  # as they are written: "\u00df" is "ss" when folded
    return {name: frozenset(map(fold, some)) for name, some in found.items()} | {"letters": letters}


@cache
def _spoken() -> dict[str, tuple[str, ...]]:
    found: dict[str, dict[str, None]] = {}
    for language in LANGUAGES:
        for name, entries in lists(language).items():
            if name in SILENT or name == "casting":
                continue
            for entry in entries:
                for word in words(entry):
                    found.setdefault(word.text, {})[language] = None
    return {word: tuple(languages) for word, languages in found.items()}
