{{- /* Ports of the services; compact serves all but feed. The metrics port is the port + 10000; that of compact is 18930. */ -}}
{{- define "recmesh.ports" -}}
um: 8910
cm: 8920
recall: 8950
rank: 8960
as: 8930
feed: 8940
{{- end -}}

{{- /* The HTTP port of a service (`component`: as or feed); empty unless it is enabled. */ -}}
{{- define "recmesh.httpPort" -}}
{{- if and (has .component (list "as" "feed")) (index .root.Values .component).http.enabled -}}
{{- get (dict "as" 8931 "feed" 8941) .component -}}
{{- end -}}
{{- end -}}

{{- /* Arguments of the templates below: a dict with `root` and `component` (um, cm, recall, rank, as, feed, compact). */ -}}

{{- /* The same dict with the values of the component. */ -}}
{{- define "recmesh.image" -}}
{{- $image := dict "registry" .root.Values.image.registry "repository" (printf "%s/%s" .root.Values.image.repository .name) "tag" (.image.tag | default .root.Values.image.tag) "digest" .image.digest -}}
{{- include "common.image" (dict "root" .root "image" $image) -}}
{{- end -}}

{{- define "recmesh.deployment" -}}
{{- $root := .root -}}
{{- $values := index .root.Values .component -}}
{{- $ports := include "recmesh.ports" . | fromYaml -}}
{{- $served := ternary (omit $ports "feed") (pick $ports .component) (eq .component "compact") -}}
{{- $public := ternary "as" .component (eq .component "compact") -}}
{{- $metrics := add 10000 (index $ports $public) -}}
{{- $http := include "recmesh.httpPort" (dict "root" $root "component" $public) -}}
{{- $scope := merge (dict "values" $values "spread" true "priority" (include "recmesh.priority" (dict "root" .root "kind" "serving"))) . -}}
{{- $releases := has .component (list "recall" "rank" "compact") -}}
{{- $stored := or $releases (eq .component "as") -}}{{- /* as reads the rules there */ -}}
{{- $logging := and (gt (float64 $root.Values.answers.sample) 0.0) (has .component (list "as" "compact")) -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "common.metadata" . | nindent 2 }}
  {{- with include "common.tlsAnnotation" $root }}
  annotations:
    {{- . | nindent 4 }}
  {{- end }}
spec:
  {{- if not $values.autoscaling.enabled }}
  replicas: {{ $values.replicas }}
  {{- end }}
  strategy:
    rollingUpdate: {maxSurge: 1, maxUnavailable: 0}
  selector:
    matchLabels:
      {{- include "common.selector" . | nindent 6 }}
  template:
    metadata:
      {{- include "common.podMetadata" (merge (dict "annotations" (include "recmesh.scrapeAnnotations" (dict "root" $root "port" $metrics) | fromYaml)) $scope) | nindent 6 }}
    spec:
      serviceAccountName: {{ include "common.name" (dict "root" $root "component" "services") }}
      automountServiceAccountToken: false
      enableServiceLinks: false
      {{- include "common.podSettings" $scope | nindent 6 }}
      {{- with $values.runtimeClassName }}
      runtimeClassName: {{ . }}
      {{- end }}
      # preStop, then twice the 10 s of RECMESH_DRAIN_TIMEOUT for calls in flight.
      terminationGracePeriodSeconds: {{ add $values.preStopSeconds 20 }}
      containers:
        - name: {{ .component }}
          image: {{ include "recmesh.image" (dict "root" $root "name" .component "image" $values.image) }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          {{- include "common.containerSecurity" . | nindent 10 }}
          env:
            {{- with $http }}
            - {name: RECMESH_{{ upper $public }}_HTTP_PORT, value: {{ . | quote }}}
            {{- end }}
            {{- include "recmesh.serverEnv" $scope | nindent 12 }}
            {{- include "recmesh.serviceEnv" $scope | nindent 12 }}
            {{- include "recmesh.otlpEnv" $scope | nindent 12 }}
            {{- include "common.extraEnv" $scope | nindent 12 }}
          ports:
            {{- range $name, $port := $served }}
            - {name: {{ $name }}, containerPort: {{ $port }}}
            {{- end }}
            {{- with $http }}
            - {name: {{ $public }}-http, containerPort: {{ . }}}
            {{- end }}
            - {name: metrics, containerPort: {{ $metrics }}}
          {{- include "recmesh.probes" $root | nindent 10 }}
          lifecycle:
            preStop: # until no client has the pod in its DNS cache
              exec:
                command: [python, -c, import time; time.sleep({{ $values.preStopSeconds }})]
          resources:
            {{- toYaml $values.resources | nindent 12 }}
          volumeMounts:
            - {name: tmp, mountPath: /tmp}
            {{- if $releases }}
            - {name: home, mountPath: /var/lib/recmesh}
            {{- end }}
            {{- if $stored }}
            {{- include "recmesh.storeMount" (dict "root" $root "readOnly" true) | nindent 12 }}
            {{- end }}
            {{- if $logging }}
            - {name: answers, mountPath: /answers}
            {{- end }}
            {{- include "recmesh.caMounts" $scope | nindent 12 }}
            {{- include "recmesh.secretMounts" $scope | nindent 12 }}
            {{- include "common.extraVolumeMounts" $scope | nindent 12 }}
      volumes:
        - name: tmp
          emptyDir: {}
        {{- if $releases }}
        - name: home
          emptyDir: {}
        {{- end }}
        {{- if $stored }}
        {{- include "recmesh.storeVolume" $root | nindent 8 }}
        {{- end }}
        {{- if $logging }}
        - name: answers
          {{- with $root.Values.answers.existingClaim }}
          persistentVolumeClaim: {claimName: {{ . }}}
          {{- else }}
          emptyDir: {}
          {{- end }}
        {{- end }}
        {{- include "recmesh.caVolumes" $scope | nindent 8 }}
        {{- include "recmesh.secretPodVolumes" $scope | nindent 8 }}
        {{- include "common.extraVolumes" $scope | nindent 8 }}
{{- end -}}

{{- /*
/livez answers as soon as the process does; /readyz only while its dependencies answer and a release is loaded and warm. Both are on
the metrics port, where they are open to everybody: the kubelet has no certificate. Argument: the chart's scope.
*/ -}}
{{- define "recmesh.probes" -}}
{{- $scheme := ternary "HTTPS" "HTTP" (not (empty (include "common.tls" .))) -}}
startupProbe:
  httpGet: {path: /livez, port: metrics, scheme: {{ $scheme }}}
  periodSeconds: 1
  timeoutSeconds: 5
  failureThreshold: 60
readinessProbe:
  httpGet: {path: /readyz, port: metrics, scheme: {{ $scheme }}}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 2
livenessProbe:
  httpGet: {path: /livez, port: metrics, scheme: {{ $scheme }}}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end -}}

{{- /* Environment variables of a service. The image sets RECMESH_HOST and RECMESH_HOME. */ -}}
{{- define "recmesh.serviceEnv" -}}
{{- $compact := eq .component "compact" -}}
{{- if or $compact (has .component (list "um" "cm" "recall" "feed")) }}
{{ include "recmesh.redisEnv" . }}
{{- end }}
{{- if or $compact (eq .component "recall") }}
{{ include "recmesh.milvusEnv" . }}
{{- end }}
{{- if or $compact (has .component (list "as" "recall" "rank")) }}
{{ include "recmesh.storeEnv" .root }}
{{- end }}
{{- if or $compact (eq .component "rank") }}
{{- /* This also restarts rank when Paddle Serving is installed or removed. */}}
{{- $alone := and (eq .root.Values.rank.backend "auto") (not .root.Values.paddleServing.enabled) }}
- {name: RECMESH_RANK_BACKEND, value: {{ ternary "onnx" .root.Values.rank.backend $alone }}}
- {name: RECMESH_PADDLE_SERVING_TARGET, value: "dns:///{{ include "common.name" (dict "root" .root "component" "paddle-serving") }}:8961"}
{{- if and .root.Values.paddleServing.enabled (ne .root.Values.paddleServing.device "cpu") }}
- {name: RECMESH_PADDLE_SERVING_TOLERANCE, value: {{ include "recmesh.tolerance" .root | quote }}}
{{- end }}
{{- end }}
{{- if eq .component "as" }}
{{ include "recmesh.stageTargets" .root }}
{{- end }}
{{- if and (gt (float64 .root.Values.answers.sample) 0.0) (or $compact (eq .component "as")) }}
- {name: RECMESH_ANSWER_SAMPLE, value: {{ .root.Values.answers.sample | quote }}}
- {name: RECMESH_ANSWER_LOG, value: /answers/log}
- {name: RECMESH_ANSWER_LOG_MIB, value: {{ .root.Values.answers.mib | quote }}}
{{- end }}
{{- range $name, $value := merge dict .values.settings .root.Values.settings }}
- {name: RECMESH_{{ $name }}, value: {{ $value | toString | quote }}}
{{- end }}
{{- end -}}

{{- /* Addresses of the stages of the chain, for their clients. Argument: the chart's scope. */ -}}
{{- define "recmesh.stageTargets" -}}
{{- range $name, $port := omit (include "recmesh.ports" . | fromYaml) "as" "feed" }}
- {name: RECMESH_{{ upper $name }}_TARGET, value: "dns:///{{ include "common.name" (dict "root" $ "component" $name) }}:{{ $port }}"}
{{- end }}
{{- end -}}

{{- /* Headless, so that clients know every pod and balance their calls. */ -}}
{{- define "recmesh.service" -}}
{{- $served := ternary "compact" .component (and (eq .root.Values.mode "compact") (ne .component "feed")) -}}
{{- $port := index (include "recmesh.ports" . | fromYaml) .component -}}
{{- $tls := not (empty (include "common.tls" .root)) -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "common.metadata" . | nindent 2 }}
spec:
  clusterIP: None
  {{- if not (has .component (list "as" "feed")) }}
  # Clients check the health of each pod before they call it. Pods that are not ready do less harm than a name without
  # addresses: gRPC may take two minutes to resolve a name again after a failure.
  publishNotReadyAddresses: true
  {{- end }}
  selector:
    {{- include "common.selector" (dict "root" .root "component" $served) | nindent 4 }}
  ports:
    - {name: grpc, port: {{ $port }}, targetPort: {{ .component }}, appProtocol: {{ ternary "https" "kubernetes.io/h2c" $tls }}}
    {{- with include "recmesh.httpPort" . }}
    - {name: http, port: {{ . }}, targetPort: {{ $.component }}-http, appProtocol: {{ ternary "https" "http" $tls }}}
    {{- end }}
    {{- if or (eq $served .component) (eq .component "as") }}
    - {name: metrics, port: {{ add 10000 $port }}, targetPort: metrics, appProtocol: {{ ternary "https" "http" $tls }}}
    {{- end }}
{{- end -}}

{{- define "recmesh.podDisruptionBudget" -}}
{{- $values := index .root.Values (.valuesKey | default .component) -}}
{{- if $values.podDisruptionBudget.enabled -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "common.metadata" . | nindent 2 }}
spec:
  maxUnavailable: {{ $values.podDisruptionBudget.maxUnavailable }}
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "common.selector" . | nindent 6 }}
{{- end }}
{{- end -}}

{{- define "recmesh.autoscaler" -}}
{{- $values := index .root.Values (.valuesKey | default .component) -}}
{{- if $values.autoscaling.enabled -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  {{- include "common.metadata" . | nindent 2 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ include "common.name" . }}
  minReplicas: {{ $values.autoscaling.minReplicas }}
  maxReplicas: {{ $values.autoscaling.maxReplicas }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target: {type: Utilization, averageUtilization: {{ $values.autoscaling.cpu }}}
{{- end }}
{{- end -}}

{{- /* The name of a priority class of this release (`kind`: serving or jobs), if the chart creates them. */ -}}
{{- define "recmesh.priority" -}}
{{- if .root.Values.priorityClasses.create -}}
{{ printf "%s-%s-%s" .root.Release.Namespace .root.Release.Name .kind | trunc 63 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- /* The tolerated difference between scores of Paddle Serving and the reference: docs/gpu.md. */ -}}
{{- define "recmesh.tolerance" -}}
{{- get (dict "cpu" "1e-5" "gpu" "1e-4" "tensorrt" "2e-2") .Values.paddleServing.device -}}
{{- end -}}
