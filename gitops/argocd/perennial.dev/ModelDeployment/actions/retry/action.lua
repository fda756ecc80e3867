-- The newest version once more, from where it ended.
local annotations = obj.metadata.annotations or {}
annotations["perennial.dev/retry"] = tostring(obj.status.latest)
obj.metadata.annotations = annotations
return obj
