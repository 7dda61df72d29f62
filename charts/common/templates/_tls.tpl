{{- /*
TLS between the pods of a release (values global.tls), for all charts. Values may be missing: those of an older release, which
`helm upgrade --reuse-values` keeps, turn nothing on. Argument: the chart's scope, unless stated otherwise.
*/ -}}

{{- /* Whether the pods of the release speak TLS. */ -}}
{{- define "common.tls" -}}
{{- if (.Values.global.tls).enabled }}true{{ end -}}
{{- end -}}

{{- /* The Secret with tls.crt, tls.key and ca.crt of a component. Arguments: `root`, `component`. */ -}}
{{- define "common.tlsSecret" -}}
{{- get ((.root.Values.global.tls).existingSecrets | default dict) .component | default (include "common.secretName" (dict "root" .root "secret" (printf "%s-tls" .component))) -}}
{{- end -}}

{{- /* The name of a Secret that the secrets Job makes, which may be longer than that of a Service. Arguments: `root`, `secret`. */ -}}
{{- define "common.secretName" -}}
{{- printf "%s-%s" .root.Release.Name .secret -}}
{{- end -}}

{{- /* Whether callers have to show a certificate. */ -}}
{{- define "common.clientCertificates" -}}
{{- if eq ((.Values.global.tls).clientAuth | default "require") "require" }}true{{ end -}}
{{- end -}}

{{- /*
Whether servers take plain connections as well. With `auto` they do while pods without TLS may exist: while a Deployment of the
release has no annotation recmesh.io/tls, or has not replaced all pods since it got one. `helm template` finds no Deployments.
*/ -}}
{{- define "common.acceptPlain" -}}
{{- $given := (.Values.global.tls).acceptPlain | toString -}}
{{- if include "common.tls" . -}}
{{- if eq $given "true" -}}
true
{{- else if eq $given "auto" -}}
{{- range (lookup "apps/v1" "Deployment" .Release.Namespace "").items -}}
{{- if and (eq (get (.metadata.labels | default dict) "app.kubernetes.io/instance") $.Release.Name) (eq (get (.metadata.labels | default dict) "app.kubernetes.io/part-of") "recmesh") -}}
{{- $mark := get (.metadata.annotations | default dict) "recmesh.io/tls" -}}
{{- $current := and (eq (int .metadata.generation) (int .status.observedGeneration)) (eq (int .status.replicas) (int .status.updatedReplicas)) -}}
{{- if or (eq $mark "") (and (eq $mark "accepts-plain") (not $current)) }}true{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* What a Deployment says of its pods, for the next upgrade. */ -}}
{{- define "common.tlsAnnotation" -}}
{{- if include "common.tls" . -}}
recmesh.io/tls: {{ ternary "accepts-plain" "required" (not (empty (include "common.acceptPlain" .))) }}
{{- end -}}
{{- end -}}

{{- /*
The ports of Redis: 6380 with the certificate of the release, and 6379 without TLS, or with a certificate of its own
(redis.tls.existingSecret). Arguments: `root`, `own` (that Secret).
*/ -}}
{{- define "common.redisPort" -}}
{{- ternary 6380 6379 (and (empty .own) (not (empty (include "common.tls" .root)))) -}}
{{- end -}}

{{- /* The same as ports of a NetworkPolicy, with the plain one while pods without TLS may exist. */ -}}
{{- define "common.redisPorts" -}}
- {port: {{ include "common.redisPort" . }}, protocol: TCP}
{{- if and (empty .own) (include "common.acceptPlain" .root) }}
- {port: 6379, protocol: TCP}
{{- end }}
{{- end -}}
