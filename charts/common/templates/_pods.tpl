{{- /*
Parts of every pod template: placement, pull secrets, security context, labels, annotations and extras. Each comes from `global`
and from the values of the component. Maps and lists are merged; a single value of the component overrides that of `global`.
Arguments: a dict with `root`, `component` and `values` (of the component).
*/ -}}

{{- /* An image of values `image`: {registry, repository, tag, digest}. global.imageRegistry overrides the registry. */ -}}
{{- define "common.image" -}}
{{- $registry := .root.Values.global.imageRegistry | default .image.registry -}}
{{- with $registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{- .image.repository -}}
{{- if .image.digest }}@{{ .image.digest }}{{ else }}:{{ .image.tag | default .root.Chart.AppVersion }}{{ end -}}
{{- end -}}

{{- define "common.podMetadata" -}}
labels:
  {{- include "common.selector" . | nindent 2 }}
  app.kubernetes.io/part-of: recmesh
  {{- with merge dict .values.podLabels .root.Values.global.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge dict (.annotations | default dict) .values.podAnnotations .root.Values.global.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "common.podSettings" -}}
{{- $global := .root.Values.global -}}
{{- with $global.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
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
              {{- include "common.selector" . | nindent 14 }}
{{- end }}
{{- end }}
{{- if .spread }}
topologySpreadConstraints:
  {{- with .values.topologySpreadConstraints }}
  {{- toYaml . | nindent 2 }}
  {{- else }}
  - maxSkew: 1
    topologyKey: topology.kubernetes.io/zone
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "common.selector" . | nindent 8 }}
  {{- end }}
{{- end }}
{{- with .values.priorityClassName | default $global.priorityClassName | default .priority }}
priorityClassName: {{ . }}
{{- end }}
securityContext:
  {{- toYaml $global.podSecurityContext | nindent 2 }}
{{- end -}}

{{- define "common.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{- /* Additional variables, volumes and mounts, as items of a list, which may be empty. */ -}}
{{- define "common.extraEnv" -}}
{{- with concat .root.Values.global.extraEnv .values.extraEnv }}
{{- toYaml . }}
{{- end }}
{{- end -}}

{{- define "common.extraVolumes" -}}
{{- with concat .root.Values.global.extraVolumes .values.extraVolumes }}
{{- toYaml . }}
{{- end }}
{{- end -}}

{{- define "common.extraVolumeMounts" -}}
{{- with concat .root.Values.global.extraVolumeMounts .values.extraVolumeMounts }}
{{- toYaml . }}
{{- end }}
{{- end -}}
