{{/*
The files of /registries, by name: objects, which the controller makes. In a release they would be of a kind that the cluster does not know
before the release's own definitions are there. Credentials are not in them, but in Secrets that they name.
*/}}
{{- define "waypost.registries" -}}
{{- range $id, $registry := .Values.registries }}
{{- include "waypost.checkRegistry" (list $id $registry) }}
{{ $id }}.yaml: |
  apiVersion: waypost.dev/v1alpha1
  kind: Registry
  metadata:
    name: {{ $id }}
    labels:
      app.kubernetes.io/name: waypost
      app.kubernetes.io/instance: {{ $.Release.Name }}
      app.kubernetes.io/managed-by: {{ $.Release.Service }}
  spec:
    {{- with $registry.name }}
    displayName: {{ . | quote }}
    {{- end }}
    {{- range $key := list "url" "location" "region" }}
    {{- with get $registry $key }}
    {{ $key }}: {{ . | toJson }}
    {{- end }}
    {{- end }}
    {{- with include "waypost.registryId" (list $id $registry) }}
    registryId: {{ . | quote }}
    {{- end }}
    {{- range $key := list "hostname" "pullRoleArn" "pullRoleExternalId" "pullServiceAccount" "repositories" "endpoint" "caBundle" }}
    {{- with get $registry $key }}
    {{ $key }}: {{ . | toJson }}
    {{- end }}
    {{- end }}
    {{- if $registry.plainHttp }}
    plainHttp: true
    {{- end }}
    {{- range $key := list "tokenHosts" "names" "namespaces" }}
    {{- with get $registry $key }}
    {{ $key }}: {{ . | toJson }}
    {{- end }}
    {{- end }}
    {{- with include "waypost.registrySecret" (list $ $id $registry "pull") }}
    pullCredential: {secretName: {{ . }}}
    {{- end }}
    {{- with include "waypost.registrySecret" (list $ $id $registry "push") }}
    pushCredential: {secretName: {{ . }}}
    {{- end }}
    {{- with include "waypost.notificationSecret" (list $ $id ($registry.notifications | default dict)) }}
    notificationToken: {secretName: {{ . }}}
    {{- end }}
{{- end }}
{{- end }}

{{/*
Fails where values of a registry do not go together: what the controller would say later, to whoever reads its log. Takes a list of the id
and the registry.
*/}}
{{- define "waypost.checkRegistry" -}}
{{- $id := index . 0 -}}
{{- $registry := index . 1 -}}
{{- $location := $registry.location | default "off-cluster" -}}
{{- $foreign := "registries.%s.%s is for the location %s, and the location is %s" -}}
{{- range $key := list "region" "registryId" "pullRoleArn" "pullRoleExternalId" "repositories" -}}
{{- if and (hasKey $registry $key) (ne (get $registry $key | toString) "") (ne $location "ecr") -}}
{{- fail (printf $foreign $id $key "ecr" $location) -}}
{{- end -}}
{{- end -}}
{{- if and $registry.hostname (eq $location "off-cluster") -}}
{{- fail (printf $foreign $id "hostname" "ecr or gcr" "off-cluster: its host goes into url") -}}
{{- end -}}
{{- if and $registry.pullServiceAccount (ne $location "gcr") -}}
{{- fail (printf $foreign $id "pullServiceAccount" "gcr" $location) -}}
{{- end -}}
{{- if and $registry.pullRoleExternalId (not $registry.pullRoleArn) -}}
{{- fail (printf "registries.%s.pullRoleExternalId is that of a role: say which one in pullRoleArn" $id) -}}
{{- end -}}
{{- $host := $registry.url | default "" | lower | trimPrefix "https://" | trimPrefix "http://" | splitList "/" | first -}}
{{- $isAtHome := include "waypost.isAtHome" (list $location $host) -}}
{{- $hostname := $registry.hostname | default "" | lower -}}
{{- if and (eq $location "ecr") (not $registry.region) (not (include "waypost.isAtHome" (list "ecr" ($hostname | default $host)))) -}}
{{- fail (printf "registries.%s.region is missing: ECR is one in each region, such as eu-central-1" $id) -}}
{{- end -}}
{{- if and (ne $location "off-cluster") $host (not $registry.hostname) (not $isAtHome) -}}
{{- $theirs := eq $location "ecr" | ternary "ECR's, such as 123456789012.dkr.ecr.eu-central-1.amazonaws.com" "Google's, such as europe-west1-docker.pkg.dev" -}}
{{- fail (printf "registries.%s.url has a host that is none of %s: if it is a name of your own or a proxy for one, give it as hostname, too" $id $theirs) -}}
{{- end -}}
{{- end }}

{{/* Whether a host is one of those that the issuer's tokens are for, as the program knows them. Takes a list of the location and the host. */}}
{{- define "waypost.isAtHome" -}}
{{- $location := index . 0 -}}
{{- $host := index . 1 -}}
{{- $google := `^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)?gcr\.io$|^([a-z0-9]([a-z0-9-]*[a-z0-9])?-)?docker\.pkg\.dev$` -}}
{{- $amazon := `^[0-9]{12}\.dkr([.-])ecr(-fips)?\.([a-z]+(-[a-z]+)+-[0-9]+)\.([a-z0-9.-]+)$` -}}
{{- if eq $location "gcr" -}}
{{- if regexMatch $google $host -}}true{{- end -}}
{{- else if and (eq $location "ecr") (regexMatch $amazon $host) -}}
{{- $region := regexReplaceAll $amazon $host "${3}" -}}
{{- $suffixes := dict "." "amazonaws.com" "-" "on.aws" -}}
{{- range $prefix, $others := dict
  "cn-" (dict "." "amazonaws.com.cn" "-" "on.amazonwebservices.com.cn")
  "us-iso-" (dict "." "c2s.ic.gov")
  "us-isob-" (dict "." "sc2s.sgov.gov")
  "eu-isoe-" (dict "." "cloud.adc-e.uk")
  "us-isof-" (dict "." "csp.hci.ic.gov")
  "eusc-" (dict "." "amazonaws.eu")
-}}
{{- if hasPrefix $prefix $region -}}
{{- $suffixes = $others -}}
{{- end -}}
{{- end -}}
{{- $suffix := get $suffixes (regexReplaceAll $amazon $host "${1}") -}}
{{- if and (le (len $region) 32) (eq $suffix (regexReplaceAll $amazon $host "${5}")) -}}true{{- end -}}
{{- end -}}
{{- end }}

{{/*
Fails where a username says that its password is a token, which ends, or a key, which nobody is to have. Takes a list of where it is, the
registry and the username.
*/}}
{{- define "waypost.checkUsername" -}}
{{- $at := index . 0 -}}
{{- $username := index . 2 | toString -}}
{{- $host := (index . 1).url | default "" | lower | trimPrefix "https://" | trimPrefix "http://" | splitList "/" | first -}}
{{- $host = regexReplaceAll ":[0-9]+$" $host "" -}}
{{- if and (eq $username "AWS") (include "waypost.isAtHome" (list "ecr" $host)) -}}
{{- fail (printf "%s.username is that of ECR's tokens: such a password ends after twelve hours. Say location: ecr, and give accessKeyId and secretAccessKey, or neither where Waypost has an identity of its own" $at) -}}
{{- end -}}
{{- if and (eq $username "oauth2accesstoken") (include "waypost.isAtHome" (list "gcr" $host)) -}}
{{- fail (printf "%s.username is that of Google's tokens: such a password ends after an hour. Say location: gcr, and give keyJson, or nothing where Waypost has an identity of its own" $at) -}}
{{- end -}}
{{- if and (has $username (list "_json_key" "_json_key_base64")) (include "waypost.isAtHome" (list "gcr" $host)) -}}
{{- fail (printf "%s.username goes with the key of a service account: one to pull with would reach every admitted namespace. Say location: gcr, and give keyJson, or nothing where Waypost has an identity of its own" $at) -}}
{{- end -}}
{{- end }}

{{/*
Fails where an access key cannot be right: swapped, the id twice, in base64. No pattern of the schema, for whose complaints have the value in
them. Takes a list of where it is and what has the key.
*/}}
{{- define "waypost.checkAccessKey" -}}
{{- $at := index . 0 -}}
{{- /* A file's line end is taken off by the controller. */ -}}
{{- $id := (index . 1).accessKeyId | toString | trimAll "\r\n" -}}
{{- $secret := (index . 1).secretAccessKey | toString | trimAll "\r\n" -}}
{{- $isId := `^[A-Z0-9_]{16,128}$` -}}
{{- $isSurelyId := `^(AKIA|ASIA)[A-Z0-9]{12,124}$` -}}
{{- if not (regexMatch $isId $id) -}}
{{- if regexMatch $isId (b64dec $id | trimAll "\r\n") -}}
{{- fail (printf "%s.accessKeyId is in base64: give it as it is" $at) -}}
{{- end -}}
{{- fail (printf "%s.accessKeyId is no id of an access key: those are 16 to 128 upper-case letters and digits, and what is longer is the secret" $at) -}}
{{- end -}}
{{- if not (regexMatch `^[!-~]+$` $secret) -}}
{{- fail (printf "%s.secretAccessKey has a space, a line end or a letter in it that is not ASCII" $at) -}}
{{- end -}}
{{- if or (eq $secret $id) (regexMatch $isSurelyId $secret) -}}
{{- fail (printf "%s.secretAccessKey is the id of an access key: the secret is what AWS shows once, when it makes the key" $at) -}}
{{- end -}}
{{- $decoded := b64dec $secret | trimAll "\r\n" -}}
{{- if or (regexMatch $isSurelyId $decoded) (regexMatch `^[A-Za-z0-9/+]{40}$` $decoded) -}}
{{- fail (printf "%s.secretAccessKey is in base64: give it as it is" $at) -}}
{{- end -}}
{{- end }}

{{/*
The twelve digits of an ECR registry's id, if it has one. YAML reads them as a number, which Helm would write as 1.23e+11, and which has lost
the zeros that it began with. Takes a list of the id and the registry.
*/}}
{{- define "waypost.registryId" -}}
{{- $id := index . 0 -}}
{{- $given := get (index . 1) "registryId" -}}
{{- $isText := kindIs "string" $given -}}
{{- $digits := $isText | ternary $given (printf "%d" (int64 $given)) -}}
{{- if and $digits (not (regexMatch "^[0-9]{12}$" $digits)) -}}
{{- if $isText -}}
{{- fail (printf "registries.%s.registryId is an AWS account's id, of twelve digits and nothing else" $id) -}}
{{- end -}}
{{- fail (printf "registries.%s.registryId has not twelve digits: a number loses the zeros that it begins with. Write it in quotes, or give it by --set-string" $id) -}}
{{- end -}}
{{- $digits -}}
{{- end }}

{{/*
The Secret with a registry's credential, if it has one: a password, or the key that tokens are issued by. Secrets keep their type for ever,
so each location has one of its own. Takes a list of the context, the id, the registry, and `pull` or `push`.
*/}}
{{- define "waypost.registrySecret" -}}
{{- $ := index . 0 -}}
{{- $id := index . 1 -}}
{{- $registry := index . 2 -}}
{{- $use := index . 3 -}}
{{- $location := $registry.location | default "off-cluster" -}}
{{- $at := eq $use "pull" | ternary (printf "registries.%s" $id) (printf "registries.%s.push" $id) -}}
{{- $credential := eq $use "pull" | ternary $registry ($registry.push | default dict) -}}
{{- $inline := list -}}
{{- range $key, $of := dict "username" "off-cluster" "password" "off-cluster" "accessKeyId" "ecr" "secretAccessKey" "ecr" "sessionToken" "ecr" "keyJson" "gcr" -}}
{{- if get $credential $key -}}
{{- if ne $of $location -}}
{{- $known := dict "off-cluster" "username and password" "ecr" "accessKeyId and secretAccessKey, or none where Waypost has an identity of its own" "gcr" "keyJson, or none where Waypost has an identity of its own" -}}
{{- fail (printf "%s.%s is for the location %s, and the location is %s: there it is %s" $at $key $of $location (get $known $location)) -}}
{{- end -}}
{{- $inline = append $inline $key -}}
{{- end -}}
{{- end -}}
{{- if and $credential.existingSecret $inline -}}
{{- fail (printf "%s has both existingSecret and %s: leave one of the two out" $at (join ", " $inline)) -}}
{{- end -}}
{{- if $credential.existingSecret -}}
{{- $credential.existingSecret -}}
{{- else if $inline -}}
{{- $wanted := get (dict "off-cluster" (list "username" "password") "ecr" (list "accessKeyId" "secretAccessKey") "gcr" (list "keyJson")) $location -}}
{{- range $wanted -}}
{{- if not (has . $inline) -}}
{{- fail (printf "%s has %s without %s" $at (join ", " $inline) .) -}}
{{- end -}}
{{- end -}}
{{- if eq $location "off-cluster" -}}
{{- include "waypost.checkUsername" (list $at $registry $credential.username) -}}
{{- else if eq $location "ecr" -}}
{{- include "waypost.checkAccessKey" (list $at $credential) -}}
{{- end -}}
{{- include "waypost.name" $ }}-registry-{{ $id }}-{{ $use }}{{ if ne $location "off-cluster" }}-{{ $location }}{{ end -}}
{{- end -}}
{{- end }}

{{/* The file of a service account's key, which may be pasted as text or as a map. Takes a list of where it is and the value. */}}
{{- define "waypost.keyJson" -}}
{{- $given := index . 1 -}}
{{- $file := kindIs "map" $given | ternary (toJson $given) (toString $given) -}}
{{- if ne (get (fromJson $file) "type" | toString) "service_account" -}}
{{- fail (printf "%s.keyJson is no key of a service account: it is the file that Google gives out, as it is and without base64, such as by --set-file %s.keyJson=key.json" (index . 0) (index . 0)) -}}
{{- end -}}
{{- $file -}}
{{- end }}

{{/* The Secret with the token of a registry's notifications, if it has one. Takes a list of the context, the id and what has the token. */}}
{{- define "waypost.notificationSecret" -}}
{{- $ := index . 0 -}}
{{- $id := index . 1 -}}
{{- $notifications := index . 2 -}}
{{- if and $notifications.existingSecret $notifications.token -}}
{{- fail (printf "registries.%s.notifications has both existingSecret and a token: leave one of the two out" $id) -}}
{{- end -}}
{{- if $notifications.existingSecret -}}
{{- $notifications.existingSecret -}}
{{- else if $notifications.token -}}
{{- include "waypost.name" $ }}-registry-{{ $id }}-notifications
{{- end -}}
{{- end }}

{{/*
Of waypost.yaml: the hosts besides Amazon's and Google's own to which tokens go that Waypost's own identity has issued: whoever has values
decides that, and not everybody who may register a registry. What is no host is left out, for there its registry is what is wrong.
*/}}
{{- define "waypost.issuers" -}}
{{- $hosts := .Values.issuers.ambientHosts -}}
{{- range $id, $registry := .Values.registries -}}
{{- $issues := has ($registry.location | default "") (list "ecr" "gcr") -}}
{{- if and $issues (not (include "waypost.registrySecret" (list $ $id $registry "pull"))) -}}
{{- range $host := concat (list ($registry.hostname | default "") ($registry.endpoint | default "")) ($registry.tokenHosts | default list) -}}
{{- $host = $host | lower | trimPrefix "https://" | trimPrefix "http://" | trimSuffix "/" -}}
{{- $isHost := regexMatch `^(\[[0-9a-f:.]+\]|[a-z0-9]+(-+[a-z0-9]+)*(\.[a-z0-9]+(-+[a-z0-9]+)*)*)(:[0-9]+)?$` $host -}}
{{- if and $isHost (not (include "waypost.isAtHome" (list $registry.location (regexReplaceAll ":[0-9]+$" $host "")))) -}}
{{- $hosts = append $hosts $host -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with $hosts }}
ambient_hosts: {{ . | uniq | sortAlpha | toJson }}
{{- end }}
{{- with .Values.issuers.google }}
{{- if or .iamCredentials .trusted }}
google:
  {{- with .iamCredentials }}
  iam_credentials: {{ . | quote }}
  {{- end }}
  {{- with .trusted }}
  trusted: {{ . | toJson }}
  {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* What the controller's container has in its environment. What waypost.yaml says is said by values, and not by two of them. */}}
{{- define "waypost.controllerEnv" -}}
{{- $names := list -}}
{{- range .Values.controller.env -}}
{{- if hasPrefix "WAYPOST_" .name -}}
{{- fail (printf "controller.env has %s, which would go before what the chart writes into waypost.yaml: there are other values for that" .name) -}}
{{- end -}}
{{- if has .name $names -}}
{{- fail (printf "controller.env has %s twice" .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- with .Values.controller.env -}}
{{- . | toYaml -}}
{{- end -}}
{{- end }}

{{/* Fails where the controller's further volumes have what the chart's own have. */}}
{{- define "waypost.checkVolumes" -}}
{{- $names := list "config" "policies" "registries" -}}
{{- range .Values.controller.volumes -}}
{{- if has .name $names -}}
{{- fail (printf "controller.volumes has %s, and there is one of that name already" .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- $paths := list "/etc/waypost" "/policies" "/registries" -}}
{{- range .Values.controller.volumeMounts -}}
{{- if not (has .name $names) -}}
{{- fail (printf "controller.volumeMounts has %s, which controller.volumes has not" .name) -}}
{{- end -}}
{{- if has (trimSuffix "/" .mountPath) $paths -}}
{{- fail (printf "controller.volumeMounts has %s, and something is mounted there already" .mountPath) -}}
{{- end -}}
{{- $paths = append $paths (trimSuffix "/" .mountPath) -}}
{{- end -}}
{{- end }}
