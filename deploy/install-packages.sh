#!/usr/bin/env bash
# install-packages.sh [--no-services] SECTION...: installs what is missing of the named sections of
# packages.txt. As root, or with sudo. Says nothing and needs neither when nothing is missing.
# --no-services: no daemon of a new package is started.
set -euo pipefail

list=$(dirname "$0")/packages.txt
policy=/usr/sbin/policy-rc.d  # asked by a package before it starts its daemon; 101 is no
services=true
if [[ ${1:-} == --no-services ]]; then
  services=false
  shift
fi

packages_of() {  # SECTION
  awk -v want="[$1]" '/^#/ || !NF {next} /^\[/ {inside = ($0 == want); next} inside' "$list"
}

installed() {  # PACKAGE
  [[ $(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

missing=()
for section in "$@"; do
  packages=$(packages_of "$section")
  if [[ -z $packages ]]; then
    echo "install-packages.sh: packages.txt has no section [$section]" >&2
    exit 64
  fi
  for package in $packages; do
    installed "$package" || missing+=("$package")
  done
done
((${#missing[@]})) || exit 0

as_root=()
if ((EUID != 0)); then
  if ! command -v sudo >/dev/null; then
    echo "install-packages.sh: run as root, or install: ${missing[*]}" >&2
    exit 77
  fi
  as_root=(sudo)
fi

allow_services() {
  "${as_root[@]}" rm -f "$policy"
  [[ ! -e $policy.saved ]] || "${as_root[@]}" mv "$policy.saved" "$policy"
}

forbid_services() {
  local answer=0
  [[ ! -x $policy ]] || "$policy" any start || answer=$?
  ((answer != 101)) || return 0  # they are forbidden anyway
  [[ ! -e $policy ]] || "${as_root[@]}" mv "$policy" "$policy.saved"
  trap allow_services EXIT
  printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" install -m 0755 /dev/stdin "$policy"
}

$services || forbid_services
echo "installing ${#missing[@]} Debian packages: ${missing[*]}" >&2
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
