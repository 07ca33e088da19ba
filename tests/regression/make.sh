#!/usr/bin/env bash
# Makes store-VERSION.zip and archive-VERSION.zip here, with the revisor that REVISOR names, in a
# folder that has the tests' tiny model as ./model:
#
#     REVISOR="python -m revisor" tests/regression/make.sh FOLDER
#
# The store is as that version leaves it, a bank of `build` among it where that version makes one.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$1"
revisor() { $REVISOR "$@"; }
id() { revisor ls --json --store store | python3 -c "
import json, sys
print(*(fact['id'] for fact in json.load(sys.stdin)['facts'] if fact['subject'] == '$1'))"; }

version=$(revisor --version | cut -d' ' -f2)
rm -rf store
revisor init --model ./model --dtype fp32 --store store ${INIT:-}
revisor add "$here/facts.jsonl" --store store
revisor tag first --store store
revisor set "$(id Ann)" Bonn --reason moved --actor eve --store store
revisor rm "$(id Bob)" --store store
revisor build --store store || true # of a tiny model not every fact can be written
revisor export "archive-$version.zip" --store store
python3 -c "import shutil; shutil.make_archive('store-$version', 'zip', '.', 'store')"
cp "store-$version.zip" "archive-$version.zip" "$here"
