#!/usr/bin/env bash
# test.sh [--sanitize] [--long MINUTES] | --mutants: installs what the suite needs, builds, and runs
# it: every test, in the release build; then prints what was promised, how often it was tried, and
# how often it was broken. Ends with 0 only when every test has run and passed.
#
# --sanitize goes on with AddressSanitizer and UndefinedBehaviorSanitizer, for all but the long
# tests and those that are not in C++, and with ThreadSanitizer, for the rules of the queue and for
# the store. That builds nearly everything twice more.
#
# --long goes on with the random tests, with new seeds, for so many minutes. A seed that fails is
# kept in tests/regress/.
#
# --mutants does another thing: it plants bugs, one at a time, and ends with 0 when the tests have
# noticed every one of them.
set -euo pipefail
cd "$(dirname "$0")/.."

buf_version=1.75.0
jobs=$(nproc)
options=()
minutes=0
mutants=false
usage() {
  echo "usage: deploy/test.sh [--sanitize] [--long MINUTES] | --mutants" >&2
  exit 64
}
while (($#)); do
  case $1 in
    --sanitize) options+=("--with=$1") ;;
    --mutants) mutants=true ;;
    --long)
      [[ ${2:-} =~ ^[0-9]+$ ]] || usage
      minutes=$2
      shift
      ;;
    *) usage ;;
  esac
  shift
done
asked() { [[ " ${options[*]-} " == *" --with=$1 "* ]]; }

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

# Figures of sanitized builds count for R18 only: each test is a trial, and has passed. They are
# slow, and take fewer of the moments at which the power may go.
run_sanitized() {  # DIRECTORY CTEST-ARGUMENTS...
  local count
  count=$(ctest --test-dir "$1" -N "${@:2}" | sed -n 's/^Total Tests: //p')
  MQD_FIGURES='' MQD_CRASH_STRIDE=11 run_tests "$@"
  printf '{"promise":"R18","trials":%d,"confirmed":0,"violations":0,"note":""}\n' "$count" \
    >> "$MQD_FIGURES"
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
export MQD_FIGURES=$PWD/build/release/figures.jsonl
rm -f "$MQD_FIGURES"
run_tests build/release

if asked --sanitize; then
  export UBSAN_OPTIONS=print_stacktrace=1
  configure asan
  cmake --build build/asan --target tests_unit tests_model tests_conformance tests_integration
  run_sanitized build/asan --label-regex '^(unit|model|conformance|integration)$'

  # Where packaged libraries take part (RocksDB), ThreadSanitizer cannot see their locks and is told
  # to leave them alone. The queue's rules and actors are held to the full check, but for two
  # reference counts of abseil.
  configure tsan
  for tests in unit/queue model unit/storage conformance; do
    cmake --build build/tsan --target "tests/$tests/all"
    case $tests in
      unit/queue | model) export TSAN_OPTIONS=halt_on_error=1:suppressions=$PWD/tests/tsan.supp ;;
      *) export TSAN_OPTIONS=halt_on_error=1:ignore_noninstrumented_modules=1 ;;
    esac
    run_sanitized "build/tsan/tests/$tests"
  done
fi

echo "== what was promised, and how often it was tried"
python3 tests/gate/report.py "$MQD_FIGURES" "${options[@]}"

if ((minutes > 0)); then
  echo "== new seeds for $minutes minutes"
  python3 tests/gate/long.py --build build/release --minutes "$minutes"
fi
echo "== all passed"
