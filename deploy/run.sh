#!/usr/bin/env bash
# run.sh: builds mqd and runs a real job through it, with a crash of a worker and of the broker.
#
# One producer publishes every stanza of this machine's package list to a queue of 64 messages. Four
# workers parse one each at a time and publish (package, installed size) to a second queue, settling
# input and output in one atomic request. An aggregator sums. Midway a worker is killed, and the
# broker is killed and started again, all with SIGKILL. The totals must equal those that awk counts.
#
# The job is client/examples/worker_pool, which this script runs as
#
#   worker_pool create    --addr A --queue Q --capacity N
#   worker_pool produce   --addr A --queue Q --file F                  then closes Q
#   worker_pool work      --addr A --in Q --out Q2 --id N --work-time T
#   worker_pool close     --addr A --queue Q2
#   worker_pool aggregate --addr A --queue Q2 --expect-close
#
# Each prints JSON objects, one a line, whose numbers count from its own start. produce ends with
# {"published","resent"}; work prints {"id","processed","redelivered","duplicates"} after every 10
# stanzas and at the end of Q; aggregate ends with {"count","sum","redelivered"} at the end of Q2.
# Keys are "package:architecture". A stanza without Installed-Size counts with size 0.
set -euo pipefail
cd "$(dirname "$0")/.."

source_file=/var/lib/dpkg/status
workers=4
capacity=64
work_time=10ms  # of each stanza, beside its parsing: so that there is a middle to crash in
deadline=$((SECONDS + 1200))
scratch=$(mktemp -d)

mqd=build/release/server/mqd
mqctl=build/release/client/mqctl/mqctl
pool=build/release/client/examples/worker_pool

say() { printf '\n== %s\n' "$*"; }
die() {
  echo "run.sh: $*" >&2
  tail -n 5 "$scratch"/*.log >&2 || true
  exit 1
}

build() {
  deploy/install-packages.sh build
  local tests=()
  [[ -f build/release/CMakeCache.txt ]] || tests=(-DMQD_BUILD_TESTS=OFF)
  cmake --preset release --log-level=NOTICE "${tests[@]}"
  cmake --build build/release --target mqd mqctl worker_pool
}

declare -A running=()  # pid by name
clean_up() {
  local pid
  for pid in "${running[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
  wait
  rm -rf "$scratch"
}

start() {  # NAME COMMAND...
  local name=$1
  shift
  "$@" >>"$scratch/$name.log" 2>"$scratch/$name.err.log" &
  running[$name]=$!
}

# Ends a process as a power cut would end it.
crash() {  # NAME
  kill -KILL "${running[$1]}"
  wait "${running[$1]}" 2>/dev/null || true
  unset "running[$1]"
}

finish() {  # NAME
  wait "${running[$1]}" || die "$1 failed"
  unset "running[$1]"
}

start_broker() {  # ADDRESS
  rm -f "$scratch/port"
  start broker "$mqd" --data "$scratch/data" --listen "$1" --http-listen off \
    --port-file "$scratch/port"
  until [[ -f $scratch/port ]]; do
    kill -0 "${running[broker]}" 2>/dev/null || die "mqd did not start"
    ((SECONDS < deadline)) || die "mqd did not start in time"
    sleep 0.02
  done
  address=127.0.0.1:$(<"$scratch/port")
}

# The last value of a field in the JSON lines of NAME; 0 when it has printed none.
field() {  # NAME FIELD
  local value
  value=$(grep -o "\"$2\":[0-9]*" "$scratch/$1.log" 2>/dev/null | tail -n 1 | cut -d: -f2) || true
  echo "${value:-0}"
}

over_workers() {  # FIELD
  local id sum=0
  for ((id = 1; id <= workers; id++)); do ((sum += $(field "worker$id" "$1"))) || true; done
  echo "$sum"
}

wait_until_processed() {  # COUNT
  until (($(over_workers processed) >= $1)); do
    ((SECONDS < deadline)) || die "the workers did not get to $1 stanzas"
    kill -0 "${running[broker]}" 2>/dev/null || die "mqd ended"
    sleep 0.02
  done
}

# Stanzas of the file and the sum of their sizes, in a way that has nothing to do with mqd.
count_independently() {
  awk 'BEGIN { RS = ""; FS = "\n" }
       { package = 0
         for (i = 1; i <= NF; i++) {
           if ($i ~ /^Package: /) package = 1
           if ($i ~ /^Installed-Size: /) sum += substr($i, 17)
         }
         count += package }
       END { printf "%d %.0f\n", count, sum }' "$source_file"
}

run_job() {
  local id processed
  "$pool" create --addr "$address" --queue stanzas --capacity "$capacity"
  "$pool" create --addr "$address" --queue sizes --capacity "$capacity"
  start aggregator "$pool" aggregate --addr "$address" --queue sizes --expect-close
  for ((id = 1; id <= workers; id++)); do
    start "worker$id" "$pool" work --addr "$address" --in stanzas --out sizes --id "$id" \
      --work-time "$work_time"
  done
  start producer "$pool" produce --addr "$address" --queue stanzas --file "$source_file"

  wait_until_processed $((expected_count / 4))
  crash worker1
  echo "SIGKILL of worker 1 after $(over_workers processed) of $expected_count stanzas"
  wait_until_processed $((expected_count / 2))
  processed=$(over_workers processed)
  crash broker
  ((processed < expected_count)) || die "the job was over before the broker was killed"
  echo "SIGKILL of mqd after $processed of $expected_count stanzas; starting it again"
  start_broker "$address"

  finish producer
  for ((id = 2; id <= workers; id++)); do finish "worker$id"; done
  "$pool" close --addr "$address" --queue sizes
  finish aggregator
}

compare() {
  local count sum
  count=$(field aggregator count) sum=$(field aggregator sum)
  printf '%-34s %12s %16s\n' '' stanzas 'installed KiB' \
    'through mqd, with two crashes' "$count" "$sum" \
    'awk over the same file' "$expected_count" "$expected_sum"
  printf '%-34s %12s\n' \
    'redelivered to another worker' "$(over_workers redelivered)" \
    'resent by the producer' "$(field producer resent)" \
    'duplicates suppressed' "$(over_workers duplicates)"
  [[ $count == "$expected_count" && $sum == "$expected_sum" ]] || die "the totals differ"
  (($(field producer published) == expected_count)) || die "not every stanza was published"
  echo "equal"
}

trap clean_up EXIT
trap 'exit 130' INT TERM

say "building"
build
read -r expected_count expected_sum < <(count_independently)
say "the job: $expected_count stanzas of $source_file, $workers workers"
start_broker 127.0.0.1:0
run_job
say "the result"
compare

kill -TERM "${running[broker]}"
finish broker
say "by hand"
cat <<END
  $mqd --data ./data &
  $mqctl queue create hello
  echo 'first message' | $mqctl publish hello
  $mqctl consume hello --count 1
END
