"""The tables that pages show: which numbers stand in which row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tools.figures.cells import Cell, Count, Number, Results, Score, Text
from tools.figures.listing import Figure

METHODS = {
    "revisor": "revisor",
    "neuraldb": "neuraldb",
    "memit-seq": "editors",
    "rect": "editors",
    "alphaedit": "editors",
}
"""Of figure 1, with the figure that measured each."""
SIZES = ("1k", "10k", "100k", "1m")
NEURALDB_SIZES = (100, 300, 1000, 3000)


@dataclass(frozen=True)
class Row:
    """A line of a table."""

    label: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """A table; its rows may depend on what has been measured.

    Attributes:
        head: of its columns, the rows' labels among them.
        rows: its lines.
        make: makes further ones.
    """

    head: tuple[str, ...]
    rows: tuple[Row, ...] = ()
    make: Callable[[Mapping[str, Figure], Results], Sequence[Row]] | None = None

    def made(self, figures: Mapping[str, Figure], results: Results) -> list[Row]:
        """All lines."""
        return [*self.rows, *(self.make(figures, results) if self.make else ())]


def both(label: str, figure: str, name: str) -> Row:
    """A score of the unedited model, of revisor, and of how many."""
    first = name.split(" / ")[0]
    return Row(
        label,
        (
            Score(figure=figure, name=name, method="unedited"),
            Score(figure=figure, name=name),
            Count(figure=figure, name=first),
        ),
    )


def own(label: str, figure: str, name: str) -> Row:
    """A score that the unedited model has by definition or not at all."""
    return Row(label, (Text(""), Score(figure=figure, name=name), Count(figure=figure, name=name)))


def text(label: str, name: str) -> Row:
    """A score of the suite `questions` by the text alone."""
    return Row(
        label,
        (
            Text(""),
            Score(figure="questions", name=name, method="text"),
            Count(figure="questions", name=name, method="text"),
        ),
    )


def demo(label: str, now: str, of: str) -> Row:
    """What the demo counts."""
    number = Number("demo", (f"demo/result/{now}", f"demo/result/{of}"), "{} of {}")
    return Row(label, (Text(""), number, Text("")))


def many(label: str, name: str, *, is_share: bool = True, digits: int = 1) -> Row:
    """A score of the model with a million real facts."""
    return Row(
        label,
        (
            *(
                Score(figure="facts-1m", name=name, method=method, is_share=is_share, digits=digits)
                for method in ("unedited", "store")
            ),
            Count(figure="facts-1m", name=name, method="store"),
        ),
    )


def retrieved(label: str, name: str) -> Row:
    """What facts in the prompt come to, where revisor's are the row above."""
    path = f"eval/result/methods/rag that may refuse/{name}"
    number = Number("others-qwen", (path,), "{:.1f} (`rag`)", scale=100)
    return Row(label, (Text(""), number, Text("")))


HEAD = ("", "unedited", "revisor", "n")

HONEST = Table(
    HEAD,
    (
        both(
            "near misses that others wrote: an object is said (Qwen2.5-Coder-1.5B)",
            "others-qwen",
            "near",
        ),
        retrieved("with three facts in the prompt in its place", "near"),
        both("their questions: the object is said (Qwen2.5-Coder-1.5B)", "others-qwen", "answered"),
        retrieved("with three facts in the prompt in its place", "answered"),
        both("1,000 CounterFact facts: own prompt", "counterfact", "efficacy_strict"),
        both(
            "their genuine paraphrases ({seen: counterfact})",
            "counterfact",
            "generalization_strict",
        ),
        many("a million real facts: own prompt", "efficacy_strict"),
        many("their other wordings (seen)", "generalization_strict"),
        many(
            "other relations of these subjects, whole answers as before",
            "other_relations_kept_strict",
        ),
        many("people without facts, whole answers as before", "unedited_subjects_kept_strict"),
        many(
            "perplexity of WikiText-2 with a million facts, ratio",
            "perplexity_ratio",
            is_share=False,
            digits=4,
        ),
        Row(
            "they are imported and indexed / opened, seconds",
            (
                Text(""),
                Number(
                    "scale-1m",
                    (
                        "add/seconds",
                        "eval/result/store/index_open_seconds",
                    ),
                    "{:.0f} / {:.2f}",
                ),
                Text(""),
            ),
        ),
    ),
)

LOSSES = Table(
    HEAD,
    (
        demo("far wordings of the demo, answered", "paraphrase_flipped", "paraphrases"),
        Row(
            "those of a dozen facts by the published system",
            (
                Text(""),
                Number(
                    "demo-neuraldb",
                    ("demo/result/paraphrase_flipped", "demo/result/paraphrases"),
                    "{} of {} (`neuraldb`)",
                ),
                Text(""),
            ),
        ),
        text("far wordings of our own (no word in common), answered", "questions_far"),
        text("near misses of our own, answered all the same", "near_fires"),
        text("near misses: another relation is asked", "near_other_fires"),
        text("near misses: what the answer does next", "near_predicate_fires"),
        text("near misses: another status (former, deputy)", "near_status_fires"),
        text("near misses: one hop on", "near_hop_fires"),
        text("near misses: another time", "near_time_fires"),
        text("CounterFact's paraphrases by the text alone ({seen: counterfact})", "counterfact"),
        text("names by their initials", "names_initials"),
        text("German questions", "german"),
        text("French questions", "french"),
        text("Spanish questions", "spanish"),
        text("Chinese questions", "chinese"),
        Row(
            "ordinary text with 10,000 facts: written, per million tokens",
            (
                Text(""),
                Score(figure="gate", name="fires_per_million", is_share=False, digits=0),
                Text(""),
            ),
        ),
        both("own prompt behind 200 tokens of other text", "preamble", "efficacy_200_strict"),
    ),
)

HELD = Table(
    HEAD,
    (
        demo("own prompts of the demo", "flipped", "facts"),
        text("own questions about made-up facts, by the text alone: answered", "questions"),
        demo("unrelated prompts of the demo, word for word", "unrelated_same", "unrelated"),
        both(
            "CounterFact's constructed wordings ({seen: counterfact})",
            "counterfact",
            "generalization_constructed_strict",
        ),
        both("several facts a subject: own prompt", "several", "efficacy_strict"),
        both("their other wordings", "several", "generalization_strict"),
        own(
            "other relations of these subjects, whole answers as before",
            "several",
            "other_relations_kept_strict",
        ),
        own(
            "subjects that are not edited: whole answer as before",
            "several",
            "unedited_subjects_kept_strict",
        ),
        own(
            "CounterFact's neighbours: whole answers as before",
            "counterfact",
            "specificity_kept_strict",
        ),
        Row(
            "perplexity of WikiText-2 with 1,000 facts, ratio",
            (
                Score(
                    figure="perplexity",
                    name="perplexity_ratio",
                    method="unedited",
                    is_share=False,
                    digits=4,
                ),
                Score(figure="perplexity", name="perplexity_ratio", is_share=False, digits=4),
                Count(figure="perplexity", name="perplexity_ratio"),
            ),
        ),
        text("rewordings of zsRE ({seen: zsre})", "zsre"),
        text("rewordings of WikiBigEdit ({seen: wikibigedit})", "wikibigedit"),
        text("rewordings of QAEdit ({seen: qaedit})", "qaedit"),
        text("rewordings of MQuAKE ({seen: mquake})", "mquake"),
        text("other questions about zsRE's subjects, answered", "zsre_other_fires"),
        text("ordinary text with a name in it, were an answer due", "ordinary_fires"),
    ),
)


def rivals(figures: Mapping[str, Figure], results: Results) -> list[Row]:
    """A row a method, those that keep most of what they shall not change last."""
    there = results.get("rivals")
    if there is None:
        return []
    methods = there.value("eval", "result", "runs", "all/counterfact-100", "methods") or {}

    def score(name: str, method: str, part: str = "counterfact", **form: object) -> Score:
        where: dict[str, object] = {"figure": "rivals", "run": f"all/{part}-100"}
        if method == "revisor":
            where = {"figure": "revisor", "step": part}
        return Score(name=name, method=method, **where, **form)  # type: ignore[arg-type]

    def kept(method: str) -> float:
        found = score("specificity_kept_strict", method).mean(results)
        return found.mean if found else 0

    return [
        Row(
            f"`{method}`",
            (
                score("efficacy / efficacy_strict", method, plain=True, digits=0),
                score("generalization / generalization_strict", method, plain=True, digits=0),
                score("specificity", method, plain=True),
                score("specificity_kept / specificity_kept_strict", method, plain=True, digits=0),
                score("perplexity_ratio", method, "perplexity", is_share=False, digits=3),
                score("negation_strict", method, "negation", plain=True, digits=0),
                score("seconds_per_fact", method, is_share=False, digits=2),
            ),
        )
        for method in sorted((*methods, "revisor"), key=kept)
    ]


def of_neuraldb(name: str, part: str = "counterfact", **form: object) -> tuple[Score, ...]:
    """A score of `neuraldb` at every size, and of the unedited model at the largest."""
    runs = [(f"edits/{part}-{size}", "neuraldb") for size in NEURALDB_SIZES]
    runs.append((f"edits/{part}-{NEURALDB_SIZES[-1]}", "unedited"))
    return tuple(
        Score(figure="neuraldb", name=name, method=method, run=run, **form)  # type: ignore[arg-type]
        for run, method in runs
    )


NEURALDB = Table(
    ("facts in the model", *(f"{size:,}" for size in NEURALDB_SIZES), "unedited at 3,000"),
    (
        Row("efficacy, strict", of_neuraldb("efficacy_strict")),
        Row(
            "generalization, loose / strict",
            of_neuraldb("generalization / generalization_strict", plain=True, digits=0),
        ),
        Row("specificity, loose", of_neuraldb("specificity", plain=True)),
        Row("neighbours: same next token", of_neuraldb("specificity_kept", plain=True)),
        Row("neighbours: same answer", of_neuraldb("specificity_kept_strict")),
        Row(
            "WikiText-2 perplexity, ratio",
            of_neuraldb("perplexity_ratio", "perplexity", is_share=False, digits=3),
        ),
        Row("fluency", of_neuraldb("fluency", is_share=False, digits=2)),
        Row("mean of six tasks", of_neuraldb("average", "general", plain=True)),
    ),
)


def among(name: str, part: str = "counterfact", **form: object) -> tuple[Score, ...]:
    """A score of the unedited model and the methods of figure 1, with 3,000 facts."""
    run = f"edits/{part}-{NEURALDB_SIZES[-1]}"
    return tuple(
        Score(figure=figure, name=name, method=method, run=run, **form)  # type: ignore[arg-type]
        for method, figure in {"unedited": "neuraldb", **METHODS}.items()
    )


FIGURE_1 = Table(
    ("3,000 facts", "unedited", *(f"`{method}`" for method in METHODS)),
    (
        Row("mean of the three, loose", among("average")),
        Row("efficacy, strict", among("efficacy_strict")),
        Row(
            "generalization, loose / strict",
            among("generalization / generalization_strict", plain=True, digits=0),
        ),
        Row("specificity, loose", among("specificity", plain=True)),
        Row("neighbours: same answer", among("specificity_kept_strict")),
        Row(
            "perplexity, ratio",
            among("perplexity_ratio", "perplexity", is_share=False, digits=3),
        ),
        Row("mean of six tasks", among("average", "general")),
        Row("LAMBADA", among("lambada", "general", plain=True)),
    ),
)


def at_gamma(gamma: str) -> Row:
    """The ablation at one γ."""

    def score(name: str) -> Score:
        run = f"gamma/counterfact-gamma-{gamma}"
        return Score(figure="neuraldb", name=name, method="neuraldb", run=run, plain=True)

    return Row(
        gamma,
        (
            score("efficacy_strict"),
            score("generalization / generalization_strict"),
            score("specificity_kept / specificity_kept_strict"),
        ),
    )


GAMMA = Table(
    (
        "γ, 300 facts",
        "efficacy, strict",
        "generalization, loose / strict",
        "neighbours: same next token / same answer",
    ),
    tuple(at_gamma(gamma) for gamma in ("0.5", "0.65", "0.75", "0.9")),
)


def of_scale(name: str, **form: object) -> tuple[Score, ...]:
    """A score of the text-only suite at every number of facts."""
    return tuple(
        Score(figure=f"scale-{size}", name=name, method="text", **form)  # type: ignore[arg-type]
        for size in SIZES
    )


def cost(path: str, form: str = "{:,}") -> tuple[Number, ...]:
    return tuple(Number(f"scale-{size}", (path,), form) for size in SIZES)


SCALE = Table(
    ("facts", "1,000", "10,000", "100,000", "1,000,000"),
    (
        Row("another relation of the subject, answered", of_scale("other_relation_fires")),
        Row("a person without facts, answered", of_scale("stranger_fires")),
        Row("ordinary text cut off at some word, answered", of_scale("ordinary_fires")),
        Row("other wordings, answered", of_scale("wording")),
        Row("other wordings, with another fact", of_scale("wording_wrong")),
        Row("own prompt, answered", of_scale("own")),
        Row("own prompt, with another fact", of_scale("own_wrong")),
        Row("imported (`revisor add`), seconds", cost("add/seconds", "{:,.0f}")),
        Row("memory at most meanwhile, MB", cost("add/peak_mb")),
        Row(
            "index open the first time, seconds",
            cost("eval/result/store/index_first_seconds", "{:,.2f}"),
        ),
        Row(
            "and again, seconds",
            cost("eval/result/store/index_open_seconds", "{:,.3f}"),
        ),
        Row("ledger, MB", cost("eval/result/store/ledger_mb")),
        Row("index, MB", cost("eval/result/store/index_mb")),
    ),
)


def in_model(name: str, **form: object) -> tuple[Score, ...]:
    """A score of the model with so many real facts, at every number of them."""
    return tuple(
        Score(figure=f"facts-{size}", name=name, method="store", **form)  # type: ignore[arg-type]
        for size in SIZES
    )


def task(name: str) -> Row:
    """One of the six tasks of the paper: the unedited model, and with a million facts."""
    return Row(
        name,
        tuple(
            Score(figure="tasks-1m", name=name, method=method, step="general")
            for method in ("unedited", "store")
        ),
    )


IN_MODEL = Table(
    ("facts", "1,000", "10,000", "100,000", "1,000,000"),
    (
        Row("own prompt: the object, whole", in_model("efficacy_strict")),
        Row("more probable than before", in_model("efficacy")),
        Row("other wordings: the object, whole", in_model("generalization_strict")),
        Row("more probable than before, in other wordings", in_model("generalization")),
        Row(
            "another relation of the subject: the whole answer as before",
            in_model("other_relations_kept_strict"),
        ),
        Row(
            "people without facts: the whole answer as before",
            in_model("unedited_subjects_kept_strict"),
        ),
        Row(
            "perplexity of WikiText-2, ratio",
            in_model("perplexity_ratio", is_share=False, digits=5),
        ),
        Row(
            "facts written in a million tokens of WikiText-2",
            in_model("fires_per_million", is_share=False, digits=1),
        ),
        Row(
            "bytes a fact",
            in_model("stored_bytes_per_fact", is_share=False, digits=0),
        ),
    ),
)

RAG_METHODS = (("unedited", "unedited"), ("store", "revisor"), ("rag", "`rag`"), ("icl", "`icl`"))


def against_rag(name: str, **form: object) -> tuple[Score, ...]:
    """A score of Qwen2.5-Coder-1.5B with 10,000 real facts, by each way of giving it these."""
    return tuple(
        Score(figure="rag-10k", name=name, method=method, **form)  # type: ignore[arg-type]
        for method, _ in RAG_METHODS
    )


RAG = Table(
    ("", *(shown for _, shown in RAG_METHODS)),
    (
        Row(
            "another relation of the subject: the whole answer as before",
            against_rag("other_relations_kept_strict"),
        ),
        Row(
            "people without facts: the whole answer as before",
            against_rag("unedited_subjects_kept_strict"),
        ),
        Row("own prompt: the object, whole", against_rag("efficacy_strict")),
        Row("other wordings: the object, whole", against_rag("generalization_strict")),
        Row("more probable than before, in other wordings", against_rag("generalization")),
        Row("bytes a fact", against_rag("stored_bytes_per_fact", is_share=False, digits=0)),
    ),
)

COMPOSED = Table(
    HEAD,
    (
        both("MQuAKE: over four facts, asked at once", "multi-hop", "multi_hop_strict"),
        both("the same in Qwen, asked at once", "steps", "direct"),
        both("by any of a case's three wordings", "steps", "direct_any"),
        both("in Qwen, which says its steps", "steps", "steps"),
        both("by any of a case's three wordings", "steps", "steps_any"),
        both(
            "KnowEdit: what follows (`Reasoning`)",
            "multi-hop",
            "portability_reasoning_strict",
        ),
        both(
            "the other way round (`Logical_Generalization`)",
            "multi-hop",
            "portability_logical_generalization_strict",
        ),
        both(
            "another name of the subject, not declared (`Subject_Aliasing`)",
            "multi-hop",
            "portability_subject_aliasing_strict",
        ),
        own(
            "another relation of the subject: whole answer as before",
            "multi-hop",
            "relation_specificity_kept_strict",
        ),
        both("the facts themselves: own prompt", "multi-hop", "efficacy_strict"),
        both("in another wording", "multi-hop", "generalization_strict"),
    ),
)

TASKS = Table(
    ("task", "unedited", "1,000,000 facts"),
    tuple(map(task, ("sciq", "lambada", "wsc273", "mmlu", "commonsense_qa", "arc_challenge"))),
)


def live(figures: Mapping[str, Figure], results: Results) -> list[Row]:
    """A row a number of facts and a batch."""
    there = results.get("live")
    found = [] if there is None else there.value("bench", "result", "results") or []
    names = (
        ("index_seconds", "{:,.1f}"),
        ("open_ms", "{:,.0f}"),
        ("bytes_per_fact", "{:,.1f}"),
        ("commit_to_live_ms", "{:,.1f}"),
        ("other_process_ms", "{:,.0f}"),
        ("lookup_us", "{:,.0f}"),
        ("decode_overhead", "{:.1%}"),
        ("prefill_overhead", "{:.1%}"),
    )
    return [
        Row(
            f"{one['rows']:,}",
            (
                Text(str(one["batch"]), "live"),
                *(Text(form.format(one[name]), "live") for name, form in names),
            ),
        )
        for one in found
    ]


LIVE = Table(
    (
        "facts",
        "batch",
        "index, s",
        "open, ms",
        "bytes a fact",
        "live after, ms",
        "in another process, ms",
        "look-up, µs",
        "more a token",
        "more a prompt",
    ),
    make=live,
)


def coarse(figures: Mapping[str, Figure], results: Results) -> list[Row]:
    """A row a number of keys, of those of real facts."""
    there = results.get("coarse")
    found = [] if there is None else there.value("bench", "result") or []
    by_keys: dict[int, dict[int, Mapping[str, float]]] = {}
    for one in found:
        if one["kind"] == "subjects":
            by_keys.setdefault(one["keys"], {})[one["queries"]] = one
    rows = []
    for keys, some in by_keys.items():
        any_of = next(iter(some.values()))
        times = [f"{one['exact_ms']:g} / {one['coarse_ms']:g}" for one in some.values()]
        shown = [
            *times,
            f"{any_of['lists']:g} of {any_of['of']:g}",
            f"{any_of['agreement']:.3%}",
            f"{any_of['learn_s']:g}",
            f"{any_of['file_mb']:.0f}",
        ]
        rows.append(Row(f"{keys:,}", tuple(Text(one, "coarse") for one in shown)))
    return rows


COARSE = Table(
    (
        "keys",
        "1 query, ms",
        "64 queries, ms",
        "512 queries, ms",
        "lists",
        "decisions that agree",
        "learnt in, s",
        "file, MB",
    ),
    make=coarse,
)


KEYS = ("keys-smollm2", "keys-qwen")


def keys(figures: Mapping[str, Figure], results: Results) -> list[Row]:
    """A row a model, kind of keys and γ; in a cell a share of each number of keys."""
    rows = []
    for name in KEYS:
        there = results.get(name)
        told = None if there is None else there.value("bench", "result")
        if not told:
            continue
        cases: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        for one in told["rows"]:
            cases.setdefault((one["kind"], one["which"]), []).append(one)
        for (kind, which), some in cases.items():
            gammas = list(dict.fromkeys(f"{one['gamma']:g}" for one in some))
            shown = [
                f"{kind}, {which} γ {' / '.join(gammas)}",
                *(
                    " / ".join(f"{one[score]:.1%}".rstrip("%") for one in some)
                    for score in ("wording", "other_relation", "stranger", "ordinary")
                ),
            ]
            label = f"{told['model']}, {told['key_width']:,} numbers"
            rows.append(Row(label, tuple(Text(one, name) for one in shown)))
    return rows


KEYS_TABLE = Table(
    (
        "keys of",
        "",
        "other wordings: a row of their subject",
        "another relation of the subject: any row",
        "people without facts: any row",
        "tokens of WikiText-2",
    ),
    make=keys,
)


ASKED_BY = {
    "office": "companies, products, people (looked at)",
    "organisations": "organisations (never looked at)",
    "unusual": "unusual relations (never looked at)",
}
"""The sets of `others`."""


def asked_by_others(figures: Mapping[str, Figure], results: Results) -> list[Row]:
    """A row a set: questions answered and near misses answered, by strictness and encoder."""
    there = results.get("others")
    if there is None:
        return []
    settings = (("text", "normal"), ("text", "low"), ("text", "high"), ("sentences", "low"))
    rows = []
    for of, label in ASKED_BY.items():
        count = there.value("eval", "result", "facts", of)
        paths = [("eval/result/methods", *one) for one in settings]
        cells = [
            Number(
                "others",
                tuple(f"{at}/{way}/strictness/{level}/{of}_{one}" for one in ("answered", "near")),
                "{:.1f} / {:.1f}",
                scale=100,
            )
            for at, way, level in paths
        ]
        rows.append(Row(f"{count} facts about {label}", tuple(cells)))
    return rows


OTHERS_TABLE = Table(
    (
        "answered / near misses answered, per cent",
        "`normal`",
        "`strictness = low`",
        "`strictness = high`",
        "all-MiniLM-L6-v2, `low`",
    ),
    make=asked_by_others,
)


BESIDE_RETRIEVAL = {
    "unedited": "the model alone",
    "revisor": "revisor",
    "rag": "the nearest fact in the prompt",
    "rag that may refuse": "the nearest three, and that it may say that it does not know",
}
"""The methods of `others-qwen`."""


def asked_in_model(figures: Mapping[str, Figure], results: Results) -> list[Row]:
    """A row a method: answers with the object, near misses with one, and the prompt's length."""
    rows = []
    for method, label in BESIDE_RETRIEVAL.items():
        tokens = (f"eval/result/methods/{method}/prompt_tokens",)
        cells: list[Cell] = [
            Score(figure="others-qwen", name=kind, method=method) for kind in ("answered", "near")
        ]
        cells.append(Number("others-qwen", tokens, "{:.0f}"))
        rows.append(Row(label, tuple(cells)))
    return rows


BESIDE_RETRIEVAL_TABLE = Table(
    (
        "in Qwen2.5-Coder-1.5B",
        "questions: the object is said, %",
        "near misses: an object is said, %",
        "tokens of a prompt",
    ),
    make=asked_in_model,
)


def judged(figures: Mapping[str, Figure], results: Results) -> list[Row]:
    """A row a set: questions and near misses answered, without a judge and with one."""
    at, rows = "eval/result", []
    for of, label in ASKED_BY.items():
        places = (
            [f"{at}/methods/text/strictness/normal/{of}_{kind}" for kind in ("answered", "near")],
            [f"{at}/as many answered/{of}/{kind}" for kind in ("answered", "near")],
            [f"{at}/methods/judge/strictness/low/{of}_{kind}" for kind in ("answered", "near")],
        )
        cells = [Number("judge", tuple(one), "{:.1f} / {:.1f}", scale=100) for one in places]
        rows.append(Row(label, tuple(cells)))
    return rows


JUDGED = Table(
    (
        "answered / near misses answered, per cent",
        "the encoder alone",
        "with a judge, as many answered",
        "with a judge, `strictness = low`",
    ),
    make=judged,
)


def listing(figures: Mapping[str, Figure], results: Results) -> list[Row]:
    """Every figure of the list, and when and on what it was measured."""
    rows = []
    for one in figures.values():
        told = "not measured"
        if (result := results.get(one.name)) is not None:
            told = f"{result.date}, {result.machine['cpu']}, {result.machine['dtype']}"
        cells = (Text(one.about, one.name), Text(f"{one.minutes:,}"), Text(told))
        rows.append(Row(f"`{one.name}`", cells))
    return rows


TABLES: Mapping[str, Table] = {
    "honest": HONEST,
    "losses": LOSSES,
    "held": HELD,
    "others": OTHERS_TABLE,
    "others-qwen": BESIDE_RETRIEVAL_TABLE,
    "judge": JUDGED,
    "rivals": Table(
        (
            "",
            "efficacy, loose / strict",
            "generalization, loose / strict",
            "specificity",
            "neighbours: token / answer as before",
            "perplexity",
            "negation",
            "s a fact",
        ),
        make=rivals,
    ),
    "figure-1": FIGURE_1,
    "neuraldb": NEURALDB,
    "gamma": GAMMA,
    "scale": SCALE,
    "in-model": IN_MODEL,
    "rag": RAG,
    "tasks": TASKS,
    "composed": COMPOSED,
    "live": LIVE,
    "coarse": COARSE,
    "keys": KEYS_TABLE,
    "list": Table(("figure", "of what", "minutes", "measured"), make=listing),
}
