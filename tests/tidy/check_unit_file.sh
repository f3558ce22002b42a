#!/usr/bin/env bash
# check_unit_file.sh UNIT: whether systemd finds nothing to say about the unit, and how exposed it
# leaves the service: at most 2.0 of 10.
set -euo pipefail
warnings=$(systemd-analyze verify "$1" 2>&1)
if [[ -n $warnings ]]; then
  echo "$warnings" >&2
  exit 1
fi
systemd-analyze security --offline=true --threshold=20 "$1" | tail -n 1
