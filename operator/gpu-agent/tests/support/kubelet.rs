//! Kubelet's `podresources` API, played by an HTTP/2 server.

use std::convert::Infallible;
use std::path::Path;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use realsyn_gpu_agent::kubelet::LIST;
use tokio::net::UnixListener;

/// A kubelet that answers every connection with some bytes and a status.
pub fn kubelet(socket: &Path, body: Vec<u8>, status: &'static str) -> tokio::task::JoinHandle<()> {
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

/// A message as gRPC sends it.
pub fn framed(message: &impl Message) -> Vec<u8> {
    let message = message.encode_to_vec();
    [&[0][..], &(message.len() as u32).to_be_bytes(), &message].concat()
}
