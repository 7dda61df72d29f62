{{- /* Argument of these templates: the chart's scope. */ -}}

{{- /*
What callers of Milvus need. Variables, since 2.3 reads no user.yaml. The parts of Milvus call each other without, on loopback.
*/ -}}
{{- define "recmesh.milvusSecurityEnv" -}}
{{- if .Values.milvus.auth.enabled }}
- {name: COMMON_SECURITY_AUTHORIZATIONENABLED, value: "true"}
- {name: COMMON_SECURITY_SUPERUSERS, value: root} # who may set the passwords of others
- name: COMMON_SECURITY_DEFAULTROOTPASSWORD # at the first start; before 2.4.5 it is Milvus, until ingestion sets this one
  valueFrom:
    secretKeyRef: {name: {{ .Values.milvus.auth.existingSecret | default (include "recmesh.name" (dict "root" . "component" "milvus-auth")) }}, key: root}
{{- end }}
{{- if include "recmesh.tls" . }}
- {name: COMMON_SECURITY_TLSMODE, value: "2"} # mutual
- {name: TLS_SERVERPEMPATH, value: /etc/milvus-tls/tls.crt}
- {name: TLS_SERVERKEYPATH, value: /etc/milvus-tls/tls.key}
- {name: TLS_CAPEMPATH, value: /etc/milvus-tls/ca.crt}
- {name: PROXY_HTTP_ENABLED, value: "false"} # with mutual TLS it would need a port of its own
{{- end }}
{{- end -}}

{{- /* The folder of the data. A minor version does not open the data of another one: ingestion fills a new folder. */ -}}
{{- define "recmesh.milvusData" -}}
{{- $version := include "recmesh.milvusVersion" .Values.milvus.image.tag -}}
/var/lib/milvus{{ if ne $version "2.3" }}/{{ $version }}{{ end }}
{{- end -}}

{{- /* The files that Milvus reads, as the data of a ConfigMap. */ -}}
{{- define "recmesh.milvusFiles" -}}
start.sh: |
  {{- .Files.Get "files/milvus-start.sh" | nindent 2 }}
user.yaml: |
  {{- toYaml .Values.milvus.config | nindent 2 }}
embedEtcd.yaml: |
  listen-client-urls: http://127.0.0.1:2379
  advertise-client-urls: http://127.0.0.1:2379
  listen-peer-urls: http://127.0.0.1:2380
  initial-advertise-peer-urls: http://127.0.0.1:2380
  initial-cluster: default=http://127.0.0.1:2380
  quota-backend-bytes: 4294967296
  auto-compaction-mode: revision
  auto-compaction-retention: "1000"
{{- end -}}
