{{- /* Arguments of all templates: a dict with `root` (the chart's scope) and `component` (a name). */ -}}

{{- define "common.name" -}}
{{- printf "%s-%s" .root.Release.Name .component | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "common.selector" -}}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "common.labels" -}}
{{ include "common.selector" . }}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/part-of: recmesh
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end -}}

{{- /* Metadata of a resource: name (`name`, by default that of the component), namespace and labels. */ -}}
{{- define "common.metadata" -}}
name: {{ .name | default (include "common.name" .) }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "common.labels" . | nindent 2 }}
{{- end -}}

{{- /* The minor version of Milvus (2.6), which decides whether it can read existing data. Argument: the tag of its image. */ -}}
{{- define "common.milvusVersion" -}}
{{- regexFind "[0-9]+[.][0-9]+" (toString .) | default "other" -}}
{{- end -}}
