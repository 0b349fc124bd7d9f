{{/* Names and labels. Nothing here decides what is allowed; that is _problems.tpl. */}}

{{- define "exchange-sidecar.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* 40 characters leave room for the longest suffix and for the hash that Kubernetes appends to pod names. */}}
{{- define "exchange-sidecar.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "exchange-sidecar.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "exchange-sidecar.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "exchange-sidecar.selectorLabels" -}}
app.kubernetes.io/name: {{ include "exchange-sidecar.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/* The label that tells pods of one role from the others'; none (role empty) where every pod does everything. */}}
{{- define "exchange-sidecar.component" -}}
{{- with . -}}
app.kubernetes.io/component: {{ . | quote }}
{{- end }}
{{- end }}

{{- define "exchange-sidecar.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "exchange-sidecar.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "exchange-sidecar.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "exchange-sidecar.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "exchange-sidecar.image" -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- with .Values.image.digest }}@{{ . }}{{ end }}
{{- end }}

{{/*
The kinds of pods there are, as YAML under `parts`: the role (empty: all), what the name ends in, how many pods at least and
at most, and their resources. Everything that exists once for each kind of pod is made from this list.
*/}}
{{- define "exchange-sidecar.parts" -}}
{{- $parts := list }}
{{- if eq .Values.mode "split" }}
{{- range $role := list "api" "worker" "ingress" }}
{{- if or (ne $role "ingress") $.Values.webhook.publicUrl }}
{{- $part := index $.Values.split $role }}
{{- $most := max (int $part.replicas) (int (default 0 $part.maxReplicas)) }}
{{- $resources := default $.Values.resources $part.resources }}
{{- $parts = append $parts (dict "role" $role "suffix" (printf "-%s" $role) "least" (int $part.replicas) "most" $most "resources" $resources) }}
{{- end }}
{{- end }}
{{- else }}
{{- $most := max (int .Values.replicas) (int .Values.maxReplicas) }}
{{- $parts = append $parts (dict "role" "" "suffix" "" "least" (int .Values.replicas) "most" $most "resources" .Values.resources) }}
{{- end }}
{{- toYaml (dict "parts" $parts) }}
{{- end }}

{{/*
The paths that are let through to the webhooks, as YAML under `paths`; `isWhole`: this path and nothing below it. Where a
secret word stands before them no manifest may have it, so all paths go to the service, which knows its own.
*/}}
{{- define "exchange-sidecar.webhookPaths" -}}
paths:
{{- if .Values.webhook.pathSecrets.existingSecret }}
  - {path: /, isWhole: false}
{{- else }}
  - {path: /graph/notifications, isWhole: true}
  - {path: /graph/lifecycle, isWhole: true}
{{- end }}
{{- end }}

{{/* The settings the chart owns for pods of a role (empty: all), as YAML of name: value. */}}
{{- define "exchange-sidecar.ownSettings" -}}
{{- $role := .role }}
{{- with .root }}
EXCHANGE_PROFILE: service
{{- with $role }}
EXCHANGE_ROLES: {{ . }}
{{- end }}
{{- if has $role (list "" "api") }}
EXCHANGE_GRPC__ADDRESSES: {{ printf "[\"0.0.0.0:%d\"]" (int .Values.grpc.port) | quote }}
EXCHANGE_GRPC__INSECURE_ACKNOWLEDGED: {{ .Values.grpc.insecureAcknowledged | quote }}
{{- if .Values.grpc.tls.secretName }}
EXCHANGE_GRPC__TLS_CERT_FILE: /etc/exchange/tls/tls.crt
EXCHANGE_GRPC__TLS_KEY_FILE: /etc/exchange/tls/tls.key
{{- if .Values.grpc.tls.clientCa }}
EXCHANGE_GRPC__CLIENT_CA_FILE: /etc/exchange/tls/ca.crt
{{- end }}
{{- end }}
{{- if .Values.grpc.callers.existingSecret }}
EXCHANGE_GRPC__CALLERS_FILE: /etc/exchange/callers/callers.yaml
{{- end }}
# For an operator's commands inside the pod; no other container shares it.
EXCHANGE_GRPC__SOCKET: /run/exchange/private/exchange.sock
EXCHANGE_TARGET: unix:///run/exchange/private/exchange.sock
{{- end }}
EXCHANGE_STORE__PATH: /var/lib/exchange/exchange.sqlite3
{{- if .Values.postgres.existingSecret }}
EXCHANGE_STORE__DSN_FILE: /etc/exchange/postgres/dsn
{{- if .Values.postgres.caKey }}
# Read by the driver where the URI has no sslrootcert, so that the URI needs to know no path of a pod.
PGSSLROOTCERT: /etc/exchange/postgres/ca.crt
{{- end }}
{{- end }}
{{- if and .Values.federation.enabled (ne $role "ingress") }}
EXCHANGE_CREDENTIALS__TOKEN_FILES_FOLDER: /etc/exchange/tokens
{{- end }}
EXCHANGE_VAULT__KEY_RING_FILE: /etc/exchange/vault/keyring.json
EXCHANGE_WEBHOOK__LISTEN: {{ printf "0.0.0.0:%d" (int .Values.webhook.port) }}
EXCHANGE_WEBHOOK__PUBLIC_URL: {{ .Values.webhook.publicUrl | trimSuffix "/" | quote }}
{{- if .Values.webhook.pathSecrets.existingSecret }}
EXCHANGE_WEBHOOK__PATH_SECRETS_FILE: /etc/exchange/webhook/words
{{- end }}
{{- with .Values.telemetry }}
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
EXCHANGE_PROBES__LISTEN: {{ printf "0.0.0.0:%d" (int .Values.probes.port) }}
{{- end }}
{{- end }}
