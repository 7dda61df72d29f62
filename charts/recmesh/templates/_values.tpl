{{- /*
Every template includes recmesh.fill first. It completes .Values, so that all other lines read them without a test for null: a
value that is missing or null gets its default from files/defaults.yaml, and a component what it shares with others (`service`,
`job`). Values are missing after `helm upgrade --reuse-values`, which keeps those of the former chart. A null below a map that
Kubernetes defines, such as resources, removes the key. Whole numbers, which helm reads as floating-point ones, become integers:
otherwise 1000000 is printed as 1e+06. docs/adr/049 has the reasons. Argument: the chart's scope.
*/ -}}
{{- define "recmesh.fill" -}}
{{- if not (hasKey .Values "filled") -}}
{{- $_ := set .Values "filled" true -}}
{{- $_ := set .Values "global" (deepCopy (.Values.global | default dict)) -}}{{- /* other charts may read it, too */ -}}
{{- $defaults := .Files.Get "files/defaults.yaml" | fromYaml -}}
{{- include "recmesh.fillMissing" (dict "into" .Values "from" $defaults.values "paths" $defaults.paths "merge" false) -}}
{{- range $name, $shared := $defaults.shared -}}
{{- range $component, $own := $shared.components -}}
{{- if not (kindIs "map" (index $.Values $component)) -}}{{- $_ := set $.Values $component dict -}}{{- end -}}
{{- $from := mergeOverwrite (deepCopy (index $.Values $name)) (deepCopy $own) -}}
{{- include "recmesh.fillMissing" (dict "into" (index $.Values $component) "from" $from "paths" $shared.paths "merge" true) -}}
{{- end -}}
{{- end -}}
{{- include "recmesh.fillSecurity" .Values -}}
{{- include "recmesh.normalize" .Values -}}
{{- end -}}
{{- end -}}

{{- /*
Sets the values at `paths` that `into` lacks to those of `from`. With `merge`, maps that both have are merged, and those of `into`
win.
*/ -}}
{{- define "recmesh.fillMissing" -}}
{{- $arguments := . -}}
{{- range $path := .paths -}}
{{- $keys := splitList "." $path -}}
{{- $into := $arguments.into -}}
{{- $from := $arguments.from -}}
{{- range initial $keys -}}
{{- if not (kindIs "map" (index $into .)) -}}{{- $_ := set $into . dict -}}{{- end -}}
{{- $into = index $into . -}}
{{- $from = index $from . -}}
{{- end -}}
{{- $given := index $into (last $keys) -}}
{{- $default := index $from (last $keys) -}}
{{- if kindIs "invalid" $given -}}
{{- $_ := set $into (last $keys) (deepCopy $default) -}}
{{- else if and $arguments.merge (kindIs "map" $given) (kindIs "map" $default) -}}
{{- $_ := set $into (last $keys) (mergeOverwrite (deepCopy $default) $given) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Completes the security contexts of all components with those of `global`; null removes a field of these, too. */ -}}
{{- define "recmesh.fillSecurity" -}}
{{- $shared := dict "podSecurityContext" .global.podSecurityContext "securityContext" .global.containerSecurityContext -}}
{{- range $component := . -}}
{{- if kindIs "map" $component -}}
{{- range $key, $default := $shared -}}
{{- if kindIs "map" (get $component $key) -}}
{{- $_ := set $component $key (mergeOverwrite (deepCopy $default) (get $component $key)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Removes keys that are null from a map and the maps in it, and makes whole numbers in them and in their lists integers. */ -}}
{{- define "recmesh.normalize" -}}
{{- range $key, $value := . -}}
{{- if kindIs "invalid" $value -}}
{{- $_ := unset $ $key -}}
{{- else if kindIs "map" $value -}}
{{- include "recmesh.normalize" $value -}}
{{- else if kindIs "float64" $value -}}
{{- if eq $value (floor $value) -}}{{- $_ := set $ $key (int64 $value) -}}{{- end -}}
{{- else if kindIs "slice" $value -}}
{{- $items := list -}}
{{- range $value -}}
{{- $whole := and (kindIs "float64" .) (eq (float64 .) (floor .)) -}}
{{- $items = append $items (ternary (int64 .) . $whole) -}}
{{- end -}}
{{- $_ := set $ $key $items -}}
{{- end -}}
{{- end -}}
{{- end -}}
