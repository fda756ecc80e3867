-- Which requests make sense now. One that the operator refuses all the same is told by an event, with the reason.
local status, spec = obj.status or {}, obj.spec or {}
local known = status.observedGeneration ~= nil and (status.latest or 0) > 0 and obj.metadata.deletionTimestamp == nil
local rollout, candidate = status.rollout, status.candidate
local watched = rollout ~= nil and rollout.phase == "Watch"
local paused = spec.paused == true or status.paused == true
local kept = spec.pin ~= nil or status.held == true

local ended, readable, waits, stopped = "", true, false, false
for _, condition in ipairs(status.conditions or {}) do
  if condition.type == "UpToDate" and condition.status == "False" then
    ended = condition.reason
  end
  if condition.type == "Approved" and condition.status == "False" then
    waits = true
  end
  if condition.type == "RetrainingStopped" and condition.status == "True" then
    stopped = true
  end
  if condition.reason == "SpecUnreadable" then
    readable = false
  end
end
local starts = readable and not paused
local again = candidate == nil and (ended == "Failed" or ended == "Superseded")

local function action(enabled, icon, name)
  return {disabled = not (known and enabled), iconClass = "fa fa-fw " .. icon, displayName = name}
end

local function of(name, number)
  return number ~= nil and name .. " v" .. tostring(number) or name
end

local arm = rollout ~= nil and rollout.candidate or candidate
return {
  promote = action(rollout ~= nil and (watched or (starts and not kept)), "fa-forward", of("Promote", rollout ~= nil and rollout.candidate or nil)),
  approve = action(waits, "fa-check", of("Approve", waits and candidate or nil)),
  abort = action(arm ~= nil, "fa-stop", of("Abort", arm)),
  rollback = action((status.stable or 0) > 1 and spec.pin == nil, "fa-undo", "Roll back to the version before"),
  retrain = action(starts, "fa-redo", "Retrain"),
  retry = action(again and starts, "fa-sync", of("Retry", again and status.latest or nil)),
  pause = action(not paused, "fa-pause", "Pause"),
  resume = action(status.paused == true or status.held == true or stopped, "fa-play", "Resume"),
}
