{{- /* What Redis and Milvus have in common. Arguments: `root`, `component` (redis or milvus). */ -}}

{{- /* The volume `data` of the pod, unless a claim of the StatefulSet provides it. */ -}}
{{- define "recmesh.dataVolume" -}}
{{- $persistence := (index .root.Values .component).persistence -}}
{{- if not $persistence.enabled }}
- name: data
  emptyDir: {}
{{- else if $persistence.existingClaim }}
- name: data
  persistentVolumeClaim: {claimName: {{ $persistence.existingClaim }}}
{{- end }}
{{- end -}}

{{- /*
The claim of the StatefulSet. Kubernetes does not let it change: an upgrade that would is refused here, before it changes anything.
*/ -}}
{{- define "recmesh.dataClaim" -}}
{{- $persistence := (index .root.Values .component).persistence -}}
{{- $class := $persistence.storageClass | default .root.Values.global.storageClass -}}
{{- $existing := lookup "apps/v1" "StatefulSet" (include "recmesh.namespace" .root) (include "recmesh.name" .) -}}
{{- $claimed := and $persistence.enabled (not $persistence.existingClaim) -}}
{{- if $existing }}
{{- $claims := dig "spec" "volumeClaimTemplates" list $existing -}}
{{- $size := dig "spec" "resources" "requests" "storage" "" (first $claims | default dict) -}}
{{- $modes := dig "spec" "accessModes" list (first $claims | default dict) -}}
{{- $had := dig "spec" "storageClassName" "" (first $claims | default dict) -}}
{{- $same := eq (not (empty $claims)) $claimed -}}
{{- if and $same $claimed -}}
{{- $same = and (eq $size (toString $persistence.size)) (eq (toJson $modes) (toJson $persistence.accessModes)) (or (empty $class) (eq $class $had)) -}}
{{- end -}}
{{- if not $same -}}
{{- fail (printf "%s.persistence: the volume of %s exists (%s), and an upgrade cannot change it: follow \"A larger volume for Redis or Milvus\" in docs/runbooks.md, or keep the former values" .component (include "recmesh.name" .) (ternary (printf "%s %s %s" $size (join "," $modes) $had | trim) "on none" (not (empty $claims)))) -}}
{{- end -}}
{{- end -}}
{{- if $claimed }}
volumeClaimTemplates:
  - metadata:
      name: data
    spec:
      accessModes: {{ toJson $persistence.accessModes }}
      {{- with $class }}
      storageClassName: {{ . }}
      {{- end }}
      resources:
        requests: {storage: {{ $persistence.size }}}
{{- end }}
{{- end -}}

{{- /* The service account of a database, which has none of its own by default. */ -}}
{{- define "recmesh.databaseAccount" -}}
{{- $account := (index .root.Values .component).serviceAccount -}}
{{- if or $account.create $account.name }}
serviceAccountName: {{ $account.name | default (include "recmesh.name" .) }}
{{- end }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- end -}}

{{- /* The minor version of Milvus (2.6), which decides whether it can read existing data. Argument: the tag of its image. */ -}}
{{- define "recmesh.milvusVersion" -}}
{{- regexFind "[0-9]+[.][0-9]+" (toString .) | default "other" -}}
{{- end -}}
