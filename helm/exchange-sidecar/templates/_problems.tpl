{{/*
Choices that cannot work, each with the sentence that says so. All are reported together, so that nobody has to install
five times to learn of five mistakes. Shapes and unknown keys are values.schema.json's business.
*/}}
{{- define "exchange-sidecar.refuseProblems" -}}
{{- $problems := list }}
{{- $url := urlParse .Values.webhook.publicUrl }}
{{- if and (eq .Values.mode "split") (not .Values.postgres.existingSecret) }}
{{- $problems = append $problems "mode is split: the SQLite store belongs to one process, so run all-in-one, or set postgres.existingSecret." }}
{{- end }}
{{- if and (eq .Values.mode "split") .Values.maxReplicas }}
{{- $problems = append $problems "mode is split and maxReplicas is set: each kind of pods is scaled by itself; use split.api.maxReplicas and split.ingress.maxReplicas." }}
{{- end }}
{{- if and (eq .Values.mode "split") (gt (int .Values.split.worker.replicas) 0) (eq (get .Values.settings "EXCHANGE_TASKS__RUNNER") "outside") }}
{{- $problems = append $problems "settings.EXCHANGE_TASKS__RUNNER is outside and there are worker pods: a task runner outside calls the api pods, which then do the work; set split.worker.replicas to 0." }}
{{- end }}
{{- if and (eq .Values.mode "all-in-one") (gt (int .Values.replicas) 1) (not .Values.postgres.existingSecret) }}
{{- $problems = append $problems (printf "replicas is %d: the SQLite store belongs to one process, so run 1 replica, or set postgres.existingSecret." (int .Values.replicas)) }}
{{- end }}
{{- if and (eq .Values.mode "all-in-one") (gt (int .Values.maxReplicas) 1) (not .Values.postgres.existingSecret) }}
{{- $problems = append $problems (printf "maxReplicas is %d: the SQLite store belongs to one process, so leave it 0, or set postgres.existingSecret." (int .Values.maxReplicas)) }}
{{- end }}
{{- range $name, $part := dict "" .Values "split.api." .Values.split.api "split.ingress." .Values.split.ingress }}
{{- if and $part.maxReplicas (lt (int $part.maxReplicas) (int $part.replicas)) }}
{{- $problems = append $problems (printf "%smaxReplicas is %d and %sreplicas is %d: the most cannot be less than the least." $name (int $part.maxReplicas) $name (int $part.replicas)) }}
{{- end }}
{{- if and $part.maxReplicas (not $part.replicas) }}
{{- $problems = append $problems (printf "%sreplicas is 0 and %smaxReplicas is set: an autoscaler never begins with no pod; set %smaxReplicas to 0 to stop." $name $name $name) }}
{{- end }}
{{- end }}
{{- if not .Values.image.repository }}
{{- $problems = append $problems "image.repository is empty: name the image in your registry; no public image exists." }}
{{- end }}
{{- if not .Values.grpc.insecureAcknowledged }}
{{- if not .Values.grpc.tls.secretName }}
{{- $problems = append $problems "grpc.tls.secretName is empty: gRPC would cross the network without TLS; name a TLS secret, or set grpc.insecureAcknowledged to accept that." }}
{{- end }}
{{- if not .Values.grpc.callers.existingSecret }}
{{- $problems = append $problems "grpc.callers.existingSecret is empty: whoever reaches the port could read and book every room; name the secret with the callers, or set grpc.insecureAcknowledged to accept that." }}
{{- end }}
{{- end }}
{{- if and .Values.grpc.tls.clientCa (not .Values.grpc.tls.secretName) }}
{{- $problems = append $problems "grpc.tls.clientCa is true and grpc.tls.secretName is empty: without TLS nobody can be asked for a certificate." }}
{{- end }}
{{- if and .Values.federation.enabled (not .Values.serviceAccount.create) (not .Values.serviceAccount.name) }}
{{- $problems = append $problems "federation.enabled is true and the pods run as the namespace's default account: Microsoft would trust every pod of the namespace; let the chart make an account, or name one." }}
{{- end }}
{{- if not .Values.vault.existingSecret }}
{{- $problems = append $problems "vault.existingSecret is empty: create a secret with the key ring and name it here; the chart never makes or carries one." }}
{{- end }}
{{- if and .Values.ingress.enabled .Values.httpRoute.enabled }}
{{- $problems = append $problems "ingress and httpRoute are both on: one address has one door; set ingress.enabled to false, or httpRoute.enabled." }}
{{- end }}
{{- range $door := list (dict "name" "Ingress" "value" .Values.ingress) (dict "name" "HTTPRoute" "value" .Values.httpRoute) }}
{{- if $door.value.enabled }}
{{- if not $.Values.webhook.publicUrl }}
{{- $problems = append $problems (printf "webhook.publicUrl is empty: name the https address of the %s, or turn the %s off and let the rooms be polled." $door.name $door.name) }}
{{- end }}
{{- if trimSuffix "/" $url.path }}
{{- $problems = append $problems (printf "webhook.publicUrl has a path: the %s does not rewrite paths; leave the path out or turn the %s off." $door.name $door.name) }}
{{- end }}
{{- end }}
{{- end }}
{{- if .Values.ingress.enabled }}
{{- if not .Values.ingress.tls.secretName }}
{{- $problems = append $problems "ingress.tls.secretName is empty: Microsoft calls HTTPS only, so the Ingress needs a certificate." }}
{{- end }}
{{- if contains ":" $url.host }}
{{- $problems = append $problems "webhook.publicUrl names a port: an Ingress listens on 443 only; leave the port out or turn the Ingress off." }}
{{- end }}
{{- end }}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) }}
{{- $problems = append $problems "httpRoute.parentRefs is empty: no Gateway would take the route; name yours." }}
{{- end }}
{{- if and .Values.webhook.pathSecrets.existingSecret (not .Values.webhook.publicUrl) }}
{{- $problems = append $problems "webhook.pathSecrets.existingSecret is set and webhook.publicUrl is empty: nobody is told the words." }}
{{- end }}
{{- if ne (len (list (int .Values.grpc.port) (int .Values.webhook.port) (int .Values.probes.port) | uniq)) 3 }}
{{- $problems = append $problems "grpc.port, webhook.port and probes.port must differ: the three listeners live in one pod." }}
{{- end }}
{{- if and .Values.monitoring.podMonitor.enabled .Values.monitoring.serviceMonitor.enabled }}
{{- $problems = append $problems "monitoring.podMonitor and monitoring.serviceMonitor are both on: Prometheus would count every pod twice; keep one." }}
{{- end }}
{{- if and (eq (get .Values.settings "EXCHANGE_TASKS__RUNNER") "procrastinate") (not .Values.postgres.existingSecret) }}
{{- $problems = append $problems "settings.EXCHANGE_TASKS__RUNNER is procrastinate and postgres.existingSecret is empty: its queue is in a PostgreSQL; name the secret, or leave the runner out." }}
{{- end }}
{{- if and .Values.persistence.existingClaim (not .Values.persistence.enabled) (not .Values.postgres.existingSecret) }}
{{- $problems = append $problems "persistence.existingClaim is set and persistence.enabled is false: the claim would stay unused and every restart begin with no tenant; turn persistence on, or leave the claim out." }}
{{- end }}
{{- if lt (int .Values.terminationGracePeriodSeconds) 30 }}
{{- $problems = append $problems (printf "terminationGracePeriodSeconds is %d: the service takes up to 25 seconds to end calls and watches in order, and 3 before that while webhooks still come; give it 30 or more." (int .Values.terminationGracePeriodSeconds)) }}
{{- end }}
{{- if and .Values.postgres.caKey (not .Values.postgres.existingSecret) }}
{{- $problems = append $problems "postgres.caKey is set and postgres.existingSecret is empty: there is no PostgreSQL to believe." }}
{{- end }}
{{- if and .Values.postgres.existingSecret .Values.networkPolicy.enabled (not .Values.networkPolicy.extraEgress) }}
{{- $problems = append $problems "networkPolicy.extraEgress is empty: the policy keeps the pods from every PostgreSQL; name yours and its port there." }}
{{- end }}
{{- with .Values.telemetry }}
{{- if and (not .otlpEndpoint) (or .headers.existingSecret .ca.existingSecret) }}
{{- $problems = append $problems "telemetry.otlpEndpoint is empty and telemetry.headers or telemetry.ca is set: nothing is sent anywhere; name the collector." }}
{{- end }}
{{- if and .headers.existingSecret (hasPrefix "http:" .otlpEndpoint) }}
{{- $problems = append $problems "telemetry.headers is set and telemetry.otlpEndpoint is not https: the headers may be secret and would cross the network in the open." }}
{{- end }}
{{- if and $.Values.networkPolicy.enabled (not $.Values.networkPolicy.extraEgress) .otlpEndpoint (not (regexMatch "^https://[^/:]+(:443)?(/|$)" .otlpEndpoint)) }}
{{- $problems = append $problems "networkPolicy.extraEgress is empty: the policy keeps the pods from the collector of telemetry.otlpEndpoint; name it and its port there." }}
{{- end }}
{{- end }}
{{- if .Values.networkPolicy.enabled }}
{{- range $name, $labels := dict "grpc.podLabels" .Values.networkPolicy.grpc.podLabels "webhook.namespaceLabels" .Values.networkPolicy.webhook.namespaceLabels "metrics.namespaceLabels" .Values.networkPolicy.metrics.namespaceLabels "dns.namespaceLabels" .Values.networkPolicy.dns.namespaceLabels }}
{{- if not $labels }}
{{- $problems = append $problems (printf "networkPolicy.%s is empty: an empty selector admits everybody; name at least one label." $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- $own := include "exchange-sidecar.ownSettings" (dict "root" . "role" "") | fromYaml }}
{{- if hasKey .Values.settings "EXCHANGE_ROLES" }}
{{- $problems = append $problems "settings.EXCHANGE_ROLES is set by the chart itself: change mode." }}
{{- end }}
{{- range $name := keys .Values.settings | sortAlpha }}
{{- if hasKey $own $name }}
{{- $problems = append $problems (printf "settings.%s is set by the chart itself: change the value that stands for it." $name) }}
{{- end }}
{{- end }}
{{- if $problems }}
{{- fail (printf "\n\nThese values cannot work:\n  - %s\n" (join "\n  - " $problems)) }}
{{- end }}
{{- end }}
