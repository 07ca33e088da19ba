"""Prints the words that are in lists of two languages and do something else in each.

    python tools/word_collisions.py [LANGUAGE]

A text is read with the lists of its own language (`docs/languages.md`), so that such words do no
harm by themselves; but where most of a language's words are words of another one, too, its texts
are taken for that one's.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict

from revisor.language.lexicon import SILENT, lists
from revisor.language.lists import LANGUAGES


def main() -> None:
    """Print a line a word: the word, and of each language the lists that have it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("language", nargs="?", choices=LANGUAGES, help="only words of this one")
    wanted = parser.parse_args().language
    roles: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for language in LANGUAGES:
        for name, entries in lists(language).items():
            for entry in entries if name not in SILENT else ():
                roles[entry][language].append(name)
    for word, found in sorted(roles.items()):
        different = len({tuple(names) for names in found.values()}) > 1
        if different and (wanted is None or wanted in found):
            told = "; ".join(f"{one}: {', '.join(names)}" for one, names in found.items())
            sys.stdout.write(f"{word}: {told}\n")


if __name__ == "__main__":
    main()
