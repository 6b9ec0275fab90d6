//! Kubelet's socket, played by an HTTP/2 server.

#[path = "support/kubelet.rs"]
mod kubelet;

use std::collections::BTreeSet;

use kubelet::{framed, kubelet};
use realsyn_gpu_agent::kubelet::{
    ContainerDevices, ContainerResources, Error, ListPodResourcesResponse, PodResources, held,
};

fn devices(resource: &str, ids: &[&str]) -> ContainerDevices {
    let device_ids = ids.iter().map(|id| (*id).to_owned()).collect();
    ContainerDevices { resource_name: resource.to_owned(), device_ids }
}

#[tokio::test]
async fn uuids_are_taken_from_all_containers() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("kubelet.sock");
    let container = |devices| ContainerResources { devices };
    let first =
        container(vec![devices("nvidia.com/gpu", &["GPU-1", "GPU-2::7"]), devices("example.com/nic", &["GPU-9"])]);
    let second = container(vec![devices("nvidia.com/mig-3g.40gb", &["MIG-5"])]);
    let pods =
        vec![PodResources { containers: vec![first] }, PodResources { containers: vec![container(vec![]), second] }];
    let running = kubelet(&socket, framed(&ListPodResourcesResponse { pods }), "0");
    let expected = BTreeSet::from(["GPU-1", "GPU-2", "MIG-5"].map(str::to_owned));
    assert_eq!(held(&socket).await.unwrap(), expected);

    // Kubelet restarts: for a while nobody listens, then another process does.
    running.abort();
    _ = running.await;
    assert!(matches!(held(&socket).await, Err(Error::Connect(_))));
    std::fs::remove_file(&socket).unwrap();
    kubelet(&socket, framed(&ListPodResourcesResponse::default()), "0");
    assert_eq!(held(&socket).await.unwrap(), BTreeSet::new());
}

#[tokio::test]
async fn what_kubelet_refuses_or_garbles_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("absent");
    assert!(matches!(held(&absent).await, Err(Error::Connect(_))));
    for (name, body, status, expected) in [
        ("refused", Vec::new(), "8", "status 8"),
        ("empty", Vec::new(), "0", "it is empty"),
        ("compressed", vec![1, 0, 0, 0, 1, 7], "0", "it is compressed"),
        ("garbled", vec![0, 0, 0, 0, 2, 0x0a, 0x7f], "0", "cannot be read"),
    ] {
        let socket = folder.path().join(name);
        kubelet(&socket, body, status);
        let error = held(&socket).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{name}: {error}");
    }
}
