-- How one attempt to train is, by its state. The health of an Application is that of its ModelDeployments, not of these.
local HEALTH = {
  Serving = "Healthy", Retired = "Healthy", Superseded = "Healthy", Passed = "Healthy",
  Accepted = "Suspended",
  Failed = "Degraded", Rejected = "Degraded", RolledBack = "Degraded",
}

local status = obj.status or {}
local state = status.state or "Pending"
local words = state
if status.message ~= nil and status.message ~= "" then
  words = state .. ": " .. status.message
end
return {status = HEALTH[state] or "Progressing", message = words}
