"""Writes the list of English word forms by which a misspelt name is told from a word.

    python tools/word_forms.py --scowl /usr/share/dict/scowl

What comes in: SCOWL, as Debian's package `scowl` installs it. What goes out: its words and names up
to size 50, without possessives, one a line, in
`src/revisor/language/english/forms.txt`, behind the notice that its licence asks for.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

OUT = Path(__file__).parents[1] / "src/revisor/language/english/forms.txt"
WORDS = {"words": (10, 20, 35, 40, 50), "upper": (10, 20, 35, 40, 50), "proper-names": (35, 40, 50)}
VARIETIES = ("english", "american", "british")
NOTICE = """\
# Word forms of SCOWL (Spell Checker Oriented Word Lists), sizes 10 to 50.
#
# The collective work is Copyright 2000-2011 by Kevin Atkinson as well as any of the copyrights
# mentioned below:
#
# Copyright 2000-2011 by Kevin Atkinson
#
# Permission to use, copy, modify, distribute and sell these word lists, the associated scripts, the
# output created from the scripts, and its documentation for any purpose is hereby granted without
# fee, provided that the above copyright notice appears in all copies and that both that copyright
# notice and this permission notice appear in supporting documentation. Kevin Atkinson makes no
# representations about the suitability of this array for any purpose. It is provided "as is"
# without express or implied warranty.
#
# The WordNet database, which was used in the creation of the Inflections database, is under the
# following copyright:
#
# This software and database is being provided to you, the LICENSEE, by Princeton University under
# the following license. By obtaining, using and/or copying this software and database, you agree
# that you have read, understood, and will comply with these terms and conditions.:
#
# Permission to use, copy, modify and distribute this software and database and its documentation
# for any purpose and without fee or royalty is hereby granted, provided that you agree to comply
# with the following copyright notice and statements, including the disclaimer, and that the same
# appear on ALL copies of the software, database and documentation, including modifications that you
# make for internal use or for distribution.
#
# WordNet 1.6 Copyright 1997 by Princeton University. All rights reserved.
#
# THIS SOFTWARE AND DATABASE IS PROVIDED "AS IS" AND PRINCETON UNIVERSITY MAKES NO REPRESENTATIONS
# OR WARRANTIES, EXPRESS OR IMPLIED. BY WAY OF EXAMPLE, BUT NOT LIMITATION, PRINCETON UNIVERSITY
# MAKES NO REPRESENTATIONS OR WARRANTIES OF MERCHANT-ABILITY OR FITNESS FOR ANY PARTICULAR PURPOSE
# OR THAT THE USE OF THE LICENSED SOFTWARE, DATABASE OR DOCUMENTATION WILL NOT INFRINGE ANY THIRD
# PARTY PATENTS, COPYRIGHTS, TRADEMARKS OR OTHER RIGHTS.
#
# The name of Princeton University or Princeton may not be used in advertising or publicity
# pertaining to distribution of the software and/or database. Title to copyright in this software,
# database and any associated documentation shall at all times remain with Princeton University and
# LICENSEE agrees to preserve same.
"""


def words(folder: Path, kind: str, sizes: Sequence[int]) -> Iterator[str]:
    for variety in VARIETIES:
        for size in sizes:
            path = folder / f"{variety}-{kind}.{size}"
            if path.exists():
                yield from path.read_text(encoding="iso-8859-1").split()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scowl", type=Path, default=Path("/usr/share/dict/scowl"))
    folder = parser.parse_args().scowl
    found = {
        word
        for kind, sizes in WORDS.items()
        for word in words(folder, kind, sizes)
        if len(word) > 1 and "'" not in word
    }
    OUT.write_text(NOTICE + "\n".join(sorted(found)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
