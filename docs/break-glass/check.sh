#!/bin/sh
# Opens the golden archives with open_archive.py and holds every record against expected.json. Makes a virtual environment in a temporary folder.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
golden="$here/../../fixtures/archive-v1"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install -r "$here/requirements.txt"
for name in system domain; do
    passphrase=$(sed -n "s/^| $name | \`\(.*\)\` |$/\1/p" "$golden/README.md")
    "$work/venv/bin/python" "$here/open_archive.py" "$golden/$name.keyark" "$golden/$name-backup-key.jwe" "$passphrase" >"$work/$name"
    "$work/venv/bin/python" - "$golden/expected.json" "$work/$name" "$name" <<'PY'
import json, sys
expected, lines = json.load(open(sys.argv[1])), open(sys.argv[2]).read().splitlines()
domains = {e["domain"] for e in expected if sys.argv[3] == "system" or not e["domain"].startswith("00000000-")}
wanted = {"%s %s body: %r" % (e["id"], e["header"], e["clear"].encode()) for e in expected if e["domain"] in domains}
assert lines[0] == "signature: by the system of the key file", lines[0]
assert {line.split(" ", 1)[1] for line in lines[1:]} == wanted and len(lines) - 1 == len(wanted), "records differ"
print(sys.argv[3], "archive:", len(wanted), "records as expected")
PY
done
