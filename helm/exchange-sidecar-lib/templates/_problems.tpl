{{/*
Refuse values that can never work, all of them at once, in sentences. Every other template begins with this one, so an app's
chart cannot leave it out. Shapes and unknown keys are values.schema.json's business.
*/}}
{{- define "exchange-sidecar-lib.refuseProblems" -}}
{{- $workloads := list "Deployment" "StatefulSet" "Job" "CronJob" }}
{{- if not (and (kindIs "map" .) (hasKey . "root") (hasKey . "name") (hasKey . "labels") (hasKey . "selectorLabels")) }}
{{- fail "exchange-sidecar-lib: its templates take one dict with root, workload, replicas, name, labels and selectorLabels." }}
{{- end }}
{{- if not (has .workload $workloads) }}
{{- fail (printf "exchange-sidecar-lib: workload must be one of %s." (join ", " $workloads)) }}
{{- end }}
{{- if not (kindIs "map" .root.Values.exchange) }}
{{- fail "exchange-sidecar-lib: there are no values under `exchange`; give the dependency `alias: exchange` in Chart.yaml." }}
{{- end }}
{{- $problems := list }}
{{- $isJob := include "exchange-sidecar-lib.isJob" . }}
{{- $values := include "exchange-sidecar-lib.values" . | fromYaml }}
{{- $url := urlParse $values.webhook.publicUrl }}
{{- $usesFile := ne $values.store.type "postgres" }}
{{- /* `helm lint` is neither install nor upgrade, and takes the cluster for one of its own age. */}}
{{- if and (or .root.Release.IsInstall .root.Release.IsUpgrade) (semverCompare "<1.29.0-0" .root.Capabilities.KubeVersion.Version) }}
{{- $problems = append $problems (printf "the cluster runs Kubernetes %s: a native sidecar needs 1.29 or newer, and would hold up the app for ever in an older one." .root.Capabilities.KubeVersion.Version) }}
{{- end }}
{{- if not $values.image.repository }}
{{- $problems = append $problems "exchange.image.repository is empty: name the image in your registry; no public image exists." }}
{{- end }}
{{- if not $values.vault.existingSecret }}
{{- $problems = append $problems "exchange.vault.existingSecret is empty: create a secret with the key ring and name it here; the chart never makes or carries one." }}
{{- end }}
{{- if and (not $isJob) (not (hasKey . "replicas")) }}
{{- $problems = append $problems "replicas is not given: the chart has to know how many pods there are; put `\"replicas\" .Values.replicas` into the dict." }}
{{- end }}
{{- if and $usesFile (gt (int .replicas) 1) }}
{{- $problems = append $problems (printf "replicas is %d: the SQLite store belongs to one process, and each pod would have a copy and subscriptions of its own; run 1, or set exchange.store.type to postgres." (int .replicas)) }}
{{- end }}
{{- if and $usesFile $isJob }}
{{- $problems = append $problems (printf "exchange.store.type is %s in a %s: its pod would begin with no tenant and no room, or fight for the file; set it to postgres, or have the pods that stay do the work." $values.store.type .workload) }}
{{- end }}
{{- if and (eq $values.store.type "template") (not $isJob) (ne .workload "StatefulSet") }}
{{- $problems = append $problems (printf "exchange.store.type is template in a %s: only a StatefulSet makes claims of its own; use claim." .workload) }}
{{- end }}
{{- if and (eq $values.store.type "postgres") (not $values.postgres.existingSecret) }}
{{- $problems = append $problems "exchange.postgres.existingSecret is empty: name the secret with the URI of the PostgreSQL." }}
{{- end }}
{{- if and $usesFile (eq (get $values.settings "EXCHANGE_TASKS__RUNNER") "procrastinate") }}
{{- $problems = append $problems (printf "exchange.settings.EXCHANGE_TASKS__RUNNER is procrastinate and exchange.store.type is %s: its queue is in a PostgreSQL; set it to postgres, or leave the runner out." $values.store.type) }}
{{- end }}
{{- if and $usesFile $values.postgres.caKey }}
{{- $problems = append $problems (printf "exchange.postgres.caKey is set and exchange.store.type is %s: there is no PostgreSQL to believe." $values.store.type) }}
{{- end }}
{{- if and $usesFile $values.postgres.existingSecret }}
{{- $problems = append $problems (printf "exchange.postgres.existingSecret is set and exchange.store.type is %s: set it to postgres, or leave the secret out." $values.store.type) }}
{{- end }}
{{- if and $values.store.existingClaim (ne $values.store.type "claim") }}
{{- $problems = append $problems (printf "exchange.store.existingClaim is set and exchange.store.type is %s: set it to claim, or leave the claim out." $values.store.type) }}
{{- end }}
{{- if and $values.ingress.enabled $values.httpRoute.enabled }}
{{- $problems = append $problems "exchange.ingress.enabled and exchange.httpRoute.enabled are both true: Microsoft comes one way; choose it." }}
{{- end }}
{{- if or $values.ingress.enabled $values.httpRoute.enabled }}
{{- if not $values.webhook.publicUrl }}
{{- $problems = append $problems "exchange.webhook.publicUrl is empty: name the https address of the Ingress or HTTPRoute, or turn it off and let the rooms be polled." }}
{{- end }}
{{- if contains ":" $url.host }}
{{- $problems = append $problems "exchange.webhook.publicUrl names a port: an Ingress or HTTPRoute is matched by host only; leave the port out or route the paths yourself." }}
{{- end }}
{{- if trimSuffix "/" $url.path }}
{{- $problems = append $problems "exchange.webhook.publicUrl has a path: paths are not rewritten; leave it out or route the paths yourself." }}
{{- end }}
{{- end }}
{{- if and $values.webhook.pathSecrets.existingSecret (not $values.webhook.publicUrl) }}
{{- $problems = append $problems "exchange.webhook.pathSecrets.existingSecret is set and exchange.webhook.publicUrl is empty: nobody is told the words." }}
{{- end }}
{{- if and $values.ingress.enabled (not $values.ingress.tls.secretName) }}
{{- $problems = append $problems "exchange.ingress.tls.secretName is empty: Microsoft calls HTTPS only, so the Ingress needs a certificate." }}
{{- end }}
{{- if and $values.httpRoute.enabled (not $values.httpRoute.parentRefs) }}
{{- $problems = append $problems "exchange.httpRoute.parentRefs is empty: name the Gateway that the route hangs on." }}
{{- end }}
{{- if ne (len (list (int $values.grpc.port) (int $values.webhook.port) (int $values.probes.port) | uniq)) 3 }}
{{- $problems = append $problems "exchange.grpc.port, exchange.webhook.port and exchange.probes.port must differ: the listeners live in one pod." }}
{{- end }}
{{- if and $values.networkPolicy.enabled (not $usesFile) (not $values.networkPolicy.extraEgress) }}
{{- $problems = append $problems "exchange.networkPolicy.extraEgress is empty: the policy keeps the pods from every PostgreSQL; name yours and its port there." }}
{{- end }}
{{- with $values.telemetry }}
{{- if and (not .otlpEndpoint) (or .headers.existingSecret .ca.existingSecret) }}
{{- $problems = append $problems "exchange.telemetry.otlpEndpoint is empty and exchange.telemetry.headers or exchange.telemetry.ca is set: nothing is sent anywhere; name the collector." }}
{{- end }}
{{- if and .headers.existingSecret (hasPrefix "http:" .otlpEndpoint) }}
{{- $problems = append $problems "exchange.telemetry.headers is set and exchange.telemetry.otlpEndpoint is not https: the headers may be secret and would cross the network in the open." }}
{{- end }}
{{- if and $values.networkPolicy.enabled (not $values.networkPolicy.extraEgress) .otlpEndpoint (not (regexMatch "^https://[^/:]+(:443)?(/|$)" .otlpEndpoint)) }}
{{- $problems = append $problems "exchange.networkPolicy.extraEgress is empty: the policy keeps the pods from the collector of exchange.telemetry.otlpEndpoint; name it and its port there." }}
{{- end }}
{{- end }}
{{- $own := include "exchange-sidecar-lib.ownSettings" . | fromYaml }}
{{- range $name := keys $values.settings | sortAlpha }}
{{- if or (hasKey $own $name) (has $name (list "EXCHANGE_CREDENTIALS__TOKEN_FILES_FOLDER" "EXCHANGE_ROLES" "EXCHANGE_STORE__DSN_FILE" "EXCHANGE_WEBHOOK__LISTEN" "EXCHANGE_WEBHOOK__PATH_SECRETS_FILE" "EXCHANGE_WEBHOOK__PUBLIC_URL")) }}
{{- $problems = append $problems (printf "exchange.settings.%s is set by the chart itself: change the value that stands for it." $name) }}
{{- end }}
{{- end }}
{{- if $problems }}
{{- fail (printf "\n\nThese values cannot work:\n  - %s\n" (join "\n  - " $problems)) }}
{{- end }}
{{- end }}
