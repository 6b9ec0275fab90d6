#!/usr/bin/env bash
# check.sh: the charts and manifests, looked at without a cluster and then tried against a real API server.
#
# Takes helm, kubectl and kubeconform from REALSYN_KUBERNETES (default .cache/kubernetes), the program that starts an API
# server from REALSYN_CLUSTER (default target/debug/cluster), and, if it is there, the controller from REALSYN_CONTROLLER
# (default target/debug/realsyn-controller). Without them it skips, and says so; with REALSYN_REQUIRE_CLUSTER set it fails.
set -uo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root" || exit 1
export REALSYN_KUBERNETES=${REALSYN_KUBERNETES:-$root/.cache/kubernetes}
export PATH=$REALSYN_KUBERNETES/bin:$PATH
built=${CARGO_TARGET_DIR:-$root/target}/debug
cluster=${REALSYN_CLUSTER:-$built/cluster}
controller=${REALSYN_CONTROLLER:-$built/realsyn-controller}
data=e2e/charts/data
here=$(dirname "$0")
work=$(mktemp -d)
pids=()
finish() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null; done
  wait 2>/dev/null
  rm -rf "$work"
}
trap finish EXIT
passed=0 failed=0 skipped=0

skip() { # NAME WHY
  if [ -n "${REALSYN_REQUIRE_CLUSTER:-}" ]; then
    echo "FAILED $1: $2"
    failed=$((failed + 1))
  else
    echo "SKIPPED $1: $2" | tee -a "${REALSYN_SKIPPED:-/dev/null}"
    skipped=$((skipped + 1))
  fi
}
sum_up() {
  echo "charts: $passed passed, $failed failed, $skipped skipped, in $SECONDS s"
  [ "$failed" = 0 ]
  exit
}
pass() { passed=$((passed + 1)); [ -n "${QUIET:-}" ] || echo "ok      $1"; }
fail() { # NAME FILE
  failed=$((failed + 1))
  echo "FAILED  $1"
  # With a line end, whatever the output ends with.
  { head -c 2000 "$2"; echo; } | sed 's/^/        /'
}
# yes NAME COMMAND…: the command succeeds.
yes() {
  local name=$1
  shift
  if "$@" >"$work/out" 2>&1; then pass "$name"; else fail "$name" "$work/out"; fi
}
# no NAME WORDS COMMAND…: the command is refused, with these words if there are any.
no() {
  local name=$1 words=$2
  shift 2
  if "$@" >"$work/out" 2>&1; then
    echo "this was to be refused" >>"$work/out"
    fail "$name" "$work/out"
  elif [ -z "$words" ] || grep -qF -- "$words" "$work/out"; then
    pass "$name"
  else
    fail "$name: refused, but not with '$words'" "$work/out"
  fi
}
# Waits until the command succeeds, at most 20 s.
until_true() {
  local end=$((SECONDS + 20))
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || return 1
    read -rt 0.1 <> <(:) || true
  done
}

for program in helm kubectl kubeconform python3; do
  command -v "$program" >/dev/null || { skip charts "there is no $program; e2e/cluster/build-binaries.sh .cache/kubernetes"; sum_up; }
done
export HELM_CACHE_HOME=$work/helm HELM_CONFIG_HOME=$work/helm HELM_DATA_HOME=$work/helm

source "$here/offline.sh"
if [ ! -x "$cluster" ]; then
  skip "the API server" "$cluster is not built; cargo build -p realsyn-cluster"
  sum_up
fi
if [ ! -x "$REALSYN_KUBERNETES/bin/kube-apiserver" ]; then
  skip "the API server" "$REALSYN_KUBERNETES has no kube-apiserver; e2e/cluster/build-binaries.sh"
  sum_up
fi
source "$here/install.sh"
source "$here/admission.sh"
source "$here/uninstall.sh"
sum_up
