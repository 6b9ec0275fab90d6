//! The language model's server beside a worker: vLLM, as the last init container that goes on running (a native sidecar).
//!
//! It holds the stage's GPUs and what the stage asks for of processor and memory; the worker beside it only asks questions.
//! It listens on 127.0.0.1 alone, so kubelet cannot probe it, and must not: kubelet would start it again for ever before the
//! worker ran, and nobody would count that. Without a probe the worker starts at once, waits as long as the model's size
//! allows, and ends with 67, which the Job counts and which frees the GPUs. What the server said last is in its container's
//! status then.

use realsyn_crds::{BuildSpec, Dtype, Engine, Quantity, Stage, device};
use realsyn_plan::mounts::mount;
use realsyn_plan::placement::Placement;
use realsyn_plan::{SERVED_MODEL, memory};
use serde_json::{Value, json};

use crate::plan::Plan;
use crate::pod;

/// Its container's name.
pub const CONTAINER: &str = "server";
/// How it is started, whatever its image would start.
pub const COMMAND: [&str; 2] = ["vllm", "serve"];
/// Where it listens, and the worker asks.
const PORT: u16 = 8000;
/// Nobody in particular, and not the worker: neither can read the other's memory.
const USER: i64 = 65533;
/// Room for the prompt beside the answer: the instructions, a raw text of 81 words, a caption and tags need some 400.
const PROMPT: u32 = 1024;
/// Bytes a second from a slow volume; the worker reads the files once more, for their hash.
const SLOW: u64 = 100 << 20;
/// Seconds that a start takes beside reading: libraries, compilation, CUDA graphs.
const START: u64 = 600;
/// Seconds for a model whose size is not known.
const UNKNOWN: u64 = 1800;

/// What the controller's flags say of servers.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The image.
    pub image: String,
    /// Seconds that it may leave a worker without an answer; without them the model's size says.
    pub patience: Option<u64>,
}

/// Whether a stage's pods have a server beside their worker.
pub fn is_wanted(plan: &Plan, stage: Stage) -> bool {
    stage == Stage::Generate && device(&plan.build, stage).is_some_and(|device| device.engine == Engine::Cuda)
}

/// What keeps a build from having a server, in one sentence.
pub fn problem(build: &BuildSpec) -> Option<String> {
    let wanted = device(build, Stage::Generate).is_some_and(|device| device.engine == Engine::Cuda);
    let uri = build.models.llm.as_ref().and_then(|model| model.uri.as_deref()).unwrap_or_default();
    (wanted && mount(uri).is_none()).then(|| {
        format!(
            "spec.models.llm.uri is `{uri}`, but a server on GPUs loads its model from a volume: write oci://IMAGE:TAG/FOLDER, \
             or pvc://CLAIM/FOLDER for a claim that you fill"
        )
    })
}

/// What the worker is told of it.
pub fn args(plan: &Plan, settings: &Settings) -> [String; 4] {
    let patience = start_budget(plan, Stage::Generate, settings);
    let address = format!("http://127.0.0.1:{PORT}/v1");
    ["--server".to_owned(), address, "--patience".to_owned(), patience.to_string()]
}

/// Seconds that a pod may need until its worker works: with a server beside it what that needs, else as for its libraries.
pub fn start_budget(plan: &Plan, stage: Stage, settings: &Settings) -> u64 {
    match is_wanted(plan, stage) {
        true => settings.patience.unwrap_or_else(|| patience(&plan.build)),
        false => START,
    }
}

/// Seconds that a server may need until it answers.
fn patience(build: &BuildSpec) -> u64 {
    memory::of_stage(build, Stage::Generate).map_or(UNKNOWN, |(model, dtype)| {
        let size = if dtype == Dtype::F32 { 4 } else { 2 };
        START + 2 * (model.parameters * size).div_ceil(SLOW)
    })
}

/// Puts the server into the spec of a worker's pod, and the worker's GPUs into its hands.
pub fn beside(spec: &mut Value, plan: &Plan, settings: &Settings, gpus: Option<&Placement>) {
    let count = device(&plan.build, Stage::Generate).and_then(|d| d.gpu.as_ref()).map_or(1, |gpu| gpu.count);
    // NCCL shares buffers between its processes here; what lies here counts as the container's memory.
    let shared = (1 + u64::from(count)) << 30;
    let volumes = [
        json!({ "name": "server-cache", "emptyDir": { "sizeLimit": "6Gi" } }),
        json!({ "name": "server-tmp", "emptyDir": { "sizeLimit": "1Gi" } }),
        json!({ "name": "server-shm", "emptyDir": { "medium": "Memory", "sizeLimit": shared.to_string() } }),
    ];
    let own = [("server-cache", "/cache"), ("server-tmp", "/tmp"), ("server-shm", "/dev/shm")];
    let mut mounts: Vec<Value> = own.iter().map(|(name, at)| json!({ "name": name, "mountPath": at })).collect();
    // Of the worker's volumes the one with the model, and never to write.
    let model = plan.build.models.llm.as_ref().and_then(|model| mount(model.uri.as_deref()?));
    let worker = &mut spec["containers"][0];
    let all = worker["volumeMounts"].as_array().into_iter().flatten();
    for found in all.filter(|found| model.as_ref().is_some_and(|model| found["mountPath"] == json!(model.root))) {
        mounts.push(json!({ "name": found["name"], "mountPath": found["mountPath"], "readOnly": true }));
    }
    let defaults = [
        ("cpu", (1 + count).to_string()),
        ("memory", format!("{}Gi", 8 + 4 * count)),
        ("ephemeral-storage", "8Gi".to_owned()),
    ];
    let mut resources = pod::resources(&defaults, Some((plan, Stage::Generate)));
    for kind in ["requests", "limits"] {
        let asked = resources[kind]["memory"].as_str().map(Quantity::new);
        let bytes = asked.and_then(|quantity| quantity.value()).unwrap_or_default() as u64;
        resources[kind]["memory"] = json!((bytes + shared).to_string());
    }
    worker["resources"] = pod::resources(&pod::WORKER, None);
    spec["initContainers"] = json!([{
        "name": CONTAINER,
        "image": settings.image,
        "restartPolicy": "Always",
        "command": COMMAND,
        "args": arguments(&plan.build, model.map(|model| model.path).unwrap_or_default(), count),
        "env": env(),
        "volumeMounts": mounts,
        "resources": resources,
        // Why it ended stands in its log.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "runAsUser": USER,
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        },
    }]);
    if let Some(gpus) = gpus {
        pod::give_gpus(spec, "/initContainers/0", gpus);
    }
    if let Some(all) = spec["volumes"].as_array_mut() {
        all.extend(volumes);
    }
}

fn arguments(build: &BuildSpec, model: String, count: u32) -> Vec<String> {
    let dtype = match build.models.llm.as_ref().map(|model| model.dtype).unwrap_or_default() {
        Dtype::F32 => "float32",
        Dtype::F16 => "float16",
        Dtype::Bf16 => "bfloat16",
    };
    let length = PROMPT + build.stages.generate.max_new_tokens;
    let options = [
        ("--host", "127.0.0.1".to_owned()),
        ("--port", PORT.to_string()),
        ("--served-model-name", SERVED_MODEL.to_owned()),
        ("--dtype", dtype.to_owned()),
        // Never a file that can run code.
        ("--load-format", "safetensors".to_owned()),
        ("--max-model-len", length.to_string()),
        // At most; the worker asks as many questions at once as there is memory for on the GPUs that it finds.
        ("--max-num-seqs", memory::MOST_SEQUENCES.to_string()),
        ("--tensor-parallel-size", count.to_string()),
        // What `plan::memory` leaves to the allocator.
        ("--gpu-memory-utilization", "0.9".to_owned()),
        ("--seed", "0".to_owned()),
    ];
    let mut arguments = vec![model];
    arguments.extend(options.into_iter().map(|(name, value)| format!("{name}={value}")));
    // The instructions are the same for every question.
    arguments.push("--enable-prefix-caching".to_owned());
    arguments
}

/// Everything that it writes lies below one folder, and it asks nobody on the network.
fn env() -> Value {
    json!([
        { "name": "HOME", "value": "/cache" },
        { "name": "XDG_CACHE_HOME", "value": "/cache" },
        { "name": "XDG_CONFIG_HOME", "value": "/cache/config" },
        { "name": "VLLM_CACHE_ROOT", "value": "/cache/vllm" },
        { "name": "TRITON_CACHE_DIR", "value": "/cache/triton" },
        { "name": "TORCHINDUCTOR_CACHE_DIR", "value": "/cache/inductor" },
        // The image knows no user of this number, and Python asks for a name.
        { "name": "USER", "value": "realsyn" },
        { "name": "LOGNAME", "value": "realsyn" },
        { "name": "HF_HUB_OFFLINE", "value": "1" },
        { "name": "TRANSFORMERS_OFFLINE", "value": "1" },
        { "name": "VLLM_NO_USAGE_STATS", "value": "1" },
        { "name": "DO_NOT_TRACK", "value": "1" },
    ])
}

#[cfg(test)]
mod tests {
    use realsyn_crds::{Manifest, parse_manifests};
    use realsyn_plan::placement::{Demand, Inventory};

    use super::*;
    use crate::pod::Pod;

    fn plan(generate: Value, llm: Value) -> Plan {
        let text = include_str!("../../../manifests/examples/build.yaml");
        let Manifest::Build(build) = parse_manifests(text, "example").unwrap().remove(0) else {
            panic!("it holds a build")
        };
        let mut value = json!(build);
        value["spec"]["stages"]["generate"] = generate;
        value["spec"]["models"]["llm"] = llm;
        Plan::of_build(&serde_json::from_value(value["spec"].clone()).unwrap())
    }

    fn llm(uri: &str) -> Value {
        json!({ "sha256": "ab".repeat(32), "uri": uri, "dtype": "bf16" })
    }

    fn settings() -> Settings {
        Settings { image: "vllm/vllm-openai@sha256:1".to_owned(), patience: None }
    }

    fn served(plan: &Plan) -> Value {
        let demand = Demand::of_stage(&plan.build, Stage::Generate, 4).unwrap();
        let placement = Inventory::unknown().place(&demand);
        let (stage, gpus) = (Some(Stage::Generate), Some(&placement));
        let pod = Pod { plan, config_map: "c", stage, container: "worker", image: "w:1", args: &[], gpus, trace: None };
        let mut spec = pod::spec(&pod);
        beside(&mut spec, plan, &settings(), gpus);
        spec
    }

    #[test]
    fn the_server_has_the_gpus_and_the_worker_the_questions() {
        let generate =
            json!({ "engine": "cuda", "gpu": { "count": 4 }, "maxNewTokens": 48, "resources": { "memory": "64Gi" } });
        let plan = plan(generate, llm("pvc://models/llama-3-8b-instruct/"));
        let spec = served(&plan);
        let (server, worker) = (&spec["initContainers"][0], &spec["containers"][0]);
        assert_eq!((&server["restartPolicy"], &server["command"]), (&json!("Always"), &json!(["vllm", "serve"])));
        let args = [
            "/claims/models/llama-3-8b-instruct",
            "--host=127.0.0.1",
            "--port=8000",
            "--served-model-name=llm",
            "--dtype=bfloat16",
            "--load-format=safetensors",
            "--max-model-len=1072",
            "--max-num-seqs=512",
            "--tensor-parallel-size=4",
            "--gpu-memory-utilization=0.9",
            "--seed=0",
            "--enable-prefix-caching",
        ];
        assert_eq!(server["args"], json!(args));
        // 64 GiB and the 5 GiB of /dev/shm.
        let bytes = ((64u64 + 5) << 30).to_string();
        let (cpu, scratch) = ("5", "8Gi");
        assert_eq!(
            server["resources"],
            json!({
                "requests": { "cpu": cpu, "ephemeral-storage": scratch, "memory": bytes, "nvidia.com/gpu": "4" },
                "limits": { "ephemeral-storage": scratch, "memory": bytes, "nvidia.com/gpu": "4" },
            })
        );
        let small = json!({ "cpu": "1", "ephemeral-storage": "2Gi", "memory": "2Gi" });
        assert_eq!(worker["resources"]["requests"], small);
        assert_eq!(
            server["volumeMounts"],
            json!([
                { "name": "server-cache", "mountPath": "/cache" },
                { "name": "server-tmp", "mountPath": "/tmp" },
                { "name": "server-shm", "mountPath": "/dev/shm" },
                { "name": "claim-0", "mountPath": "/claims/models", "readOnly": true },
            ])
        );
        let shm = spec["volumes"].as_array().unwrap().iter().find(|v| v["name"] == "server-shm").unwrap();
        assert_eq!(shm["emptyDir"], json!({ "medium": "Memory", "sizeLimit": (5u64 << 30).to_string() }));
        // Its own user, and nothing of the store's.
        assert_ne!(server["securityContext"]["runAsUser"], spec["securityContext"]["runAsUser"]);
        assert!(server.get("envFrom").is_none() && server.get("startupProbe").is_none());
        assert!(worker["envFrom"].as_array().is_some_and(|secrets| !secrets.is_empty()));
        for field in ["readOnlyRootFilesystem", "allowPrivilegeEscalation", "capabilities"] {
            assert_eq!(server["securityContext"][field], worker["securityContext"][field], "{field}");
        }
    }

    #[test]
    fn a_start_takes_as_long_as_the_model_is_large() {
        let told = |uri| args(&plan(json!({ "engine": "cuda" }), llm(uri)), &settings())[3].clone();
        // 16,060,000,000 bytes at 100 MiB a second, twice, and ten minutes.
        assert_eq!(told("pvc://models/llama-3-8b"), (600 + 2 * 154).to_string());
        assert_eq!(told("pvc://models/another"), "1800");
        let by_hand = Settings { patience: Some(40), ..settings() };
        let plan = plan(json!({ "engine": "cuda" }), llm("pvc://models/another"));
        assert_eq!(args(&plan, &by_hand), ["--server", "http://127.0.0.1:8000/v1", "--patience", "40"]);
    }

    #[test]
    fn only_generate_on_gpus_has_a_server_and_its_model_lies_on_a_volume() {
        let cuda = plan(json!({ "engine": "cuda" }), llm("pvc://models/m"));
        assert!(is_wanted(&cuda, Stage::Generate) && !is_wanted(&cuda, Stage::Caption));
        assert_eq!(problem(&cuda.build), None);
        assert!(!is_wanted(&plan(json!({}), llm("pvc://models/m")), Stage::Generate));
        let image = plan(json!({ "engine": "cuda" }), llm("oci://registry.example.org:5000/llama-3-8b:1/weights"));
        assert_eq!(problem(&image.build), None);
        let spec = served(&image);
        let server = &spec["initContainers"][0];
        let folder = server["args"][0].as_str().unwrap();
        let mounted = &server["volumeMounts"][3];
        assert_eq!(folder, format!("{}/weights", mounted["mountPath"].as_str().unwrap()));
        let volume = spec["volumes"].as_array().unwrap().iter().find(|v| v["name"] == mounted["name"]).unwrap();
        assert_eq!(volume["image"]["reference"], "registry.example.org:5000/llama-3-8b:1");
        let elsewhere = plan(json!({ "engine": "cuda" }), llm("s3://models/m"));
        assert!(problem(&elsewhere.build).unwrap().contains("spec.models.llm.uri is `s3://models/m`"));
        assert_eq!(problem(&plan(json!({ "engine": "cpu" }), llm("s3://models/m")).build), None);
    }
}
