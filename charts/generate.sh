#!/usr/bin/env bash
# generate.sh [DEST]: writes what follows from crds/generated and from the charts into DEST (by default this tree): the
# templates of charts/realsyn-crds, and manifests/base. Needs helm, from the PATH or from .cache/kubernetes/bin.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
dest=${1:-$root}
PATH="${REALSYN_KUBERNETES:-$root/.cache/kubernetes}/bin:$PATH"
mkdir -p "$dest/charts/realsyn-crds/templates" "$dest/manifests/base"

for crd in realsynbuilds realsynreleases gpunodes; do
  {
    echo '{{- /* Written by charts/generate.sh from crds/generated; do not edit. */ -}}'
    # The definition as it is, with labels and annotations beside its name.
    sed -e 1d -e 's,^metadata: { name: \(.*\) }$,metadata:\n  name: \1\n  {{- include "realsyn-crds.metadata" . | nindent 2 }},' \
      "$root/crds/generated/$crd.yaml"
  } >"$dest/charts/realsyn-crds/templates/$crd.yaml"
done

# Labels that only mean something to Helm would be untrue in what kustomize applies.
unhelm() { grep -vE '^ +(helm\.sh/|app\.kubernetes\.io/managed-by: Helm)'; }
render() { # NAME CHART
  echo '# Written by charts/generate.sh; do not edit.'
  helm template "$1" "$2" --namespace realsyn-system | unhelm
}
charts=$(mktemp -d)
trap 'rm -rf "$charts"' EXIT
cp -r "$root/charts/realsyn-crds" "$charts"
cp "$dest"/charts/realsyn-crds/templates/*.yaml "$charts/realsyn-crds/templates/"
# Without its annotations nothing is left of the map.
render realsyn-crds "$charts/realsyn-crds" | sed '/^  annotations:$/d' >"$dest/manifests/base/crds.yaml"
render realsyn-operator "$root/charts/realsyn-operator" >"$dest/manifests/base/operator.yaml"
