//! As much of HTTP as the clients of a test speak: bodies of a known length, connections that are kept.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;

use serde_json::Value;

/// The longest request.
const LONGEST: usize = 1 << 20;

/// Status and body.
pub(crate) type Reply = (u16, Value);

pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) body: Vec<u8>,
}

/// The next request; `None` where the client has closed. Nothing is read ahead of it: a client waits for the answer before
/// it sends another.
pub(crate) fn read(connection: &TcpStream) -> Result<Option<Request>> {
    let mut reader = BufReader::new(connection.take(LONGEST as u64));
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        return Err(Error::new(ErrorKind::InvalidData, "no request"));
    };
    let mut length = 0;
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header == "\r\n" {
            break;
        }
        if let Some(number) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = number.trim().parse().map_err(|_| Error::new(ErrorKind::InvalidData, "no length"))?;
        }
    }
    let mut body = vec![0; LONGEST.min(length)];
    reader.read_exact(&mut body)?;
    Ok(Some(Request { method, path, body }))
}

pub(crate) fn write(mut connection: &TcpStream, (status, body): &Reply) -> Result<()> {
    let body = body.to_string();
    let head =
        format!("HTTP/1.1 {status} -\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
    connection.write_all(&[head.as_bytes(), body.as_bytes()].concat())
}
