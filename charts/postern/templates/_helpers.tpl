{{- define "postern.labels" -}}
app.kubernetes.io/name: postern
app.kubernetes.io/component: controller
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "postern.selector" -}}
app.kubernetes.io/name: postern
app.kubernetes.io/component: controller
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "postern.image" -}}
{{ .root.Values.global.imageRegistry }}/{{ .repository }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}
{{- end }}

{{- define "postern.excludedNamespaces" -}}
{{ concat (list "kube-system" "kube-public" "kube-node-lease" .Release.Namespace) .Values.injection.excludedNamespaces | uniq | toJson }}
{{- end }}

{{- define "postern.namespaceSelector" -}}
matchExpressions:
  - { key: postern.dev/inject, operator: In, values: [enabled] }
  - { key: kubernetes.io/metadata.name, operator: NotIn, values: {{ include "postern.excludedNamespaces" . }} }
{{- end }}

{{- define "postern.injection" -}}
{{- $settings := dict
  "sidecarImage" (include "postern.image" (dict "root" . "repository" .Values.injection.sidecarRepository))
  "initImage" (include "postern.image" (dict "root" . "repository" .Values.injection.initRepository))
  "imagePullPolicy" .Values.image.pullPolicy
  "controller" (printf "postern-controller.%s.svc:15012" .Release.Namespace)
  "revision" .Values.injection.revision
  "logLevel" .Values.injection.logLevel
  "drainSeconds" (int .Values.injection.drainSeconds)
  "concurrency" (int .Values.injection.concurrency)
  "sidecarResources" .Values.injection.resources -}}
{{ toJson $settings }}
{{- end }}
