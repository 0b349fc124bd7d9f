{{/* The program of every container, and what it may not do. */}}
{{- define "exchange-sidecar.program" -}}
image: {{ include "exchange-sidecar.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  capabilities:
    drop: [ALL]
  readOnlyRootFilesystem: true
  runAsNonRoot: true
{{- end }}

{{/* As whom every pod runs. */}}
{{- define "exchange-sidecar.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* What the migration and the service container of a role share, resources apart; both read the whole configuration. */}}
{{- define "exchange-sidecar.container" -}}
{{- $role := .role }}
{{- with .root }}
{{- include "exchange-sidecar.program" . }}
env:
  {{- range $name, $value := include "exchange-sidecar.ownSettings" (dict "root" . "role" $role) | fromYaml }}
  - name: {{ $name }}
    value: {{ $value | quote }}
  {{- end }}
  {{- range $name, $value := .Values.settings }}
  - name: {{ $name }}
    value: {{ $value | quote }}
  {{- end }}
volumeMounts:
  - name: store
    mountPath: /var/lib/exchange
  - name: vault
    mountPath: /etc/exchange/vault
    readOnly: true
  {{- if and .Values.federation.enabled (ne $role "ingress") }}
  - name: tokens
    mountPath: /etc/exchange/tokens
    readOnly: true
  {{- end }}
  {{- if .Values.postgres.existingSecret }}
  - name: postgres
    mountPath: /etc/exchange/postgres
    readOnly: true
  {{- end }}
  {{- if has $role (list "" "api") }}
  {{- if .Values.grpc.tls.secretName }}
  - name: tls
    mountPath: /etc/exchange/tls
    readOnly: true
  {{- end }}
  {{- if .Values.grpc.callers.existingSecret }}
  - name: callers
    mountPath: /etc/exchange/callers
    readOnly: true
  {{- end }}
  {{- end }}
  {{- if .Values.webhook.pathSecrets.existingSecret }}
  - name: webhook
    mountPath: /etc/exchange/webhook
    readOnly: true
  {{- end }}
  {{- if .Values.telemetry.headers.existingSecret }}
  - name: telemetry-headers
    mountPath: /etc/exchange/telemetry-headers
    readOnly: true
  {{- end }}
  {{- if .Values.telemetry.ca.existingSecret }}
  - name: telemetry-ca
    mountPath: /etc/exchange/telemetry-ca
    readOnly: true
  {{- end }}
  - name: run
    mountPath: /run/exchange
  - name: tmp
    mountPath: /tmp
{{- end }}
{{- end }}

{{/* The volumes of a role's pods: who serves no calls has neither the TLS key nor the callers. */}}
{{- define "exchange-sidecar.volumes" -}}
{{- $role := .role }}
{{- $root := .root }}
{{- with .root }}
- name: store
  {{- if .Values.postgres.existingSecret }}
  emptyDir:
    sizeLimit: 16Mi
  {{- else if .Values.persistence.enabled }}
  persistentVolumeClaim:
    claimName: {{ default (include "exchange-sidecar.fullname" .) .Values.persistence.existingClaim }}
  {{- else }}
  emptyDir:
    sizeLimit: {{ .Values.persistence.size }}
  {{- end }}
- name: vault
  secret:
    secretName: {{ .Values.vault.existingSecret }}
    # Readable by the pod's group, which fsGroup makes the file's; the owner stays root.
    defaultMode: 0440
    items:
      - key: {{ .Values.vault.key }}
        path: keyring.json
{{- if and .Values.federation.enabled (ne $role "ingress") }}
# Good at Microsoft only: its audience is not the Kubernetes API.
- name: tokens
  projected:
    defaultMode: 0440
    sources:
      - serviceAccountToken:
          audience: {{ .Values.federation.audience | quote }}
          expirationSeconds: 3600
          path: kubernetes
{{- end }}
{{- with .Values.postgres.existingSecret }}
- name: postgres
  secret:
    secretName: {{ . }}
    defaultMode: 0440
    items:
      - key: {{ $root.Values.postgres.key }}
        path: dsn
      {{- with $root.Values.postgres.caKey }}
      - key: {{ . }}
        path: ca.crt
      {{- end }}
{{- end }}
{{- if has $role (list "" "api") }}
{{- with .Values.grpc.tls }}
{{- if .secretName }}
- name: tls
  secret:
    secretName: {{ .secretName }}
    defaultMode: 0440
    items:
      - key: tls.crt
        path: tls.crt
      - key: tls.key
        path: tls.key
      {{- if .clientCa }}
      - key: ca.crt
        path: ca.crt
      {{- end }}
{{- end }}
{{- end }}
{{- with .Values.grpc.callers.existingSecret }}
- name: callers
  secret:
    secretName: {{ . }}
    defaultMode: 0440
    items:
      - key: callers.yaml
        path: callers.yaml
{{- end }}
{{- end }}
{{- with .Values.webhook.pathSecrets }}
{{- if .existingSecret }}
- name: webhook
  secret:
    secretName: {{ .existingSecret }}
    defaultMode: 0440
    items:
      - key: {{ .key }}
        path: words
{{- end }}
{{- end }}
{{- range $name, $secret := dict "headers" .Values.telemetry.headers "ca" .Values.telemetry.ca }}
{{- if $secret.existingSecret }}
- name: telemetry-{{ $name }}
  secret:
    secretName: {{ $secret.existingSecret }}
    defaultMode: 0440
    items:
      - key: {{ $secret.key }}
        path: {{ ternary "ca.crt" "headers" (eq $name "ca") }}
{{- end }}
{{- end }}
- name: run
  emptyDir:
    medium: Memory
    sizeLimit: 1Mi
# SQLite sorts and the certificate library write here.
- name: tmp
  emptyDir:
    sizeLimit: 256Mi
{{- end }}
{{- end }}
