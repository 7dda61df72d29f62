{{- /*
The secrets Job: it makes the certificates and passwords that are missing, and renews certificates. It has a Kubernetes token.
Arguments: `root`, `name` (of the Job, its account and, with `-spec`, its ConfigMap) and `annotations`.
*/ -}}

{{- define "recmesh.secretsMetadata" -}}
{{- include "recmesh.metadata" (dict "root" .root "component" "secrets" "name" (include "recmesh.name" (dict "root" .root "component" .name)) "annotations" .annotations) }}
{{- end -}}

{{- /* The name of the account. An existing one gets the rights of the Job. Arguments: `root`, `name`. */ -}}
{{- define "recmesh.secretsAccountName" -}}
{{- $account := .root.Values.secrets.serviceAccount -}}
{{- if and $account.name (or (eq .name "secrets") (not $account.create)) -}}
{{- $account.name -}}
{{- else -}}
{{- include "recmesh.name" (dict "root" .root "component" .name) -}}
{{- end -}}
{{- end -}}

{{- /* What the Job may do, and what it has to make. */ -}}
{{- define "recmesh.secretsAccount" -}}
{{- $root := .root -}}
{{- $metadata := include "recmesh.secretsMetadata" . -}}
{{- $account := $root.Values.secrets.serviceAccount -}}
{{- $name := include "recmesh.secretsAccountName" . -}}
{{- if and (or $account.create (not $account.name)) (not (hasKey (include "recmesh.createdAccounts" $root | fromYaml) $name)) }}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "recmesh.metadata" (dict "root" $root "component" "secrets" "name" $name "annotations" (merge dict .annotations $account.annotations)) | nindent 2 }}
automountServiceAccountToken: false
---
{{- end }}
# Kubernetes cannot limit the creation of Secrets to names.
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  {{- $metadata | nindent 2 }}
rules:
  - apiGroups: [""]
    resources: [secrets]
    verbs: [create]
  - apiGroups: [""]
    resources: [secrets]
    resourceNames:
      {{- include "recmesh.madeSecrets" $root | nindent 6 }}
    verbs: [get, update]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  {{- $metadata | nindent 2 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ include "recmesh.name" (dict "root" $root "component" .name) }}
subjects:
  - kind: ServiceAccount
    name: {{ $name }}
    namespace: {{ include "recmesh.namespace" $root | quote }}
---
# Which certificates and passwords the Job makes.
apiVersion: v1
kind: ConfigMap
metadata:
  {{- include "recmesh.secretsMetadata" (dict "root" $root "name" (printf "%s-spec" .name) "annotations" .annotations) | nindent 2 }}
data:
  spec.json: {{ include "recmesh.wantedSecrets" $root | quote }}
{{- end -}}

{{- /* The spec of the Job of the installation, and of the schedule. Argument: the chart's scope. */ -}}
{{- define "recmesh.secretsSpec" -}}
{{- include "recmesh.secretsJob" (dict "root" . "name" "secrets") -}}
{{- end -}}

{{- /* The spec of the Job. Arguments: `root`, `name`. */ -}}
{{- define "recmesh.secretsJob" -}}
{{- $root := .root -}}
{{- $scope := dict "root" $root "component" "secrets" "values" $root.Values.secrets -}}
{{- $annotations := dict "checksum/spec" (include "recmesh.wantedSecrets" $root | sha256sum) -}}
{{- include "recmesh.jobPolicy" $root }}
template:
  metadata:
    {{- include "recmesh.podMetadata" (merge (dict "annotations" $annotations) $scope) | nindent 4 }}
  spec:
    restartPolicy: Never
    serviceAccountName: {{ include "recmesh.secretsAccountName" . }}
    automountServiceAccountToken: true
    enableServiceLinks: false
    {{- include "recmesh.podSettings" (merge (dict "priority" (include "recmesh.priority" (dict "root" $root "kind" "jobs"))) $scope) | nindent 4 }}
    containers:
      - name: secrets
        image: {{ include "recmesh.image" (dict "root" $root "name" "ingest" "image" $root.Values.secrets.image) }}
        imagePullPolicy: {{ $root.Values.image.pullPolicy }}
        {{- include "recmesh.containerSecurity" $scope | nindent 8 }}
        args: [jobs.secrets, --spec, /etc/recmesh/secrets/spec.json]
        {{- with include "recmesh.jobEnv" $scope | trim }}
        env:
          {{- . | nindent 10 }}
        {{- end }}
        resources:
          {{- toYaml $root.Values.secrets.resources | nindent 10 }}
        volumeMounts:
          - {name: tmp, mountPath: /tmp}
          - {name: spec, mountPath: /etc/recmesh/secrets, readOnly: true}
          {{- include "recmesh.caMounts" $scope | nindent 10 }}
          {{- include "recmesh.extraVolumeMounts" $scope | nindent 10 }}
    volumes:
      - name: tmp
        emptyDir: {}
      {{- include "recmesh.caVolumes" $scope | nindent 6 }}
      - name: spec
        configMap: {name: {{ include "recmesh.name" (dict "root" $root "component" (printf "%s-spec" .name)) }}}
      {{- include "recmesh.extraVolumes" $scope | nindent 6 }}
{{- end -}}
