{{- /*
Where Redis, Milvus, the model store, the archive and the receiver of traces are, and the volumes. Argument: the chart's scope, unless
stated otherwise.
*/ -}}

{{- /* Where Redis is, and the user of a component. Arguments: `root`, `component`. */ -}}
{{- define "recmesh.redisEnv" -}}
{{- $values := .root.Values -}}
{{- $redis := $values.redis -}}
{{- if not $redis.enabled }}
{{- include "recmesh.urlEnv" (dict "name" "RECMESH_REDIS_URL" "url" (required "external.redis: give a url or a secret, or set redis.enabled" ($values.external.redis.url | default $values.external.redis.secret)) "from" $values.external.redis) }}
{{- include "recmesh.loginEnv" (dict "store" "REDIS" "auth" $values.external.redis.auth) }}
{{- include "recmesh.externalCaEnv" (dict "root" .root "store" "redis" "url" $values.external.redis.url) }}
{{- else }}
{{- $own := $redis.tls.existingSecret }}
{{- $tls := or $own (include "recmesh.tls" .root) }}
- name: RECMESH_REDIS_URL
  value: {{ ternary "rediss" "redis" (not (empty $tls)) }}://{{ include "recmesh.name" (dict "root" .root "component" "redis") }}:{{ include "recmesh.redisPort" .root }}/0
{{- if $own }}
- {name: RECMESH_REDIS_CA, value: /etc/recmesh/redis-ca/ca.crt}
{{- end }}
{{- if include "recmesh.redisUsers" .root }}
- {name: RECMESH_REDIS_USERNAME, value: {{ include "recmesh.redisUser" . }}}
- {name: RECMESH_REDIS_PASSWORD_FILE, value: /etc/recmesh/redis/password}
{{- else }}
{{- include "recmesh.loginEnv" (dict "store" "REDIS" "auth" $redis.auth) }}
{{- end }}
{{- end }}
- {name: RECMESH_REDIS_PREFIX, value: {{ $values.external.redis.prefix | quote }}}
{{- end -}}

{{- /* The same of Milvus. */ -}}
{{- define "recmesh.milvusEnv" -}}
{{- $values := .root.Values -}}
{{- if $values.milvus.enabled }}
- {name: RECMESH_MILVUS_URI, value: "{{ ternary "https" "http" (not (empty (include "recmesh.tls" .root))) }}://{{ include "recmesh.name" (dict "root" .root "component" "milvus") }}:19530"}
{{- if include "recmesh.milvusSecret" .root }}
{{- $user := include "recmesh.milvusUser" . }}
- {name: RECMESH_MILVUS_USERNAME, value: {{ $user }}}
- {name: RECMESH_MILVUS_PASSWORD_FILE, value: /etc/recmesh/milvus/{{ ternary "ingest" "password" (eq $user "ingest") }}}
{{- if eq $user "ingest" }}
- {name: RECMESH_MILVUS_ROOT_PASSWORD_FILE, value: /etc/recmesh/milvus/root}
{{- end }}
{{- end }}
{{- else }}
{{- include "recmesh.urlEnv" (dict "name" "RECMESH_MILVUS_URI" "url" (required "external.milvus: give a uri or a secret, or set milvus.enabled" ($values.external.milvus.uri | default $values.external.milvus.secret)) "from" $values.external.milvus) }}
{{- include "recmesh.loginEnv" (dict "store" "MILVUS" "auth" $values.external.milvus.auth) }}
{{- include "recmesh.externalCaEnv" (dict "root" .root "store" "milvus" "url" $values.external.milvus.uri) }}
{{- end }}
{{- end -}}

{{- /* The CA of an external store: that of the values, or those that the image trusts. Arguments: `root`, `store`, `url`. */ -}}
{{- define "recmesh.externalCaEnv" -}}
{{- if (index .root.Values.external .store).caSecret }}
- {name: RECMESH_{{ upper .store }}_CA, value: /etc/recmesh/{{ .store }}-ca/ca.crt}
{{- else if and (include "recmesh.tls" .root) (not (regexMatch "^(redis|http):" (.url | default ""))) }}
- {name: RECMESH_{{ upper .store }}_CA, value: /etc/ssl/certs/ca-certificates.crt} # not the CA of the release
{{- end }}
{{- end -}}

{{- /*
Where traces go, and what names the pod in them. Arguments: `root`, `component`, `job` (whether the pod belongs to a Job) and
`container` (its name, unless it is that of the component).
*/ -}}
{{- define "recmesh.otlpEnv" -}}
{{- $otlp := .root.Values.external.otlp -}}
{{- if $otlp.endpoint }}
- {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ $otlp.endpoint | quote }}}
- {name: OTEL_EXPORTER_OTLP_PROTOCOL, value: {{ $otlp.protocol | quote }}}
{{- with $otlp.headersSecret }}
- name: OTEL_EXPORTER_OTLP_HEADERS
  valueFrom:
    secretKeyRef: {name: {{ . }}, key: {{ $otlp.headersKey }}}
{{- end }}
{{- if $otlp.caSecret }}
- {name: OTEL_EXPORTER_OTLP_CERTIFICATE, value: /etc/recmesh/otlp-ca/ca.crt}
{{- end }}
{{- $fields := dict "POD_NAME" "metadata.name" "POD_UID" "metadata.uid" "NODE_NAME" "spec.nodeName" }}
{{- $owner := printf "k8s.deployment.name=%s" (include "recmesh.name" .) }}
{{- if .job }}
{{- $_ := set $fields "JOB_NAME" "metadata.labels['batch.kubernetes.io/job-name']" }}
{{- $owner = "k8s.job.name=$(JOB_NAME)" }}
{{- end }}
{{- range $name, $path := $fields }}
- name: {{ $name }}
  valueFrom:
    fieldRef: {fieldPath: {{ $path | quote }}}
{{- end }}
- name: OTEL_RESOURCE_ATTRIBUTES
  value: service.namespace={{ include "recmesh.fullname" .root }},service.instance.id=$(POD_UID),k8s.namespace.name={{ include "recmesh.namespace" .root }},{{ $owner }},k8s.pod.name=$(POD_NAME),k8s.pod.uid=$(POD_UID),k8s.node.name=$(NODE_NAME),k8s.container.name={{ .container | default .component }}
{{- end }}
{{- end -}}

{{- define "recmesh.urlEnv" -}}
{{- if .from.secret }}
- name: {{ .name }}
  valueFrom:
    secretKeyRef: {name: {{ .from.secret }}, key: {{ .from.key }}}
{{- else }}
- {name: {{ .name }}, value: {{ .url | quote }}}
{{- end }}
{{- end -}}

{{- /*
User and password, which may hold any character: Kubernetes puts a Secret into a variable as it is, whereas a URL would need
escapes. Arguments: `store` (REDIS or MILVUS), `auth` (existingSecret, key and, if the user is in the Secret, usernameKey).
*/ -}}
{{- define "recmesh.loginEnv" -}}
{{- with .auth }}
{{- if .existingSecret }}
{{- if .usernameKey }}
- name: RECMESH_{{ $.store }}_USERNAME
  valueFrom:
    secretKeyRef: {name: {{ .existingSecret }}, key: {{ .usernameKey }}}
{{- end }}
- name: RECMESH_{{ $.store }}_PASSWORD
  valueFrom:
    secretKeyRef: {name: {{ .existingSecret }}, key: {{ .key }}}
{{- end }}
{{- end }}
{{- end -}}

{{- /* The Secrets with CA certificates that pods trust, as a YAML map from name to Secret. */ -}}
{{- define "recmesh.authorities" -}}
{{- if .Values.redis.enabled }}
{{- with .Values.redis.tls.existingSecret }}
redis-ca: {{ . }}
{{- end }}
{{- else }}
{{- with .Values.external.redis.caSecret }}
redis-ca: {{ . }}
{{- end }}
{{- end }}
{{- if not .Values.milvus.enabled }}
{{- with .Values.external.milvus.caSecret }}
milvus-ca: {{ . }}
{{- end }}
{{- end }}
{{- with .Values.external.otlp.caSecret }}
otlp-ca: {{ . }}
{{- end }}
{{- end -}}

{{- /* The CA certificates that a component needs. Arguments: `root`, `component`. */ -}}
{{- define "recmesh.componentAuthorities" -}}
{{- $needed := list -}}
{{- if include "recmesh.redisUser" . }}{{ $needed = append $needed "redis-ca" }}{{ end -}}
{{- if include "recmesh.milvusUser" . }}{{ $needed = append $needed "milvus-ca" }}{{ end -}}
{{- if has .component (list "um" "cm" "recall" "rank" "as" "feed" "compact" "paddle-serving" "train" "ingest" "retrain" "archive" "import" "secrets" "controller") }}{{ $needed = append $needed "otlp-ca" }}{{ end -}}
{{- $all := include "recmesh.authorities" .root | fromYaml -}}
{{- range $name, $secret := $all }}
{{- if has $name $needed }}
{{ $name }}: {{ $secret }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "recmesh.caMounts" -}}
{{- range $name, $_ := include "recmesh.componentAuthorities" . | fromYaml }}
- {name: {{ $name }}, mountPath: /etc/recmesh/{{ $name }}, readOnly: true}
{{- end }}
{{- end -}}

{{- define "recmesh.caVolumes" -}}
{{- range $name, $secret := include "recmesh.componentAuthorities" . | fromYaml }}
- name: {{ $name }}
  secret:
    secretName: {{ $secret }}
    items: [{key: ca.crt, path: ca.crt}]
{{- end }}
{{- end -}}

{{- define "recmesh.storeEnv" -}}
- {name: RECMESH_MODEL_STORE, value: {{ .Values.modelStore.url | default "/model-store" | quote }}}
{{- include "recmesh.s3Env" .Values.modelStore.secret }}
{{- end -}}

{{- /* The credentials of S3 in a Secret, and how to talk to a store that is only compatible with it. Argument: its name. */ -}}
{{- define "recmesh.s3Env" -}}
{{- if . }}
{{- range list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" "AWS_ENDPOINT_URL" "AWS_REGION" "AWS_REQUEST_CHECKSUM_CALCULATION" "AWS_RESPONSE_CHECKSUM_VALIDATION" }}
- name: {{ . }}
  valueFrom:
    secretKeyRef: {name: {{ $ }}, key: {{ . }}, optional: true}
{{- end }}
{{- end }}
{{- end -}}

{{- /* The archive of the log of feed: by default next to the releases. The credentials are those of the model store. */ -}}
{{- define "recmesh.archiveUrl" -}}
{{- .Values.archive.url | default (printf "%s/archive" (.Values.modelStore.url | default "/model-store" | trimSuffix "/")) -}}
{{- end -}}

{{- define "recmesh.archiveArgument" -}}
{{- if .Values.archive.enabled }}
- --archive={{ include "recmesh.archiveUrl" . }}
{{- end }}
{{- end -}}

{{- /* Arguments: `root`, `readOnly`. */ -}}
{{- define "recmesh.storeMount" -}}
{{- if not .root.Values.modelStore.url }}
- {name: model-store, mountPath: /model-store{{ if .readOnly }}, readOnly: true{{ end }}}
{{- end }}
{{- end -}}

{{- define "recmesh.storeVolume" -}}
{{- if not .Values.modelStore.url }}
- name: model-store
  persistentVolumeClaim:
    claimName: {{ .Values.modelStore.volume.existingClaim | default (include "recmesh.name" (dict "root" . "component" "model-store")) }}
{{- end }}
{{- end -}}

{{- /* A PersistentVolumeClaim from the values in `volume`. It is kept when the release is uninstalled. Arguments: `root`, `component`, `volume`. */ -}}
{{- define "recmesh.claim" -}}
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  {{- include "recmesh.metadata" (merge (dict "annotations" (dict "helm.sh/resource-policy" "keep")) .) | nindent 2 }}
spec:
  accessModes: {{ toJson .volume.accessModes }}
  {{- with .volume.storageClass | default .root.Values.global.storageClass }}
  storageClassName: {{ . }}
  {{- end }}
  resources:
    requests: {storage: {{ .volume.size }}}
{{- end -}}
