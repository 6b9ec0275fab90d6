# Sourced by check.sh: what stays.

yes "helm uninstall realsyn-operator" helm uninstall realsyn-operator -n realsyn-system
yes "helm uninstall realsyn-crds" helm uninstall realsyn-crds
yes "definitions stay" kubectl get crd realsynbuilds.realsyn.dev realsynreleases.realsyn.dev
yes "builds stay" kubectl get realsynbuild build -n team
no "nothing else stays" "" grep . <(kubectl get validatingadmissionpolicies,validatingadmissionpolicybindings,clusterroles,clusterrolebindings \
  -l app.kubernetes.io/part-of=realsyn -o name)
yes "and the definitions can be installed again" helm install realsyn-crds charts/realsyn-crds
yes "with their builds" kubectl get realsynbuild build -n team
