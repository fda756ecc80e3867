{{- define "perennial.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{/* Of what belongs to no namespace: two releases do not share it. */}}
{{- define "perennial.cluster" -}}
{{- printf "%s-%s" .Release.Namespace (include "perennial.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "perennial.selector" -}}
app.kubernetes.io/name: perennial
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "perennial.labels" -}}
{{ include "perennial.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* What the operator may do where models live: what its code asks for, no wildcard, no Secrets. */}}
{{- define "perennial.rules" -}}
# A smoke run is deleted when its time is over
- apiGroups: [perennial.dev]
  resources: [modeldeployments]
  verbs: [get, list, watch, patch, delete]
- apiGroups: [perennial.dev]
  resources: [modelversions]
  verbs: [get, list, watch, create, delete]
- apiGroups: [perennial.dev]
  resources: [modeldeployments/status, modelversions/status]
  verbs: [update]
# blockOwnerDeletion on a child asks for this where OwnerReferencesPermissionEnforcement is on (OpenShift)
- apiGroups: [perennial.dev]
  resources: [modeldeployments/finalizers, modelversions/finalizers]
  verbs: [update]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete]
# Server-side apply is a patch, and a create where nothing is; what goes, goes by owner reference, but the Service or the route of
# a model that has got or lost its spec.serving.route. A rule of somebody else's HTTPRoute is borrowed by a patch, too, and so is
# the finalizer written that gives it back (modeldeployments, above)
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [events]
  verbs: [list, create]
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [perennial-store]
  verbs: [get]
{{- if .Values.recordings.enabled }}
# recordings of rollouts: made once, gone with their version, never read back
- apiGroups: [""]
  resources: [configmaps]
  verbs: [create]
{{- end }}
{{- end -}}

{{/* Not Chart.yaml's kubeVersion: a cluster built from source may name no version, and is not refused for that. */}}
{{- define "perennial.kubernetes" -}}
{{- $version := .Capabilities.KubeVersion -}}
{{- if and (eq (toString $version.Major) "1") (lt (int (trimSuffix "+" (toString $version.Minor))) 31) -}}
{{- fail (printf "this cluster is Kubernetes %s; Perennial needs 1.31 or newer (native sidecars, CEL)" $version.Version) -}}
{{- end -}}
{{- end -}}
