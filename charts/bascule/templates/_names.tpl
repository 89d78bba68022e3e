{{/*
Names and labels. One template each; nothing else in the chart builds a name.

| release     | fullnameOverride    | nameOverride | full name          | peers                    |
|-------------|---------------------|--------------|--------------------|--------------------------|
| ws          |                     |              | ws-bascule         | ws-bascule-peers         |
| bascule     |                     |              | bascule            | bascule-peers            |
| ws          | hopsworks-instance  |              | hopsworks-instance | hopsworks-instance-peers |
| ws          |                     | proxy        | ws-proxy           | ws-proxy-peers           |

Full names are cut at 52 characters, so that suffixes and the hash of a pod still fit into 63.
*/}}
{{- define "bascule.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "bascule.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains (include "bascule.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "bascule.name" .) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "bascule.peers" -}}
{{- include "bascule.fullname" . }}-peers
{{- end -}}

{{- define "bascule.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "bascule.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The labels a selector may use: they never change in the life of a release. */}}
{{- define "bascule.selector" -}}
app.kubernetes.io/name: {{ include "bascule.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Kubernetes' recommended labels. */}}
{{- define "bascule.labels" -}}
{{ include "bascule.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: proxy
app.kubernetes.io/part-of: hopsworks
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "bascule.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}
