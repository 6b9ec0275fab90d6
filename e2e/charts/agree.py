"""agree.py RENDERED [METRICS]: what rules, dashboard, documents and charts say, against what there is.

Names of metrics are looked up where the controller registers them, and in METRICS, the text of its /metrics.
"""
import json
import pathlib
import re
import sys

root = pathlib.Path(__file__).parents[2]
chart = root / "charts/realsyn-operator"
rendered = pathlib.Path(sys.argv[1]).read_text()
wrong = []

# Metrics: counters end in _total, the histogram in its unit and _bucket.
dashboard = (chart / "files/dashboard.json").read_text()
panels = json.loads(dashboard)["panels"]
if len({p["id"] for p in panels}) != len(panels):
    wrong.append("two panels of the dashboard have the same id")
operations = (root / "docs/operations.md").read_text()
asked = set(re.findall(r"realsyn_controller_[a-z_]+", rendered + dashboard + operations))
if not asked:
    wrong.append("no metric is asked for")
text = (root / "operator/controller/src/metrics.rs").read_text()
there = {"realsyn_controller_" + n for n in re.findall(r'register\("(\w+)"', text)}
there |= {f"realsyn_controller_{n}_seconds" for n in re.findall(r'register_with_unit\("(\w+)"', text)}
if len(sys.argv) > 2:
    # A counter that was never incremented under any label is not shown, so the source is needed all the same.
    shown = set(re.findall(r"^# TYPE (\S+)", pathlib.Path(sys.argv[2]).read_text(), re.M))
    wrong += [f"the controller shows {n}, which its source does not register" for n in sorted(shown - there)]
    if "realsyn_controller_reconcile_seconds" not in shown:
        wrong.append("the controller shows no metrics")
for name in sorted(asked):
    if name not in there and re.sub(r"_(total|bucket|sum|count)$", "", name) not in there:
        wrong.append(f"{name} is asked for, and the controller has no such metric")
for name in sorted(there):
    if not any(a.startswith(name) for a in re.findall(r"realsyn_controller_[a-z_]+", operations)):
        wrong.append(f"docs/operations.md does not tell of the metric {name}")

# Those of the GPU agent, which its own document tells of.
agents = (root / "docs/gpu-agent.md").read_text()
text = (root / "operator/gpu-agent/src/metrics.rs").read_text()
units = {"Ratios": "ratios", "Bytes": "bytes", "Celsius": "celsius"}
there = {"realsyn_gpu_" + n for n in re.findall(r'registry\.register\("(\w+)"', text)}
for name, unit, other in re.findall(r'readings\("(\w+)", "[^"]*", (?:None|Some\(Unit::(\w+)(?:\("(\w+)")?[^,]*\))\)', text):
    there.add("_".join(filter(None, ["realsyn_gpu", name, other or units.get(unit)])))
told = {re.sub(r"_total$", "", n) for n in re.findall(r"^\| `(realsyn_gpu_[a-z_]+)`", agents, re.M)}
asked = set(re.findall(r"realsyn_gpu_[a-z_]+", rendered + dashboard))
if not asked:
    wrong.append("no metric of the agents is asked for")
wrong += [f"docs/gpu-agent.md does not tell of the metric {n}" for n in sorted(there - told)]
wrong += [f"docs/gpu-agent.md tells of {n}, which the agent does not register" for n in sorted(told - there)]
wrong += [f"{n} is asked for, and the agent has no such metric" for n in sorted(asked) if re.sub(r"_total$", "", n) not in there]

# Alerts: each has a heading with what to do.
alerts = re.findall(r"- alert: (\w+)", rendered)
if not alerts:
    wrong.append("no alert is rendered")
for alert in alerts:
    if f"### {alert}\n" not in operations:
        wrong.append(f"docs/operations.md has no heading for the alert {alert}")

# Values: each is in the table of the chart's README, and nothing else is.
def paths(lines):
    """The leaves of values.yaml, read by indentation; maps in braces are leaves."""
    stack, leaves = [], []
    for line in lines:
        found = re.match(r"( *)(\w+):(.*)", line)
        if not found:
            continue
        depth, key, rest = len(found[1]) // 2, found[2], found[3].strip()
        stack = stack[:depth] + [key]
        if rest:
            leaves.append(".".join(stack))
    return leaves


for name in ("realsyn-crds", "realsyn-operator"):
    folder = root / "charts" / name
    values = set(paths((folder / "values.yaml").read_text().splitlines()))
    told = set(re.findall(r"^\| `([\w.]+)`", (folder / "README.md").read_text(), re.M))
    wrong += [f"{name}/README.md does not tell of {v}" for v in sorted(values - told)]
    wrong += [f"{name}/README.md tells of {v}, which is no value" for v in sorted(told - values)]

# One version for everything.
version = re.search(r'^version = "(.*)"', (root / "Cargo.toml").read_text(), re.M)[1]
for name in ("realsyn-crds", "realsyn-operator"):
    said = set(re.findall(r"^(?:version|appVersion): (.*)$", (root / "charts" / name / "Chart.yaml").read_text(), re.M))
    if said != {version}:
        wrong.append(f"{name}/Chart.yaml says {sorted(said)}, Cargo.toml {version}")

print("\n".join(wrong))
sys.exit(bool(wrong))
