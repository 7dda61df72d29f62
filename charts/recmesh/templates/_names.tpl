{{- /* Names and labels. Arguments: a dict with `root` (the chart's scope) and `component` (a name), unless stated otherwise. */ -}}

{{- /*
What all names begin with. A chart that is installed under another name (an alias of an umbrella chart, nameOverride) has that
name in it as well, so that it can be there twice, whatever the release is called. The limit leaves room for the longest name that
Kubernetes makes of it: a CronJob may have 52 characters, a Job 63. Argument: the chart's scope.
*/ -}}
{{- define "recmesh.fullname" -}}
{{- $name := .Values.nameOverride | default .Chart.Name -}}
{{- $full := .Release.Name -}}
{{- if ne $name "recmesh" -}}{{- $full = printf "%s-%s" .Release.Name $name -}}{{- end -}}
{{- with .Values.fullnameOverride -}}{{- $full = . -}}{{- end -}}
{{- if not (regexMatch "^[a-z]([a-z0-9-]*[a-z0-9])?$" $full) -}}
{{- fail (printf "fullnameOverride: set it, since the names of Services cannot begin with %q: they need lower-case letters, digits and hyphens, and a letter first" $full) -}}
{{- end -}}
{{- if gt (len $full) 44 -}}
{{- printf "%s-%s" (trunc 35 $full | trimSuffix "-") (sha256sum $full | trunc 8) -}}
{{- else -}}
{{- $full -}}
{{- end -}}
{{- end -}}

{{- define "recmesh.name" -}}
{{- printf "%s-%s" (include "recmesh.fullname" .root) .component -}}
{{- end -}}

{{- /* Argument: the chart's scope. */ -}}
{{- define "recmesh.namespace" -}}
{{- .Values.namespaceOverride | default .Release.Namespace -}}
{{- end -}}

{{- define "recmesh.selector" -}}
app.kubernetes.io/instance: {{ include "recmesh.fullname" .root | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- /* Labels of a resource. Those of the values replace all but the selector. Further argument: `labels`. */ -}}
{{- define "recmesh.labels" -}}
{{- $labels := dict "app.kubernetes.io/name" (.root.Values.nameOverride | default .root.Chart.Name) -}}
{{- $_ := set $labels "app.kubernetes.io/part-of" "recmesh" -}}
{{- $_ := set $labels "app.kubernetes.io/version" .root.Chart.AppVersion -}}
{{- $_ := set $labels "app.kubernetes.io/managed-by" .root.Release.Service -}}
{{- $_ := set $labels "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") -}}
{{- mergeOverwrite $labels .root.Values.commonLabels (.labels | default dict) (include "recmesh.selector" . | fromYaml) | toYaml -}}
{{- end -}}

{{- /*
Metadata of a resource, with the name of the component. Further arguments: `name` (another name), `labels` and `annotations` (maps,
in addition to those of the values).
*/ -}}
{{- define "recmesh.metadata" -}}
name: {{ .name | default (include "recmesh.name" .) }}
namespace: {{ include "recmesh.namespace" .root | quote }}
labels:
  {{- include "recmesh.labels" . | nindent 2 }}
{{- with mergeOverwrite (deepCopy .root.Values.commonAnnotations) (.annotations | default dict) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
