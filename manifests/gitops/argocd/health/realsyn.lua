-- How Argo CD is to understand a RealSynBuild or RealSynRelease. Without it, it calls any of them healthy.
local health = { status = "Progressing", message = "the controller has not looked at it yet" }
local status = obj.status or {}
if status.observedGeneration ~= obj.metadata.generation then
  return health
end

local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end
local function is(name)
  return conditions[name] ~= nil and conditions[name].status == "True"
end

if is("Ready") then
  health.status, health.message = "Healthy", conditions.Ready.message
elseif is("Stalled") then
  health.status, health.message = "Degraded", conditions.Stalled.message
elseif is("Suspended") then
  health.status, health.message = "Suspended", conditions.Suspended.message
elseif status.progress ~= nil then
  local why = conditions.Reconciling and conditions.Reconciling.message
  health.message = status.progress .. (why and ": " .. why or "")
end
return health
