#!/usr/bin/env bash
# install-packages.sh: the Debian packages that the node, its images and the checks of the charts need. Does nothing, and needs no network, when
# all of them are there.
set -euo pipefail

packages=(buildah ca-certificates conntrack containernetworking-plugins curl gcc iproute2 iptables libc6-dev lua5.4 mmdebstrap procps runc util-linux)
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

[ "$(id -u)" = 0 ] || { echo "missing Debian packages: ${missing[*]}; install them as root" >&2; exit 1; }
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
