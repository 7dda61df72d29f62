{{- /* Argument of these templates: the chart's scope. */ -}}

{{- /* The Secret with the certificate; empty without TLS. */ -}}
{{- define "redis.tlsSecret" -}}
{{- if (.Values.tls).existingSecret -}}
{{- .Values.tls.existingSecret -}}
{{- else if include "common.tls" . -}}
{{- include "common.tlsSecret" (dict "root" . "component" "redis") -}}
{{- end -}}
{{- end -}}

{{- define "redis.port" -}}
{{- include "common.redisPort" (dict "root" . "own" (.Values.tls).existingSecret) -}}
{{- end -}}

{{- /* Whether pods without TLS may connect, on a port of their own. */ -}}
{{- define "redis.acceptPlain" -}}
{{- if and (include "common.acceptPlain" .) (not (.Values.tls).existingSecret) }}true{{ end -}}
{{- end -}}

{{- /* How clients log in: `users`, with a user for each component, `password`, or not at all. */ -}}
{{- define "redis.login" -}}
{{- if (.Values.auth).existingSecret -}}
password
{{- else if (.Values.auth).enabled -}}
users
{{- end -}}
{{- end -}}
