{{- define "realsyn.name" -}}
{{ .Values.fullnameOverride }}
{{- end }}

{{- define "realsyn.account" -}}
{{ .Values.serviceAccount.name | default (include "realsyn.name" .) }}
{{- end }}

{{/* The only namespace that is watched, or nothing. */}}
{{- define "realsyn.namespace" -}}
{{ join "" .Values.watch.namespaces }}
{{- end }}

{{/* The beginning of names without a namespace: two operators, each with a namespace of its own, must not collide. */}}
{{- define "realsyn.clusterName" -}}
{{- if .Values.watch.namespaces -}}
{{ printf "realsyn-%s" .Release.Namespace }}
{{- else -}}
realsyn
{{- end -}}
{{- end }}

{{- define "realsyn.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "realsyn.labels" -}}
{{ include "realsyn.selector" . }}
app.kubernetes.io/part-of: realsyn
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* repository:tag or repository@digest. Takes (list image appVersion). */}}
{{- define "realsyn.image" -}}
{{- $image := index . 0 -}}
{{- if $image.digest -}}
{{ printf "%s@%s" $image.repository $image.digest }}
{{- else -}}
{{ printf "%s:%s" $image.repository ($image.tag | default (index . 1)) }}
{{- end -}}
{{- end }}
