{{/* What stands beside the pod: claim, Service and way for the webhooks, policy. */}}

{{/* All of it, as far as the values want it, for a file of its own in the app's chart. For a Job: its policy. */}}
{{- define "exchange-sidecar-lib.objects" -}}
{{- include "exchange-sidecar-lib.refuseProblems" . -}}
{{- $values := include "exchange-sidecar-lib.values" . | fromYaml }}
{{- $stays := not (include "exchange-sidecar-lib.isJob" .) }}
{{- $objects := list }}
{{- if and $stays (eq $values.store.type "claim") (not $values.store.existingClaim) }}
{{- $objects = append $objects (include "exchange-sidecar-lib.claim" .) }}
{{- end }}
{{- if include "exchange-sidecar-lib.takesWebhooks" . }}
{{- $objects = append $objects (include "exchange-sidecar-lib.webhookService" .) }}
{{- end }}
{{- if and $stays $values.ingress.enabled }}
{{- $objects = append $objects (include "exchange-sidecar-lib.ingress" .) }}
{{- end }}
{{- if and $stays $values.httpRoute.enabled }}
{{- $objects = append $objects (include "exchange-sidecar-lib.httpRoute" .) }}
{{- end }}
{{- if $values.networkPolicy.enabled }}
{{- $objects = append $objects (include "exchange-sidecar-lib.networkPolicy" .) }}
{{- end }}
{{- join "\n---\n" $objects }}
{{- end }}

{{/* The `metadata` of an object; `suffix` follows its name. */}}
{{- define "exchange-sidecar-lib.metadata" -}}
name: {{ include "exchange-sidecar-lib.fullname" .exchange }}{{ .suffix }}
namespace: {{ .exchange.root.Release.Namespace }}
labels:
  {{- toYaml .exchange.labels | nindent 2 }}
{{- end }}

{{- define "exchange-sidecar-lib.claimSpec" -}}
{{- $store := (include "exchange-sidecar-lib.values" . | fromYaml).store -}}
accessModes: [{{ $store.accessMode }}]
{{- with $store.storageClass }}
storageClassName: {{ . }}
{{- end }}
resources:
  requests:
    storage: {{ $store.size }}
{{- end }}

{{- define "exchange-sidecar-lib.claim" -}}
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  {{- include "exchange-sidecar-lib.metadata" (dict "exchange" . "suffix" "") | nindent 2 }}
  {{- if (include "exchange-sidecar-lib.values" . | fromYaml).store.retain }}
  annotations:
    helm.sh/resource-policy: keep
  {{- end }}
spec:
  {{- include "exchange-sidecar-lib.claimSpec" . | nindent 2 }}
{{- end }}

{{- define "exchange-sidecar-lib.webhookService" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "exchange-sidecar-lib.metadata" (dict "exchange" . "suffix" "-webhook") | nindent 2 }}
spec:
  type: ClusterIP
  selector:
    {{- toYaml .selectorLabels | nindent 4 }}
  ports:
    - name: webhook
      port: {{ (include "exchange-sidecar-lib.values" . | fromYaml).webhook.port | int }}
      targetPort: exch-webhook
      appProtocol: http
{{- end }}

{{- define "exchange-sidecar-lib.ingress" -}}
{{- $values := include "exchange-sidecar-lib.values" . | fromYaml }}
{{- $host := (urlParse $values.webhook.publicUrl).host -}}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  {{- include "exchange-sidecar-lib.metadata" (dict "exchange" . "suffix" "-webhook") | nindent 2 }}
  {{- with $values.ingress.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- with $values.ingress.className }}
  ingressClassName: {{ . }}
  {{- end }}
  tls:
    - hosts: [{{ $host | quote }}]
      secretName: {{ $values.ingress.tls.secretName }}
  rules:
    - host: {{ $host | quote }}
      http:
        paths:
          # Nothing else of the pod is meant for the internet; with a secret word the service itself knows which path is.
          {{- range (include "exchange-sidecar-lib.webhookPaths" . | fromYaml).paths }}
          - path: {{ .path }}
            pathType: {{ ternary "Exact" "Prefix" .isWhole }}
            backend:
              service:
                name: {{ include "exchange-sidecar-lib.fullname" $ }}-webhook
                port:
                  name: webhook
          {{- end }}
{{- end }}

{{- define "exchange-sidecar-lib.httpRoute" -}}
{{- $values := include "exchange-sidecar-lib.values" . | fromYaml -}}
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  {{- include "exchange-sidecar-lib.metadata" (dict "exchange" . "suffix" "-webhook") | nindent 2 }}
spec:
  parentRefs:
    {{- toYaml $values.httpRoute.parentRefs | nindent 4 }}
  hostnames: [{{ (urlParse $values.webhook.publicUrl).host | quote }}]
  rules:
    # Nothing else of the pod is meant for the internet; with a secret word the service itself knows which path is.
    - matches:
        {{- range (include "exchange-sidecar-lib.webhookPaths" . | fromYaml).paths }}
        - path:
            type: {{ ternary "Exact" "PathPrefix" .isWhole }}
            value: {{ .path }}
          method: POST
        {{- end }}
      backendRefs:
        - name: {{ include "exchange-sidecar-lib.fullname" . }}-webhook
          port: {{ $values.webhook.port | int }}
{{- end }}

{{- define "exchange-sidecar-lib.networkPolicy" -}}
{{- $values := include "exchange-sidecar-lib.values" . | fromYaml }}
{{- $policy := $values.networkPolicy -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "exchange-sidecar-lib.metadata" (dict "exchange" . "suffix" "") | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- toYaml .selectorLabels | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
    {{- if include "exchange-sidecar-lib.takesWebhooks" . }}
    - from:
        - namespaceSelector:
            matchLabels:
              {{- toYaml $policy.webhook.namespaceLabels | nindent 14 }}
      ports:
        - protocol: TCP
          port: {{ $values.webhook.port | int }}
    {{- end }}
    - from:
        - namespaceSelector:
            matchLabels:
              {{- toYaml $policy.metrics.namespaceLabels | nindent 14 }}
      ports:
        - protocol: TCP
          port: {{ $values.probes.port | int }}
    {{- with $policy.extraIngress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  egress:
    - to:
        - namespaceSelector:
            matchLabels:
              {{- toYaml $policy.dns.namespaceLabels | nindent 14 }}
          podSelector:
            matchLabels:
              {{- toYaml $policy.dns.podLabels | nindent 14 }}
      ports:
        - protocol: UDP
          port: 53
        - protocol: TCP
          port: 53
    # Microsoft's login and Graph addresses change and are shared, so only the port and the blocked ranges can be named.
    - to:
        {{- range $family := list (dict "all" "0.0.0.0/0" "mark" ".") (dict "all" "::/0" "mark" ":") }}
        - ipBlock:
            cidr: {{ $family.all | quote }}
            {{- $except := list }}
            {{- range $policy.blockedCidrs }}
            {{- if contains $family.mark . }}
            {{- $except = append $except . }}
            {{- end }}
            {{- end }}
            {{- with $except }}
            except:
              {{- toYaml . | nindent 14 }}
            {{- end }}
        {{- end }}
      ports:
        - protocol: TCP
          port: 443
    {{- with $policy.extraEgress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
