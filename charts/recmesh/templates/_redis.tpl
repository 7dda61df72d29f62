{{- /* Argument of these templates: the chart's scope. */ -}}

{{- /* The Secret with the certificate; empty without TLS. */ -}}
{{- define "recmesh.redisTlsSecret" -}}
{{- if .Values.redis.tls.existingSecret -}}
{{- .Values.redis.tls.existingSecret -}}
{{- else if include "recmesh.tls" . -}}
{{- include "recmesh.tlsSecret" (dict "root" . "component" "redis") -}}
{{- end -}}
{{- end -}}

{{- /* How clients log in: `users`, with a user for each component, `password`, or not at all. */ -}}
{{- define "recmesh.redisLogin" -}}
{{- if .Values.redis.auth.existingSecret -}}
password
{{- else if .Values.redis.auth.enabled -}}
users
{{- end -}}
{{- end -}}

{{- define "recmesh.redisConf" -}}
dir /data
unixsocket /run/redis/redis.sock
unixsocketperm 700
{{- if include "recmesh.redisTlsSecret" . }}
port {{ ternary 6379 0 (not (empty (include "recmesh.redisAcceptsPlain" .))) }}
tls-port {{ include "recmesh.redisPort" . }}
tls-cert-file /etc/redis-tls/tls.crt
tls-key-file /etc/redis-tls/tls.key
tls-ca-cert-file /etc/redis-tls/ca.crt
tls-auth-clients {{ ternary "no" "yes" (not (empty .Values.redis.tls.existingSecret)) }}
{{- else }}
port 6379
{{- end }}
# Writes go to the file before they are acknowledged. docs/reliability.md says what can be lost nevertheless.
appendonly yes
appendfsync {{ .Values.redis.appendfsync }}
save ""
protected-mode no
{{- with .Values.redis.config }}
{{ . }}
{{- end }}
{{- end -}}
