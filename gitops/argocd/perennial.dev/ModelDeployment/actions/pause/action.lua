-- Start nothing and raise no weight until resume; what does harm is still taken back.
local annotations = obj.metadata.annotations or {}
annotations["perennial.dev/pause"] = ""
obj.metadata.annotations = annotations
return obj
