{{- /*
NetworkPolicies that allow only the connections of the architecture. Arguments: `root`, `component` (a service or compact).
*/ -}}

{{- define "recmesh.networkPolicy" -}}
{{- if .root.Values.global.networkPolicy.enabled -}}
{{- $root := .root -}}
{{- $ports := include "recmesh.ports" . | fromYaml -}}
{{- $compact := eq .component "compact" -}}
{{- $served := ternary (omit $ports "feed") (pick $ports .component) $compact -}}
{{- $public := ternary "as" .component $compact -}}
{{- $stage := not (has $public (list "as" "feed")) -}}
{{- $http := include "recmesh.httpPort" (dict "root" $root "component" $public) -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "common.metadata" . | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "common.selector" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
    {{- if not $stage }}
    - from: # the shop: those who ask for recommendations, or record what happens
        {{- toYaml $root.Values.networkPolicy.clients | nindent 8 }}
      ports:
        - {port: {{ index $ports $public }}, protocol: TCP}
        {{- with $http }}
        - {port: {{ . }}, protocol: TCP}
        {{- end }}
    {{- else }}
    - from:
        {{- include "common.peer" (dict "root" $root "component" "as") | nindent 8 }}
      ports:
        - {port: {{ index $ports .component }}, protocol: TCP}
    {{- end }}
    {{- if and $root.Values.explorer.enabled (or $compact $stage) }}
    - from:
        {{- include "common.peer" (dict "root" $root "component" "explorer") | nindent 8 }}
      ports:
        {{- range omit $served "as" }}
        - {port: {{ . }}, protocol: TCP}
        {{- end }}
    {{- end }}
    - from: # operators, who call single services
        {{- toYaml $root.Values.networkPolicy.operators | nindent 8 }}
        {{- if ne .component "feed" }}
        {{- include "common.peer" (dict "root" $root "component" "test") | nindent 8 }}
        {{- end }}
      ports:
        {{- range $served }}
        - {port: {{ . }}, protocol: TCP}
        {{- end }}
        {{- with $http }}
        - {port: {{ . }}, protocol: TCP}
        {{- end }}
    {{- include "recmesh.metricsIngress" (dict "root" $root "port" (add 10000 (index $ports $public))) | nindent 4 }}
  egress:
    {{- include "common.dnsEgress" . | nindent 4 }}
    {{- if eq .component "as" }}
    {{- range $name, $port := omit $ports "as" "feed" }}
    - to:
        {{- include "common.peer" (dict "root" $root "component" $name) | nindent 8 }}
      ports:
        - {port: {{ $port }}, protocol: TCP}
    {{- end }}
    {{- end }}
    {{- if or $compact (has .component (list "um" "cm" "recall" "feed")) }}
    {{- include "recmesh.redisEgress" $root | nindent 4 }}
    {{- end }}
    {{- if or $compact (eq .component "recall") }}
    {{- include "recmesh.milvusEgress" $root | nindent 4 }}
    {{- end }}
    {{- if and $root.Values.paddleServing.enabled (or $compact (eq .component "rank")) }}
    - to:
        {{- include "common.peer" (dict "root" $root "component" "paddle-serving") | nindent 8 }}
      ports:
        - {port: 8961, protocol: TCP}
    {{- end }}
    {{- if or $compact (has .component (list "as" "recall" "rank")) }}
    {{- include "recmesh.storeEgress" $root | nindent 4 }}
    {{- end }}
    {{- with $root.Values.networkPolicy.extraEgress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
{{- end -}}

{{- define "recmesh.metricsIngress" -}}
{{- with .root.Values.networkPolicy.metrics }}
- from: # scrapers of metrics
    {{- toYaml . | nindent 4 }}
  ports:
    - {port: {{ $.port }}, protocol: TCP}
{{- end }}
{{- end -}}

{{- /* Argument of the templates below: the chart's scope. External addresses cannot be restricted, since they are unknown. */ -}}
{{- define "recmesh.redisEgress" -}}
{{- if .Values.redis.enabled }}
- to:
    {{- include "common.peer" (dict "root" . "component" "redis") | nindent 4 }}
  ports:
    {{- include "common.redisPorts" (dict "root" . "own" (.Values.redis.tls).existingSecret) | nindent 4 }}
{{- else }}
- {} # external Redis
{{- end }}
{{- end -}}

{{- define "recmesh.milvusEgress" -}}
{{- if .Values.milvus.enabled }}
- to:
    {{- include "common.peer" (dict "root" . "component" "milvus") | nindent 4 }}
  ports:
    - {port: 19530, protocol: TCP}
{{- else }}
- {} # external Milvus
{{- end }}
{{- end -}}

{{- define "recmesh.storeEgress" -}}
{{- if .Values.modelStore.url }}
- {} # the model store, {{ .Values.modelStore.url }}
{{- end }}
{{- end -}}

{{- define "recmesh.archiveEgress" -}}
{{- if and .Values.archive.enabled (contains "://" (.Values.archive.url | default "")) }}
- {} # the archive, {{ .Values.archive.url }}
{{- end }}
{{- end -}}

{{- define "recmesh.datasetEgress" -}}
{{- if contains "://" .Values.dataset.source }}
- {} # the data set, {{ .Values.dataset.source }}
{{- end }}
{{- end -}}

{{- /* Nothing may connect to a job. Arguments: `root`, `component`. */ -}}
{{- define "recmesh.jobNetworkPolicy" -}}
{{- if .root.Values.global.networkPolicy.enabled -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "common.metadata" . | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "common.selector" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress: []
  egress:
    {{- include "common.dnsEgress" . | nindent 4 }}
    {{- if ne .component "archive" }}
    {{- include "recmesh.datasetEgress" .root | nindent 4 }}
    {{- end }}
    {{- if ne .component "import" }}
    {{- include "recmesh.storeEgress" .root | nindent 4 }}
    {{- include "recmesh.archiveEgress" .root | nindent 4 }}
    {{- end }}
    {{- if has .component (list "ingest" "retrain" "archive") }}
    {{- include "recmesh.redisEgress" .root | nindent 4 }}
    {{- end }}
    {{- if has .component (list "ingest" "retrain") }}
    {{- include "recmesh.milvusEgress" .root | nindent 4 }}
    {{- end }}
{{- end }}
{{- end -}}
