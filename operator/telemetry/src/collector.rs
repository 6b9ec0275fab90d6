//! The way to the collector: one small HTTP request for each batch, on the exporter's own thread.
//!
//! Neither process has an HTTP client that works without a runtime, and this needs so little of HTTP that it is written
//! out here: a POST, no TLS, no connection kept, and of the answer nothing but its status.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use opentelemetry_http::{HttpClient, HttpError};

/// How long one request may take, its connection included.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest status line that is read.
const STATUS_LINE: usize = 1024;

/// Sends batches, and complains once when that begins to fail.
#[derive(Debug, Default)]
pub struct Client {
    failing: AtomicBool,
}

#[async_trait::async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> std::result::Result<Response<Bytes>, HttpError> {
        let sent = post(&request);
        let trouble = match &sent {
            Ok(status) if status.is_success() => None,
            Ok(status) => Some(status.to_string()),
            Err(error) => Some(error.to_string()),
        };
        let failed_before = self.failing.swap(trouble.is_some(), Ordering::Relaxed);
        match trouble {
            Some(why) if !failed_before => {
                tracing::warn!(collector = %request.uri(), why, "spans cannot be sent, and are dropped until they can");
            }
            None if failed_before => tracing::info!(collector = %request.uri(), "spans are sent again"),
            _ => {}
        }
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = sent?;
        Ok(response)
    }
}

fn post(request: &Request<Bytes>) -> Result<StatusCode> {
    let until = Instant::now() + PATIENCE;
    let uri = request.uri();
    let host = uri.host().ok_or_else(|| Error::new(ErrorKind::InvalidInput, "an address without a host"))?;
    let port = uri.port_u16().unwrap_or(80);
    let mut connection = connect(host.trim_matches(['[', ']']), port, until)?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut head = format!("POST {path} HTTP/1.1\r\nhost: {host}:{port}\r\nconnection: close\r\n").into_bytes();
    for (name, value) in request.headers() {
        head.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    head.extend(format!("content-length: {}\r\n\r\n", request.body().len()).bytes());
    connection.set_write_timeout(Some(left(until)?))?;
    connection.write_all(&head)?;
    connection.write_all(request.body())?;
    status(&mut connection, until)
}

fn connect(host: &str, port: u16, until: Instant) -> Result<TcpStream> {
    let mut last = Error::new(ErrorKind::NotFound, "the host has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, left(until)?) {
            Ok(connection) => return Ok(connection),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn status(connection: &mut TcpStream, until: Instant) -> Result<StatusCode> {
    let strange = || Error::new(ErrorKind::InvalidData, "the answer is no HTTP");
    let mut line = Vec::new();
    let mut piece = [0; 256];
    while !line.contains(&b'\n') {
        connection.set_read_timeout(Some(left(until)?))?;
        let read = connection.read(&mut piece)?;
        if read == 0 || line.len() > STATUS_LINE {
            return Err(strange());
        }
        line.extend_from_slice(&piece[..read]);
    }
    let words = line.strip_prefix(b"HTTP/1.").ok_or_else(strange)?;
    let code = words.split(|b| *b == b' ').nth(1).ok_or_else(strange)?;
    let code = code.split(|b| b.is_ascii_whitespace()).next().unwrap_or_default();
    StatusCode::from_bytes(code).map_err(|_| strange())
}

/// A timeout of zero would mean none at all.
fn left(until: Instant) -> Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn answered(answer: &'static [u8]) -> Result<StatusCode> {
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
        let status = post(&request.body(Bytes::from_static(b"spans")).unwrap());
        let asked = String::from_utf8(server.join().unwrap()).unwrap();
        assert!(asked.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains("\r\nx-key: a\r\n") && asked.contains("\r\ncontent-length: 5\r\n"), "{asked}");
        status
    }

    #[test]
    fn an_answer_is_its_status() {
        assert_eq!(answered(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap(), 200);
        assert_eq!(answered(b"HTTP/1.1 503\r\n\r\n").unwrap(), 503);
        for strange in [&b"SSH-2.0-OpenSSH\r\n"[..], b"HTTP/1.1 \r\n\r\n", b""] {
            assert!(answered(strange).is_err());
        }
    }

    #[test]
    fn a_collector_that_is_down_is_an_error() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let request = Request::post(format!("http://127.0.0.1:{port}/v1/traces")).body(Bytes::new()).unwrap();
        assert_eq!(post(&request).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }
}
