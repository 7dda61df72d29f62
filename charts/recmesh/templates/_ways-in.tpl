{{- /*
The backends of routes, as a YAML map from <service>-<protocol> to the service, its port and its hosts. Arguments: `root`, `name` (of
the values, for errors) and `routes`.
*/ -}}
{{- define "recmesh.backends" -}}
{{- $backends := dict -}}
{{- $known := dict -}}
{{- if not .routes -}}{{- fail (printf "%s.routes: name a host" .name) -}}{{- end -}}
{{- range $route := .routes -}}
{{- $service := .service | default "as" -}}
{{- $protocol := .protocol | default "grpc" -}}
{{- $port := index (include "recmesh.ports" $ | fromYaml) $service -}}
{{- if and (eq $service "feed") (not $.root.Values.feed.enabled) -}}
{{- fail (printf "%s.routes: %s leads to feed, which is not installed: set feed.enabled" $.name .host) -}}
{{- end -}}
{{- if eq $protocol "http" -}}
{{- $port = include "recmesh.httpPort" (dict "root" $.root "component" $service) | required (printf "%s.routes: %s leads to the HTTP port of %s: set %s.http.enabled" $.name .host $service $service) -}}
{{- end -}}
{{- $key := printf "%s-%s" $service $protocol -}}
{{- with get $known (lower .host) -}}
{{- fail (printf "%s.routes: %s leads to %s and to %s: give each of them a host of its own" $.name (lower $route.host) . $key) -}}
{{- end -}}
{{- $_ := set $known (lower .host) $key -}}
{{- $hosts := append (dig $key "hosts" list $backends) .host -}}
{{- $_ := set $backends $key (dict "service" $service "protocol" $protocol "port" (int $port) "hosts" $hosts) -}}
{{- end -}}
{{- toYaml $backends -}}
{{- end -}}
