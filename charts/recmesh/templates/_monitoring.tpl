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

{{- /* Metadata with additional labels. Arguments: `root`, `component`, `labels`. */ -}}
{{- define "recmesh.monitoringMetadata" -}}
{{- include "common.metadata" . }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- /* Annotations of a pod for a Prometheus without the operator. Arguments: `root`, `port`. */ -}}
{{- define "recmesh.scrapeAnnotations" -}}
prometheus.io/scrape: "true"
prometheus.io/port: {{ .port | quote }}
{{- if include "common.tls" .root }}
prometheus.io/scheme: https
{{- end }}
{{- end -}}

{{- /*
Scraping of the port `metrics` of a component, with the certificate of Prometheus. Labels of recmesh's own, such as `service`, win
over those of the scrape. Arguments: `root`, `component`, `monitor` (its values).
*/ -}}
{{- define "recmesh.scrape" -}}
{{- if and .root.Values.global.networkPolicy.enabled (not .root.Values.networkPolicy.metrics) -}}
{{- fail "monitoring: the NetworkPolicies keep Prometheus out: name its pods in networkPolicy.metrics" -}}
{{- end -}}
- port: metrics
  honorLabels: true
  {{- with .monitor.interval }}
  interval: {{ . }}
  {{- end }}
  {{- if include "common.tls" .root }}
  {{- $secret := include "common.tlsSecret" (dict "root" .root "component" "prometheus") }}
  scheme: https
  tlsConfig:
    serverName: {{ include "common.name" . }}
    ca:
      secret: {name: {{ $secret }}, key: ca.crt}
    cert:
      secret: {name: {{ $secret }}, key: tls.crt}
    keySecret: {name: {{ $secret }}, key: tls.key}
  {{- end }}
{{- end -}}

{{- /* The components with a metrics port, as a YAML list. */ -}}
{{- define "recmesh.monitoredComponents" -}}
{{- range ternary (list "compact") (list "um" "cm" "recall" "rank" "as") (eq .Values.mode "compact") }}
- {{ . }}
{{- end }}
{{- if .Values.feed.enabled }}
- feed
{{- end }}
{{- if .Values.paddleServing.enabled }}
- paddle-serving
{{- end }}
{{- end -}}
