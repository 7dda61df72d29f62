{{- /*
Whether a resource of the Prometheus operator is wanted and its kind exists. Arguments: `root`, `enabled`, `kind`. `helm template`
knows only the kinds of Kubernetes itself: give it --api-versions monitoring.coreos.com/v1.
*/ -}}
{{- define "recmesh.monitored" -}}
{{- $versions := .root.Capabilities.APIVersions -}}
{{- if and .enabled (or ($versions.Has "monitoring.coreos.com/v1") ($versions.Has (printf "monitoring.coreos.com/v1/%s" .kind))) -}}
true
{{- end -}}
{{- end -}}

{{- /* Annotations of a pod for a Prometheus without the operator. Arguments: `root`, `port`. */ -}}
{{- define "recmesh.scrapeAnnotations" -}}
prometheus.io/scrape: "true"
prometheus.io/port: {{ .port | quote }}
{{- if include "recmesh.tls" .root }}
prometheus.io/scheme: https
{{- end }}
{{- end -}}

{{- /*
Scraping of the port `metrics` of a component, with the certificate of Prometheus; Redis and Milvus have no TLS there. Labels of
recmesh's own, such as `service`, win over those of the scrape. Arguments: `root`, `component`, `monitor` (its values).
*/ -}}
{{- define "recmesh.scrape" -}}
{{- $policy := .root.Values.networkPolicy -}}
{{- if and .root.Values.global.networkPolicy.enabled (not $policy.metrics) (not $policy.metricsNamespaces) -}}
{{- fail "monitoring: the NetworkPolicies keep Prometheus out: name its namespace in networkPolicy.metricsNamespaces" -}}
{{- end -}}
- port: metrics
  honorLabels: true
  {{- with .monitor.interval }}
  interval: {{ . }}
  {{- end }}
  {{- if and (include "recmesh.tls" .root) (not (has .component (list "redis" "milvus"))) }}
  {{- $secret := include "recmesh.tlsSecret" (dict "root" .root "component" "prometheus") }}
  scheme: https
  tlsConfig:
    serverName: {{ include "recmesh.name" . }}
    ca:
      secret: {name: {{ $secret }}, key: ca.crt}
    cert:
      secret: {name: {{ $secret }}, key: tls.crt}
    keySecret: {name: {{ $secret }}, key: tls.key}
  {{- end }}
{{- end -}}

{{- /* The components with a metrics port, as a YAML list. */ -}}
{{- define "recmesh.monitoredComponents" -}}
{{- include "recmesh.deployments" . }}
{{- if .Values.controller.enabled }}
- controller
{{- end }}
{{- range list "redis" "milvus" }}
{{- $store := index $.Values . }}
{{- if and $store.enabled $store.metrics.enabled }}
- {{ . }}
{{- end }}
{{- end }}
{{- end -}}
