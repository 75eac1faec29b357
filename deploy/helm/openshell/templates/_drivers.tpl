{{/* Drivers are init containers that go on running: up before the gateway, and there until it has drained. */}}
{{- define "openshell.drivers" -}}
{{- with .Values.computeDriver }}
{{- if and .image.repository (eq $.Values.driver.kind "external") }}
- name: compute-driver
  image: {{ include "openshell.image" (dict "image" .image "fallback" "latest") }}
  imagePullPolicy: {{ .image.pullPolicy }}
  restartPolicy: Always
  args:
    - {{ printf "--socket=%s" $.Values.driver.socket | quote }}
    - --namespace={{ $.Values.server.sandboxNamespace }}
    {{- with .args }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .env }}
  env:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  resources:
    {{- toYaml .resources | nindent 4 }}
  securityContext:
    {{- include "openshell.securityContext" $ | nindent 4 }}
  volumeMounts:
    - {name: driver-sockets, mountPath: {{ dir $.Values.driver.socket | quote }}}
    - {name: api-token, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
{{- end }}
{{- end }}
{{- with .Values.credentialsDriver }}
{{- if .image.repository }}
- name: credentials-driver
  image: {{ include "openshell.image" (dict "image" .image "fallback" "latest") }}
  imagePullPolicy: {{ .image.pullPolicy }}
  restartPolicy: Always
  args:
    - {{ printf "--socket=%s" .socket | quote }}
    - --config=/etc/openshell/credentials.yaml
    - --secrets-dir=/etc/openshell/secrets
    {{- with .args }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .env }}
  env:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  resources:
    {{- toYaml .resources | nindent 4 }}
  securityContext:
    {{- include "openshell.securityContext" $ | nindent 4 }}
  volumeMounts:
    - {name: driver-sockets, mountPath: {{ dir .socket | quote }}}
    - {name: credentials-config, mountPath: /etc/openshell/credentials.yaml, subPath: credentials.yaml, readOnly: true}
    - {name: credentials-secrets, mountPath: /etc/openshell/secrets, readOnly: true}
{{- end }}
{{- end }}
{{- end -}}

{{/* Token, authority and namespace as a service account has them, for those containers alone that need the API. */}}
{{- define "openshell.apiToken" -}}
- name: api-token
  projected:
    defaultMode: 0440
    sources:
      - serviceAccountToken: {path: token, expirationSeconds: 3600}
      - configMap:
          name: kube-root-ca.crt
          items: [{key: ca.crt, path: ca.crt}]
      - downwardAPI:
          items:
            - path: namespace
              fieldRef: {fieldPath: metadata.namespace}
{{- end -}}
