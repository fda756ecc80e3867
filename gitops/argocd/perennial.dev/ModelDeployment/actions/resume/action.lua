-- Roll new versions out again, after pause or rollback.
local annotations = obj.metadata.annotations or {}
annotations["perennial.dev/resume"] = ""
obj.metadata.annotations = annotations
return obj
