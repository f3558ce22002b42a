#!/usr/bin/env bash
# check_reference.sh MQD README: whether the table of configuration keys in README is the one that
# MQD prints.
set -euo pipefail
if ! diff <("$1" --config-reference) <(sed -n '/^| key | flag |/,/^$/p' "$2" | sed '/^$/d'); then
  echo "check_reference.sh: replace the table in $2 by the output of $1 --config-reference" >&2
  exit 1
fi
