{{/*
Names and labels. One template each; nothing else in the chart builds a name.

| release     | fullnameOverride    | nameOverride | full name          | peers                    |
|-------------|---------------------|--------------|--------------------|--------------------------|
| ws          |                     |              | ws-bascule         | ws-bascule-peers         |
| bascule     |                     |              | bascule            | bascule-peers            |
| ws          | hopsworks-instance  |              | hopsworks-instance | hopsworks-instance-peers |
| ws          |                     | proxy        | ws-proxy           | ws-proxy-peers           |
| 2026.11     |                     |              | bascule-2026-11    | bascule-2026-11-peers    |

Full names are cut at 46 characters, so that a pod's name (`-<replicaset-hash>-<pod-hash>`, 17 more) is whole
within 63. A Service's name begins with a letter and has no dot; a release's may not and may.
*/}}
{{- define "bascule.name" -}}
{{- default .Chart.Name .Values.nameOverride -}}
{{- end -}}

{{- define "bascule.fullname" -}}
{{- $release := .Release.Name | replace "." "-" -}}
{{- $name := include "bascule.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if regexMatch "^[0-9]" $release -}}
{{- printf "%s-%s" $name $release | trunc 46 | trimSuffix "-" -}}
{{- else if contains $name $release -}}
{{- $release | trunc 46 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" $release $name | trunc 46 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "bascule.peers" -}}
{{- include "bascule.fullname" . }}-peers
{{- end -}}

{{- define "bascule.api" -}}
{{- include "bascule.fullname" . }}-api
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
app.kubernetes.io/name: {{ include "bascule.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/* The version as a label may have it: semantic versions know a `+`, labels and image tags do not. */}}
{{- define "bascule.version" -}}
{{- .Chart.AppVersion | replace "+" "_" | trunc 63 -}}
{{- end -}}

{{/* Kubernetes' recommended labels. */}}
{{- define "bascule.recommended" -}}
{{ include "bascule.selector" . }}
app.kubernetes.io/version: {{ include "bascule.version" . | quote }}
app.kubernetes.io/component: proxy
app.kubernetes.io/part-of: hopsworks
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{/* Labels of an object: those, and what the values have for every object. */}}
{{- define "bascule.labels" -}}
{{- include "bascule.labelsWith" (list . dict) -}}
{{- end -}}

{{/* The same with further labels, `(list . further)`: one key once, and what a selector needs stays. */}}
{{- define "bascule.labelsWith" -}}
{{- $values := (first .).Values -}}
{{- $labels := fromYaml (include "bascule.recommended" (first .)) -}}
{{- $selector := fromYaml (include "bascule.selector" (first .)) -}}
{{- toYaml (mergeOverwrite $labels (default dict $values.commonLabels) (default dict (last .)) $selector) -}}
{{- end -}}

{{- define "bascule.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default (include "bascule.version" .) .Values.image.tag) -}}
{{- end -}}
{{- end -}}
