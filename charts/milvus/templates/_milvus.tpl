{{- /* Argument of these templates: the chart's scope. */ -}}

{{- /*
What callers of Milvus need. Variables, since 2.3 reads no user.yaml. The parts of Milvus call each other without, on loopback.
*/ -}}
{{- define "milvus.securityEnv" -}}
{{- if (.Values.auth).enabled }}
- {name: COMMON_SECURITY_AUTHORIZATIONENABLED, value: "true"}
- {name: COMMON_SECURITY_SUPERUSERS, value: root} # who may set the passwords of others
- name: COMMON_SECURITY_DEFAULTROOTPASSWORD # at the first start; before 2.4.5 it is Milvus, until ingestion sets this one
  valueFrom:
    secretKeyRef: {name: {{ .Values.auth.existingSecret | default (include "common.secretName" (dict "root" . "secret" "milvus-auth")) }}, key: root}
{{- end }}
{{- if include "common.tls" . }}
- {name: COMMON_SECURITY_TLSMODE, value: "2"} # mutual
- {name: TLS_SERVERPEMPATH, value: /etc/milvus-tls/tls.crt}
- {name: TLS_SERVERKEYPATH, value: /etc/milvus-tls/tls.key}
- {name: TLS_CAPEMPATH, value: /etc/milvus-tls/ca.crt}
- {name: PROXY_HTTP_ENABLED, value: "false"} # with mutual TLS it would need a port of its own
{{- end }}
{{- end -}}

{{- /* The folder of the data. A minor version does not open the data of another one: ingestion fills a new folder. */ -}}
{{- define "milvus.data" -}}
{{- $version := include "common.milvusVersion" .Values.image.tag -}}
/var/lib/milvus{{ if ne $version "2.3" }}/{{ $version }}{{ end }}
{{- end -}}
