#!/usr/bin/env bash
# coverage.sh [FOLDER...]: builds the tests of the store and of the queue's rules with counters,
# runs them, and prints how many lines and branches of each FOLDER (storage and server/queue when
# none is given) have run. Needs the packages [build], [test] and [coverage] of packages.txt.
#
# Not counted: the way out of a failed MQD_ASSERT, which ends the process, and the branches that the
# compiler adds for exceptions.
set -euo pipefail
cd "$(dirname "$0")/.."

folders=("$@")
[[ ${#folders[@]} -gt 0 ]] || folders=(storage server/queue)
tests=(unit/storage unit/queue model conformance)

cmake --preset coverage -DMQD_BUILD_TESTS=ON --log-level=NOTICE
targets=("${tests[@]/#/tests/}")
cmake --build build/coverage --target "${targets[@]/%//all}"
find build/coverage -name '*.gcda' -delete
# Fewer histories and crash points than the suite runs: with counters and -O0 each takes ten times
# as long.
export MQD_MODEL_SEEDS="${MQD_MODEL_SEEDS:-160}" MQD_CRASH_STRIDE="${MQD_CRASH_STRIDE:-6}"
for directory in "${tests[@]}"; do
  ctest --test-dir "build/coverage/tests/$directory" --output-on-failure --no-tests=error \
    --parallel "$(nproc)" --quiet
done

for folder in "${folders[@]}"; do
  echo "== $folder"
  for kind in lines branches; do
    gcovr --root . --filter "$folder/" --object-directory build/coverage \
      --exclude-throw-branches --exclude-unreachable-branches \
      --exclude-branches-by-pattern '.*MQD_ASSERT.*' \
      --exclude-lines-by-pattern '.*MQD_ASSERT.*' \
      $([[ $kind == branches ]] && echo --branches) build/coverage
  done
done
