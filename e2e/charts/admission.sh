# Sourced by check.sh: the admission policies, on what the API server would do (nothing is kept).

no "policies have no type errors" "" grep expressionWarnings <(kubectl get validatingadmissionpolicies -o json)
# A manifest with a merge patch.
with() { kubectl patch --local -f "$data/$1.yaml" --type merge -p "$2" -o json >"$work/object.json" && echo "$work/object.json"; }
as() { # USER OBJECT PATCH
  dry -n team --as "$1" -f "$(with "$2" "$3")"
}
storage() { printf '{"spec":{"storage":%s}}' "$1"; }
secret='{"credentials":{"secretName":"keys"}}'
cloud='{"credentials":{"serviceAccountName":"cloud"}}'

# The API server takes a moment to see a new policy.
until_true eval '! as plain build "$(storage "$secret")"'
yes "a build without references" as plain build '{}'
no "a Secret that one may not get" "plain may not get the Secret keys" as plain build "$(storage "$secret")"
yes "a Secret that one may get" as keyholder build "$(storage "$secret")"
no "another Secret" "may not get the Secret other" as keyholder build "$(storage '{"credentials":{"secretName":"other"}}')"
no "an account" "may not act as the service account cloud" as keyholder build "$(storage "$cloud")"
yes "an account that one may impersonate" as impersonator build "$(storage "$cloud")"
yes "an account that one may get tokens of" as tokenmaker build "$(storage "$cloud")"
no "another account" "service account other" as impersonator build "$(storage '{"credentials":{"serviceAccountName":"other"}}')"
no "a release with a Secret" "spec.destination.credentials.secretName: plain may not" as plain release "{\"spec\":{\"destination\":$secret}}"
yes "a release with one's Secret" as keyholder release "{\"spec\":{\"destination\":$secret}}"
no "a release with an account" "service account cloud" as plain release "{\"spec\":{\"destination\":$cloud}}"
yes "a release beside its build's pool" as plain release '{}'
no "a release elsewhere, with the build's Secret" "credentials of the build" as plain release '{"spec":{"destination":{"uri":"s3://bucket/x"}}}'
no "a release to another server, with the build's Secret" "credentials of the build" as keyholder release '{"spec":{"destination":{"endpoint":"https://a"}}}'
yes "a release elsewhere, by somebody who may use all of them" dry -n team --as x --as-group g-edit \
  -f "$(with release '{"spec":{"destination":{"uri":"s3://bucket/x"}}}')"

claim='{"uri":"pvc://data/work"}'
no "a claim without pods" "may not create pods" as claimreader build "$(storage "$claim")"
no "a claim that one may not get" "names the claim data, and podmaker may not get it" as podmaker build "$(storage "$claim")"
yes "a claim of one's own" as claimholder build "$(storage "$claim")"
no "another claim" "may not get it" as claimholder build "$(storage '{"uri":"pvc://other/work"}')"
mirrors() {
  local list='' i
  for i in "$@"; do list+="${list:+,}{\"prefix\":\"http://$i/\",\"uri\":\"pvc://data$i/x\"}"; done
  printf '{"spec":{"source":{"imageMirrors":[%s]}}}' "$list"
}
yes "four claims, and one of them twice" as claimholder build "$(mirrors 2 3 4 5 2)"
no "the fourth is another's" "names the claim data6" as claimholder build "$(mirrors 2 3 4 6)"
no "five claims" "more than four claims" as claimholder build "$(mirrors '' 2 3 4 5)"
# Every place that the schema knows, also one that is new tomorrow.
for kind in build release; do
  kubectl get crd "realsyn${kind}s.realsyn.dev" -o json | python3 "$here/uris.py" >"$work/places.json"
  dry -n team --as podmaker -f "$work/places.json" >"$work/created" 2>"$work/refused"
  no "a claim in a place of a $kind that the policy overlooks" "" grep . "$work/created"
  yes "a claim in every place of a $kind" test "$(grep -c 'names the claim data' "$work/refused")" = "$(grep -c '"kind"' "$work/places.json")"
done

# The wish of a deleted build makes the controller use the Secret that it names.
wish() { printf '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"wish","labels":{"realsyn.dev/stage":"%s"}}}' "$1" >"$work/wish.json"; }
wish clean-up
no "a forged wish to clean up" "controller's to write" dry -n team --as x --as-group g-edit -f "$work/wish.json"
wish another
yes "another ConfigMap with our label" dry -n team --as x --as-group g-edit -f "$work/wish.json"

# What is there already: judged again when it points elsewhere, left alone when not.
kubectl create -n team -f "$(with build "$(storage "$secret")")" >/dev/null
change() { kubectl patch realsynbuild build -n team --dry-run=server --as "$1" --type merge -p "$2"; }
yes "another suspends a build" change plain '{"spec":{"suspend":true}}'
yes "another labels it" change plain '{"metadata":{"labels":{"a":"b"}}}'
yes "another takes the Secret away" change plain '{"spec":{"storage":{"credentials":null}}}'
no "another names a Secret" "may not get the Secret other" change plain '{"spec":{"storage":{"credentials":{"secretName":"other"}}}}'
no "another bucket, with the Secret left" "may not get the Secret keys" change plain '{"spec":{"storage":{"uri":"s3://elsewhere/x"}}}'
no "another server, with the Secret left" "may not get the Secret keys" change plain '{"spec":{"storage":{"endpoint":"https://evil.example.org"}}}'
no "another source, with the Secret left" "may not get the Secret keys" change plain '{"spec":{"source":{"uri":"s3://elsewhere/x"}}}'
no "another model server, with the Secret left" "may not get the Secret keys" change plain '{"spec":{"stages":{"generate":{"endpoint":"https://evil.example.org"}}}}'
yes "its owner moves it" change keyholder '{"spec":{"storage":{"uri":"s3://elsewhere/x"}}}'
yes "the controller writes its status" kubectl replace --raw /apis/realsyn.dev/v1alpha1/namespaces/team/realsynbuilds/build/status \
  --as "$account" -f <(kubectl get realsynbuild build -n team -o json)
kubectl create -n team -f "$(with release '{"metadata":{"name":"elsewhere"},"spec":{"destination":{"uri":"s3://bucket/x"}}}')" >/dev/null
no "another build's credentials for a release" "credentials of the build" kubectl patch realsynrelease elsewhere -n team --dry-run=server \
  --as plain --type merge -p '{"spec":{"buildRef":{"name":"other"}}}'

# What the controller's account may make.
cat >"$work/patches" <<'CASES'
its pods must not use the host's	{"hostNetwork":true}
its pods must not use the host's	{"hostPID":true}
its pods must not use the host's	{"hostIPC":true}
automountServiceAccountToken	{"automountServiceAccountToken":true}
automountServiceAccountToken	{"automountServiceAccountToken":null}
somebody else than root	{"securityContext":{"runAsUser":0}}
somebody else than root	{"securityContext":{"runAsNonRoot":null}}
somebody else than root	{"securityContext":{"seccompProfile":{"type":"Unconfined"}}}
CASES
pod() { printf '{"spec":{"template":{"spec":%s}}}' "$1"; }
job() { as "$account" job "$1"; }
yes "a Job of the controller" job '{}'
yes "a ConfigMap of the controller" as "$account" configmap '{}'
while IFS=$'\t' read -r words patch; do no "a Job with $patch" "$words" job "$(pod "$patch")"; done <"$work/patches"
change_job() { # JSON-PATCH
  kubectl patch --local -f "$data/job.yaml" --type json -p "[$1]" -o json >"$work/job.json" && dry -n team --as "$account" -f "$work/job.json"
}
volume() { change_job "{\"op\":\"add\",\"path\":\"/spec/template/spec/volumes/-\",\"value\":{\"name\":\"more\",$1}}"; }
yes "an image volume" volume '"image":{"reference":"registry.example.org/model:1"}'
for source in '"hostPath":{"path":"/"}' '"secret":{"secretName":"keys"}' '"nfs":{"server":"a","path":"/"}' '"csi":{"driver":"a"}' \
  '"projected":{"sources":[{"serviceAccountToken":{"path":"t"}}]}' '"downwardAPI":{"items":[]}'; do
  no "a volume $source" "claims and images, and nothing else" volume "$source"
done
at=/spec/template/spec/containers/0
while IFS=$'\t' read -r words op path value; do
  no "a container with $path $value" "$words" change_job "{\"op\":\"$op\",\"path\":\"$at$path\"${value:+,\"value\":$value}}"
done <<'CASES'
read-only root and no privileges	replace	/securityContext	{"privileged":true,"readOnlyRootFilesystem":true,"capabilities":{"drop":["ALL"]}}
read-only root and no privileges	replace	/securityContext/allowPrivilegeEscalation	true
read-only root and no privileges	remove	/securityContext/allowPrivilegeEscalation	
read-only root and no privileges	remove	/securityContext	
read-only root and no privileges	remove	/securityContext/readOnlyRootFilesystem	
read-only root and no privileges	add	/securityContext/runAsNonRoot	false
read-only root and no privileges	add	/securityContext/runAsUser	0
read-only root and no privileges	replace	/securityContext/capabilities	{"drop":["NET_RAW"]}
read-only root and no privileges	add	/securityContext/capabilities/add	["NET_ADMIN"]
read-only root and no privileges	add	/securityContext/seccompProfile	{"type":"Unconfined"}
ports of the host	add	/ports	[{"containerPort":80,"hostPort":80}]
get Secrets as a whole	add	/env	[{"name":"A","valueFrom":{"secretKeyRef":{"name":"keys","key":"a"}}}]
the worker's image	replace	/image	"example.org/miner:1"
the worker's image	replace	/image	"realsyn.dev/cpu-not:1"
the worker's image	add	/command	["/bin/sh"]
CASES
# The language model's server: this one, and no other beside or in place of it.
serving() { # STAGE PATCH-OF-THE-SERVER
  kubectl patch --local -f "$data/job.yaml" --type merge -o json -p "{\"spec\":{\"template\":{\"metadata\":{\"labels\":{\"realsyn.dev/stage\":\"$1\"}},
    \"spec\":{\"initContainers\":[$server]}}}}" >"$work/served.json"
  kubectl patch --local -f "$work/served.json" --type json -p "[$2]" -o json >"$work/job.json" && dry -n team --as "$account" -f "$work/job.json"
}
server='{"name":"server","image":"vllm/vllm-openai:1","restartPolicy":"Always","command":["vllm","serve"],"args":["/claims/data/m"],
  "volumeMounts":[{"name":"claim-0","mountPath":"/claims/data","readOnly":true}],
  "securityContext":{"runAsUser":65533,"allowPrivilegeEscalation":false,"readOnlyRootFilesystem":true,"capabilities":{"drop":["ALL"]}}}'
yes "a server beside generate" serving generate ''
no "a server beside another stage" "one server may run" serving caption ''
at=/spec/template/spec/initContainers/0
while IFS=$'\t' read -r words op path value; do
  no "a server with $path $value" "$words" serving generate "{\"op\":\"$op\",\"path\":\"$at$path\"${value:+,\"value\":$value}}"
done <<'CASES'
one server may run	replace	/image	"example.org/miner:1"
one server may run	replace	/image	"realsyn.dev/cpu:1"
one server may run	replace	/command	["/bin/sh"]
one server may run	remove	/command	
one server may run	remove	/restartPolicy	
one server may run	replace	/name	"other"
one server may run	add	/envFrom	[{"secretRef":{"name":"keys"}}]
one server may run	remove	/volumeMounts/0/readOnly	
read-only root and no privileges	replace	/securityContext/runAsUser	0
CASES
server="$server,${server/\"server\"/\"second\"}"
no "two servers" "one server may run" serving generate ''
no "an init container is judged, too" "read-only root" job \
  "$(pod '{"initContainers":[{"name":"i","image":"realsyn.dev/cpu:1","securityContext":{"privileged":true}}]}')"
for object in job configmap; do
  no "a $object without an owner" "it needs one owner" as "$account" "$object" '{"metadata":{"ownerReferences":null}}'
  no "a $object of a Deployment" "it needs one owner" as "$account" "$object" \
    '{"metadata":{"ownerReferences":[{"apiVersion":"apps/v1","kind":"Deployment","name":"a","uid":"b","controller":true}]}}'
done
no "a ConfigMap that can change" "immutable" as "$account" configmap '{"immutable":false}'
no "a Job that runs as the controller" "must not run as the controller" dry -n realsyn-system --as "$account" \
  -f "$(with job "$(pod '{"serviceAccountName":"realsyn-controller"}')")"
kubectl create -n team -f "$(with job '{"metadata":{"name":"foreign","ownerReferences":null}}')" >/dev/null
no "changing a foreign Job" "it needs one owner" kubectl patch job foreign -n team --as "$account" \
  --type merge -p '{"spec":{"parallelism":9}}'
no "adopting a foreign Job" "not the controller's to change" kubectl patch job foreign -n team --as "$account" --type merge \
  -p '{"metadata":{"ownerReferences":[{"apiVersion":"realsyn.dev/v1alpha1","kind":"RealSynBuild","name":"build","uid":"b","controller":true}]}}'
no "deleting a foreign Job" "not the controller's to change" kubectl delete job foreign -n team --as "$account"
yes "others are not bound" kubectl delete job foreign -n team

# An agent writes for its own node and for no other, also where the other's objects are there already.
yes "agents in a namespace that is there" helm upgrade realsyn-operator "$operator" -n realsyn-system \
  --set gpu.enabled=true,gpu.agent.namespace=team,gpu.agent.createNamespace=false
gpu_node() { printf '{"apiVersion":"realsyn.dev/v1alpha1","kind":"GpuNode","metadata":{"name":"%s"%s}}' "$1" "${2:-}"; } # NAME [MORE]
lease() {
  printf '{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"namespace":"team","name":"%s"},"spec":{"holderIdentity":"%s"}}' "$1" "$2"
}
for node in node-a node-b; do
  gpu_node $node | kubectl create -f - >/dev/null
  lease realsyn-gpu-$node $node | kubectl create -f - >/dev/null
done
# Who asks is told by a kubeconfig: kubectl has no flag for what a token says beside the account.
for node in node-a nowhere; do
  kubectl config view --raw -o json | python3 -c 'import json,sys; c=json.load(sys.stdin)
for user in c["users"]:
    user["user"]["as"] = "system:serviceaccount:team:realsyn-gpu-agent"
    if sys.argv[1] != "nowhere": user["user"]["as-user-extra"] = {"authentication.kubernetes.io/node-name": [sys.argv[1]]}
print(json.dumps(c))' $node >"$work/$node.kubeconfig"
done
agent() { # NODE COMMAND…: as the agent whose token is bound to a node
  KUBECONFIG=$work/$1.kubeconfig kubectl "${@:2}" --dry-run=server
}
apply_as() { # NODE OBJECT [OPTION…]
  agent "$1" apply --server-side --force-conflicts --validate=false "${@:3}" -f - <<<"$2"
}
status_as() { # NODE GPUNODE
  apply_as "$1" "$(gpu_node "$2" '},"status":{"driver":"1"')" --subresource=status
}
until_true eval '! apply_as nowhere "$(gpu_node node-a)"'
mark=',"labels":{"a":"b"}'
own="the agent of node node-a may write"
yes "an agent changes its GpuNode" apply_as node-a "$(gpu_node node-a "$mark")"
yes "an agent writes its GpuNode's status" status_as node-a node-a
yes "an agent renews its Lease" apply_as node-a "$(lease realsyn-gpu-node-a me)"
no "an agent changes another's GpuNode" "$own" apply_as node-a "$(gpu_node node-b "$mark")"
no "an agent writes the status of another's GpuNode" "$own" status_as node-a node-b
no "an agent renews another's Lease" "$own" apply_as node-a "$(lease realsyn-gpu-node-b me)"
no "an agent makes a GpuNode of another node" "$own" apply_as node-a "$(gpu_node node-c)"
no "an agent makes a Lease of another's" "$own" apply_as node-a "$(lease realsyn-controller me)"
no "a token of no node" "must be bound to its node" apply_as nowhere "$(gpu_node node-a "$mark")"
no "an agent writes a quarantine" "quarantine is the controller's" apply_as node-a "$(gpu_node node-a '},"spec":{"quarantine":[{"reason":"Mine"}]')"
kubectl delete gpunode node-a node-b >/dev/null
kubectl delete lease -n team realsyn-gpu-node-a realsyn-gpu-node-b >/dev/null
yes "and without agents again" helm upgrade realsyn-operator "$operator" -n realsyn-system --set gpu.enabled=false

# Flux's health expressions, which see an object's parts as variables: tried as a policy on writes of a status.
flux() { # current|failed
  awk -v key="  $1: >-" 'index($0, key) { take = 2; next } take-- > 0 { printf "%s ", $0 }' manifests/gitops/flux/kustomizations.yaml |
    sed 's/status\.?/object.status.?/; s/metadata\./object.metadata./'
}
kubectl apply --server-side -f - >/dev/null <<POLICY
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: { name: flux }
spec:
  matchConstraints:
    resourceRules: [{ apiGroups: [realsyn.dev], apiVersions: ["*"], operations: [UPDATE], resources: [realsynreleases/status] }]
  validations:
  - { expression: "$(flux current)", messageExpression: "($(flux failed)) ? 'it failed' : 'in progress'" }
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: { name: flux }
spec: { policyName: flux, validationActions: [Deny] }
POLICY
kubectl create -n team -f "$data/release.yaml" >/dev/null
health() { # CONDITION STATUS GENERATION
  kubectl patch realsynrelease release -n team --subresource status --dry-run=server --type merge -p \
    "{\"status\":{\"conditions\":[{\"type\":\"$1\",\"status\":\"$2\",\"reason\":\"A\",\"lastTransitionTime\":\"2026-01-01T00:00:00Z\",\"observedGeneration\":$3}]}}"
}
until_true eval '! health Ready False 1'
yes "Flux: ready" health Ready True 1
no "Flux: ready, an older generation" "in progress" health Ready True 0
no "Flux: not ready" "in progress" health Ready False 1
no "Flux: stalled" "it failed" health Stalled True 1
no "Flux: no conditions yet" "in progress" kubectl patch realsynrelease release -n team --subresource status --dry-run=server \
  --type merge -p '{"status":{"progress":"a"}}'
kubectl delete validatingadmissionpolicy/flux validatingadmissionpolicybinding/flux >/dev/null
