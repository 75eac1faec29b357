{{- define "openshell.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "openshell.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "openshell.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "openshell.selectorLabels" -}}
app.kubernetes.io/name: {{ include "openshell.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "openshell.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "openshell.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "openshell.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "openshell.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Reference of an image: a digest goes before a tag. Takes a dict of image and, as fallback, tag. */}}
{{- define "openshell.image" -}}
{{- if .image.digest -}}
{{- printf "%s@%s" .image.repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" .image.repository (default .fallback .image.tag) -}}
{{- end -}}
{{- end -}}

{{/* Secret with the authorities of client certificates: those of cert-manager lie beside the server's certificate. */}}
{{- define "openshell.clientCaSecretName" -}}
{{- if .Values.certManager.enabled -}}
{{- .Values.server.tls.certSecretName -}}
{{- else -}}
{{- default .Values.server.tls.certSecretName .Values.server.tls.clientCaSecretName -}}
{{- end -}}
{{- end -}}

{{/* The API of the cluster is needed by whoever makes sandboxes: the driver beside the gateway, or the gateway's own child. */}}
{{- define "openshell.gatewayNeedsApi" -}}
{{- if ne .Values.driver.kind "external" }}true{{ end -}}
{{- end -}}

{{- define "openshell.podSecurityContext" -}}
{{- if .Values.openshift.enabled -}}
{{- toYaml (omit .Values.podSecurityContext "fsGroup" "fsGroupChangePolicy" "runAsUser" "runAsGroup") -}}
{{- else -}}
{{- toYaml .Values.podSecurityContext -}}
{{- end -}}
{{- end -}}

{{- define "openshell.securityContext" -}}
{{- if .Values.openshift.enabled -}}
{{- toYaml (omit .Values.securityContext "runAsUser" "runAsGroup") -}}
{{- else -}}
{{- toYaml .Values.securityContext -}}
{{- end -}}
{{- end -}}
