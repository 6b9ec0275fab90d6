//! Kubelet's socket, played by an HTTP/2 server.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::Path;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use realsyn_gpu_agent::kubelet::{
    ContainerDevices, ContainerResources, Error, LIST, ListPodResourcesResponse, PodResources, held,
};
use tokio::net::UnixListener;

/// A kubelet that answers every connection with some bytes and a status.
fn kubelet(socket: &Path, body: Vec<u8>, status: &'static str) -> tokio::task::JoinHandle<()> {
    let listener = UnixListener::bind(socket).unwrap();
    let answer = move |request: Request<Incoming>| {
        let body = body.clone();
        async move {
            assert_eq!((request.method().as_str(), request.uri().path()), ("POST", LIST));
            assert_eq!(request.headers()["content-type"], "application/grpc");
            assert_eq!(request.headers()["te"], "trailers");
            assert_eq!(request.into_body().collect().await.unwrap().to_bytes(), Bytes::from_static(&[0; 5]));
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static(status));
            let body = Full::new(Bytes::from(body)).with_trailers(async { Some(Ok(trailers)) });
            Ok::<_, Infallible>(Response::new(body))
        }
    };
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), service_fn(answer.clone())));
        }
    })
}

fn framed(message: &impl Message) -> Vec<u8> {
    let message = message.encode_to_vec();
    [&[0][..], &(message.len() as u32).to_be_bytes(), &message].concat()
}

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
