{{- /*
Certificates, callers and passwords: who has them, and how they reach the pods. Argument: the chart's scope, unless stated
otherwise.
*/ -}}

{{- /* The components that have a certificate, with `server` for those that others connect to, as a YAML map. */ -}}
{{- define "recmesh.certified" -}}
{{- if include "recmesh.tls" . -}}
{{- $compact := eq .Values.mode "compact" -}}
{{- range ternary (list "compact") (list "um" "cm" "recall" "rank" "as") $compact }}
{{ . }}: server
{{- end }}
{{- if .Values.feed.enabled }}
feed: server
{{- end }}
{{- if .Values.paddleServing.enabled }}
paddle-serving: server
{{- end }}
{{- if and .Values.redis.enabled (not .Values.redis.tls.existingSecret) }}
redis: server
{{- end }}
{{- if .Values.milvus.enabled }}
milvus: server
{{- end }}
{{- if .Values.controller.enabled }}
controller: server
{{- end }}
{{- if .Values.explorer.enabled }}
explorer: client
{{- end }}
ingest: client
{{- if .Values.retrain.schedule }}
retrain: client
{{- end }}
{{- if include "recmesh.archives" . }}
archive: client
{{- end }}
client: client
prometheus: client
{{- end }}
{{- end -}}

{{- /* The names in the certificate of a component. Arguments: `root`, `component`, `role` (server or client). */ -}}
{{- define "recmesh.identity" -}}
uri: {{ include "recmesh.spiffe" . }}
{{- if eq .role "server" }}
{{- $namespace := include "recmesh.namespace" .root }}
dns:
  {{- range ternary (list "compact" "um" "cm" "recall" "rank" "as") (list .component) (eq .component "compact") }}
  {{- $name := include "recmesh.name" (dict "root" $.root "component" .) }}
  {{- $hosts := list $name }}
  {{- $more := list }}
  {{- if has . (list "as" "feed") }}
  {{- if include "recmesh.exposed" (dict "root" $.root "component" .) }}{{ $hosts = append $hosts (printf "%s-public" $name) }}{{ end }}
  {{- $more = (index $.root.Values .).expose.dnsNames }}
  {{- end }}
  {{- range $hosts }}
  - {{ . }}
  - {{ . }}.{{ $namespace }}
  - {{ . }}.{{ $namespace }}.svc
  - {{ . }}.{{ $namespace }}.svc.cluster.local
  {{- end }}
  {{- range $more }}
  - {{ . | quote }}
  {{- end }}
  {{- end }}
{{- end }}
{{- end -}}

{{- /* The SPIFFE id of a component. Arguments: `root`, `component`. */ -}}
{{- define "recmesh.spiffe" -}}
spiffe://{{ .root.Values.global.tls.trustDomain }}/ns/{{ include "recmesh.namespace" .root }}/release/{{ include "recmesh.fullname" .root }}/{{ .component }}
{{- end -}}

{{- /* Who makes the certificates: `issuer` (cert-manager), `existing` (Secrets of the values) or `release` (the secrets Job). */ -}}
{{- define "recmesh.certifier" -}}
{{- if include "recmesh.tls" . -}}
{{- if .Values.global.tls.issuer.name -}}
issuer
{{- else if .Values.global.tls.existingSecrets -}}
{{- range $component, $_ := include "recmesh.certified" . | fromYaml -}}
{{- if and (not (get $.Values.global.tls.existingSecrets $component)) (ne $component "prometheus") -}}
{{- fail (printf "global.tls.existingSecrets: name a Secret for %s as well, with a certificate of the same CA" $component) -}}
{{- end -}}
{{- end -}}
existing
{{- else -}}
release
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Whether the secrets Job makes the passwords of Redis, or of Milvus. */ -}}
{{- define "recmesh.redisUsers" -}}
{{- if and .Values.redis.enabled .Values.redis.auth.enabled (not .Values.redis.auth.existingSecret) }}true{{ end -}}
{{- end -}}

{{- define "recmesh.milvusUsers" -}}
{{- if and .Values.milvus.enabled .Values.milvus.auth.enabled (not .Values.milvus.auth.existingSecret) }}true{{ end -}}
{{- end -}}

{{- /* The Secret with a password for each user of Milvus; empty if Milvus has no users. */ -}}
{{- define "recmesh.milvusSecret" -}}
{{- if and .Values.milvus.enabled .Values.milvus.auth.enabled -}}
{{- .Values.milvus.auth.existingSecret | default (printf "%s-milvus-auth" (include "recmesh.fullname" .)) -}}
{{- end -}}
{{- end -}}

{{- /* The user of Redis, or of Milvus, of a component; empty if it does not connect. Arguments: `root`, `component`. */ -}}
{{- define "recmesh.redisUser" -}}
{{- get (dict "um" "um" "cm" "cm" "recall" "recall" "feed" "feed" "compact" "compact" "ingest" "ingest" "retrain" "ingest" "archive" "archive" "controller" "controller") .component -}}
{{- end -}}

{{- define "recmesh.milvusUser" -}}
{{- get (dict "recall" "recall" "compact" "recall" "controller" "recall" "ingest" "ingest" "retrain" "ingest") .component -}}
{{- end -}}

{{- /* Whether the release needs the secrets Job. */ -}}
{{- define "recmesh.makesSecrets" -}}
{{- if or (eq (include "recmesh.certifier" .) "release") (include "recmesh.redisUsers" .) (include "recmesh.milvusUsers" .) }}true{{ end -}}
{{- end -}}

{{- /* What the secrets Job makes, as JSON: recmesh/issuing/spec.py describes it. */ -}}
{{- define "recmesh.wantedSecrets" -}}
{{- $certificates := dict -}}
{{- if eq (include "recmesh.certifier" .) "release" -}}
{{- range $component, $role := include "recmesh.certified" . | fromYaml -}}
{{- $_ := set $certificates $component (include "recmesh.identity" (dict "root" $ "component" $component "role" $role) | fromYaml) -}}
{{- end -}}
{{- end -}}
{{- $tls := .Values.global.tls -}}
{{- $spec := dict "release" (include "recmesh.fullname" .) "namespace" (include "recmesh.namespace" .) "certificates" $certificates "trust_domain" $tls.trustDomain "days" (int $tls.days) -}}
{{- if include "recmesh.redisUsers" . -}}
{{- $_ := set $spec "redis" (dict "users" (list "um" "cm" "recall" "compact" "feed" "ingest" "archive" "controller" "probe" "operator") "prefix" .Values.external.redis.prefix) -}}
{{- end -}}
{{- if include "recmesh.milvusUsers" . -}}
{{- $_ := set $spec "milvus" (dict "users" (list "root" "recall" "ingest")) -}}
{{- end -}}
{{- toJson $spec -}}
{{- end -}}

{{- /* The names of the Secrets that the secrets Job makes, as a YAML list. */ -}}
{{- define "recmesh.madeSecrets" -}}
{{- if eq (include "recmesh.certifier" .) "release" }}
- {{ include "recmesh.name" (dict "root" . "component" "ca") }}
{{- range $component, $_ := include "recmesh.certified" . | fromYaml }}
- {{ include "recmesh.tlsSecret" (dict "root" $ "component" $component) }}
{{- end }}
{{- end }}
{{- if include "recmesh.redisUsers" . }}
- {{ include "recmesh.name" (dict "root" . "component" "redis-auth") }}
{{- end }}
{{- if include "recmesh.milvusUsers" . }}
- {{ include "recmesh.name" (dict "root" . "component" "milvus-auth") }}
{{- end }}
{{- end -}}

{{- /* The certificate of a component, for calls and, if it is a server, for those who call it. Arguments: `root`, `component`. */ -}}
{{- define "recmesh.tlsEnv" -}}
{{- if include "recmesh.tls" .root }}
- {name: RECMESH_TLS_CERTIFICATE, value: /etc/recmesh/tls/tls.crt}
- {name: RECMESH_TLS_KEY, value: /etc/recmesh/tls/tls.key}
- {name: RECMESH_TLS_CA, value: /etc/recmesh/tls/ca.crt}
{{- end }}
{{- end -}}

{{- /* What a server checks of its callers. Arguments: `root`, `component`. */ -}}
{{- define "recmesh.serverEnv" -}}
{{- $security := .root.Values.security -}}
{{- include "recmesh.tlsEnv" . }}
{{- if include "recmesh.tls" .root }}
{{- if not (or (include "recmesh.clientCertificates" .root) $security.tokensSecret (include "recmesh.jwksVolume" .root)) }}
{{- fail "global.tls.clientAuth: without certificates, callers need tokens: set security.tokensSecret or security.jwks" }}
{{- end }}
- {name: RECMESH_TLS_CLIENT_AUTH, value: {{ ternary "require" "none" (or (not (has .component (list "as" "feed" "compact"))) (not (empty (include "recmesh.clientCertificates" .root)))) }}}
{{- if include "recmesh.acceptPlain" .root }}
- {name: RECMESH_TLS_ACCEPT_PLAIN, value: "true"}
{{- end }}
- {name: RECMESH_POLICY_FILE, value: /etc/recmesh/policy/policy.yaml}
{{- if $security.tokensSecret }}
- {name: RECMESH_TOKENS_FILE, value: /etc/recmesh/tokens/tokens.yaml}
{{- end }}
{{- if include "recmesh.jwksVolume" .root }}
- {name: RECMESH_JWKS_FILE, value: /etc/recmesh/jwks/{{ $security.jwks.key }}}
- {name: RECMESH_JWT_ISSUER, value: {{ required "security.jwks.issuer: name who issues the tokens" $security.jwks.issuer | quote }}}
- {name: RECMESH_JWT_AUDIENCE, value: {{ required "security.jwks.audience: name for whom the tokens are" $security.jwks.audience | quote }}}
{{- end }}
{{- else if or $security.tokensSecret (include "recmesh.jwksVolume" .root) $security.policy.callers $security.policy.allow }}
{{- fail "security: callers are known by certificates and tokens, and both need TLS: set global.tls.enabled" }}
{{- end }}
{{- if $security.audit.enabled }}
- {name: RECMESH_AUDIT, value: "true"}
{{- if $security.audit.keySecret }}
- {name: RECMESH_AUDIT_KEY_FILE, value: /etc/recmesh/audit/key}
{{- end }}
{{- end }}
- {name: RECMESH_REFLECTION, value: {{ $security.reflection | quote }}}
{{- end -}}

{{- /* The source of the keys that sign JSON Web Tokens, as a volume. */ -}}
{{- define "recmesh.jwksVolume" -}}
{{- $jwks := .Values.security.jwks -}}
{{- $items := list (dict "key" $jwks.key "path" $jwks.key) -}}
{{- if $jwks.secret -}}
secret: {secretName: {{ $jwks.secret }}, items: {{ toJson $items }}}
{{- else if $jwks.configMap -}}
configMap: {name: {{ $jwks.configMap }}, items: {{ toJson $items }}}
{{- end -}}
{{- end -}}

{{- /*
The volumes of a component with its own certificate, its own passwords and, for servers, what they check of callers, as a YAML map
from name to source. Each is mounted at /etc/recmesh/<name>. Arguments: `root`, `component`.
*/ -}}
{{- define "recmesh.secretVolumes" -}}
{{- $root := .root -}}
{{- $role := get (include "recmesh.certified" $root | fromYaml) .component -}}
{{- $security := $root.Values.security -}}
{{- if $role }}
tls:
  {{- include "recmesh.tlsVolume" . | nindent 2 }}
{{- end }}
{{- $user := include "recmesh.redisUser" . }}
{{- if and $user (include "recmesh.redisUsers" $root) }}
redis:
  secret: {secretName: {{ include "recmesh.name" (dict "root" $root "component" "redis-auth") }}, items: [{key: {{ $user }}, path: password}]}
{{- end }}
{{- $user := include "recmesh.milvusUser" . }}
{{- $users := include "recmesh.milvusSecret" $root }}
{{- if and $user $users }}
milvus:
  {{- if eq $user "ingest" }}
  secret: {secretName: {{ $users }}} # ingestion sets the passwords of all users
  {{- else }}
  secret: {secretName: {{ $users }}, items: [{key: {{ $user }}, path: password}]}
  {{- end }}
{{- end }}
{{- if has .component (list "um" "cm" "recall" "rank" "as" "feed" "compact" "paddle-serving" "controller") }}
{{- if $role }}
policy:
  configMap: {name: {{ include "recmesh.name" (dict "root" $root "component" "policy") }}}
{{- with $security.tokensSecret }}
tokens:
  secret: {secretName: {{ . }}, items: [{key: tokens.yaml, path: tokens.yaml}]}
{{- end }}
{{- with include "recmesh.jwksVolume" $root }}
jwks:
  {{- . | nindent 2 }}
{{- end }}
{{- end }}
{{- if and $security.audit.enabled $security.audit.keySecret }}
audit:
  secret: {secretName: {{ $security.audit.keySecret }}, items: [{key: key, path: key}]}
{{- end }}
{{- end }}
{{- end -}}

{{- /* Those volumes, as items of the lists of a container and of a pod. */ -}}
{{- define "recmesh.secretMounts" -}}
{{- range $name, $_ := include "recmesh.secretVolumes" . | fromYaml }}
- {name: {{ $name }}, mountPath: /etc/recmesh/{{ $name }}, readOnly: true}
{{- end }}
{{- end -}}

{{- define "recmesh.secretPodVolumes" -}}
{{- range $name, $source := include "recmesh.secretVolumes" . | fromYaml }}
- name: {{ $name }}
  {{- toYaml $source | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* Who may call what: the components of the release, and what the values add. */ -}}
{{- define "recmesh.policy" -}}
{{- $given := .Values.security.policy -}}
{{- $names := list -}}
callers:
{{- range $component, $_ := include "recmesh.certified" . | fromYaml }}
{{- if not (has $component (list "redis" "milvus")) }}
{{- $names = append $names $component }}
  - name: {{ $component }}
    certificates:
      - {{ include "recmesh.spiffe" (dict "root" $ "component" $component) }}
      - dns:{{ include "recmesh.name" (dict "root" $ "component" $component) }}.{{ include "recmesh.namespace" $ }}.svc
{{- end }}
{{- end }}
{{- range $given.callers }}
{{- if has .name $names }}
{{- fail (printf "security.policy.callers: %s is a component of the release: choose another name" .name) }}
{{- end }}
{{- end }}
{{- with $given.callers }}
  {{- toYaml . | nindent 2 }}
{{- end }}
allow:
  - callers: [{{ if has "as" $names }}as, {{ end }}{{ if has "explorer" $names }}explorer, {{ end }}client]
    methods: ["um/*", "cm/*", "recall/*", "rank/*"]
{{- $public := true }}
{{- range $given.allow }}{{ range .methods }}{{ if or (hasPrefix "as/" .) (hasPrefix "*" .) }}{{ $public = false }}{{ end }}{{ end }}{{ end }}
  - callers: [{{ ternary "\"*\"" "client" $public }}]
    methods: ["as/*"]
  - callers: [client]
    methods: ["feed/*"]
{{- if .Values.paddleServing.enabled }}
  - callers: [{{ ternary "compact" "rank" (eq .Values.mode "compact") }}]
    methods: ["paddle-serving/*"]
{{- end }}
  - callers: [prometheus, client]
    methods: [metrics]
{{- if .Values.security.reflection }}
  - callers: [client]
    methods: [reflection]
{{- end }}
{{- with $given.allow }}
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
