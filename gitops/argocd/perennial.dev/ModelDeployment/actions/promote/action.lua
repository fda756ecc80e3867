-- Give the candidate all requests, or end its watch. The operator carries the annotation out once and removes it.
local rollout = obj.status.rollout or {}
if rollout.candidate == nil then
  return obj -- it ended while the menu was open
end
local annotations = obj.metadata.annotations or {}
annotations["perennial.dev/promote"] = tostring(rollout.candidate)
obj.metadata.annotations = annotations
return obj
