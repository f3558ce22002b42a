#!/usr/bin/env bash
# install-packages.sh SECTION...: installs what is missing of the named sections of packages.txt.
# As root, or with sudo. Says nothing and needs neither when nothing is missing.
set -euo pipefail

list=$(dirname "$0")/packages.txt

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
echo "installing ${#missing[@]} Debian packages: ${missing[*]}" >&2
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
