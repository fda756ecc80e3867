-- Say yes to the version that waits for approval. The operator carries the annotation out once and removes it.
if obj.status.candidate == nil then
  return obj -- it ended while the menu was open
end
local annotations = obj.metadata.annotations or {}
annotations["perennial.dev/approve"] = tostring(obj.status.candidate)
obj.metadata.annotations = annotations
return obj
