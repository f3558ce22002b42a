#!/usr/bin/env bash
# test.sh [--sanitize | --mutants]: installs what the suite needs, builds, and runs it: every test,
# in the release build. Ends with 0 only when every test has run and passed.
#
# --sanitize goes on with AddressSanitizer and UndefinedBehaviorSanitizer, for all but the long
# tests and those that are not in C++, and with ThreadSanitizer, for the rules of the queue and for
# the store. That builds nearly everything twice more.
#
# --mutants does another thing: it plants bugs, one at a time, and ends with 0 when the tests have
# noticed every one of them.
set -euo pipefail
cd "$(dirname "$0")/.."

buf_version=1.75.0
jobs=$(nproc)
sanitize=false
mutants=false
case ${1:-} in
  '') ;;
  --sanitize) sanitize=true ;;
  --mutants) mutants=true ;;
  *) echo "usage: deploy/test.sh [--sanitize | --mutants]" >&2; exit 64 ;;
esac

configure() {  # PRESET
  echo "== $1: build"
  cmake --preset "$1" -DMQD_BUILD_TESTS=ON --log-level=NOTICE
}

run_tests() {  # DIRECTORY CTEST-ARGUMENTS...
  local directory=$1
  shift
  echo "== $directory: test"
  ctest --test-dir "$directory" --output-on-failure --no-tests=error --parallel "$jobs" "$@"
}

run_mutants() {
  configure mutants
  cmake --build build/mutants --target tests_mutants
  tests/mutants/run.py --build build/mutants
}

deploy/install-packages.sh build test
if $mutants; then
  run_mutants
  exit 0
fi
if command -v npm >/dev/null; then
  npm install --silent --no-audit --no-fund --prefix build/tools "@bufbuild/buf@$buf_version"
else
  echo "== npm is not installed: the schemas are compiled, and not linted"
fi

configure release
cmake --build build/release
run_tests build/release

if ! $sanitize; then
  exit 0
fi

export UBSAN_OPTIONS=print_stacktrace=1
configure asan
cmake --build build/asan --target tests_unit tests_model tests_conformance tests_integration
run_tests build/asan --label-regex '^(unit|model|conformance|integration)$'

# Where packaged libraries take part (RocksDB), ThreadSanitizer cannot see their locks and is told
# to leave them alone. The queue's rules and actors are held to the full check.
configure tsan
for tests in unit/queue model unit/storage conformance; do
  [[ -f tests/$tests/CMakeLists.txt ]] || continue
  cmake --build build/tsan --target "tests/$tests/all"
  case $tests in
    unit/queue | model) export TSAN_OPTIONS=halt_on_error=1 ;;
    *) export TSAN_OPTIONS=halt_on_error=1:ignore_noninstrumented_modules=1 ;;
  esac
  run_tests "build/tsan/tests/$tests"
done
echo "== all passed"
