{{- define "longshore.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "longshore.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "longshore.name" . -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What never changes over an object's life: selectors can't. Takes root, and component or pool. */}}
{{- define "longshore.selector" -}}
app.kubernetes.io/name: {{ include "longshore.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- with .pool }}
longshore/pool: {{ . }}
{{- end }}
{{- end -}}

{{- define "longshore.labels" -}}
{{ include "longshore.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The metadata of an object. Takes root, name, component, pool and annotations. */}}
{{- define "longshore.metadata" -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "longshore.labels" . | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with mergeOverwrite (dict) (.root.Values.commonAnnotations | default dict) (.annotations | default dict) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Takes root and image; what that leaves empty is as in the image of all roles. */}}
{{- define "longshore.image" -}}
{{- $default := .root.Values.image -}}
{{- $own := .image | default dict -}}
{{- $repository := $own.repository | default $default.repository -}}
{{- with $own.registry | default $default.registry -}}
{{- $repository = printf "%s/%s" (trimSuffix "/" .) $repository -}}
{{- end -}}
{{- /* A digest belongs to one repository. */ -}}
{{- $digest := $own.digest | default (ternary "" $default.digest (not (empty $own.repository))) -}}
{{- $tag := $own.tag | default $default.tag | default .root.Chart.AppVersion -}}
{{- if $digest }}{{ $repository }}@{{ $digest }}{{ else }}{{ $repository }}:{{ $tag }}{{ end -}}
{{- end -}}

{{- define "longshore.serviceAccountName" -}}
{{- $account := .account -}}
{{- if $account.create }}{{ $account.name | default .name }}{{ else }}{{ $account.name | default "default" }}{{ end -}}
{{- end -}}

{{- define "longshore.redisURL" -}}
{{- .Values.redis.url | default (ternary (printf "redis://%s-redis:6379" (include "longshore.fullname" .)) "" .Values.quickstart.enabled) -}}
{{- end -}}

{{- define "longshore.natsURL" -}}
{{- .Values.nats.url | default (ternary (printf "nats://%s-nats:4222" (include "longshore.fullname" .)) "" .Values.quickstart.enabled) -}}
{{- end -}}

{{- define "longshore.natsMonitor" -}}
{{- .Values.nats.monitoring.endpoint | default (ternary (printf "%s-nats.%s.svc:8222" (include "longshore.fullname" .) .Release.Namespace) "" .Values.quickstart.enabled) -}}
{{- end -}}

{{/* A variable from a Secret, or with a plain value. Takes name, secret and value. */}}
{{- define "longshore.variable" -}}
- name: {{ .name }}
  {{- if .secret.name }}
  valueFrom:
    secretKeyRef:
      name: {{ .secret.name }}
      key: {{ .secret.key }}
  {{- else }}
  value: {{ .value | quote }}
  {{- end }}
{{- end -}}

{{/* The variables of every role. */}}
{{- define "longshore.env" -}}
{{- $values := .Values -}}
- name: LONGSHORE_CONFIG
  value: /etc/longshore/config/longshore.toml
- name: LONGSHORE_ADMIN__LISTEN
  value: 0.0.0.0:9090
{{ include "longshore.variable" (dict "name" "LONGSHORE_NATS__URL" "secret" $values.nats.existingSecret "value" (include "longshore.natsURL" .)) }}
- name: LONGSHORE_NATS__REPLICAS
  value: {{ $values.nats.replicas | int | quote }}
{{- if $values.nats.credentials.existingSecret.name }}
- name: LONGSHORE_NATS__CREDENTIALS
  value: /etc/longshore/nats/{{ $values.nats.credentials.existingSecret.key }}
{{- end }}
- name: LONGSHORE_TELEMETRY__LOG_FORMAT
  value: {{ $values.telemetry.logFormat }}
- name: LONGSHORE_TELEMETRY__LOG_FILTER
  value: {{ $values.telemetry.logFilter | quote }}
{{- with $values.telemetry.otlpEndpoint }}
- name: LONGSHORE_TELEMETRY__OTLP_ENDPOINT
  value: {{ . | quote }}
- name: LONGSHORE_TELEMETRY__SAMPLE_RATIO
  value: {{ $values.telemetry.sampleRatio | quote }}
{{- end }}
{{- end -}}

{{/* Over zones and hosts as far as possible. Takes root, component, pool and constraints. */}}
{{- define "longshore.spread" -}}
{{- if .constraints -}}
{{- toYaml .constraints -}}
{{- else -}}
{{- $selector := include "longshore.selector" . -}}
{{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
- maxSkew: 1
  topologyKey: {{ $key }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- $selector | nindent 6 }}
{{- end }}
{{- end -}}
{{- end -}}
