#!/usr/bin/env bash
# check_schemas.sh ROOT BUF: whether the schemas follow buf's STANDARD rules (proto/buf.yaml).
set -euo pipefail
cd "$1/proto"
exec "$2" lint
