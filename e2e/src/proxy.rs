//! A proxy between a client and an HTTP server, in the test's own process, that injects faults.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_LENGTH, IF_NONE_MATCH, TRANSFER_ENCODING};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use crate::faults::{Fault, Seeded, Seen};

/// A proxy with faults. Requests and answers pass through memory whole.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    faults: Arc<AtomicUsize>,
    runtime: Option<Runtime>,
}

type Script = Arc<Mutex<dyn FnMut(&Seen) -> Fault + Send>>;

impl FaultProxy {
    /// A proxy to `upstream`; `script` names the fault of each request, in the order in which they come.
    pub fn start(upstream: SocketAddr, script: impl FnMut(&Seen) -> Fault + Send + 'static) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let faults = Arc::new(AtomicUsize::new(0));
        let (script, count): (Script, _) = (Arc::new(Mutex::new(script)), Arc::clone(&faults));
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, upstream, Arc::clone(&script), Arc::clone(&count)));
            }
        });
        Ok(Self { address, faults, runtime: Some(runtime) })
    }

    /// A proxy whose faults are [`Seeded`].
    pub fn seeded(upstream: SocketAddr, seed: u64, percent: u64) -> io::Result<Self> {
        let mut rule = Seeded::new(seed, percent);
        Self::start(upstream, move |seen| rule.next(seen))
    }

    /// Its address as a client's endpoint.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many faults it has injected.
    pub fn faults(&self) -> usize {
        self.faults.load(Ordering::Relaxed)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Serves one connection of a client.
async fn serve(socket: TcpStream, upstream: SocketAddr, script: Script, count: Arc<AtomicUsize>) {
    let reset = Arc::new(AtomicBool::new(false));
    let wants_reset = Arc::clone(&reset);
    let service = service_fn(move |request: Request<Incoming>| {
        let seen = Seen {
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
            conditional: request.headers().contains_key(IF_NONE_MATCH),
        };
        let fault = script.lock().unwrap_or_else(PoisonError::into_inner)(&seen);
        if fault != Fault::None {
            count.fetch_add(1, Ordering::Relaxed);
        }
        wants_reset.store(fault == Fault::Reset, Ordering::Relaxed);
        Box::pin(answer(request, upstream, fault))
    });
    let mut connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service);
    // Errors are faults that were asked for, or a client that left.
    let _ = poll_fn(|context| connection.poll_without_shutdown(context)).await;
    let socket = connection.into_parts().io.into_inner();
    if reset.load(Ordering::Relaxed) {
        // Closing without lingering sends a reset.
        let _ = socket.set_zero_linger();
    }
}

async fn answer(request: Request<Incoming>, upstream: SocketAddr, fault: Fault) -> io::Result<Response<Scripted>> {
    if matches!(fault, Fault::LoseRequest | Fault::Reset) {
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    let (mut head, body) = request.into_parts();
    let body = collect(body).await?;
    if let Fault::Answer(status) = fault {
        return Ok(refusal(status));
    }
    if fault == Fault::StripCondition {
        head.headers.remove(IF_NONE_MATCH);
    }
    let request = Request::from_parts(head, Scripted::whole(body));
    if fault == Fault::DeliverLate {
        tokio::spawn(forward(request, upstream));
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    // A task of its own, so that the server gets the request even if the client leaves.
    let (head, body) = tokio::spawn(forward(request, upstream)).await??.into_parts();
    if let Fault::Late(millis) = fault {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }
    let half = body.slice(..body.len() / 2);
    let body = match fault {
        Fault::LoseResponse => return Err(io::ErrorKind::ConnectionAborted.into()),
        Fault::AnswerAfter(status) => return Ok(refusal(status)),
        Fault::StallBody => Scripted { bytes: Some(half), end: End::Stall },
        Fault::TruncateBody => Scripted { bytes: Some(half), end: End::BreakAfterFlush },
        _ => Scripted::whole(body),
    };
    Ok(Response::from_parts(head, body))
}

/// Sends a request to the server on a connection of its own.
async fn forward(request: Request<Scripted>, upstream: SocketAddr) -> io::Result<Response<Bytes>> {
    let socket = TokioIo::new(TcpStream::connect(upstream).await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(socket).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    let (mut head, body) = sender.send_request(request).await.map_err(io::Error::other)?.into_parts();
    let body = collect(body).await?;
    // A body that came in chunks goes on whole. The answer to HEAD has a length and no body.
    if head.headers.remove(TRANSFER_ENCODING).is_some() || !head.headers.contains_key(CONTENT_LENGTH) {
        head.headers.insert(CONTENT_LENGTH, body.len().into());
    }
    Ok(Response::from_parts(head, body))
}

fn refusal(status: u16) -> Response<Scripted> {
    let code = match status {
        404 => "NoSuchUpload",
        409 => "ConditionalRequestConflict",
        412 => "PreconditionFailed",
        503 => "SlowDown",
        _ => "InternalError",
    };
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>injected</Message></Error>");
    let mut response = Response::new(Scripted::whole(body.into()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

async fn collect(mut body: Incoming) -> io::Result<Bytes> {
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        if let Ok(data) = frame.map_err(io::Error::other)?.into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes.into())
}

/// A body that ends as the script says.
struct Scripted {
    bytes: Option<Bytes>,
    end: End,
}

enum End {
    Done,
    Stall,
    BreakAfterFlush,
    Break,
}

impl Scripted {
    fn whole(bytes: Bytes) -> Self {
        Self { bytes: Some(bytes).filter(|bytes| !bytes.is_empty()), end: End::Done }
    }
}

impl Body for Scripted {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match (self.bytes.take(), &self.end) {
            (Some(bytes), _) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            (None, End::Done) => Poll::Ready(None),
            (None, End::Stall) => Poll::Pending,
            // The server writes out what it has only when a body makes it wait.
            (None, End::BreakAfterFlush) => {
                self.end = End::Break;
                context.waker().wake_by_ref();
                Poll::Pending
            }
            (None, End::Break) => Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none() && matches!(self.end, End::Done)
    }

    fn size_hint(&self) -> SizeHint {
        match self.end {
            End::Done => SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            End::Stall | End::BreakAfterFlush | End::Break => SizeHint::default(),
        }
    }
}
