#!/usr/bin/env bash
# outside_test.sh BUILD WORK COMPILER: installs what BUILD has made into an empty prefix under WORK,
# moves it, builds the outside project against it by CMake and by pkg-config, and runs both programs
# against the installed broker.
set -euo pipefail
build=$1 work=$2 compiler=$3
outside=$(cd "$(dirname "$0")/outside" && pwd)

rm -rf "$work"
mkdir -p "$work"
cmake --install "$build" --prefix "$work/first" >"$work/install.log"
mv "$work/first" "$work/prefix"  # no path of the build may be left in it

echo "== find_package(mqd)"
cmake -S "$outside" -B "$work/outside" -G Ninja -DCMAKE_CXX_COMPILER="$compiler" \
  -DCMAKE_PREFIX_PATH="$work/prefix" --log-level=NOTICE
cmake --build "$work/outside"

echo "== pkg-config mqd-client"
module=$(find "$work/prefix" -name mqd-client.pc)
export PKG_CONFIG_PATH=${module%/*}
read -ra flags <<<"$(pkg-config --define-prefix --cflags --libs --static mqd-client)"
"$compiler" -std=c++20 "$outside/main.cc" -o "$work/by_pkg_config" "${flags[@]}"

echo "== against the installed broker"
mkfifo "$work/log"
"$work/prefix/bin/mqd" --data "$work/data" --listen 127.0.0.1:0 --http-listen off \
  --port-file "$work/port" >"$work/log" 2>&1 &
broker=$!
trap 'kill "$broker" 2>/dev/null || true' EXIT
exec 3<"$work/log"
while read -r line <&3; do
  echo "$line"
  if [[ $line == *ready:* ]]; then break; fi
done
address=127.0.0.1:$(<"$work/port")
"$work/outside/outside" "$address"
"$work/by_pkg_config" "$address"
"$work/prefix/bin/mqctl" --addr "$address" node status
kill "$broker"
cat <&3
wait "$broker"
