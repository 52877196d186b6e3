{{/*
All objects of one Deployment. Takes root, component, pool, name, role (its values), args, env,
volumes, mounts, ports, grace, and scaling: {mode, min, max, replicas, cpu, metrics, behavior}.
*/}}
{{- define "longshore.role" -}}
{{- $root := .root -}}
{{- $role := .role -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "longshore.metadata" . | nindent 2 }}
spec:
  {{- if eq .scaling.mode "none" }}
  replicas: {{ .scaling.replicas | int }}
  {{- end }}
  revisionHistoryLimit: 5
  strategy:
    type: RollingUpdate
    rollingUpdate:
      maxSurge: 1
      maxUnavailable: 0
  selector:
    matchLabels:
      {{- include "longshore.selector" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "longshore.labels" . | nindent 8 }}
        {{- if .probes }}
        longshore/metrics: "true"
        {{- end }}
        {{- with $role.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      annotations:
        checksum/config: {{ $root.Values.config | sha256sum }}
        {{- with .checksum }}
        checksum/jobs: {{ . }}
        {{- end }}
        {{- with $role.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: {{ include "longshore.serviceAccountName" (dict "account" $role.serviceAccount "name" .name) }}
      automountServiceAccountToken: false
      enableServiceLinks: false
      {{- with $root.Values.imagePullSecrets }}
      imagePullSecrets:
        {{- range . }}
        - name: {{ . }}
        {{- end }}
      {{- end }}
      securityContext:
        {{- toYaml $root.Values.podSecurityContext | nindent 8 }}
      {{- with $role.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
      {{- with $role.runtimeClassName }}
      runtimeClassName: {{ . }}
      {{- end }}
      terminationGracePeriodSeconds: {{ .grace }}
      {{- with $role.initContainers }}
      initContainers:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      containers:
        - name: {{ .component }}
          image: {{ include "longshore.image" (dict "root" $root "image" $role.image) }}
          imagePullPolicy: {{ ($role.image | default dict).pullPolicy | default $root.Values.image.pullPolicy }}
          {{- with $role.command }}
          command:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          args:
            {{- toYaml .args | nindent 12 }}
          securityContext:
            {{- toYaml $root.Values.containerSecurityContext | nindent 12 }}
          env:
            {{- include "longshore.env" $root | nindent 12 }}
            {{- with .env }}
            {{- . | nindent 12 }}
            {{- end }}
            {{- with $role.extraEnv }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          {{- with $role.extraEnvFrom }}
          envFrom:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          {{- if or .ports .probes }}
          ports:
            {{- with .ports }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
            {{- if .probes }}
            - name: admin
              containerPort: 9090
            {{- end }}
          {{- end }}
          {{- if .probes }}
          # No other server has a say in it: to start a process anew does not mend Redis.
          livenessProbe:
            httpGet: {path: /livez, port: admin}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          # It asks what the role needs, and takes three tries to believe that it is gone.
          readinessProbe:
            httpGet: {path: /readyz, port: admin}
            periodSeconds: 5
            timeoutSeconds: 4
            failureThreshold: 3
          {{- end }}
          resources:
            {{- toYaml $role.resources | nindent 12 }}
          volumeMounts:
            - name: config
              mountPath: /etc/longshore/config
              readOnly: true
            {{- if $root.Values.nats.credentials.existingSecret.name }}
            - name: nats-credentials
              mountPath: /etc/longshore/nats
              readOnly: true
            {{- end }}
            - name: tmp
              mountPath: /tmp
            {{- with .mounts }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
            {{- with $role.extraVolumeMounts }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
        {{- with $role.extraContainers }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      volumes:
        - name: config
          configMap:
            name: {{ include "longshore.fullname" $root }}-config
        {{- with $root.Values.nats.credentials.existingSecret }}
        {{- if .name }}
        - name: nats-credentials
          secret:
            secretName: {{ .name }}
            defaultMode: 0440
            items:
              - {key: {{ .key }}, path: {{ .key }}}
        {{- end }}
        {{- end }}
        - name: tmp
          emptyDir:
            sizeLimit: {{ $role.tmpSize | default "64Mi" }}
        {{- with .volumes }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        {{- with $role.extraVolumes }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      topologySpreadConstraints:
        {{- include "longshore.spread" (dict "root" $root "component" .component "pool" .pool "constraints" $role.topologySpreadConstraints) | trim | nindent 8 }}
      {{- with $role.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $role.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $role.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
{{- if eq .scaling.mode "hpa" }}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  {{- include "longshore.metadata" . | nindent 2 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ .name }}
  minReplicas: {{ .scaling.min | int }}
  maxReplicas: {{ .scaling.max | int }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: {{ .scaling.cpu | int }}
    {{- with .scaling.metrics }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .scaling.behavior }}
  behavior:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- if $role.podDisruptionBudget.enabled }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "longshore.metadata" . | nindent 2 }}
spec:
  maxUnavailable: {{ $role.podDisruptionBudget.maxUnavailable }}
  # One that does not serve anyway never holds up a node.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "longshore.selector" . | nindent 6 }}
{{- end }}
{{- if $role.serviceAccount.create }}
---
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "longshore.metadata" (dict "root" $root "component" .component "pool" .pool "name" (include "longshore.serviceAccountName" (dict "account" $role.serviceAccount "name" .name)) "annotations" $role.serviceAccount.annotations) | nindent 2 }}
automountServiceAccountToken: false
{{- end }}
{{- end -}}

{{/* The scaling of a gateway or state. */}}
{{- define "longshore.scaling" -}}
{{- $auto := .autoscaling -}}
{{- dict "mode" (ternary "hpa" "none" $auto.enabled) "replicas" .replicas "min" $auto.minReplicas "max" $auto.maxReplicas "cpu" $auto.targetCPUUtilizationPercentage "metrics" $auto.metrics "behavior" $auto.behavior | toJson -}}
{{- end -}}
