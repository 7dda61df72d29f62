{{- /*
Parts of NetworkPolicies. Argument: the chart's scope, unless stated otherwise. External addresses cannot be restricted, since they
are unknown. A policy without rules leaves the field out: Kubernetes drops an empty list, which differs from it for ever after.
*/ -}}

{{- /* A peer of a policy: the pods of a component of this release. Arguments: `root`, `component`. */ -}}
{{- define "recmesh.peer" -}}
- podSelector:
    matchLabels:
      {{- include "recmesh.selector" . | nindent 6 }}
{{- end -}}

{{- /* Connections to the pods of a component. Arguments: `root`, `component`, `port`. */ -}}
{{- define "recmesh.egressTo" -}}
- to:
    {{- include "recmesh.peer" . | nindent 4 }}
  ports:
    - {port: {{ .port }}, protocol: TCP}
{{- end -}}

{{- /* What every pod of recmesh may connect to: the DNS of the cluster, the collector of traces and what the values add. */ -}}
{{- define "recmesh.commonEgress" -}}
{{- $policy := .Values.networkPolicy }}
- ports:
    {{- range $policy.dns.ports }}
    - {port: {{ . }}, protocol: UDP}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
  {{- with $policy.dns.peers }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- with .Values.external.otlp }}
{{- if .endpoint }}
{{- $url := urlParse .endpoint }}
{{- $default := ternary 80 443 (and (eq $url.scheme "http") (ne .protocol "grpc")) }}{{- /* gRPC takes 443 for http as well */}}
- ports:
    - {port: {{ regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) | default $default }}, protocol: TCP}
  {{- with $policy.otlp }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}
{{- with $policy.extraEgress }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* Who may connect, unless nobody may: an empty list would mean everybody. Arguments: `peers` (a list), `ports` (YAML). */ -}}
{{- define "recmesh.ingressFrom" -}}
{{- if .peers }}
- from:
    {{- toYaml .peers | nindent 4 }}
  ports:
    {{- .ports | nindent 4 }}
{{- end }}
{{- end -}}

{{- /* Scrapers of metrics. Arguments: `root`, `port`. */ -}}
{{- define "recmesh.metricsIngress" -}}
{{- $policy := .root.Values.networkPolicy -}}
{{- $peers := $policy.metrics -}}
{{- range $policy.metricsNamespaces -}}
{{- $peers = append $peers (dict "namespaceSelector" (dict "matchLabels" (dict "kubernetes.io/metadata.name" .))) -}}
{{- end -}}
{{- include "recmesh.ingressFrom" (dict "peers" $peers "ports" (printf "- {port: %v, protocol: TCP}" .port)) -}}
{{- end -}}

{{- define "recmesh.redisEgress" -}}
{{- if .Values.redis.enabled }}
- to:
    {{- include "recmesh.peer" (dict "root" . "component" "redis") | nindent 4 }}
  ports:
    {{- include "recmesh.redisPorts" . | nindent 4 }}
{{- else }}
- {} # external Redis
{{- end }}
{{- end -}}

{{- define "recmesh.milvusEgress" -}}
{{- if .Values.milvus.enabled }}
{{ include "recmesh.egressTo" (dict "root" . "component" "milvus" "port" 19530) }}
{{- else }}
- {} # external Milvus
{{- end }}
{{- end -}}

{{- define "recmesh.storeEgress" -}}
{{- if hasPrefix "s3://" .Values.modelStore.url }}
- {} # the model store, {{ .Values.modelStore.url }}
{{- end }}
{{- end -}}

{{- define "recmesh.archiveEgress" -}}
{{- if and .Values.archive.enabled (hasPrefix "s3://" .Values.archive.url) }}
- {} # the archive, {{ .Values.archive.url }}
{{- end }}
{{- end -}}

{{- /* A URL may have any port; a data set that recmesh knows by name is downloaded over HTTPS. */ -}}
{{- define "recmesh.datasetEgress" -}}
{{- $source := .Values.dataset.source -}}
{{- if regexMatch "^(s3|https?)://" $source }}
{{- with .Values.networkPolicy.internet }}
- to: # the data set, {{ $source }}
    {{- toYaml . | nindent 4 }}
{{- else }}
- {} # the data set, {{ $source }}
{{- end }}
{{- else if has $source (list "ta_feng" "ml_100k" "ml_latest_small" "book_crossing" "book_crossing_5k" "instacart_sample") }}
- ports: # the data set {{ $source }}, from the package index
    - {port: 443, protocol: TCP}
  {{- with .Values.networkPolicy.internet }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end -}}

{{- /* The API server, whose address no selector names. */ -}}
{{- define "recmesh.apiServerEgress" -}}
{{- with .Values.networkPolicy.apiServerPorts }}
- ports: # the API server
    {{- range . }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end }}
{{- end -}}
