-- A new version from the spec as it is.
local annotations = obj.metadata.annotations or {}
annotations["perennial.dev/retrain"] = "asked for in Argo CD"
obj.metadata.annotations = annotations
return obj
