#!/usr/bin/env bash
# build.sh PREFIX TAG BINARIES [cpu|cuda|controller|gpu-agent ...]
#
# Builds PREFIX/cpu:TAG and so on with buildah or docker from the binaries in the folder BINARIES. BASE, if set, is the
# base of all of them. BUILDER chooses between buildah and docker where both are there.
set -euo pipefail
[ $# -ge 3 ] || { sed -n 's/^# \(build.sh.*\)/usage: \1/p' "$0" >&2; exit 2; }
prefix=$1 tag=$2 binaries=$3
shift 3
[ $# -gt 0 ] || set -- cpu cuda controller gpu-agent
here=$(cd "$(dirname "$0")" && pwd)
builder=${BUILDER:-$(command -v buildah || command -v docker)} || { echo "building images needs buildah or docker" >&2; exit 1; }

for image in "$@"; do
  case $image in
    controller | gpu-agent) binary=realsyn-$image ;;
    cpu | cuda) binary=realsyn ;;
    *) echo "there is no image $image; there are cpu, cuda, controller and gpu-agent" >&2; exit 2 ;;
  esac
  # A context of its own: the folder of a build holds gigabytes.
  context=$(mktemp -d)
  trap 'rm -rf "$context"' EXIT
  strip --strip-debug -o "$context/$binary" "$binaries/$binary"
  "$builder" build ${BASE:+--build-arg "BASE=$BASE"} --file "$here/$image.Dockerfile" --tag "$prefix/$image:$tag" "$context"
  rm -rf "$context"
done
