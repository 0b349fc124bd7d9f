{{/* What goes into the pod of the app. */}}

{{/* The settings the chart owns, as YAML of name: value. */}}
{{- define "exchange-sidecar-lib.ownSettings" -}}
{{- $values := include "exchange-sidecar-lib.values" . | fromYaml -}}
EXCHANGE_PROFILE: sidecar
{{- if include "exchange-sidecar-lib.isJob" . }}
# The pods that stay do the rest; a lane that this one began would wait for the others when it ends.
EXCHANGE_ROLES: api
{{- end }}
EXCHANGE_GRPC__SOCKET: {{ include "exchange-sidecar-lib.socket" . }}
EXCHANGE_GRPC__ADDRESSES: {{ ternary (printf "[\"127.0.0.1:%d\"]" (int $values.grpc.port)) "[]" $values.grpc.loopback | quote }}
# When it is told to stop the app has ended, so nobody is left who could still call.
EXCHANGE_GRPC__QUIET_S: "0"
# For an operator's commands inside the container.
EXCHANGE_TARGET: {{ include "exchange-sidecar-lib.target" . }}
EXCHANGE_STORE__PATH: /var/lib/exchange/exchange.sqlite3
{{- if eq $values.store.type "postgres" }}
EXCHANGE_STORE__DSN_FILE: /etc/exchange/postgres/dsn
{{- if $values.postgres.caKey }}
# Read by the driver where the URI has no sslrootcert, so that the URI needs to know no path of a pod.
PGSSLROOTCERT: /etc/exchange/postgres/ca.crt
{{- end }}
{{- end }}
{{- if $values.federation.enabled }}
EXCHANGE_CREDENTIALS__TOKEN_FILES_FOLDER: /etc/exchange/tokens
{{- end }}
EXCHANGE_VAULT__KEY_RING_FILE: /etc/exchange/vault/keyring.json
{{- if include "exchange-sidecar-lib.takesWebhooks" . }}
EXCHANGE_WEBHOOK__LISTEN: {{ printf "0.0.0.0:%d" (int $values.webhook.port) }}
EXCHANGE_WEBHOOK__PUBLIC_URL: {{ $values.webhook.publicUrl | trimSuffix "/" | quote }}
{{- if $values.webhook.pathSecrets.existingSecret }}
EXCHANGE_WEBHOOK__PATH_SECRETS_FILE: /etc/exchange/webhook/words
{{- end }}
{{- end }}
{{- with $values.telemetry }}
{{- if .otlpEndpoint }}
EXCHANGE_TELEMETRY__OTLP_ENDPOINT: {{ .otlpEndpoint | quote }}
EXCHANGE_TELEMETRY__TRACE_RATIO: {{ .traceRatio | quote }}
{{- if .headers.existingSecret }}
EXCHANGE_TELEMETRY__OTLP_HEADERS_FILE: /etc/exchange/telemetry-headers/headers
{{- end }}
{{- if .ca.existingSecret }}
EXCHANGE_TELEMETRY__OTLP_CA_FILE: /etc/exchange/telemetry-ca/ca.crt
{{- end }}
{{- end }}
{{- end }}
EXCHANGE_PROBES__LISTEN: {{ printf "0.0.0.0:%d" (int $values.probes.port) }}
{{- end }}

{{/*
One item of the pod's `initContainers`. `restartPolicy: Always` makes it a native sidecar: the app starts once its start-up probe
answers, and it is stopped after the app; in a Job it does not keep the pod from ending.
*/}}
{{- define "exchange-sidecar-lib.initContainer" -}}
{{- include "exchange-sidecar-lib.refuseProblems" . -}}
{{- $values := include "exchange-sidecar-lib.values" . | fromYaml -}}
- name: exchange-sidecar
  image: {{ include "exchange-sidecar-lib.image" . | quote }}
  imagePullPolicy: {{ $values.image.pullPolicy }}
  restartPolicy: Always
  args: [serve]
  # Of its own, because the pod's is the app's.
  securityContext:
    allowPrivilegeEscalation: false
    capabilities:
      drop: [ALL]
    readOnlyRootFilesystem: true
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    seccompProfile:
      type: RuntimeDefault
  env:
    {{- range $name, $value := include "exchange-sidecar-lib.ownSettings" . | fromYaml }}
    - name: {{ $name }}
      value: {{ $value | quote }}
    {{- end }}
    {{- range $name, $value := $values.settings }}
    - name: {{ $name }}
      value: {{ $value | quote }}
    {{- end }}
  ports:
    {{- if include "exchange-sidecar-lib.takesWebhooks" . }}
    - name: exch-webhook
      containerPort: {{ $values.webhook.port | int }}
    {{- end }}
    - name: exch-probes
      containerPort: {{ $values.probes.port | int }}
  startupProbe:
    httpGet:
      path: /startupz
      port: exch-probes
    periodSeconds: 1
    failureThreshold: {{ $values.probes.startupSeconds | int }}
  # Patient: a restart ends every watch, so only a process that is truly stuck should get one.
  livenessProbe:
    httpGet:
      path: /livez
      port: exch-probes
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 6
  # Part of the pod's readiness. Exchange being down does not count: the copy still serves.
  readinessProbe:
    httpGet:
      path: /readyz
      port: exch-probes
    periodSeconds: 5
    timeoutSeconds: 3
    failureThreshold: 3
  volumeMounts:
    - name: exchange-store
      mountPath: /var/lib/exchange
    - name: exchange-vault
      mountPath: /etc/exchange/vault
      readOnly: true
    {{- if $values.federation.enabled }}
    - name: exchange-tokens
      mountPath: /etc/exchange/tokens
      readOnly: true
    {{- end }}
    {{- if eq $values.store.type "postgres" }}
    - name: exchange-postgres
      mountPath: /etc/exchange/postgres
      readOnly: true
    {{- end }}
    {{- if and $values.webhook.pathSecrets.existingSecret (include "exchange-sidecar-lib.takesWebhooks" .) }}
    - name: exchange-webhook
      mountPath: /etc/exchange/webhook
      readOnly: true
    {{- end }}
    {{- range $name, $secret := dict "headers" $values.telemetry.headers "ca" $values.telemetry.ca }}
    {{- if $secret.existingSecret }}
    - name: exchange-telemetry-{{ $name }}
      mountPath: /etc/exchange/telemetry-{{ $name }}
      readOnly: true
    {{- end }}
    {{- end }}
    - name: exchange-run
      mountPath: /run/exchange
    - name: exchange-tmp
      mountPath: /tmp
  resources:
    {{- toYaml $values.resources | nindent 4 }}
{{- end }}

{{/* Items of the pod's `volumes`. With `store.type: template` the store's is the StatefulSet's own. */}}
{{- define "exchange-sidecar-lib.volumes" -}}
{{- include "exchange-sidecar-lib.refuseProblems" . -}}
{{- $values := include "exchange-sidecar-lib.values" . | fromYaml -}}
{{- if ne $values.store.type "template" -}}
- name: exchange-store
  {{- if eq $values.store.type "claim" }}
  persistentVolumeClaim:
    claimName: {{ default (include "exchange-sidecar-lib.fullname" .) $values.store.existingClaim }}
  {{- else if eq $values.store.type "ephemeral" }}
  emptyDir:
    sizeLimit: {{ $values.store.size }}
  {{- else }}
  emptyDir:
    sizeLimit: 16Mi
  {{- end }}
{{ end -}}
- name: exchange-vault
  secret:
    secretName: {{ $values.vault.existingSecret }}
    # Readable by the pod's group, which fsGroup makes the file's; the owner stays root.
    defaultMode: 0440
    items:
      - key: {{ $values.vault.key }}
        path: keyring.json
{{- if $values.federation.enabled }}
# Good at Microsoft only: its audience is not the Kubernetes API.
- name: exchange-tokens
  projected:
    defaultMode: 0440
    sources:
      - serviceAccountToken:
          audience: {{ $values.federation.audience | quote }}
          expirationSeconds: 3600
          path: kubernetes
{{- end }}
{{- if eq $values.store.type "postgres" }}
- name: exchange-postgres
  secret:
    secretName: {{ $values.postgres.existingSecret }}
    defaultMode: 0440
    items:
      - key: {{ $values.postgres.key }}
        path: dsn
      {{- with $values.postgres.caKey }}
      - key: {{ . }}
        path: ca.crt
      {{- end }}
{{- end }}
{{- if and $values.webhook.pathSecrets.existingSecret (include "exchange-sidecar-lib.takesWebhooks" .) }}
- name: exchange-webhook
  secret:
    secretName: {{ $values.webhook.pathSecrets.existingSecret }}
    defaultMode: 0440
    items:
      - key: {{ $values.webhook.pathSecrets.key }}
        path: words
{{- end }}
{{- range $name, $secret := dict "headers" $values.telemetry.headers "ca" $values.telemetry.ca }}
{{- if $secret.existingSecret }}
- name: exchange-telemetry-{{ $name }}
  secret:
    secretName: {{ $secret.existingSecret }}
    defaultMode: 0440
    items:
      - key: {{ $secret.key }}
        path: {{ ternary "ca.crt" "headers" (eq $name "ca") }}
{{- end }}
{{- end }}
# The socket and its lock file.
- name: exchange-run
  emptyDir:
    medium: Memory
    sizeLimit: 1Mi
# SQLite sorts and the certificate library write here.
- name: exchange-tmp
  emptyDir:
    sizeLimit: 256Mi
{{- end }}

{{/* Items of a StatefulSet's `volumeClaimTemplates`, with `store.type: template`. */}}
{{- define "exchange-sidecar-lib.volumeClaimTemplates" -}}
{{- include "exchange-sidecar-lib.refuseProblems" . -}}
{{- $values := include "exchange-sidecar-lib.values" . | fromYaml -}}
{{- if eq $values.store.type "template" -}}
- metadata:
    name: exchange-store
  spec:
    {{- include "exchange-sidecar-lib.claimSpec" . | nindent 4 }}
{{- end }}
{{- end }}

{{/*
Fields of the pod's `securityContext`. The kubelet makes the socket's volume this group's, with its bit that files in it inherit the
group, and adds the group to every process of the pod: so the app may open a socket of mode 0660 whatever user it runs as.
*/}}
{{- define "exchange-sidecar-lib.podSecurityContext" -}}
{{- include "exchange-sidecar-lib.refuseProblems" . -}}
fsGroup: {{ (include "exchange-sidecar-lib.values" . | fromYaml).pod.fsGroup | int64 }}
fsGroupChangePolicy: OnRootMismatch
{{- end }}

{{/* An item of `volumeMounts` of a container that calls. Opening a socket is no writing, so that read-only is enough. */}}
{{- define "exchange-sidecar-lib.appVolumeMount" -}}
{{- include "exchange-sidecar-lib.refuseProblems" . -}}
- name: exchange-run
  mountPath: /run/exchange
  readOnly: true
{{- end }}

{{/* An item of `env` of a container that calls: where the clients and commands find the service. */}}
{{- define "exchange-sidecar-lib.appEnv" -}}
{{- include "exchange-sidecar-lib.refuseProblems" . -}}
- name: EXCHANGE_TARGET
  value: {{ include "exchange-sidecar-lib.target" . }}
{{- end }}

{{/* A Deployment's `strategy`. One process at a time opens an SQLite file, so the old pod goes before the new one comes. */}}
{{- define "exchange-sidecar-lib.strategy" -}}
{{- include "exchange-sidecar-lib.refuseProblems" . -}}
{{- if eq (include "exchange-sidecar-lib.values" . | fromYaml).store.type "postgres" -}}
type: RollingUpdate
rollingUpdate:
  maxUnavailable: 0
  maxSurge: 1
{{- else -}}
type: Recreate
{{- end }}
{{- end }}
