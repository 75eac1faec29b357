{{/* What the gateway is told: arguments that people look for in a process list, the rest by variables. */}}
{{- define "openshell.args" -}}
- --port={{ .Values.service.port }}
- --health-port={{ .Values.service.healthPort }}
{{- if .Values.service.metricsPort }}
- --metrics-port={{ .Values.service.metricsPort }}
{{- end }}
- {{ printf "--log-level=%s" .Values.server.logLevel | quote }}
{{- if not .Values.server.dbUrlSecret.name }}
- {{ printf "--db-url=%s" .Values.server.dbUrl | quote }}
{{- end }}
{{- if and .Values.server.oidc.issuer (not .Values.server.oidc.rbac) }}
# Empty on the command line, and both: any valid token will do.
- --oidc-admin-role=
- --oidc-user-role=
{{- end }}
{{- with .Values.extraArgs }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "openshell.variable" -}}
{{- if .value }}
- name: {{ .name }}
  value: {{ .value | toString | quote }}
{{- end }}
{{- end -}}

{{- define "openshell.env" -}}
{{- $server := .Values.server -}}
- name: OPENSHELL_BIND_ADDRESS
  value: 0.0.0.0
- name: OPENSHELL_LOG_FORMAT
  value: {{ $server.logFormat | quote }}
- name: OPENSHELL_SHUTDOWN_GRACE_SECS
  value: {{ $server.shutdownGraceSecs | quote }}
{{- if eq .Values.driver.kind "external" }}
- name: OPENSHELL_DRIVERS
  value: external
- name: OPENSHELL_COMPUTE_DRIVER_SOCKET
  value: {{ .Values.driver.socket | quote }}
{{- else }}
- name: OPENSHELL_DRIVERS
  value: {{ .Values.driver.kind | quote }}
{{- end }}
{{- if .Values.credentialsDriver.image.repository }}
- name: OPENSHELL_CREDENTIALS_DRIVER_SOCKET
  value: {{ .Values.credentialsDriver.socket | quote }}
{{- end }}
- name: OPENSHELL_SANDBOX_NAMESPACE
  value: {{ $server.sandboxNamespace | quote }}
{{- include "openshell.variable" (dict "name" "OPENSHELL_SANDBOX_IMAGE" "value" $server.sandboxImage) }}
{{- include "openshell.variable" (dict "name" "OPENSHELL_SANDBOX_IMAGE_PULL_POLICY" "value" $server.sandboxImagePullPolicy) }}
- name: OPENSHELL_GRPC_ENDPOINT
  value: {{ $server.disableTls | ternary ($server.grpcEndpoint | replace "https://" "http://") $server.grpcEndpoint | quote }}
{{- include "openshell.variable" (dict "name" "OPENSHELL_SSH_GATEWAY_HOST" "value" $server.sshGatewayHost) }}
{{- include "openshell.variable" (dict "name" "OPENSHELL_SSH_GATEWAY_PORT" "value" $server.sshGatewayPort) }}
{{- include "openshell.variable" (dict "name" "OPENSHELL_HOST_GATEWAY_IP" "value" $server.hostGatewayIP) }}
- name: OPENSHELL_SSH_HANDSHAKE_SECRET_FILE
  value: /etc/openshell-secrets/handshake/secret
{{- with $server.dbUrlSecret }}
{{- if .name }}
- name: OPENSHELL_DB_URL
  valueFrom:
    secretKeyRef: {name: {{ .name | quote }}, key: {{ .key | quote }}}
{{- end }}
{{- end }}
{{- if $server.disableTls }}
- name: OPENSHELL_DISABLE_TLS
  value: "true"
{{- else }}
- name: OPENSHELL_TLS_CERT
  value: /etc/openshell-tls/server/tls.crt
- name: OPENSHELL_TLS_KEY
  value: /etc/openshell-tls/server/tls.key
- name: OPENSHELL_TLS_CLIENT_CA
  value: /etc/openshell-tls/client-ca/ca.crt
{{- include "openshell.variable" (dict "name" "OPENSHELL_CLIENT_TLS_SECRET_NAME" "value" $server.tls.clientTlsSecretName) }}
{{- if $server.disableGatewayAuth }}
- name: OPENSHELL_DISABLE_GATEWAY_AUTH
  value: "true"
{{- end }}
{{- end }}
{{- include "openshell.oidcEnv" $server.oidc }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "openshell.oidcEnv" -}}
{{- if .issuer }}
- name: OPENSHELL_OIDC_ISSUER
  value: {{ .issuer | quote }}
- name: OPENSHELL_OIDC_AUDIENCE
  value: {{ .audience | quote }}
- name: OPENSHELL_OIDC_JWKS_TTL
  value: {{ .jwksTtl | int64 | quote }}
{{- include "openshell.variable" (dict "name" "OPENSHELL_OIDC_CLIENTS" "value" .clients) }}
{{- include "openshell.variable" (dict "name" "OPENSHELL_OIDC_ROLES_CLAIM" "value" .rolesClaim) }}
{{- if .rbac }}
{{- include "openshell.variable" (dict "name" "OPENSHELL_OIDC_ADMIN_ROLE" "value" .adminRole) }}
{{- include "openshell.variable" (dict "name" "OPENSHELL_OIDC_USER_ROLE" "value" .userRole) }}
{{- end }}
{{- include "openshell.variable" (dict "name" "OPENSHELL_OIDC_SCOPES_CLAIM" "value" .scopesClaim) }}
{{- if .caConfigMapName }}
- name: OPENSHELL_OIDC_CA_FILE
  value: /etc/openshell-issuer/ca.crt
{{- end }}
{{- end }}
{{- end -}}
