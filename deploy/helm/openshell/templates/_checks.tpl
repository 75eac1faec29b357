{{/* What the schema cannot say: values that contradict each other end the rendering with a sentence. */}}
{{- define "openshell.checks" -}}
{{- $needed := add .Values.server.shutdownGraceSecs 5 -}}
{{- if lt (int .Values.podLifecycle.terminationGracePeriodSeconds) (int $needed) -}}
{{- fail (printf "podLifecycle.terminationGracePeriodSeconds must be at least %d: server.shutdownGraceSecs and 5 seconds to close" $needed) -}}
{{- end -}}
{{- if and .Values.server.oidc.issuer .Values.server.oidc.rbac (ne (empty .Values.server.oidc.adminRole) (empty .Values.server.oidc.userRole)) -}}
{{- fail "server.oidc.adminRole and server.oidc.userRole go together: set both or none" -}}
{{- end -}}
{{- $ports := list (int .Values.service.port) (int .Values.service.healthPort) -}}
{{- if .Values.service.metricsPort -}}{{- $ports = append $ports (int .Values.service.metricsPort) -}}{{- end -}}
{{- if ne (len $ports) (len (uniq $ports)) -}}
{{- fail "service.port, service.healthPort and service.metricsPort must differ" -}}
{{- end -}}
{{- if and .Values.credentialsDriver.image.repository (not (and .Values.credentialsDriver.configMapName .Values.credentialsDriver.secretName)) -}}
{{- fail "credentialsDriver needs configMapName and secretName" -}}
{{- end -}}
{{- if and .Values.credentialsDriver.image.repository (ne (dir .Values.credentialsDriver.socket) (dir .Values.driver.socket)) -}}
{{- fail "driver.socket and credentialsDriver.socket must be in one directory: it is the volume that the containers share" -}}
{{- end -}}
{{- if and .Values.certManager.enabled .Values.server.disableTls -}}
{{- fail "certManager.enabled makes certificates that server.disableTls would not use" -}}
{{- end -}}
{{- if and .Values.certManager.enabled (not .Values.server.tls.clientTlsSecretName) -}}
{{- fail "certManager.enabled needs server.tls.clientTlsSecretName, where the client certificate goes" -}}
{{- end -}}
{{- if and .Values.openshift.route.enabled .Values.server.disableTls -}}
{{- fail "openshift.route passes TLS through to the gateway, which server.disableTls switches off" -}}
{{- end -}}
{{- end -}}
