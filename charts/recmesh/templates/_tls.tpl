{{- /* TLS between the pods of a release (values global.tls). Argument: the chart's scope, unless stated otherwise. */ -}}

{{- /* Whether the pods of the release speak TLS. */ -}}
{{- define "recmesh.tls" -}}
{{- if .Values.global.tls.enabled }}true{{ end -}}
{{- end -}}

{{- /* The Secret with tls.crt, tls.key and ca.crt of a component. Arguments: `root`, `component`. */ -}}
{{- define "recmesh.tlsSecret" -}}
{{- get .root.Values.global.tls.existingSecrets .component | default (printf "%s-tls" (include "recmesh.name" .)) -}}
{{- end -}}

{{- /* That Secret, as the source of a volume. */ -}}
{{- define "recmesh.tlsVolume" -}}
secret: {secretName: {{ include "recmesh.tlsSecret" . }}, items: [{key: tls.crt, path: tls.crt}, {key: tls.key, path: tls.key}, {key: ca.crt, path: ca.crt}]}
{{- end -}}

{{- /* Whether callers have to show a certificate. */ -}}
{{- define "recmesh.clientCertificates" -}}
{{- if eq .Values.global.tls.clientAuth "require" }}true{{ end -}}
{{- end -}}

{{- /*
Whether servers take plain connections as well. With `auto` they do while pods without TLS may exist: while a Deployment of the
release has no annotation recmesh.io/tls, or has not replaced all pods since it got one. `helm template` finds no Deployments.
*/ -}}
{{- define "recmesh.acceptPlain" -}}
{{- $given := toString .Values.global.tls.acceptPlain -}}
{{- $name := include "recmesh.fullname" . -}}
{{- if include "recmesh.tls" . -}}
{{- if eq $given "true" -}}
true
{{- else if eq $given "auto" -}}
{{- range (lookup "apps/v1" "Deployment" (include "recmesh.namespace" .) "").items -}}
{{- $labels := .metadata.labels | default dict -}}
{{- $own := printf "%s-%s" $name (get $labels "app.kubernetes.io/component") -}}
{{- if and (eq (get $labels "app.kubernetes.io/instance") $name) (eq .metadata.name $own) -}}
{{- $mark := get (.metadata.annotations | default dict) "recmesh.io/tls" -}}
{{- $current := and (eq (int .metadata.generation) (int .status.observedGeneration)) (eq (int .status.replicas) (int .status.updatedReplicas)) -}}
{{- if or (eq $mark "") (and (eq $mark "accepts-plain") (not $current)) }}true{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* What a Deployment says of its pods, for the next upgrade, as a map of annotations. */ -}}
{{- define "recmesh.tlsAnnotation" -}}
{{- if include "recmesh.tls" . -}}
recmesh.io/tls: {{ ternary "accepts-plain" "required" (not (empty (include "recmesh.acceptPlain" .))) }}
{{- end -}}
{{- end -}}

{{- /*
The ports of Redis: 6380 with the certificate of the release, and 6379 without TLS, or with a certificate of its own
(redis.tls.existingSecret).
*/ -}}
{{- define "recmesh.redisPort" -}}
{{- ternary 6380 6379 (and (empty .Values.redis.tls.existingSecret) (not (empty (include "recmesh.tls" .)))) -}}
{{- end -}}

{{- /* Whether Redis has a port for pods without TLS as well. */ -}}
{{- define "recmesh.redisAcceptsPlain" -}}
{{- if and (empty .Values.redis.tls.existingSecret) (include "recmesh.acceptPlain" .) }}true{{ end -}}
{{- end -}}

{{- /* The ports of Redis as ports of a NetworkPolicy. */ -}}
{{- define "recmesh.redisPorts" -}}
- {port: {{ include "recmesh.redisPort" . }}, protocol: TCP}
{{- if include "recmesh.redisAcceptsPlain" . }}
- {port: 6379, protocol: TCP}
{{- end }}
{{- end -}}
