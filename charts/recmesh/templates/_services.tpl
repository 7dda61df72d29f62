{{- /* Facts about the services. Arguments: a dict with `root` (the chart's scope) and `component`, unless stated otherwise. */ -}}

{{- /* Ports of the services; compact serves all but feed. The metrics port is the port + 10000; that of compact is 18930. */ -}}
{{- define "recmesh.ports" -}}
um: 8910
cm: 8920
recall: 8950
rank: 8960
as: 8930
feed: 8940
{{- end -}}

{{- /* The Deployments of this mode that serve those ports, as a YAML list. Argument: the chart's scope. */ -}}
{{- define "recmesh.services" -}}
{{- range ternary (list "compact") (list "um" "cm" "recall" "rank" "as") (eq .Values.mode "compact") }}
- {{ . }}
{{- end }}
{{- if .Values.feed.enabled }}
- feed
{{- end }}
{{- end -}}

{{- /* The same, with Paddle Serving if it is installed: all that is scaled and scraped in the same way. Argument: the chart's scope. */ -}}
{{- define "recmesh.deployments" -}}
{{- include "recmesh.services" . }}
{{- if .Values.paddleServing.enabled }}
- paddle-serving
{{- end }}
{{- end -}}

{{- /* The key of a component's values. Argument: the component. */ -}}
{{- define "recmesh.key" -}}
{{- ternary "paddleServing" . (eq . "paddle-serving") -}}
{{- end -}}

{{- /* The HTTP port of a service (as or feed); empty unless it is enabled. */ -}}
{{- define "recmesh.httpPort" -}}
{{- if has .component (list "as" "feed") -}}
{{- if (index .root.Values .component).http.enabled -}}
{{- get (dict "as" 8931 "feed" 8941) .component -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Whether a service (as or feed) has a second Service, with an address of its own. */ -}}
{{- define "recmesh.exposed" -}}
{{- $routes := list -}}
{{- if .root.Values.ingress.enabled -}}{{- $routes = concat $routes .root.Values.ingress.routes -}}{{- end -}}
{{- if .root.Values.gateway.enabled -}}{{- $routes = concat $routes .root.Values.gateway.routes -}}{{- end -}}
{{- $exposed := (index .root.Values .component).expose.enabled -}}
{{- range $routes -}}
{{- if eq (.service | default "as") $.component -}}{{- $exposed = true -}}{{- end -}}
{{- end -}}
{{- if $exposed }}true{{ end -}}
{{- end -}}

{{- /* The protocol of a port, for meshes and load balancers. Arguments: `root`, `protocol` (grpc or http). */ -}}
{{- define "recmesh.appProtocol" -}}
{{- if include "recmesh.tls" .root -}}
https
{{- else -}}
{{- ternary "kubernetes.io/h2c" "http" (eq .protocol "grpc") -}}
{{- end -}}
{{- end -}}

{{- /* Environment variables of a service. The image sets RECMESH_HOST and RECMESH_HOME. */ -}}
{{- define "recmesh.serviceEnv" -}}
{{- $compact := eq .component "compact" -}}
{{- if or $compact (has .component (list "um" "cm" "recall" "feed")) }}
{{ include "recmesh.redisEnv" . }}
{{- end }}
{{- if or $compact (eq .component "recall") }}
{{ include "recmesh.milvusEnv" . }}
{{- end }}
{{- if or $compact (has .component (list "as" "recall" "rank")) }}
{{ include "recmesh.storeEnv" .root }}
{{- end }}
{{- if or $compact (eq .component "rank") }}
{{- /* This also restarts rank when Paddle Serving is installed or removed. */}}
{{- $alone := and (eq .root.Values.rank.backend "auto") (not .root.Values.paddleServing.enabled) }}
- {name: RECMESH_RANK_BACKEND, value: {{ ternary "onnx" .root.Values.rank.backend $alone }}}
- {name: RECMESH_PADDLE_SERVING_TARGET, value: "dns:///{{ include "recmesh.name" (dict "root" .root "component" "paddle-serving") }}:8961"}
{{- if and .root.Values.paddleServing.enabled (ne .root.Values.paddleServing.device "cpu") }}
- {name: RECMESH_PADDLE_SERVING_TOLERANCE, value: {{ include "recmesh.tolerance" .root | quote }}}
{{- end }}
{{- end }}
{{- if eq .component "as" }}
{{ include "recmesh.stageTargets" .root }}
{{- end }}
{{- if and (gt (float64 .root.Values.answers.sample) 0.0) (or $compact (eq .component "as")) }}
- {name: RECMESH_ANSWER_SAMPLE, value: {{ .root.Values.answers.sample | quote }}}
- {name: RECMESH_ANSWER_LOG, value: /answers/log}
- {name: RECMESH_ANSWER_LOG_MIB, value: {{ .root.Values.answers.mib | quote }}}
{{- end }}
{{ include "recmesh.settingsEnv" . }}
{{- end -}}

{{- /* Addresses of the stages of the chain, for their clients. Argument: the chart's scope. */ -}}
{{- define "recmesh.stageTargets" -}}
{{- range $name, $port := omit (include "recmesh.ports" . | fromYaml) "as" "feed" }}
- {name: RECMESH_{{ upper $name }}_TARGET, value: "dns:///{{ include "recmesh.name" (dict "root" $ "component" $name) }}:{{ $port }}"}
{{- end }}
{{- end -}}

{{- /* The tolerated difference between scores of Paddle Serving and the reference: docs/gpu.md. Argument: the chart's scope. */ -}}
{{- define "recmesh.tolerance" -}}
{{- get (dict "cpu" "1e-5" "gpu" "1e-4" "tensorrt" "2e-2") .Values.paddleServing.device -}}
{{- end -}}

{{- /* The share of admitted requests that are in progress, in percent over all pods, as a query of Prometheus. */ -}}
{{- define "recmesh.inFlightQuery" -}}
{{- $service := ternary "as" .component (eq .component "compact") -}}
{{- $series := printf "{namespace=%q,service=%q,pod=~%q}" (include "recmesh.namespace" .root) $service (printf "%s-.*" (include "recmesh.name" .)) -}}
100 * sum(recmesh_requests_in_flight{{ $series }}) / sum(recmesh_requests_limit{{ $series }})
{{- end -}}
