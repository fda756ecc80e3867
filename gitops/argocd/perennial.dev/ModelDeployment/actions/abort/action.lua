-- Take back the version that has a share of the requests, else end the one that is being made.
local rollout = obj.status.rollout or {}
local annotations = obj.metadata.annotations or {}
annotations["perennial.dev/abort"] = tostring(rollout.candidate or obj.status.candidate)
obj.metadata.annotations = annotations
return obj
