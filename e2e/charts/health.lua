-- health.lua FOLDER: Argo CD's health script, run on objects in every state.
local script = arg[1] .. "/realsyn.lua"

local function condition(name, status, message)
  return { type = name, status = status, message = message or "" }
end
local function object(status)
  return { metadata = { generation = 2 }, status = status }
end
local cases = {
  { "new", object(nil), "Progressing", "not looked at" },
  { "older", object({ observedGeneration = 1, conditions = { condition("Ready", "True") } }), "Progressing", "not looked at" },
  { "without conditions", object({ observedGeneration = 2 }), "Progressing", "not looked at" },
  { "ready", object({ observedGeneration = 2, conditions = { condition("Ready", "True", "complete"), condition("Suspended", "True") } }), "Healthy", "complete" },
  { "stalled", object({ observedGeneration = 2, conditions = { condition("Ready", "False"), condition("Stalled", "True", "no bucket") } }), "Degraded", "no bucket" },
  { "suspended", object({ observedGeneration = 2, conditions = { condition("Stalled", "False"), condition("Suspended", "True", "by spec") } }), "Suspended", "by spec" },
  { "running", object({ observedGeneration = 2, progress = "caption 1/4", conditions = { condition("Reconciling", "True", "no quota") } }), "Progressing", "caption 1/4: no quota" },
  { "running, mute", object({ observedGeneration = 2, progress = "caption 1/4" }), "Progressing", "caption 1/4" },
}
for _, case in ipairs(cases) do
  obj = case[2]
  local health = dofile(script)
  assert(health.status == case[3], case[1] .. ": " .. health.status)
  assert(health.message:find(case[4], 1, true), case[1] .. ": " .. health.message)
end
