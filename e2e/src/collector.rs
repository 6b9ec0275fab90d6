//! A collector of spans: OTLP over HTTP, in plain text or behind TLS.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1;
use prost::Message;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A span as it came in; its ids in hexadecimal digits.
#[derive(Clone, Debug)]
pub struct Span {
    /// What it is of.
    pub name: String,
    /// The trace that it belongs to.
    pub trace: String,
    /// Its own id.
    pub id: String,
    /// The id of the span that it is below.
    pub parent: String,
    /// When it began and ended, in nanoseconds since 1970.
    pub time: (u64, u64),
    /// What is said of it.
    pub attributes: BTreeMap<String, String>,
}

impl From<v1::Span> for Span {
    fn from(span: v1::Span) -> Self {
        Self {
            name: span.name,
            trace: hex(&span.trace_id),
            id: hex(&span.span_id),
            parent: hex(&span.parent_span_id),
            time: (span.start_time_unix_nano, span.end_time_unix_nano),
            attributes: span.attributes.into_iter().map(|kv| (kv.key.clone(), value(kv))).collect(),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn value(attribute: KeyValue) -> String {
    match attribute.value.and_then(|v| v.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

/// An HTTP server that takes batches of spans for as long as the process lives.
pub struct Collector {
    endpoint: String,
    batches: Receiver<ExportTraceServiceRequest>,
}

impl Collector {
    /// One without TLS.
    pub fn start() -> Self {
        let (port, batches) = behind(|connection| connection);
        Self { endpoint: format!("http://127.0.0.1:{port}"), batches }
    }

    /// One behind TLS; the certificate for it is written to this file.
    pub fn start_with_tls(certificate: &Path) -> Self {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(certificate, own.cert.pem()).unwrap();
        let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let config = Arc::new(config.with_single_cert(vec![own.cert.der().clone()], key).unwrap());
        let (port, batches) =
            behind(move |connection| StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), connection));
        Self { endpoint: format!("https://localhost:{port}"), batches }
    }

    /// Where it answers.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// What has come in since the last call. A process that has ended has sent all it will.
    pub fn spans(&self) -> Vec<Span> {
        let resources = self.batches.try_iter().flat_map(|batch| batch.resource_spans);
        resources.flat_map(|r| r.scope_spans).flat_map(|scope| scope.spans).map(Span::from).collect()
    }
}

fn behind<C: Read + Write>(
    layer: impl Fn(TcpStream) -> C + Send + 'static,
) -> (u16, Receiver<ExportTraceServiceRequest>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, batches) = channel();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            // Who does not trust the certificate goes away.
            let Some(batch) = one_batch(layer(connection.unwrap())) else { continue };
            if tell.send(batch).is_err() {
                return;
            }
        }
    });
    (port, batches)
}

fn one_batch(connection: impl Read + Write) -> Option<ExportTraceServiceRequest> {
    let mut connection = BufReader::new(connection);
    let (mut head, mut line) = (String::new(), String::new());
    while connection.read_line(&mut line).ok()? > 2 {
        head.push_str(&line.to_lowercase());
        line.clear();
    }
    assert!(head.starts_with("post /v1/traces "), "{head}");
    assert!(head.contains("content-type: application/x-protobuf"), "{head}");
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    connection.read_exact(&mut body).unwrap();
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    connection.get_mut().write_all(answer).unwrap();
    connection.get_mut().flush().unwrap();
    Some(ExportTraceServiceRequest::decode(&body[..]).unwrap())
}
