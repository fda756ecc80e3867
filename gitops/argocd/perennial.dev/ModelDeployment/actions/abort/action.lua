-- Take back the version that has a share of the requests, else end the one that is being made.
local rollout = obj.status.rollout or {}
local number = rollout.candidate or obj.status.candidate
if number == nil then
  return obj -- it ended while the menu was open
end
local annotations = obj.metadata.annotations or {}
annotations["perennial.dev/abort"] = tostring(number)
obj.metadata.annotations = annotations
return obj
