//! Which devices containers hold, from kubelet's `podresources` API.
//!
//! One unary gRPC call over a unix socket, on a connection of its own: kubelet may restart in between. No names of pods are read.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper::header::{CONTENT_TYPE, HeaderMap, TE};
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::UnixStream;

/// The call.
pub const LIST: &str = "/v1.PodResourcesLister/List";
/// An answer of a node with thousands of pods stays far below this.
const MAX_ANSWER: usize = 4 << 20;
const DEADLINE: Duration = Duration::from_secs(5);

/// Why kubelet does not tell.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens.
    #[error("kubelet's socket: {0}")]
    Connect(#[from] std::io::Error),
    /// The connection failed.
    #[error("asking kubelet: {0}")]
    Transport(#[from] hyper::Error),
    /// It refused.
    #[error("kubelet answered: {0}")]
    Refused(String),
    /// The answer could not be read.
    #[error("kubelet's answer cannot be read: {0}")]
    Answer(String),
    /// It did not answer in time.
    #[error("kubelet did not answer within {} s", DEADLINE.as_secs())]
    Deadline,
}

/// The ids of all devices that containers hold.
pub async fn held(socket: &Path) -> Result<BTreeSet<String>, Error> {
    tokio::time::timeout(DEADLINE, list(socket)).await.map_err(|_| Error::Deadline)?
}

async fn list(socket: &Path) -> Result<BTreeSet<String>, Error> {
    let stream = TokioIo::new(UnixStream::connect(socket).await?);
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
    let connection = tokio::spawn(connection);
    let request = Request::post(format!("http://localhost{LIST}"))
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        // An empty message: not compressed, no bytes.
        .body(Full::new(Bytes::from_static(&[0; 5])))
        .map_err(|error| Error::Answer(error.to_string()))?;
    let response = sender.send_request(request).await?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|error| Error::Answer(error.to_string()))?;
    connection.abort();
    if head.status != StatusCode::OK {
        return Err(Error::Refused(head.status.to_string()));
    }
    // An answer without a body has its trailers in its head.
    let trailers = body.trailers().unwrap_or(&head.headers).clone();
    refusal(&trailers)?;
    let bytes = body.to_bytes();
    let message = match bytes.split_first_chunk::<5>() {
        Some(([0, ..], message)) => message,
        Some(_) => return Err(Error::Answer("it is compressed".to_owned())),
        None => return Err(Error::Answer("it is empty".to_owned())),
    };
    let answer = ListPodResourcesResponse::decode(message).map_err(|error| Error::Answer(error.to_string()))?;
    Ok(answer.ids())
}

fn refusal(trailers: &HeaderMap) -> Result<(), Error> {
    let text = |name| trailers.get(name).and_then(|value| value.to_str().ok());
    match text("grpc-status") {
        Some("0") => Ok(()),
        status => {
            let (status, message) = (status.unwrap_or("none"), text("grpc-message").unwrap_or_default());
            Err(Error::Refused(format!("status {status} {message}").trim_end().to_owned()))
        }
    }
}

/// Kubelet's answer, as far as it is read: `k8s.io/kubelet/pkg/apis/podresources/v1`.
#[derive(Clone, PartialEq, Message)]
pub struct ListPodResourcesResponse {
    /// Pods.
    #[prost(message, repeated, tag = "1")]
    pub pods: Vec<PodResources>,
}

/// What a pod holds.
#[derive(Clone, PartialEq, Message)]
pub struct PodResources {
    /// Its containers.
    #[prost(message, repeated, tag = "3")]
    pub containers: Vec<ContainerResources>,
}

/// What a container holds.
#[derive(Clone, PartialEq, Message)]
pub struct ContainerResources {
    /// Devices of device plugins.
    #[prost(message, repeated, tag = "2")]
    pub devices: Vec<ContainerDevices>,
}

/// Devices of one resource.
#[derive(Clone, PartialEq, Message)]
pub struct ContainerDevices {
    /// `nvidia.com/gpu`, `nvidia.com/mig-3g.40gb`.
    #[prost(string, tag = "1")]
    pub resource_name: String,
    /// Ids, as the device plugin gave them.
    #[prost(string, repeated, tag = "2")]
    pub device_ids: Vec<String>,
}

impl ListPodResourcesResponse {
    /// The UUIDs of all devices of NVIDIA's plugin. A device that is shared in time has a number behind its UUID: `GPU-…::3`.
    pub fn ids(&self) -> BTreeSet<String> {
        let containers = self.pods.iter().flat_map(|pod| &pod.containers);
        let devices = containers.flat_map(|container| &container.devices);
        let ours = devices.filter(|devices| devices.resource_name.starts_with("nvidia.com/"));
        let ids = ours.flat_map(|devices| &devices.device_ids);
        ids.map(|id| id.split_once("::").map_or(id.as_str(), |(uuid, _)| uuid).to_owned()).collect()
    }
}
