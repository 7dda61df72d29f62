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

{{- /*
Scraping of the port `metrics`. Labels of recmesh's own, such as `service`, win over those of the scrape. Arguments: `root`,
`monitor` (its values).
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
{{- end -}}
