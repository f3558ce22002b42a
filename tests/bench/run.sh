#!/usr/bin/env bash
# run.sh [--quick] [--rounds N] [--seconds S] [--only KEYS] [--systems NAMES] [--out DIR]
#
# Measures mqd and other queues side by side on this machine, and writes a table and plots. Installs
# what it needs on Debian 12 without starting a service, builds, starts every system on loopback
# with a data directory and ports of its own, and stops what it started. README.md says what is
# measured and how. --quick takes less than ten minutes.
set -euo pipefail
cd "$(dirname "$0")/../.."

for argument in "$@"; do
  if [[ $argument == -h || $argument == --help ]]; then
    exec /usr/bin/python3 tests/bench/run.py --help
  fi
done

deploy/install-packages.sh --no-services build bench
tests=()
[[ -f build/release/CMakeCache.txt ]] || tests=(-DMQD_BUILD_TESTS=OFF)
cmake --preset release -DMQD_BUILD_BENCH=ON --log-level=NOTICE "${tests[@]}"
cmake --build build/release --target bench
exec /usr/bin/python3 tests/bench/run.py "$@"
