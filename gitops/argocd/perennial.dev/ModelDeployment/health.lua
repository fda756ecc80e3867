-- How a ModelDeployment is, by its conditions; docs/gitops.md has the table.
-- Suspended: a person, or more traffic, has to end it. Degraded: what is in Git does not serve and will not, or nothing answers.
local WAITING = {Paused = true, Held = true, ApprovalNeeded = true, StepDeadline = true, ShadowDeadline = true}
local NOBODY_ANSWERS = {PodsNotReady = true, VersionLost = true}

local status = obj.status or {}
if status.conditions == nil or status.observedGeneration ~= obj.metadata.generation then
  return {status = "Progressing", message = "the operator has not seen this spec yet"}
end

local found = {}
for _, condition in ipairs(status.conditions) do
  found[condition.type] = condition
end

local function is(name, value)
  return found[name] ~= nil and found[name].status == value
end

local function told(health, name)
  return {status = health, message = found[name].message}
end

if is("Ready", "False") and NOBODY_ANSWERS[found.Ready.reason] then
  return told("Degraded", "Ready")
end
if is("Stalled", "True") then
  return told(WAITING[found.Stalled.reason] and "Suspended" or "Degraded", "Stalled")
end
if is("Reconciling", "True") then
  return told("Progressing", "Reconciling")
end
if is("Paused", "True") then
  return told("Suspended", "Paused")
end
if obj.spec.paused then
  return {status = "Suspended", message = "spec.paused is true: what serves goes on, and nothing is started"}
end
if found.Ready == nil then
  return {status = "Progressing", message = "the operator has not told yet whether it serves"}
end
return told(is("Ready", "True") and "Healthy" or "Progressing", "Ready")
