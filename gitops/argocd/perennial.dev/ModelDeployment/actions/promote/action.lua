-- Give the candidate all requests, or end its watch. The operator carries the annotation out once and removes it.
local annotations = obj.metadata.annotations or {}
annotations["perennial.dev/promote"] = tostring(obj.status.rollout.candidate)
obj.metadata.annotations = annotations
return obj
