# Sourced by check.sh: what needs no API server.

operator=charts/realsyn-operator
render() { helm template realsyn-operator "$operator" --namespace realsyn-system "$@"; }

for chart in charts/*/; do yes "lint $chart" helm lint --strict --quiet "$chart"; done

# One source: what is generated is what lies here.
yes "generate" charts/generate.sh "$work/generated"
for file in charts/realsyn-crds/templates/{realsynbuilds,realsynreleases,gpunodes}.yaml \
  manifests/base/crds.yaml manifests/base/operator.yaml; do
  yes "$file is generated" diff -u "$file" "$work/generated/$file"
done
helm template realsyn-crds charts/realsyn-crds >"$work/crds.yaml"
for crd in realsynbuilds realsynreleases gpunodes; do
  # Beside its name and what the chart writes about itself, a rendered definition is the generated one.
  yes "$crd is crds/generated" diff -B <(sed -n '/^spec:/,$p' "crds/generated/$crd.yaml") \
    <(helm template realsyn-crds charts/realsyn-crds -s "templates/$crd.yaml" | sed -n '/^spec:/,$p')
  yes "$crd is at most 64 kB" test "$(wc -c <"crds/generated/$crd.yaml")" -le 65536
done
yes "definitions stay" test "$(grep -c 'helm.sh/resource-policy: keep' "$work/crds.yaml")" = 3

# Values that are good …
yes "render default" render
yes "render everything" render -f "$data/everything.yaml"
yes "render namespaced" render -f "$data/namespaced.yaml"
render >"$work/default.yaml"
render -f "$data/everything.yaml" >"$work/everything.yaml"
render -f "$data/namespaced.yaml" >"$work/namespaced.yaml"
no "namespaced has nothing for the whole cluster" "" grep -E '^kind: (ClusterRole|ClusterRoleBinding|Validating.*)$' "$work/namespaced.yaml"
yes "namespaced watches its namespace" grep -qF -- --namespace=team "$work/namespaced.yaml"
no "all namespaces by default" "" grep -qF -- --namespace "$work/default.yaml"
yes "a digest goes before a tag" grep -q 'image: "example/controller@sha256:0*"' "$work/everything.yaml"
yes "two operators do not share names" grep -q 'name: realsyn-elsewhere-build-use' \
  <(helm template x "$operator" -n elsewhere --set 'watch.namespaces={team}')
yes "its policies look at its namespace" grep -q 'kubernetes.io/metadata.name: team' \
  <(helm template x "$operator" -n elsewhere --set 'watch.namespaces={team}' -s templates/admission-builds.yaml)
for switch in serviceMonitor=ServiceMonitor prometheusRule=PrometheusRule podDisruptionBudget=PodDisruptionBudget \
  serviceAccount=ServiceAccount gpu=DaemonSet rbac=Role admissionPolicies=ValidatingAdmissionPolicy dashboard=ConfigMap networkPolicy.controller=NetworkPolicy; do
  field=enabled
  case $switch in serviceAccount* | rbac*) field=create ;; esac
  render --set "${switch%=*}.$field=true" >"$work/on"
  render --set "${switch%=*}.$field=false" >"$work/off"
  yes "switch ${switch%=*} on" grep -q "^kind: ${switch#*=}$" "$work/on"
  no "switch ${switch%=*} off" "" grep -q "^kind: ${switch#*=}$" "$work/off"
done

yes "the agents are scraped" grep -q '^kind: PodMonitor$' "$work/everything.yaml"
no "agents that are not there are not scraped" "" grep -q '^kind: PodMonitor$' <(render --set gpu.enabled=false,gpu.agent.podMonitor.enabled=true)
no "no alerts on GPUs without their agents" "" grep -q RealSynGpu <(render --set gpu.enabled=false,prometheusRule.enabled=true)

# … and values that the schema must refuse: a wrong name, a wrong type, or what cannot work.
while read -r value; do
  no "bad value $value" "" render --set "$value"
done <<'BAD'
replica=2
replicas=two
replicas=-1
image.name=x
image.tag=a:b
image.digest=sha256:12
image.pullPolicy=Sometimes
worker.tag=1
worker.image.repository=
worker.image.repository=a'b
worker.repositories={a:}
fullnameOverride=Capital
watch.namespaces={a,b}
watch.namespaces={A}
watch.namespace=a
maxPods=0
kueue.enabled=1
concurrency=0
log.format=xml
log.level=info
log.filterConfigMap=A
tracing.endpoint=grpc://a:1
tracing.endpoint=http://a
tracing.url=a
resources.limit.cpu=1
resources.limits.memory=lots
tolerations[0].effect=Never
affinity.node.a=b
topologySpread.whenUnsatisfiable=Sometimes
serviceAccount.name=A
rbac.clusterWide=true
admissionPolicies.action=Allow
podDisruptionBudget.minAvailable=1
podDisruptionBudget.maxUnavailable=half
serviceMonitor.interval=often
serviceMonitor.on=true
gpu.agent.podMonitor.interval=often
prometheusRule.rules={a}
dashboard.enabled=1
networkPolicy.enabled=true
networkPolicy.controller.apiServerPorts={0}
networkPolicy.controller.metricsFrom[0].namespace=a
networkPolicy.workers.enabled=true
networkPolicy.workers.except={10.0.0.0}
BAD
no "bad value of realsyn-crds" "" helm template x charts/realsyn-crds --set label.a=b
no "the policy of definitions cannot change" "" helm template x charts/realsyn-crds --set 'annotations.helm\.sh/resource-policy=delete'

yes "examples fit the schema" kubeconform -strict -schema-location 'crds/generated/{{ .ResourceKind }}.schema.json' \
  manifests/examples/*.yaml manifests/examples/*/*.yaml manifests/gitops/datasets/*/*build*.yaml manifests/gitops/datasets/*/*release*.yaml
yes "values, metrics, alerts and docs agree" python3 "$here/agree.py" "$work/everything.yaml"

for file in stage-images/containers/*.Dockerfile; do
  yes "$file has a base with a tag and a digest" grep -qE '^ARG BASE=[a-z0-9./-]+:[a-z0-9.-]+@sha256:[0-9a-f]{64}$' "$file"
  yes "$file takes its base from there" grep -qE '^FROM [$][{]BASE[}]( AS base)?$' "$file"
  yes "$file runs as nobody" grep -qx 'USER 65532:65532' "$file"
  no "$file runs nothing while it is built" "" grep -q '^RUN' "$file"
done

mkdir "$work/argocd"
cp -r manifests/gitops/argocd "$work/argocd/component"
kubectl create configmap argocd-cm -n argocd --dry-run=client -o yaml >"$work/argocd/argocd-cm.yaml"
printf 'resources: [argocd-cm.yaml]\ncomponents: [component]\n' >"$work/argocd/kustomization.yaml"
yes "Argo CD's component teaches both kinds" test "$(kubectl kustomize "$work/argocd" | grep -c 'health.realsyn.dev_RealSyn.*: |')" = 2
for folder in builds releases; do yes "gitops $folder" kubectl kustomize "manifests/gitops/datasets/$folder"; done
if command -v lua5.4 lua5.3 lua luajit >/dev/null; then
  yes "Argo CD's health scripts" "$(command -v lua5.4 lua5.3 lua luajit | head -1)" "$here/health.lua" manifests/gitops/argocd/health
else
  skip "Argo CD's health scripts" "there is no lua; apt-get install lua5.4"
fi
