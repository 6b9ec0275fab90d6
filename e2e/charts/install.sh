# Sourced by check.sh: starts an API server and installs with Helm.

"$cluster" up --control-plane-only >"$work/cluster" 2>"$work/cluster.log" &
pids+=($!)
until_true grep -q KUBECONFIG "$work/cluster" || { fail "the API server starts" "$work/cluster.log"; sum_up; }
KUBECONFIG=$(sed -n 's/^export KUBECONFIG=//p' "$work/cluster")
export KUBECONFIG
account=system:serviceaccount:realsyn-system:realsyn-controller
dry() { kubectl create --dry-run=server -o name "$@"; }
apply_dry() { kubectl apply --dry-run=server --server-side --validate=strict --force-conflicts "$@"; }
# No warning either: the API server warns about what the restricted standard will refuse.
quietly() { ! "$@" 2>&1 | grep -iE 'warning|error'; }

yes "the base can be applied at once" kubectl apply --server-side --validate=strict -k manifests/
yes "and goes again" kubectl delete --wait -k manifests/
yes "the namespace" kubectl apply --server-side -f manifests/base/namespace.yaml
yes "$data/team.yaml" kubectl apply --server-side -f "$data/team.yaml"
until_true kubectl get serviceaccount default -n team
until_true kubectl get serviceaccount default -n realsyn-system

yes "helm install realsyn-crds" helm install realsyn-crds charts/realsyn-crds
# kubectl does not wait for a definition that has no condition yet, but fails.
yes "the definitions are established" until_true kubectl wait --for=condition=Established --timeout=20s \
  crd/realsynbuilds.realsyn.dev crd/realsynreleases.realsyn.dev
yes "helm install realsyn-operator" quietly helm install realsyn-operator "$operator" -n realsyn-system
yes "helm upgrade" quietly helm upgrade realsyn-operator "$operator" -n realsyn-system

# Everything that the charts can render is known to the API server, field by field; it lacks the Prometheus operator's kinds.
python3 - "$work/everything.yaml" >"$work/known.yaml" <<'PY'
import sys
for text in open(sys.argv[1]).read().split("\n---\n"):
    if "apiVersion: monitoring.coreos.com" not in text:
        print("---\n" + text)
PY
# And to whoever looks without a server, by that one's own schemas; definitions as it has them once the charts are installed.
kubectl get --raw /openapi/v2 | python3 "$here/schemas.py" "$work/schemas"
kubeconform_all() {
  kubeconform -strict -summary -skip PodMonitor,ServiceMonitor,PrometheusRule -schema-location "$work/schemas/{{ .ResourceKind }}{{ .KindSuffix }}.json" "$@"
}
yes "kubeconform: what the charts render" kubeconform_all "$work"/{crds,default,everything,namespaced}.yaml
sed 's/^  replicas: .*/  replica: 1/' "$work/default.yaml" >"$work/unknown.yaml"
no "kubeconform: a field that the API does not have" "replica" kubeconform_all "$work/unknown.yaml"
sed 's/^  replicas: .*/  replicas: one/' "$work/default.yaml" >"$work/mistyped.yaml"
no "kubeconform: a value of another type" "replicas" kubeconform_all "$work/mistyped.yaml"
yes "everything on" quietly apply_dry -f "$work/known.yaml"
yes "namespaced" quietly apply_dry -f "$work/namespaced.yaml"
for file in manifests/examples/*.yaml manifests/examples/*/*.yaml manifests/gitops/datasets/*/{build,release}.yaml; do
  [ ! -e "$file" ] || yes "$file" apply_dry -n team -f <(sed '/^  namespace: /d' "$file")
done

# Deployments are not judged by the pod security standard, pods are.
pod_of() { # NAME: the pod of the template on standard input
  python3 -c 'import json,sys; t=json.load(sys.stdin)["spec"]["template"]; t["metadata"]["name"]=sys.argv[1]
print(json.dumps({"apiVersion":"v1","kind":"Pod",**t}))' "$1"
}
kubectl get deployment realsyn-controller -n realsyn-system -o json | pod_of controller >"$work/pod.json"
yes "the controller's pod is restricted" quietly dry -n realsyn-system -f "$work/pod.json"
kubectl create --dry-run=client -o json -f "$data/job.yaml" | pod_of worker >"$work/pod.json"
yes "a worker's pod is restricted" quietly dry -n team -f "$work/pod.json"
python3 -c 'import json,sys; p=json.load(sys.stdin); p["spec"]["hostNetwork"]=True; print(json.dumps(p))' <"$work/pod.json" >"$work/bad.json"
no "another pod is not" "violates PodSecurity" dry -n team -f "$work/bad.json"

# Rights: these, and nothing else beside what every account may.
rights() { # ACCOUNT NAMESPACE
  kubectl auth can-i --list --no-headers -n "$2" --as "$1" | grep -vE '^ |^self|clustertrust' | tr -s ' ' | sort
}
sort >"$work/rights" <<'RIGHTS'
configmaps [] [] [get list watch create delete]
events [] [] [list watch]
events.events.k8s.io [] [] [create patch]
jobs.batch [] [] [get list watch create patch delete]
pods [] [] [list watch]
realsynbuilds.realsyn.dev [] [] [get list watch]
realsynbuilds.realsyn.dev/finalizers [] [] [update]
realsynbuilds.realsyn.dev/status [] [] [update]
realsynreleases.realsyn.dev [] [] [get list watch]
realsynreleases.realsyn.dev/finalizers [] [] [update]
realsynreleases.realsyn.dev/status [] [] [update]
RIGHTS
{ cat "$work/rights"; echo 'leases.coordination.k8s.io [] [] [create]'; echo 'leases.coordination.k8s.io [] [realsyn-controller] [get update]'; } |
  sort >"$work/own-rights"
yes "the controller's rights" diff "$work/rights" <(rights "$account" team)
yes "its rights at home" diff "$work/own-rights" <(rights "$account" realsyn-system)
yes "helm install, for one namespace" quietly helm install one "$operator" -n team -f "$data/namespaced.yaml"
one=system:serviceaccount:team:realsyn-controller
yes "its rights there" diff "$work/own-rights" <(rights "$one" team)
yes "it has none elsewhere" diff /dev/null <(rights "$one" default)
for role in view edit admin; do
  kubectl create rolebinding "g-$role" -n team --clusterrole "$role" --group "g-$role" >/dev/null
  # The controller manager adds our rules to the role; that takes a moment.
  yes "$role may read builds" until_true kubectl auth can-i list realsynbuilds.realsyn.dev --as x --as-group "g-$role" -n team -q
done
yes "edit may write releases" kubectl auth can-i create realsynreleases.realsyn.dev --as x --as-group g-edit -n team -q
no "view may not" "" kubectl auth can-i create realsynreleases.realsyn.dev --as x --as-group g-view -n team -q
no "nobody writes a status by a role" "" kubectl auth can-i update realsynbuilds.realsyn.dev --subresource=status --as x --as-group g-admin -n team -q

# The controller itself, with its account's token and no other right: it must get to work, and take the Lease.
start_controller() { # NAMESPACE: as the Deployment there says, but for the port
  local token arguments
  token=$(kubectl create token realsyn-controller -n "$1")
  kubectl config view --raw --minify -o json | python3 -c 'import json,sys
c=json.load(sys.stdin); c["users"][0]["user"]={"token":sys.argv[1]}; print(json.dumps(c))' "$token" >"$work/controller.kubeconfig"
  port=$(python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  mapfile -t arguments < <(kubectl get deployment realsyn-controller -n "$1" -o json |
    python3 -c 'import json,sys; print("\n".join(json.load(sys.stdin)["spec"]["template"]["spec"]["containers"][0]["args"]))' | grep -v -- --port)
  KUBECONFIG=$work/controller.kubeconfig POD_NAME=here POD_NAMESPACE=$1 REALSYN_WORKER_IMAGE=realsyn.dev/cpu:0.1.0 \
    "$controller" "${arguments[@]}" --port "$port" >"$work/controller.log" 2>&1 &
  pids+=($!)
}
stop_controller() {
  kill "${pids[-1]}"
  wait "${pids[-1]}"
  unset 'pids[-1]'
}
holds_lease() { [[ $(kubectl get lease realsyn-controller -n "$1" -o jsonpath='{.spec.holderIdentity}') == here_* ]]; }
of_build() { [ -n "$(kubectl get "$1" -n team -l "realsyn.dev/build=for-$2" -o name)" ]; }
works() { # NAMESPACE: with a build of its own, so that nothing is left of another
  yes "the controller in $1 gets ready with its rights" until_true curl -sf -o "$work/ready" "http://127.0.0.1:$port/readyz"
  yes "it takes its Lease" until_true holds_lease "$1"
  sed "s/name: build /name: for-$1 /" "$data/build.yaml" | kubectl create -n team -f - >/dev/null
  yes "it makes a Job of a build" until_true of_build jobs "$1"
  yes "and a ConfigMap" until_true of_build configmaps "$1"
  yes "it writes the status" until_true kubectl wait -n team --for=condition=Reconciling --timeout=5s "realsynbuild/for-$1"
  kubectl patch realsynbuild "for-$1" -n team --type merge -p '{"spec":{"suspend":true}}' >/dev/null
  yes "it deletes the Job of a suspended build" until_true eval "! of_build jobs $1"
  no "nothing was refused to it" "" grep -iE 'forbidden|denied|ValidatingAdmission' "$work/controller.log"
}
if [ -x "$controller" ]; then
  start_controller realsyn-system
  works realsyn-system
  curl -sf "http://127.0.0.1:$port/metrics" >"$work/metrics"
  yes "its metrics are what rules and dashboard ask for" python3 "$here/agree.py" "$work/everything.yaml" "$work/metrics"
  stop_controller
  start_controller team
  works team
  stop_controller
else
  skip "the controller's rights in use" "$controller is not built; cargo build -p realsyn-controller"
fi
yes "helm uninstall, for one namespace" helm uninstall one -n team
