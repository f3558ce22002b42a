#!/usr/bin/env bash
# check_format.sh ROOT: whether every .h and .cc is as clang-format-14 would write it. Fails without
# that program: other versions format differently.
set -euo pipefail
cd "$1"
if ! command -v clang-format-14 >/dev/null; then
  echo "check_format.sh: clang-format-14 is missing; install it with deploy/install-packages.sh" >&2
  exit 1
fi
find . \( -name .git -o -name build -o -name .ccache \) -prune -o \
  \( -name '*.h' -o -name '*.cc' \) -print0 |
  xargs -0 clang-format-14 --dry-run -Werror
