-- All requests to the last version that served and was not taken back; nothing is promoted until resume or another spec.
local annotations = obj.metadata.annotations or {}
annotations["perennial.dev/rollback-to"] = ""
obj.metadata.annotations = annotations
return obj
