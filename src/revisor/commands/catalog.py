"""The commands there are: what each is for, how it is used, and where its code is.

The code of a command is imported when the command is used, so that the others need not wait for it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """A command, or a group of commands.

    Attributes:
        help: what it does, in a sentence: the first one of its docstring.
        place: the module in `commands` and the name there.
        examples: lines as they are typed.
    """

    help: str
    place: str
    examples: tuple[str, ...]


SECTIONS: dict[str, dict[str, Entry]] = {
    "Start here": {
        "demo": Entry(
            "See it work: 40 facts go into a small model, which is asked before and after.",
            "demo:demo",
            ("revisor demo", "revisor demo --method neuraldb"),
        ),
        "init": Entry(
            "Make a store for one model.",
            "building:init",
            (
                "revisor init --model smollm2",
                "revisor init --model ./my-model --store hr --strictness high",
            ),
        ),
        "add": Entry(
            "Read facts from a file into the store: all of them, or none.",
            "facts:add",
            (
                "revisor add facts.jsonl",
                'revisor add facts.csv --on-conflict replace --reason "news of May"',
            ),
        ),
        "ask": Entry(
            "Have the model continue a prompt with the facts that are live.",
            "asking:ask",
            ('revisor ask "The CEO of ACME is" --why', "revisor ask --file prompts.jsonl"),
        ),
        "chat": Entry(
            "Talk to the model with its facts.",
            "asking:chat",
            ("revisor chat", 'echo "Who runs ACME?" | revisor chat'),
        ),
        "explain": Entry(
            "Show what is decided at the end of a prompt, and why: names, questions, facts, "
            "scores.",
            "asking:explain",
            (
                'revisor explain "The former CEO of ACME is"',
                'revisor explain "ACME is" --text-only',
            ),
        ),
    },
    "Facts": {
        "ls": Entry(
            "List the facts of the newest generation, in the order in which they were added.",
            "facts:list_facts",
            ("revisor ls --search Roe", "revisor ls --subject ACME --json"),
        ),
        "show": Entry(
            "Show one fact and its history: every object it had, who gave it, when and why.",
            "facts:show",
            ("revisor show 6c551b7e",),
        ),
        "set": Entry(
            "Give a fact another object.",
            "facts:set_object",
            ('revisor set 6c551b7e "Jane Roe" --reason "press release"',),
        ),
        "rm": Entry(
            "Remove facts: the model answers as it did without them.",
            "facts:remove",
            ("revisor rm 6c551b7e", "revisor rm 6c551b7e 9d0e4f21 --purge"),
        ),
        "export": Entry(
            "Write the facts of the newest generation as JSONL, which `revisor add` reads.",
            "facts:export",
            (
                "revisor export facts.jsonl",
                "revisor export all.zip",
                "revisor export --hf model-with-facts",
            ),
        ),
        "import": Entry(
            "Restore a store from an archive: facts, history, audit and banks.",
            "keeping:import_archive",
            ("revisor import all.zip --store restored",),
        ),
        "check": Entry(
            "Look for facts that contradict one another, also by aliases or declared paraphrases.",
            "keeping:check",
            ("revisor check", "revisor check --ask --since 7"),
        ),
    },
    "History": {
        "log": Entry(
            "List the generations of the store, the last one first.",
            "history:log",
            ("revisor log", "revisor log --events --limit 100"),
        ),
        "diff": Entry(
            "Show how the facts of one generation differ from those of another.",
            "history:diff",
            ("revisor diff 3 7",),
        ),
        "rollback": Entry(
            "Make the facts of an earlier generation hold again, as a new generation.",
            "history:rollback",
            ('revisor rollback --to 3 --reason "wrong file"',),
        ),
        "publish": Entry(
            "Make a generation the one that is answered from.",
            "building:publish",
            ("revisor publish 7",),
        ),
        "tag": Entry(
            "Give a generation a name, for diff and rollback; its banks are never collected.",
            "keeping:tag",
            ("revisor tag released", "revisor tag released 7 --force"),
        ),
    },
    "Serving": {
        "serve": Entry(
            "Serve the model with its facts: OpenAI's API, the ledger over HTTP, figures, "
            "a console.",
            "serving:serve",
            ("revisor serve", "revisor serve --host 0.0.0.0 --port 80 --max-batch 32"),
        ),
        "mcp": Entry(
            "Serve one agent over standard input and output, by the Model Context Protocol.",
            "serving:mcp",
            ("revisor mcp --store hr",),
        ),
        "keys": Entry(
            "API keys of a server: who may ask, propose, approve, administer.",
            "serving:keys",
            ("revisor keys add ann --role approve --namespace hr", "revisor keys ls"),
        ),
    },
    "More": {
        "status": Entry(
            "Say what a store holds, which generation is live, and how its model was measured.",
            "building:status",
            ("revisor status", "revisor status --json --store hr"),
        ),
        "build": Entry(
            "Of the method neuraldb: write a row for each new or changed fact.",
            "building:build",
            ("revisor build", "revisor build --workers 4"),
        ),
        "verify": Entry(
            "Check the store: the ledger, and every file of a bank against its hash.",
            "building:verify",
            ("revisor verify",),
        ),
        "eval": Entry(
            "Measure methods side by side: the same model, the same facts, the same protocol.",
            "evaluating:evaluate",
            (
                "revisor eval facts --store hr --as-built",
                "revisor eval counterfact --n 40 --methods revisor,neuraldb",
            ),
        ),
        "report": Entry(
            "Draw runs: one HTML page that stands by itself, and its pictures as PNG files.",
            "evaluating:report",
            ("revisor report runs/a runs/b --out report",),
        ),
        "gc": Entry(
            "Remove what is not needed: old banks, and those that version 0.1 left.",
            "keeping:gc",
            ("revisor gc", "revisor gc --keep 3"),
        ),
        "bench": Entry(
            "Measure speed on this machine.",
            "bench:app",
            ("revisor bench live --rows 100000", "revisor bench build --rows 200"),
        ),
    },
}

CATALOG = {name: entry for section in SECTIONS.values() for name, entry in section.items()}
