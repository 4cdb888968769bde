{{- define "berth.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Short enough for the suffixes of jobs. */}}
{{- define "berth.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 42 | trimSuffix "-" -}}
{{- else if contains (include "berth.name" .) .Release.Name -}}
{{- .Release.Name | trunc 42 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "berth.name" .) | trunc 42 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "berth.selectorLabels" -}}
app.kubernetes.io/name: {{ include "berth.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "berth.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{ include "berth.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "berth.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "berth.serviceAccountName" -}}
{{- if .Values.podServiceAccount.name -}}
{{- .Values.podServiceAccount.name -}}
{{- else if .Values.podServiceAccount.create -}}
{{- include "berth.fullname" . -}}
{{- end -}}
{{- end -}}

{{/* Whether the chart makes the Secret. */}}
{{- define "berth.makesSecret" -}}
{{- if and .Values.secret.create (not .Values.secret.useExistingSecret) -}}true{{- end -}}
{{- end -}}

{{- define "berth.secretName" -}}
{{- default (include "berth.fullname" .) .Values.secret.name -}}
{{- end -}}

{{/* The variable of a setting of the integration: accountRoleArns is …__ACCOUNT_ROLE_ARNS. */}}
{{- define "berth.variable" -}}
OCEAN__INTEGRATION__CONFIG__{{ . | snakecase | upper }}
{{- end -}}

{{/* Texts as they are, all else as JSON. */}}
{{- define "berth.value" -}}
{{- if kindIs "string" . -}}{{ . }}{{- else -}}{{ toJson . }}{{- end -}}
{{- end -}}

{{/* Settings that are kept in the Secret wherever they are given. External IDs are no secret in AWS's
eyes, but nobody's business either. */}}
{{- define "berth.isSensitive" -}}
{{- if has (snakecase .) (list "external_id" "external_ids" "live_events_api_key" "live_events_keys") -}}true{{- end -}}
{{- end -}}

{{/* The integration's settings that are told openly, or (`secret: true`) that are not. */}}
{{- define "berth.config" -}}
{{- $secret := .secret -}}
{{- $root := .root -}}
{{- $values := dict -}}
{{- range $key, $value := $root.Values.integration.config -}}
{{- $hidden := and (include "berth.makesSecret" $root) (include "berth.isSensitive" $key) -}}
{{- if and (not (kindIs "invalid" $value)) (eq (not (not $hidden)) $secret) -}}
{{- $_ := set $values (include "berth.variable" $key) (include "berth.value" $value) -}}
{{- end -}}
{{- end -}}
{{- if $secret -}}
{{- range $key, $value := $root.Values.integration.secrets -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $_ := set $values (include "berth.variable" $key) (include "berth.value" $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $values -}}
{{- end -}}

{{/* What the Secret holds. */}}
{{- define "berth.secretData" -}}
{{- $port := .Values.port -}}
{{- $where := "from Port (the … menu, Credentials), or use a Secret of your own: secret.create=false, secret.useExistingSecret=true, secret.name" -}}
{{- $data := include "berth.config" (dict "root" . "secret" true) | fromJson -}}
{{- $_ := set $data "OCEAN__PORT__CLIENT_ID" (required (printf "port.clientId is not set: copy it %s" $where) $port.clientId) -}}
{{- $_ := set $data "OCEAN__PORT__CLIENT_SECRET" (required (printf "port.clientSecret is not set: copy it %s" $where) $port.clientSecret) -}}
{{- toJson $data -}}
{{- end -}}

{{/* What cannot work is told before anything is installed. */}}
{{- define "berth.check" -}}
{{- $listener := .Values.integration.eventListener.type -}}
{{- if and (eq .Values.workload.kind "Deployment") (has $listener (list "ONCE" "ACTIONS_ONLY")) -}}
{{- fail (printf "integration.eventListener.type is %s, which a Deployment cannot have: use POLLING, which answers the resync button in Port, KAFKA, WEBHOOK or WEBHOOKS_ONLY; for ONCE use workload.kind=CronJob" $listener) -}}
{{- end -}}
{{- if and (eq $listener "WEBHOOK") (eq .Values.workload.kind "Deployment") (not .Values.integration.eventListener.appHost) -}}
{{- fail "integration.eventListener.appHost is not set: WEBHOOK needs the address at which Port reaches this release, as in https://berth.example.com" -}}
{{- end -}}
{{- if eq .Values.workload.kind "CronJob" -}}
{{- if not (and (kindIs "string" .Values.scheduledResyncInterval) (or (hasPrefix "@" .Values.scheduledResyncInterval) (contains " " .Values.scheduledResyncInterval))) -}}
{{- fail "scheduledResyncInterval is not a schedule: with workload.kind=CronJob use one such as \"0 */2 * * *\"" -}}
{{- end -}}
{{- else if .Values.scheduledResyncInterval -}}
{{- if not (regexMatch "^[0-9]+$" (toString .Values.scheduledResyncInterval)) -}}
{{- fail "scheduledResyncInterval is not a number of minutes, which a Deployment takes; schedules are for workload.kind=CronJob" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.podServiceAccount.annotations (not .Values.podServiceAccount.create) -}}
{{- fail "podServiceAccount.annotations are set, but no ServiceAccount is made: set podServiceAccount.create=true, or annotate your own" -}}
{{- end -}}
{{- if and .Values.secret.useExistingSecret (not .Values.secret.name) -}}
{{- fail "secret.name is not set: secret.useExistingSecret needs the name of the Secret, or a list of names" -}}
{{- end -}}
{{- end -}}

{{/* The variables of the container. `once` for one resync. */}}
{{- define "berth.env" -}}
{{- $root := .root -}}
{{- $values := $root.Values -}}
- name: APPLICATION__LOG_LEVEL
  value: {{ $values.logLevel | quote }}
- name: OCEAN__PORT__BASE_URL
  value: {{ $values.port.baseUrl | quote }}
- name: OCEAN__INITIALIZE_PORT_RESOURCES
  value: {{ $values.initializePortResources | quote }}
{{- with $values.createPortResourcesOrigin }}
- name: OCEAN__CREATE_PORT_RESOURCES_ORIGIN
  value: {{ . | quote }}
{{- end }}
{{- if and $values.scheduledResyncInterval (not .once) }}
- name: OCEAN__SCHEDULED_RESYNC_INTERVAL
  value: {{ $values.scheduledResyncInterval | toString | quote }}
{{- end }}
- name: OCEAN__EVENT_LISTENER
  value: {{ ternary (dict "type" "ONCE") $values.integration.eventListener .once | toJson | quote }}
- name: OCEAN__INTEGRATION__IDENTIFIER
  value: {{ default $root.Release.Name $values.integration.identifier | quote }}
- name: OCEAN__INTEGRATION__TYPE
  value: {{ $values.integration.type | quote }}
{{- range $name, $value := include "berth.config" (dict "root" $root "secret" false) | fromJson }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- range $key, $value := $values.settings }}
- name: OCEAN__{{ upper $key }}
  value: {{ include "berth.value" $value | quote }}
{{- end }}
{{- if not (or .once (hasKey $values.settings "bind_address")) }}
- name: OCEAN__BIND_ADDRESS
  value: "*"
{{- end }}
{{- with $values.pathPrefix }}
- name: OCEAN__PATH_PREFIX
  value: {{ . | quote }}
{{- end }}
{{- if $values.plugins.volumes }}
- name: BERTH_PLUGINS
  value: {{ include "berth.pluginDirs" $root | quote }}
{{- end }}
{{- with $values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What stands before the routes, without a slash at its end. */}}
{{- define "berth.pathPrefix" -}}
{{- printf "/%s" (trimAll "/" .Values.pathPrefix) | trimSuffix "/" -}}
{{- end -}}

{{/* What the Ingress lets in: the webhooks, which want a key. The pages about the service, its status and
     its metrics stay inside the cluster, unless a path is given. */}}
{{- define "berth.publicPaths" -}}
{{- if .Values.ingress.path -}}
{{- list (dict "path" .Values.ingress.path "pathType" .Values.ingress.pathType) | toJson -}}
{{- else -}}
{{- $events := dict "path" (printf "%s/integration/webhook" (include "berth.pathPrefix" .)) "pathType" "Exact" -}}
{{- $resync := dict "path" "/resync" "pathType" "Exact" -}}
{{- ternary (list $events $resync) (list $events) (eq .Values.integration.eventListener.type "WEBHOOK") | toJson -}}
{{- end -}}
{{- end -}}

{{/* Whether credentials may come from the node or from EKS Pod Identity: yes, unless there are others. */}}
{{- define "berth.needsMetadata" -}}
{{- if kindIs "bool" .Values.networkPolicy.allowMetadata -}}
{{- if .Values.networkPolicy.allowMetadata }}true{{ end -}}
{{- else -}}
{{- $irsa := hasKey .Values.podServiceAccount.annotations "eks.amazonaws.com/role-arn" -}}
{{- if not (or $irsa .Values.integration.secrets.awsAccessKeyId .Values.integration.config.awsAccessKeyId) }}true{{ end -}}
{{- end -}}
{{- end -}}

{{/* Beside the image's own directory, one for each volume; a later one wins. */}}
{{- define "berth.pluginDirs" -}}
{{- $dirs := list -}}
{{- range .Values.plugins.volumes -}}
{{- $dirs = append $dirs (printf "/extra-plugins/%s" .name) -}}
{{- end -}}
{{- join ":" $dirs -}}
{{- end -}}

{{- define "berth.envFrom" -}}
{{- if include "berth.makesSecret" . }}
- secretRef:
    name: {{ include "berth.secretName" . }}
{{- else if .Values.secret.useExistingSecret }}
{{- $names := .Values.secret.name -}}
{{- range kindIs "slice" $names | ternary $names (list $names) }}
- secretRef:
    name: {{ . }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The pod. `once` for one resync. */}}
{{- define "berth.pod" -}}
{{- $root := .root -}}
{{- $values := $root.Values -}}
metadata:
  labels:
    {{- include "berth.labels" $root | nindent 4 }}
    {{- with $values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- if or (include "berth.makesSecret" $root) $values.podAnnotations }}
  annotations:
    {{- if include "berth.makesSecret" $root }}
    # Another secret, another pod.
    checksum/secret: {{ include "berth.secretData" $root | sha256sum }}
    {{- end }}
    {{- with $values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
spec:
  {{- with $values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with include "berth.serviceAccountName" $root }}
  serviceAccountName: {{ . }}
  {{- end }}
  # Nothing here talks to Kubernetes. The token of IRSA is another one.
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- if .once }}
  restartPolicy: Never
  {{- end }}
  terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
  securityContext:
    {{- toYaml $values.podSecurityContext | nindent 4 }}
  {{- with $values.extraInitContainers }}
  initContainers:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: berth
      image: {{ include "berth.image" $root | quote }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      args:
        - --log-format={{ $values.logFormat }}
        - run
      env:
        {{- include "berth.env" . | nindent 8 }}
      {{- with include "berth.envFrom" $root | trim }}
      envFrom:
        {{- . | nindent 8 }}
      {{- end }}
      {{- if not .once }}
      ports:
        - name: http
          containerPort: 8000
          protocol: TCP
      {{- $prefix := include "berth.pathPrefix" $root }}
      livenessProbe:
        httpGet:
          path: {{ $prefix }}/health/live
          port: http
        {{- toYaml $values.livenessProbe | nindent 8 }}
      readinessProbe:
        httpGet:
          path: {{ $prefix }}/health/ready
          port: http
        {{- toYaml $values.readinessProbe | nindent 8 }}
      {{- end }}
      resources:
        {{- toYaml $values.resources | nindent 8 }}
      securityContext:
        {{- toYaml $values.containerSecurityContext | nindent 8 }}
      volumeMounts:
        - name: state
          mountPath: /var/lib/berth
        {{- range $values.plugins.volumes }}
        - name: {{ printf "plugins-%s" .name }}
          mountPath: {{ printf "/extra-plugins/%s" .name }}
          readOnly: true
        {{- end }}
        {{- if $values.selfSignedCertificate.enabled }}
        - name: certificate
          mountPath: /usr/local/share/ca-certificates/cert.crt
          subPath: {{ include "berth.certificateKey" $root }}
          readOnly: true
        {{- end }}
        {{- with $values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: state
      {{- default (dict "emptyDir" (dict "sizeLimit" "1Gi")) $values.state.volume | toYaml | nindent 6 }}
    {{- range $values.plugins.volumes }}
    - name: {{ printf "plugins-%s" .name }}
      {{- toYaml (omit . "name") | nindent 6 }}
    {{- end }}
    {{- if $values.selfSignedCertificate.enabled }}
    - name: certificate
      secret:
        secretName: {{ include "berth.certificateSecret" $root }}
    {{- end }}
    {{- with $values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "berth.certificateKey" -}}
{{- ternary .Values.selfSignedCertificate.secret.key "crt" .Values.selfSignedCertificate.secret.useExistingSecret -}}
{{- end -}}

{{- define "berth.certificateSecret" -}}
{{- $secret := .Values.selfSignedCertificate.secret -}}
{{- if $secret.useExistingSecret -}}
{{- required "selfSignedCertificate.secret.name is not set" $secret.name -}}
{{- else -}}
{{- include "berth.fullname" . }}-certificate
{{- end -}}
{{- end -}}

{{/* One resync, as a Job. */}}
{{- define "berth.job" -}}
{{- $cron := .Values.workload.cron -}}
# A failed resync is not repeated at once: the next one comes with the schedule.
backoffLimit: 0
{{- with $cron.resyncTimeoutMinutes }}
activeDeadlineSeconds: {{ mul 60 . }}
{{- end }}
template:
  {{- include "berth.pod" (dict "root" . "once" true) | nindent 2 }}
{{- end -}}
