//! A device plugin for a real kubelet, with devices that are nothing but names.
//!
//! `k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1` over unix sockets, by hand: a message is five bytes (not compressed, its
//! length) and its protobuf, and an answer ends with trailers.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::client::conn::http2 as client;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, TE};
use hyper::server::conn::http2 as server;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Runtime;

const GRPC: &str = "application/grpc";
/// The plugin's socket, in the folder where kubelet has its own.
const SOCKET: &str = "realsyn-test.sock";

/// A plugin that serves until it is dropped.
pub struct DevicePlugin {
    _runtime: Runtime,
}

impl DevicePlugin {
    /// Serves in kubelet's folder `device-plugins` and registers there: pods can have these devices, all of them healthy, as
    /// `resource`.
    ///
    /// # Errors
    /// Kubelet does not listen or refuses.
    pub fn start(folder: &Path, resource: &str, devices: &[String]) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let socket = folder.join(SOCKET);
        // One that an earlier plugin left.
        _ = std::fs::remove_file(&socket);
        let listener = {
            let _inside = runtime.enter();
            UnixListener::bind(&socket).with_context(|| format!("listening at {}", socket.display()))?
        };
        runtime.spawn(serve(listener, devices.to_vec().into()));
        let request = RegisterRequest {
            version: "v1beta1".to_owned(),
            endpoint: SOCKET.to_owned(),
            resource_name: resource.to_owned(),
        };
        runtime.block_on(register(&folder.join("kubelet.sock"), &request)).context("registering with kubelet")?;
        Ok(Self { _runtime: runtime })
    }
}

async fn serve(listener: UnixListener, devices: Arc<[String]>) {
    while let Ok((stream, _)) = listener.accept().await {
        let devices = Arc::clone(&devices);
        let service = service_fn(move |request| answer(request, Arc::clone(&devices)));
        // Kubelet hangs up when it likes.
        tokio::spawn(server::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service));
    }
}

type Frames = BoxStream<'static, Result<Frame<Bytes>, Infallible>>;

async fn answer(request: Request<Incoming>, devices: Arc<[String]>) -> Result<Response<StreamBody<Frames>>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let healthy = |id: &String| Device { id: id.clone(), health: "Healthy".to_owned() };
    let frames = match head.uri.path().rsplit('/').next() {
        // The stream stays open: its end would mean that the devices are gone.
        Some("ListAndWatch") => {
            let list = ListAndWatchResponse { devices: devices.iter().map(healthy).collect() };
            stream::iter([data(&list)]).chain(stream::pending()).boxed()
        }
        Some("GetDevicePluginOptions") => unary(&Empty {}),
        Some("Allocate") => {
            let request = AllocateRequest::decode(body.get(5..).unwrap_or_default())?;
            let given = |c: ContainerAllocateRequest| ContainerAllocateResponse {
                envs: [("NVIDIA_VISIBLE_DEVICES".to_owned(), c.device_ids.join(","))].into(),
            };
            unary(&AllocateResponse { containers: request.containers.into_iter().map(given).collect() })
        }
        // UNIMPLEMENTED
        _ => stream::iter([end("12")]).boxed(),
    };
    Ok(Response::builder().header(CONTENT_TYPE, GRPC).body(StreamBody::new(frames))?)
}

fn unary(message: &impl Message) -> Frames {
    stream::iter([data(message), end("0")]).boxed()
}

fn data(message: &impl Message) -> Result<Frame<Bytes>, Infallible> {
    Ok(Frame::data(framed(message)))
}

fn end(status: &'static str) -> Result<Frame<Bytes>, Infallible> {
    let status = HeaderValue::from_static(status);
    Ok(Frame::trailers(HeaderMap::from_iter([("grpc-status".parse().expect("a header's name"), status)])))
}

fn framed(message: &impl Message) -> Bytes {
    let message = message.encode_to_vec();
    let length = u32::try_from(message.len()).expect("a small message");
    [&[0], &length.to_be_bytes()[..], &message].concat().into()
}

async fn register(socket: &Path, request: &RegisterRequest) -> Result<()> {
    let stream = UnixStream::connect(socket).await.with_context(|| format!("kubelet's {}", socket.display()))?;
    let (mut sender, connection) = client::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::post("http://localhost/v1beta1.Registration/Register")
        .header(CONTENT_TYPE, GRPC)
        .header(TE, "trailers")
        .body(Full::new(framed(request)))?;
    let (head, body) = sender.send_request(request).await?.into_parts();
    // A refusal is all in the head.
    let trailers = if body.is_end_stream() { None } else { body.collect().await?.trailers().cloned() };
    connection.abort();
    let trailers = trailers.unwrap_or(head.headers);
    ensure!(trailers.get("grpc-status").is_some_and(|status| status == "0"), "it says {trailers:?}");
    Ok(())
}

#[derive(Clone, PartialEq, Message)]
struct Empty {}

#[derive(Clone, PartialEq, Message)]
struct RegisterRequest {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(string, tag = "2")]
    endpoint: String,
    #[prost(string, tag = "3")]
    resource_name: String,
}

#[derive(Clone, PartialEq, Message)]
struct ListAndWatchResponse {
    #[prost(message, repeated, tag = "1")]
    devices: Vec<Device>,
}

#[derive(Clone, PartialEq, Message)]
struct Device {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    health: String,
}

#[derive(Clone, PartialEq, Message)]
struct AllocateRequest {
    #[prost(message, repeated, tag = "1")]
    containers: Vec<ContainerAllocateRequest>,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerAllocateRequest {
    #[prost(string, repeated, tag = "1")]
    device_ids: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct AllocateResponse {
    #[prost(message, repeated, tag = "1")]
    containers: Vec<ContainerAllocateResponse>,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerAllocateResponse {
    #[prost(btree_map = "string, string", tag = "1")]
    envs: BTreeMap<String, String>,
}
