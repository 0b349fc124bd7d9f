{{/*
Every template of this chart takes one dict, made by the app's chart:

  root            $ of the app's chart; the values are its sub-tree `exchange`
  workload        Deployment, StatefulSet, Job or CronJob: what runs the pod
  replicas        how many pods of it there are; not given for Jobs
  name            the app's full name; objects are named after it
  labels          labels of made objects
  selectorLabels  labels that the app's pods have, and no other pod
*/}}

{{/*
The values, as YAML. Helm gives them under the alias, with this chart's defaults; `helm lint` of older versions leaves the defaults
under the chart's own name.
*/}}
{{- define "exchange-sidecar-lib.values" -}}
{{- $defaults := index .root.Values "exchange-sidecar-lib" | default dict }}
{{- mergeOverwrite (deepCopy $defaults) .root.Values.exchange | toYaml }}
{{- end }}

{{/* 44 characters leave room for the longest suffix within the 63 of a Service. */}}
{{- define "exchange-sidecar-lib.fullname" -}}
{{- printf "%s-exchange" (.name | trunc 44 | trimSuffix "-") }}
{{- end }}

{{- define "exchange-sidecar-lib.image" -}}
{{- with (include "exchange-sidecar-lib.values" . | fromYaml).image }}{{ .repository }}:{{ .tag }}{{ with .digest }}@{{ . }}{{ end }}{{ end }}
{{- end }}

{{/* Where the app finds the socket. The folder is the volume's mount path and a folder in it that the service makes for the group. */}}
{{- define "exchange-sidecar-lib.socket" -}}
/run/exchange/app/exchange.sock
{{- end }}

{{- define "exchange-sidecar-lib.target" -}}
unix://{{ include "exchange-sidecar-lib.socket" . }}
{{- end }}

{{/* "true" where the pod ends by itself, so that it neither takes webhooks nor does the background work. */}}
{{- define "exchange-sidecar-lib.isJob" -}}
{{- if has .workload (list "Job" "CronJob") }}true{{ end }}
{{- end }}

{{/*
The paths that are let through to the webhooks, as YAML under `paths`; `isWhole`: this path and nothing below it. Where a
secret word stands before them no manifest may have it, so all paths go to the service, which knows its own.
*/}}
{{- define "exchange-sidecar-lib.webhookPaths" -}}
paths:
{{- if (include "exchange-sidecar-lib.values" . | fromYaml).webhook.pathSecrets.existingSecret }}
  - {path: /, isWhole: false}
{{- else }}
  - {path: /graph/notifications, isWhole: true}
  - {path: /graph/lifecycle, isWhole: true}
{{- end }}
{{- end }}

{{/* "true" where Microsoft calls the pod. */}}
{{- define "exchange-sidecar-lib.takesWebhooks" -}}
{{- if and (include "exchange-sidecar-lib.values" . | fromYaml).webhook.publicUrl (not (include "exchange-sidecar-lib.isJob" .)) }}true{{ end }}
{{- end }}
