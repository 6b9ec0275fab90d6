//! The way to the collector: one HTTP request for each batch, on the exporter's own thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use opentelemetry_http::{HttpClient, HttpError};
use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig};

/// How long one request may take, its connection included.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most of an answer that is read: it says how many spans were refused, and is a few bytes.
const ANSWER: u64 = 64 << 10;

/// Sends batches, and complains once when that begins to fail.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    failing: AtomicBool,
}

impl Default for Client {
    /// Trusts what the machine trusts.
    fn default() -> Self {
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::PlatformVerifier)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
        // A redirect would carry headers with keys elsewhere.
        let config =
            Agent::config_builder().timeout_global(Some(PATIENCE)).max_redirects(0).http_status_as_error(false);
        Self { agent: config.tls_config(tls.build()).build().into(), failing: AtomicBool::new(false) }
    }
}

#[async_trait::async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> std::result::Result<Response<Bytes>, HttpError> {
        let (uri, sent) = (request.uri().clone(), self.post(request));
        let trouble = match &sent {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(response.status().to_string()),
            Err(error) => Some(error.to_string()),
        };
        let failed_before = self.failing.swap(trouble.is_some(), Ordering::Relaxed);
        match trouble {
            Some(why) if !failed_before => {
                tracing::warn!(collector = %uri, why, "spans cannot be sent, and are dropped until they can");
            }
            None if failed_before => tracing::info!(collector = %uri, "spans are sent again"),
            _ => {}
        }
        Ok(sent?)
    }
}

impl Client {
    fn post(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ureq::Error> {
        let (head, body) = request.into_parts();
        let (head, mut body) = self.agent.run(Request::from_parts(head, &body[..]))?.into_parts();
        Ok(Response::from_parts(head, body.with_config().limit(ANSWER).read_to_vec()?.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    fn answered(answer: &'static [u8]) -> Result<Response<Bytes>, ureq::Error> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            let mut piece = [0; 64];
            while !asked.ends_with(b"\r\n\r\nspans") {
                let read = connection.read(&mut piece).unwrap();
                assert!(read > 0, "the body is missing");
                asked.extend_from_slice(&piece[..read]);
            }
            connection.write_all(answer).unwrap();
            asked
        });
        let request = Request::post(format!("http://127.0.0.1:{port}/v1/traces")).header("x-key", "a");
        let response = Client::default().post(request.body(Bytes::from_static(b"spans")).unwrap());
        let asked = String::from_utf8(server.join().unwrap()).unwrap();
        assert!(asked.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains("\r\nx-key: a\r\n") && asked.contains("\r\ncontent-length: 5\r\n"), "{asked}");
        response
    }

    #[test]
    fn an_answer_is_its_status() {
        assert_eq!(answered(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno").unwrap().body(), "no");
        assert_eq!(answered(b"HTTP/1.1 503 \r\ncontent-length: 0\r\n\r\n").unwrap().status(), 503);
        let moved = b"HTTP/1.1 307 Elsewhere\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(answered(moved).unwrap().status(), 307, "it is not followed");
        for strange in [&b"SSH-2.0-OpenSSH\r\n"[..], b"HTTP/1.1 \r\n\r\n", b""] {
            assert!(answered(strange).is_err());
        }
    }

    #[test]
    fn a_collector_that_is_down_is_an_error() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let request = Request::post(format!("http://127.0.0.1:{port}/v1/traces")).body(Bytes::new()).unwrap();
        assert!(matches!(Client::default().post(request), Err(ureq::Error::Io(_) | ureq::Error::ConnectionFailed)));
    }
}
