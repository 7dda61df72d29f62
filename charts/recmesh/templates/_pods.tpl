{{- /*
Parts of every pod template. Arguments: a dict with `root` (the chart's scope), `component` and `values` (of the component). Maps and
lists of `global` and of the component are joined; a single value of the component replaces that of `global`.
*/ -}}

{{- /* An image of values `image`: {registry, repository, tag, digest}. Arguments: `root`, `image`. */ -}}
{{- define "recmesh.imageName" -}}
{{- with .root.Values.global.imageRegistry | default .image.registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{- .image.repository -}}
{{- if .image.digest }}@{{ .image.digest }}{{ else }}:{{ .image.tag }}{{ end -}}
{{- end -}}

{{- /* An image of recmesh. Arguments: `root`, `name` (of the image) and `image` (its tag and digest in the values of a component). */ -}}
{{- define "recmesh.image" -}}
{{- $of := .root.Values.image -}}
{{- $tag := .image.tag | default $of.tag | default .root.Chart.AppVersion -}}
{{- include "recmesh.imageName" (dict "root" .root "image" (dict "registry" $of.registry "repository" (printf "%s/%s" (trimSuffix "/" $of.repository) .name | trimPrefix "/") "tag" $tag "digest" .image.digest)) -}}
{{- end -}}

{{- /* Further argument: `annotations`. */ -}}
{{- define "recmesh.podMetadata" -}}
labels:
  {{- $labels := dict "app.kubernetes.io/part-of" "recmesh" }}
  {{- $given := list .root.Values.commonLabels .root.Values.global.podLabels .values.podLabels }}
  {{- range append $given (include "recmesh.selector" . | fromYaml) }}{{ $labels = mergeOverwrite $labels . }}{{ end }}
  {{- toYaml $labels | nindent 2 }}
{{- with merge dict .values.podAnnotations (.annotations | default dict) .root.Values.global.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /*
Where and as whom a pod runs. Further arguments: `spread`, whether its pods avoid each other, and `priority`, the class without
another one.
*/ -}}
{{- define "recmesh.podSettings" -}}
{{- $global := .root.Values.global -}}
{{- with $global.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ kindIs "map" . | ternary . (dict "name" .) | dig "name" "" }}
  {{- end }}
{{- end }}
{{- with merge dict .values.nodeSelector $global.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with concat $global.tolerations .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity | default $global.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- else }}
{{- if .spread }}
affinity:
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- include "recmesh.selector" . | nindent 14 }}
{{- end }}
{{- end }}
{{- if .values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml .values.topologySpreadConstraints | nindent 2 }}
{{- else if .spread }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: topology.kubernetes.io/zone
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "recmesh.selector" . | nindent 8 }}
{{- end }}
{{- with .values.priorityClassName | default $global.priorityClassName | default .priority }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /*
The name of the service account of a component; empty for that of the namespace. Retraining runs as training does, and the import
as ingestion, whose values they have.
*/ -}}
{{- define "recmesh.serviceAccount" -}}
{{- $own := .values.serviceAccount -}}
{{- $shared := .root.Values.serviceAccount -}}
{{- if $own.create -}}
{{- $owner := get (dict "retrain" "train" "import" "ingest") .component | default .component -}}
{{- $own.name | default (include "recmesh.name" (dict "root" .root "component" $owner)) -}}
{{- else if $own.name -}}
{{- $own.name -}}
{{- else if $shared.create -}}
{{- $shared.name | default (include "recmesh.name" (dict "root" .root "component" "services")) -}}
{{- else -}}
{{- $shared.name -}}
{{- end -}}
{{- end -}}

{{- /*
The accounts that the chart creates without rights, as a YAML map from name to component and annotations. Components may have the
same name in their values, or in those that they share: then they share the account. Argument: the chart's scope.
*/ -}}
{{- define "recmesh.createdAccounts" -}}
{{- $accounts := dict -}}
{{- $components := list "train" "ingest" "archive" "explorer" "redis" "milvus" "test" -}}
{{- range $component := concat (list "services") (include "recmesh.deployments" . | fromYamlArray) $components -}}
{{- $account := $.Values.serviceAccount -}}
{{- if ne $component "services" -}}{{- $account = (index $.Values (include "recmesh.key" $component)).serviceAccount -}}{{- end -}}
{{- if $account.create -}}
{{- $name := $account.name | default (include "recmesh.name" (dict "root" $ "component" $component)) -}}
{{- $known := get $accounts $name | default (dict "component" $component "annotations" dict) -}}
{{- $annotations := merge dict $known.annotations $account.annotations -}}
{{- $_ := set $accounts $name (dict "component" $known.component "annotations" $annotations) -}}
{{- end -}}
{{- end -}}
{{- toYaml $accounts -}}
{{- end -}}

{{- /* As whom the pods of recmesh run: they do not use the Kubernetes API. */ -}}
{{- define "recmesh.podAccount" -}}
{{- with include "recmesh.serviceAccount" . }}
serviceAccountName: {{ . }}
{{- end }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- end -}}

{{- define "recmesh.containerSecurity" -}}
{{- with .values.securityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* The settings of a component, and additional variables. */ -}}
{{- define "recmesh.settingsEnv" -}}
{{- range $name, $value := merge dict .values.settings .root.Values.settings }}
- {name: RECMESH_{{ $name }}, value: {{ $value | toString | quote }}}
{{- end }}
{{- end -}}

{{- /*
Two lists as one, in which an item of the component replaces one of `global`: Kubernetes refuses two volumes with a name or two
mounts at a path, and a server-side apply two variables with a name. Arguments: `key` (of an item), `shared`, `own`.
*/ -}}
{{- define "recmesh.joined" -}}
{{- $own := dict -}}
{{- range .own -}}{{- $_ := set $own (get . $.key) true -}}{{- end -}}
{{- $items := list -}}
{{- range .shared -}}{{- if not (hasKey $own (get . $.key)) -}}{{- $items = append $items . -}}{{- end -}}{{- end -}}
{{- with concat $items .own -}}{{- toYaml . -}}{{- end -}}
{{- end -}}

{{- /* Additional variables, volumes and mounts, as items of a list, which may be empty. */ -}}
{{- define "recmesh.extraEnv" -}}
{{- include "recmesh.joined" (dict "key" "name" "shared" .root.Values.global.extraEnv "own" .values.extraEnv) -}}
{{- end -}}

{{- define "recmesh.extraVolumes" -}}
{{- include "recmesh.joined" (dict "key" "name" "shared" .root.Values.global.extraVolumes "own" .values.extraVolumes) -}}
{{- end -}}

{{- define "recmesh.extraVolumeMounts" -}}
{{- include "recmesh.joined" (dict "key" "mountPath" "shared" .root.Values.global.extraVolumeMounts "own" .values.extraVolumeMounts) -}}
{{- end -}}

{{- /*
/livez answers as soon as the process does; /readyz only while its dependencies answer and a release is loaded and warm. Both are on
the metrics port, where they are open to everybody: the kubelet has no certificate.
*/ -}}
{{- define "recmesh.probes" -}}
{{- $scheme := ternary "HTTPS" "HTTP" (not (empty (include "recmesh.tls" .root))) -}}
{{- range $name, $path := dict "startup" "/livez" "readiness" "/readyz" "liveness" "/livez" }}
{{ $name }}Probe:
  httpGet: {path: {{ $path }}, port: metrics, scheme: {{ $scheme }}}
  {{- with index $.values.probes $name }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end -}}

{{- /* preStop holds the pod until no client has it in its DNS cache. */ -}}
{{- define "recmesh.lifecycle" -}}
lifecycle:
  preStop:
    exec:
      command: [python, -c, import time; time.sleep({{ .values.preStopSeconds }})]
{{- end -}}

{{- /* preStop, then twice the 10 s of RECMESH_DRAIN_TIMEOUT for calls in flight. */ -}}
{{- define "recmesh.gracePeriod" -}}
terminationGracePeriodSeconds: {{ .values.terminationGracePeriodSeconds | default (add .values.preStopSeconds 20) }}
{{- end -}}

{{- /* The name of a priority class of this release (`kind`: serving or jobs), if the chart creates them. Arguments: `root`, `kind`. */ -}}
{{- define "recmesh.priority" -}}
{{- if .root.Values.priorityClasses.create -}}
{{- printf "%s-%s-%s" (include "recmesh.namespace" .root) (include "recmesh.fullname" .root) .kind -}}
{{- end -}}
{{- end -}}

{{- /* Scratch space of a job. Argument `values` has scratch and scratchStorageClass. */ -}}
{{- define "recmesh.scratchVolume" -}}
- name: home
  {{- if .values.scratchStorageClass }}
  ephemeral:
    volumeClaimTemplate:
      spec:
        accessModes: [ReadWriteOnce]
        storageClassName: {{ .values.scratchStorageClass }}
        resources:
          requests: {storage: {{ .values.scratch }}}
  {{- else }}
  emptyDir: {sizeLimit: {{ .values.scratch }}}
  {{- end }}
{{- end -}}
