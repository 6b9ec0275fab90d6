# base.sh LAYER: a small Debian as a tar: what a Rust binary links, certificates, and busybox as its shell and tools.
set -euo pipefail
layer=$1
. /etc/os-release
# Only the distribution's own sources: others would need their keys, too.
sources=/etc/apt/sources.list.d/debian.sources
[ -e "$sources" ] || sources=/etc/apt/sources.list

# The packages' scripts do not run (they would pull in perl and more), so what they set up is done here.
finish='
cd "$1"
for tool in $(bin/busybox --list); do
  [ -e "bin/$tool" ] || [ -e "usr/bin/$tool" ] || ln -s busybox "bin/$tool"
done
mkdir -p etc/ssl/certs tmp && chmod 1777 tmp
cat usr/share/ca-certificates/mozilla/*.crt > etc/ssl/certs/ca-certificates.crt
printf "%s\n" root:x:0:0:root:/root:/bin/sh nobody:x:65534:65534:nobody:/:/bin/false > etc/passwd
printf "%s\n" root:x:0: nogroup:x:65534: > etc/group
'
# The same packages give the same bytes, so that builders find their layers again.
export SOURCE_DATE_EPOCH=1
mmdebstrap --quiet --variant=extract --format=tar --include=libc6,libgcc-s1,ca-certificates,busybox \
  --aptopt='APT::Install-Recommends "false"' --dpkgopt=path-exclude='/usr/share/doc/*' --dpkgopt=path-exclude='/usr/share/man/*' \
  --dpkgopt=path-exclude='/usr/share/locale/*' --extract-hook="$finish" "$VERSION_CODENAME" "$layer" "$sources"
