{{/*
The name of everything: `waypost` for the release of that name. It always begins so, because the API server asks webhooks in the
order of their configurations' names, and images that Istio's injector adds are to be seen. Cut, so that Services called by it and
`-metrics` have the 63 characters that they may have.
*/}}
{{- define "waypost.name" -}}
{{- $name := .Release.Name | hasPrefix "waypost" | ternary .Release.Name (printf "waypost-%s" .Release.Name) -}}
{{- $name | trunc 55 | trimSuffix "-" -}}
{{- end }}

{{/* What selects the Pods of a component, `webhook` or `controller`. Takes a list of the context and the component. */}}
{{- define "waypost.selector" -}}
{{- $ := index . 0 -}}
app.kubernetes.io/name: waypost
app.kubernetes.io/instance: {{ $.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* The labels of an object. Takes a list of the context and the component. */}}
{{- define "waypost.labels" -}}
{{- $ := index . 0 -}}
{{ include "waypost.selector" . }}
app.kubernetes.io/version: {{ $.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $.Chart.Name $.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* The labels of a Pod: nobody's wishes may take away what selects it. Takes a list of the context and the component. */}}
{{- define "waypost.podLabels" -}}
{{- $ := index . 0 -}}
{{- mergeOverwrite (deepCopy $.Values.podLabels) (include "waypost.selector" . | fromYaml) | toYaml }}
{{- end }}

{{/*
The namespaces that the API server does not ask for. Without ourselves: a Waypost that is down must not keep Waypost from starting.
Somebody who gave it no namespace of its own has it in `default`, beside the Pods that it is for: there its own Pods are left out alone.
*/}}
{{- define "waypost.exceptNamespaces" -}}
{{- $own := eq .Release.Namespace "default" | ternary (list) (list .Release.Namespace) -}}
{{- concat .Values.webhook.exceptNamespaces $own | uniq | toYaml }}
{{- end }}

{{- define "waypost.image" -}}
{{- with .Values.image -}}
{{- .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end }}

{{/* The PriorityClass of the Pods. */}}
{{- define "waypost.priorityClass" -}}
{{- .Values.priorityClassName | default (include "waypost.name" .) -}}
{{- end }}

{{/* The Secret with the serving certificate. Each mode has one of its own, so that none takes over what another one made. */}}
{{- define "waypost.certificateSecret" -}}
{{- $name := include "waypost.name" . -}}
{{- $provided := .Values.certificates.provided.secretName -}}
{{- get (dict "selfManaged" (printf "%s-certificate" $name) "certManager" (printf "%s-cert-manager" $name) "provided" $provided) .Values.certificates.mode -}}
{{- end }}

{{/* waypost.yaml: read when the program starts. */}}
{{- define "waypost.config" -}}
server:
  webhook:
    listen: 0.0.0.0:{{ .Values.webhook.port }}
    drain: {{ .Values.webhook.drainSeconds }}s
  admin:
    listen: 0.0.0.0:9090
  api:
    listen: 0.0.0.0:8444
    {{- if .Values.api.enabled }}
    secret: {{ include "waypost.certificateSecret" . }}
    {{- end }}
store:
  kind: kubernetes
registries:
  dir: /registries
tls:
  dir: /tls
policies:
  dir: /policies
  presets: {{ .Values.presets | toJson }}
pushes:
  route: {{ .Values.pushes.route }}
  pin: {{ .Values.pushes.pin }}
  verify: {{ .Values.pushes.verify }}
  copies: {{ .Values.pushes.copies }}
pull:
  policy: {{ .Values.inject.pullPolicy }}
  secret: {{ .Values.pull.secret }}
  secrets: {{ .Values.inject.pullSecrets | toJson }}
opt_out:
  allowed: {{ .Values.optOut.allowed }}
cluster:
  webhook_configuration: {{ include "waypost.name" . }}
controller:
  # Of its Deployment, which owns what it makes, and of its Lease.
  name: {{ include "waypost.name" . }}-controller
{{- with include "waypost.certificates" . }}
certificates: {{- . | nindent 2 }}
{{- end }}
{{- with include "waypost.issuers" . | trim }}
issuers: {{- . | nindent 2 }}
{{- end }}
log:
  level: {{ .Values.log.level }}
  format: json
{{- end }}

{{/*
Of waypost.yaml: with a Secret the controller looks after certificates; with a configuration a replica is ready only when the API server
trusts it, which cannot be seen where that trusts everybody's authorities.
*/}}
{{- define "waypost.certificates" -}}
{{- $name := include "waypost.name" . -}}
{{- $mode := .Values.certificates.mode -}}
{{- if eq $mode "selfManaged" -}}
secret: {{ include "waypost.certificateSecret" . }}
service: {{ $name }}
{{- if .Values.api.enabled }}
api_service: {{ $name }}-api
{{- end }}
webhook_configuration: {{ $name }}
{{- else if or (eq $mode "certManager") .Values.certificates.provided.caBundle -}}
webhook_configuration: {{ $name }}
{{- end -}}
{{- end }}

{{/* The files of /policies, by name. Files are evaluated in the order of their names, and pullThrough comes last. */}}
{{- define "waypost.policies" -}}
{{- range $name, $spec := .Values.policies }}
50-{{ $name }}.yaml: |
  apiVersion: waypost.dev/v1alpha1
  kind: Policy
  metadata:
    name: {{ $name }}
  spec: {{- $spec | toYaml | nindent 4 }}
{{- end }}
{{- with .Values.pullThrough }}
{{- if .registry }}
99-pull-through.yaml: |
  apiVersion: waypost.dev/v1alpha1
  kind: Policy
  metadata:
    name: pull-through
  spec:
    rules:
      - name: upstreams
        match:
          images:
            {{- range .upstreams }}
            - {{ printf "%s/**" . | quote }}
            {{- end }}
          {{- if has "*" .upstreams }}
          # What lies on the registry's host already is there on purpose.
          exceptImages:
            - {{ printf "%s/**" (first (splitList "/" .registry)) | quote }}
          {{- end }}
          {{- with .namespaces }}
          namespaces: {{ . | toJson }}
          {{- end }}
          {{- with .podSelector }}
          podSelector: {{ . | toJson }}
          {{- end }}
        rewrite:
          prefix: {{ .registry | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* What the Pods of both components have. */}}
{{- define "waypost.podSpec" -}}
# A Service called `waypost` would put variables into the Pods that look like Waypost's own.
enableServiceLinks: false
priorityClassName: {{ include "waypost.priorityClass" . }}
securityContext:
  {{- range $key := list "runAsNonRoot" "runAsUser" "runAsGroup" "fsGroup" }}
  {{- $value := get $.Values.podSecurityContext $key }}
  {{- if not (has (kindOf $value) (list "invalid" "string")) }}
  {{ $key }}: {{ $value }}
  {{- end }}
  {{- end }}
  {{- with .Values.podSecurityContext.seccompProfile }}
  seccompProfile:
    type: {{ .type }}
    {{- with .localhostProfile }}
    localhostProfile: {{ . }}
    {{- end }}
  {{- end }}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- . | toYaml | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- . | toYaml | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{- . | toYaml | nindent 2 }}
{{- end }}
{{- end }}

{{/* What their containers have. */}}
{{- define "waypost.container" -}}
name: waypost
image: {{ include "waypost.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL]}
  readOnlyRootFilesystem: true
{{- end }}

{{/* Whether the process lives and is ready, asked on the admin port. */}}
{{- define "waypost.probes" -}}
livenessProbe:
  httpGet: {path: /livez, port: admin}
  periodSeconds: 10
  timeoutSeconds: 5
readinessProbe:
  httpGet: {path: /readyz, port: admin}
  periodSeconds: 2
  timeoutSeconds: 2
{{- end }}

{{/* The volumes of the configuration, for whatever reads it. */}}
{{- define "waypost.configVolume" -}}
- name: config
  configMap: {name: {{ include "waypost.name" . }}}
{{- end }}
{{- define "waypost.policiesVolume" -}}
# A directory and no subPath: a changed policy then appears in running Pods.
- name: policies
  configMap: {name: {{ include "waypost.name" . }}-policies}
{{- end }}
