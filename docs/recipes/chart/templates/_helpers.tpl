{{- define "cnrmirror.name" -}}
{{- if contains "cnrmirror" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}{{ printf "%s-cnrmirror" .Release.Name | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "cnrmirror.selector" -}}
app.kubernetes.io/name: cnrmirror
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "cnrmirror.labels" -}}
{{ include "cnrmirror.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "cnrmirror.image" -}}
{{- with .Values.image }}
{{- if .digest }}{{ .repository }}@{{ .digest }}
{{- else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end }}
{{- end }}
{{- end }}

{{- define "cnrmirror.claim" -}}
{{ .Values.volume.existingClaim | default (include "cnrmirror.name" .) }}
{{- end }}

{{/* What every pod may do, and where it runs. */}}
{{- define "cnrmirror.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
volumes:
  - name: data
    persistentVolumeClaim:
      claimName: {{ include "cnrmirror.claim" . }}
  - name: tmp
    emptyDir: {}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What every container may do. */}}
{{- define "cnrmirror.container" -}}
image: {{ include "cnrmirror.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{/* A CronJob of the commands that sign. Takes root, name, schedule, memory, environment, run. */}}
{{- define "cnrmirror.job" -}}
apiVersion: batch/v1
kind: CronJob
metadata:
  name: {{ include "cnrmirror.name" .root }}-{{ .name }}
  labels:
    {{- include "cnrmirror.labels" .root | nindent 4 }}
spec:
  schedule: {{ .schedule | quote }}
  concurrencyPolicy: Forbid
  startingDeadlineSeconds: 3600
  successfulJobsHistoryLimit: 1
  failedJobsHistoryLimit: 3
  jobTemplate:
    spec:
      backoffLimit: 1
      template:
        metadata:
          labels:
            {{- include "cnrmirror.labels" .root | nindent 12 }}
            app.kubernetes.io/component: job
        spec:
          {{- include "cnrmirror.pod" .root | nindent 10 }}
          restartPolicy: Never
          # Prefer the node that has the volume.
          affinity:
            podAffinity:
              preferredDuringSchedulingIgnoredDuringExecution:
                - weight: 100
                  podAffinityTerm:
                    topologyKey: kubernetes.io/hostname
                    labelSelector:
                      matchLabels:
                        {{- include "cnrmirror.selector" .root | nindent 24 }}
                        app.kubernetes.io/component: serve
          containers:
            - name: {{ .name }}
              {{- include "cnrmirror.container" .root | nindent 14 }}
              {{- .run | nindent 14 }}
              env:
                - name: CNRMIRROR_KEYS
                  valueFrom:
                    secretKeyRef:
                      name: {{ .root.Values.keys.existingSecret }}
                      key: {{ .root.Values.keys.key }}
              {{- with .environment }}
              envFrom:
                - secretRef:
                    name: {{ . }}
                    optional: true
              {{- end }}
              resources:
                requests: {cpu: 50m, memory: 128Mi}
                limits: {memory: {{ .memory }}}
              volumeMounts:
                - {name: data, mountPath: /data}
                - {name: tmp, mountPath: /tmp}
{{- end }}
