{{/* Labels and annotations of every definition. Deleting one deletes every build and release, so Helm must never do it. */}}
{{- define "realsyn-crds.metadata" -}}
labels:
  app.kubernetes.io/name: realsyn-crds
  app.kubernetes.io/part-of: realsyn
  app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
  app.kubernetes.io/managed-by: {{ .Release.Service }}
  helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
  {{- with .Values.labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  helm.sh/resource-policy: keep
  {{- with .Values.annotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
