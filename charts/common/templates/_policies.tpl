{{- /* Access to the DNS of the cluster, as an item of the `egress` of a policy. */ -}}
{{- define "common.dnsEgress" -}}
- to:
    - namespaceSelector: {}
      podSelector:
        matchLabels:
          k8s-app: kube-dns
  ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
{{- end -}}

{{- /* A peer of a policy: the pods of a component of this release. */ -}}
{{- define "common.peer" -}}
- podSelector:
    matchLabels:
      {{- include "common.selector" . | nindent 6 }}
{{- end -}}
