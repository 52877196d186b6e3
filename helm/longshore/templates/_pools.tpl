{{/* All pools with everything filled in, as JSON. */}}
{{- define "longshore.pools" -}}
{{- $root := . -}}
{{- $pools := dict -}}
{{- if and .Values.quickstart.enabled .Values.quickstart.worker.enabled -}}
{{- $own := dict "image" .Values.quickstart.worker.image "replicas" .Values.quickstart.worker.replicas "jobsFile" "/jobs/jobs.toml" -}}
{{- $_ := set $pools "quickstart" (mergeOverwrite (deepCopy .Values.workerDefaults) $own) -}}
{{- end -}}
{{- range $pool, $own := .Values.workers -}}
{{- $_ := set $pools $pool (mergeOverwrite (deepCopy $root.Values.workerDefaults) (deepCopy ($own | default dict))) -}}
{{- end -}}
{{- toJson $pools -}}
{{- end -}}

{{/* A ScaledObject of KEDA. Takes root, name, pool and role. */}}
{{- define "longshore.scaledObject" -}}
{{- $root := .root -}}
{{- $keda := .role.scaling.keda -}}
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  {{- include "longshore.metadata" . | nindent 2 }}
spec:
  scaleTargetRef:
    name: {{ .name }}
  minReplicaCount: {{ .role.scaling.minReplicas | int }}
  maxReplicaCount: {{ .role.scaling.maxReplicas | int }}
  pollingInterval: {{ $keda.pollingInterval | int }}
  cooldownPeriod: {{ $keda.cooldownPeriod | int }}
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        scaleDown:
          stabilizationWindowSeconds: {{ $keda.scaleDownStabilizationSeconds | int }}
  triggers:
    # Each queue has a consumer for each priority.
    {{- range $type := $keda.jobTypes }}
    {{- range $priority := $keda.priorities }}
    - type: nats-jetstream
      metadata:
        natsServerMonitoringEndpoint: {{ include "longshore.natsMonitor" $root | quote }}
        account: {{ $root.Values.nats.monitoring.account | quote }}
        stream: LS_JOBS
        consumer: {{ printf "%s-%s" $type $priority | quote }}
        lagThreshold: {{ $keda.lagThreshold | int | quote }}
        activationLagThreshold: {{ $keda.activationLagThreshold | int | quote }}
        useHttps: {{ $root.Values.nats.monitoring.https | quote }}
    {{- end }}
    {{- end }}
    {{- with $keda.triggers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
