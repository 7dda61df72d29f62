{{- /*
The jobs train, ingest, import, retrain, archive and secrets. The name of a Job contains a hash of its spec: an upgrade that does not change the
spec keeps the Job, and one that does creates a new Job, because the template of an existing Job is immutable. Argument: the
chart's scope.
*/ -}}

{{- /* The mark that ingestion waits for: a training on this data set with this image and these settings. */ -}}
{{- define "recmesh.trainMark" -}}
{{- $scope := dict "root" . "component" "train" "values" .Values.train -}}
{{- printf "%s\n%s" (include "recmesh.datasetContainer" $scope) (include "recmesh.trainContainer" $scope) | fromYamlArray | toJson | sha256sum | trunc 16 -}}
{{- end -}}

{{- define "recmesh.trainSpec" -}}
{{- $scope := dict "root" . "component" "train" "values" .Values.train "mark" (include "recmesh.trainMark" .) -}}
{{- include "recmesh.jobPolicy" . }}
template:
  metadata:
    {{- include "recmesh.podMetadata" $scope | nindent 4 }}
  spec:
    {{- include "recmesh.jobPod" $scope | nindent 4 }}
    initContainers:
      {{- include "recmesh.datasetContainer" $scope | nindent 6 }}
    containers:
      {{- include "recmesh.trainContainer" $scope | nindent 6 }}
{{- end -}}

{{- define "recmesh.ingestSpec" -}}
{{- $scope := dict "root" . "component" "ingest" "values" .Values.ingest "mark" (include "recmesh.trainMark" .) -}}
{{- include "recmesh.jobPolicy" . }}
completionMode: Indexed
completions: {{ .Values.ingest.shards }}
parallelism: {{ .Values.ingest.shards }}
template:
  metadata:
    {{- /* A Milvus of another minor version starts without data: the Job has to run again. */}}
    {{- $annotations := dict }}
    {{- if .Values.milvus.enabled }}{{ $annotations = dict "recmesh.io/milvus" (include "recmesh.milvusVersion" .Values.milvus.image.tag) }}{{ end }}
    {{- include "recmesh.podMetadata" (merge (dict "annotations" $annotations) $scope) | nindent 4 }}
  spec:
    {{- include "recmesh.jobPod" $scope | nindent 4 }}
    initContainers:
      {{- include "recmesh.datasetContainer" $scope | nindent 6 }}
    containers:
      {{- include "recmesh.ingestContainer" (merge (dict "shards" .Values.ingest.shards) $scope) | nindent 6 }}
{{- end -}}

{{- /*
Fetch, train and ingest in a single pod; each step starts after the previous one has succeeded. The mark is that of the Job
train, so that repeating the ingestion of the installation restores the latest release.
*/ -}}
{{- define "recmesh.retrainSpec" -}}
{{- $scope := dict "root" . "component" "retrain" "values" .Values.train "mark" (include "recmesh.trainMark" .) -}}
{{- $volumes := concat .Values.train.extraVolumes .Values.ingest.extraVolumes | uniq -}}
{{- $pod := merge (dict "values" (merge (dict "extraVolumes" $volumes) .Values.train)) $scope -}}
{{- include "recmesh.jobPolicy" . }}
template:
  metadata:
    {{- include "recmesh.podMetadata" $scope | nindent 4 }}
  spec:
    {{- include "recmesh.jobPod" $pod | nindent 4 }}
    initContainers:
      {{- include "recmesh.datasetContainer" $scope | nindent 6 }}
      {{- include "recmesh.trainContainer" $scope | nindent 6 }}
    containers:
      {{- include "recmesh.ingestContainer" (merge (dict "values" .Values.ingest "shards" 1 "prune" .Values.retrain.prune) $scope) | nindent 6 }}
{{- end -}}

{{- /* Copies a data set, by name or URL, to the volume of data sets. */ -}}
{{- define "recmesh.importSpec" -}}
{{- $scope := dict "root" . "component" "import" "values" .Values.ingest -}}
{{- include "recmesh.jobPolicy" . }}
template:
  metadata:
    {{- include "recmesh.podMetadata" $scope | nindent 4 }}
  spec:
    {{- include "recmesh.jobPod" $scope | nindent 4 }}
    containers:
      - name: import
        image: {{ include "recmesh.image" (dict "root" . "name" "ingest" "image" .Values.ingest.image) }}
        imagePullPolicy: {{ .Values.image.pullPolicy }}
        {{- include "recmesh.containerSecurity" $scope | nindent 8 }}
        args: [jobs.data, {{ .Values.dataset.source | quote }}, /dataset/{{ .Values.dataset.volume.folder | default "data" }}]
        env:
          {{- include "recmesh.datasetEnv" . | nindent 10 }}
          {{- include "recmesh.jobEnv" $scope | nindent 10 }}
        resources:
          {{- toYaml .Values.ingest.resources | nindent 10 }}
        volumeMounts:
          - {name: tmp, mountPath: /tmp}
          - {name: dataset, mountPath: /dataset}
          - {name: home, mountPath: /var/lib/recmesh}
          {{- include "recmesh.extraVolumeMounts" $scope | nindent 10 }}
{{- end -}}

{{- /* Copies new entries of the log of feed to the archive, and removes old ones from Redis. */ -}}
{{- define "recmesh.archiveSpec" -}}
{{- $scope := dict "root" . "component" "archive" "values" .Values.archive -}}
{{- include "recmesh.jobPolicy" . }}
template:
  metadata:
    {{- include "recmesh.podMetadata" $scope | nindent 4 }}
  spec:
    {{- include "recmesh.jobPod" $scope | nindent 4 }}
    containers:
      - name: archive
        image: {{ include "recmesh.image" (dict "root" . "name" "ingest" "image" .Values.archive.image) }}
        imagePullPolicy: {{ .Values.image.pullPolicy }}
        {{- include "recmesh.containerSecurity" $scope | nindent 8 }}
        args:
          - jobs.archive
          - --archive={{ include "recmesh.archiveUrl" . }}
          - --keep={{ .Values.archive.keepHours }}
        env:
          {{- include "recmesh.tlsEnv" $scope | nindent 10 }}
          {{- include "recmesh.redisEnv" $scope | nindent 10 }}
          {{- include "recmesh.storeEnv" . | nindent 10 }}
          {{- include "recmesh.jobEnv" $scope | nindent 10 }}
        resources:
          {{- toYaml .Values.archive.resources | nindent 10 }}
        volumeMounts:
          {{- include "recmesh.jobMounts" $scope | nindent 10 }}
          {{- include "recmesh.caMounts" $scope | nindent 10 }}
          {{- include "recmesh.secretMounts" $scope | nindent 10 }}
{{- end -}}

{{- /* Whether feed is installed, and its log is to be archived. */ -}}
{{- define "recmesh.archives" -}}
{{- if and .Values.archive.enabled .Values.feed.enabled }}true{{ end -}}
{{- end -}}

{{- define "recmesh.jobPolicy" -}}
backoffLimit: {{ .Values.jobs.backoffLimit }}
podFailurePolicy:
  rules:
    - action: FailJob # settings or data are wrong, so that a retry cannot help
      onExitCodes: {operator: In, values: [2, 3]}
      {{- if semverCompare "<1.29-0" .Capabilities.KubeVersion.Version }}
      onPodConditions: [] # required there; later versions drop it, and would differ from it for ever after
      {{- end }}
    - action: Ignore # the node was drained or the pod was preempted
      onPodConditions: [{type: DisruptionTarget, status: "True"}]
{{- end -}}

{{- /* The pod of a job, without its containers. Arguments: `root`, `component`, `values`. */ -}}
{{- define "recmesh.jobPod" -}}
restartPolicy: Never
{{ include "recmesh.podAccount" . }}
{{ include "recmesh.podSettings" (merge (dict "priority" (include "recmesh.priority" (dict "root" .root "kind" "jobs"))) .) }}
volumes:
  - name: tmp
    emptyDir: {}
  {{- include "recmesh.scratchVolume" . | nindent 2 }}
  {{- include "recmesh.storeVolume" .root | nindent 2 }}
  {{- if include "recmesh.mountsDataset" . }}
  - name: dataset
    persistentVolumeClaim:
      claimName: {{ .root.Values.dataset.volume.existingClaim | default (include "recmesh.name" (dict "root" .root "component" "dataset")) }}
  {{- end }}
  {{- include "recmesh.caVolumes" . | nindent 2 }}
  {{- include "recmesh.secretPodVolumes" . | nindent 2 }}
  {{- include "recmesh.extraVolumes" . | nindent 2 }}
{{- end -}}

{{- /* What the containers of all jobs have in their environment. Arguments: `root`, `component`, `values`, `container`. */ -}}
{{- define "recmesh.jobEnv" -}}
{{- include "recmesh.settingsEnv" . }}
{{- include "recmesh.otlpEnv" (merge (dict "job" true) .) }}
{{ include "recmesh.extraEnv" . }}
{{- end -}}

{{- /* Whether the pods of a job mount the volume of data sets. */ -}}
{{- define "recmesh.mountsDataset" -}}
{{- if and .root.Values.dataset.volume.enabled (ne .component "archive") }}true{{ end -}}
{{- end -}}

{{- /* The folder in which a job finds the data set. */ -}}
{{- define "recmesh.datasetFolder" -}}
{{- if .Values.dataset.volume.enabled -}}
/dataset/{{ .Values.dataset.volume.folder | default "data" }}
{{- else -}}
/var/lib/recmesh/data/set
{{- end -}}
{{- end -}}

{{- define "recmesh.datasetEnv" -}}
- {name: RECMESH_DATASET_VERSION, value: {{ .Values.dataset.version | quote }}}
{{- include "recmesh.s3Env" .Values.dataset.secret }}
{{- end -}}

{{- /* Fetches the data set to the scratch space of the pod, or waits until it is complete on its volume. */ -}}
{{- define "recmesh.datasetContainer" -}}
{{- $values := .root.Values -}}
{{- $image := ternary "train" "ingest" (ne .component "ingest") -}}
- name: dataset
  image: {{ include "recmesh.image" (dict "root" .root "name" $image "image" .values.image) }}
  imagePullPolicy: {{ $values.image.pullPolicy }}
  {{- include "recmesh.containerSecurity" . | nindent 2 }}
  {{- if $values.dataset.volume.enabled }}
  args: [jobs.data, --wait, {{ $values.jobs.waitSeconds | quote }}, {{ include "recmesh.datasetFolder" .root }}]
  {{- else }}
  args: [jobs.data, {{ $values.dataset.source | quote }}, {{ include "recmesh.datasetFolder" .root }}]
  {{- end }}
  env:
    {{- include "recmesh.datasetEnv" .root | nindent 4 }}
    {{- include "recmesh.jobEnv" (merge (dict "container" "dataset") .) | nindent 4 }}
  resources:
    {{- toYaml .values.resources | nindent 4 }}
  volumeMounts:
    - {name: tmp, mountPath: /tmp}
    - {name: home, mountPath: /var/lib/recmesh}
    {{- if $values.dataset.volume.enabled }}
    - {name: dataset, mountPath: /dataset, readOnly: true}
    {{- end }}
    {{- include "recmesh.extraVolumeMounts" . | nindent 4 }}
{{- end -}}

{{- define "recmesh.trainContainer" -}}
{{- $values := .root.Values -}}
- name: train
  image: {{ include "recmesh.image" (dict "root" .root "name" "train" "image" $values.train.image) }}
  imagePullPolicy: {{ $values.image.pullPolicy }}
  {{- include "recmesh.containerSecurity" . | nindent 2 }}
  args:
    - jobs.train
    - --dataset={{ include "recmesh.datasetFolder" .root }}
    - --work=/var/lib/recmesh/train
    - --seed={{ $values.train.seed }}
    - --threads={{ $values.train.threads }}
    {{- include "recmesh.archiveArgument" .root | nindent 4 }}
    {{- with .mark }}
    - --mark={{ . }}
    {{- end }}
  env:
    {{- include "recmesh.storeEnv" .root | nindent 4 }}
    {{- include "recmesh.jobEnv" (merge (dict "container" "train") .) | nindent 4 }}
  resources:
    {{- toYaml $values.train.resources | nindent 4 }}
  volumeMounts:
    {{- include "recmesh.jobMounts" . | nindent 4 }}
{{- end -}}

{{- define "recmesh.ingestContainer" -}}
{{- $values := .root.Values -}}
- name: ingest
  image: {{ include "recmesh.image" (dict "root" .root "name" "ingest" "image" $values.ingest.image) }}
  imagePullPolicy: {{ $values.image.pullPolicy }}
  {{- include "recmesh.containerSecurity" . | nindent 2 }}
  args:
    - jobs.ingest
    - --dataset={{ include "recmesh.datasetFolder" .root }}
    - --rejects=/var/lib/recmesh/rejects.csv
    - --mark={{ .mark }}
    {{- if $values.jobs.starter }}
    - --starter
    {{- end }}
    - --wait={{ $values.jobs.waitSeconds }}
    {{- include "recmesh.archiveArgument" .root | nindent 4 }}
    {{- if .prune }}
    - --prune
    {{- end }}
  env:
    {{- if gt (int .shards) 1 }}
    - {name: JOB_COMPLETIONS, value: {{ .shards | quote }}}
    - name: JOB_UID # the pods agree on what they read
      valueFrom:
        fieldRef: {fieldPath: "metadata.labels['batch.kubernetes.io/controller-uid']"}
    {{- else }}
    - {name: JOB_COMPLETION_INDEX, value: "0"}
    - {name: JOB_COMPLETIONS, value: "1"}
    {{- end }}
    {{- include "recmesh.tlsEnv" . | nindent 4 }}
    {{- include "recmesh.redisEnv" . | nindent 4 }}
    {{- include "recmesh.milvusEnv" . | nindent 4 }}
    {{- include "recmesh.storeEnv" .root | nindent 4 }}
    {{- include "recmesh.jobEnv" (merge (dict "container" "ingest") .) | nindent 4 }}
  resources:
    {{- toYaml $values.ingest.resources | nindent 4 }}
  volumeMounts:
    {{- include "recmesh.jobMounts" . | nindent 4 }}
    {{- include "recmesh.caMounts" . | nindent 4 }}
    {{- include "recmesh.secretMounts" . | nindent 4 }}
{{- end -}}

{{- define "recmesh.jobMounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: home, mountPath: /var/lib/recmesh}
{{- include "recmesh.storeMount" (dict "root" .root "readOnly" false) }}
{{- if include "recmesh.mountsDataset" . }}
- {name: dataset, mountPath: /dataset, readOnly: true}
{{- end }}
{{ include "recmesh.extraVolumeMounts" . }}
{{- end -}}

{{- /* The Jobs of a schedule. Arguments: `root`, `component`, `values` (schedule, timeZone and suspend). */ -}}
{{- define "recmesh.cronJob" -}}
apiVersion: batch/v1
kind: CronJob
metadata:
  {{- include "recmesh.metadata" . | nindent 2 }}
spec:
  schedule: {{ .values.schedule | quote }}
  {{- with .values.timeZone | default .root.Values.jobs.timeZone }}
  timeZone: {{ . }}
  {{- end }}
  suspend: {{ .values.suspend | default false }}
  concurrencyPolicy: Forbid
  successfulJobsHistoryLimit: {{ .root.Values.jobs.successfulHistory }}
  failedJobsHistoryLimit: {{ .root.Values.jobs.failedHistory }}
  jobTemplate:
    metadata:
      labels: # by which `recmesh job list` finds them
        {{- include "recmesh.labels" . | nindent 8 }}
      {{- with .root.Values.commonAnnotations }}
      annotations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      {{- include (printf "recmesh.%sSpec" .component) .root | nindent 6 }}
{{- end -}}

{{- /* The name of a Job. Arguments: `root`, `component`, `spec` (its spec, as text). */ -}}
{{- define "recmesh.jobName" -}}
{{- printf "%s-%s" (include "recmesh.name" .) (.spec | fromYaml | toJson | sha256sum | trunc 8) -}}
{{- end -}}

{{- /* A Job of the installation. Arguments: `root`, `component`. */ -}}
{{- define "recmesh.job" -}}
{{- $spec := include (printf "recmesh.%sSpec" .component) .root -}}
apiVersion: batch/v1
kind: Job
metadata:
  {{- include "recmesh.metadata" (merge (dict "name" (include "recmesh.jobName" (merge (dict "spec" $spec) .))) .) | nindent 2 }}
spec:
  {{- $spec | nindent 2 }}
{{- end -}}

{{- /*
The same for a ConfigMap. `recmesh job run` creates it under the name of the Job of the installation, in the name of Helm; kubectl
under a name of its own, which no upgrade needs. Arguments: `root`, `component`.
*/ -}}
{{- define "recmesh.jobTemplate" -}}
{{- $spec := include (printf "recmesh.%sSpec" .component) .root -}}
apiVersion: batch/v1
kind: Job
metadata:
  generateName: {{ include "recmesh.name" . }}-
  namespace: {{ include "recmesh.namespace" .root | quote }}
  labels:
    {{- include "recmesh.labels" . | nindent 4 }}
  annotations:
    recmesh.io/job-name: {{ include "recmesh.jobName" (merge (dict "spec" $spec) .) }}
    meta.helm.sh/release-name: {{ .root.Release.Name | quote }}
    meta.helm.sh/release-namespace: {{ .root.Release.Namespace | quote }}
    {{- with .root.Values.commonAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- $spec | nindent 2 }}
{{- end -}}

{{- /* What `recmesh job` needs of the Kubernetes API. Argument: the chart's scope. */ -}}
{{- define "recmesh.launcherRules" -}}
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [{{ include "recmesh.name" (dict "root" . "component" "jobs") }}]
  verbs: [get]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [create, delete, get, list, patch, watch]
- apiGroups: [""]
  resources: [pods, pods/log]
  verbs: [get, list, watch]
{{- end -}}

{{- /* The name of the controller's account. An existing one gets its rights. Argument: the chart's scope. */ -}}
{{- define "recmesh.controllerAccount" -}}
{{- .Values.controller.serviceAccount.name | default (include "recmesh.name" (dict "root" . "component" "controller")) -}}
{{- end -}}
