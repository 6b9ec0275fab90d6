//! What can go wrong between the controller and the API server, put into the controller's client.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use kube::client::Body;
use tokio::sync::watch;
use tower::{BoxError, Layer, Service};

/// An answer of the API server, with or without faults.
type Answer = Response<UnsyncBoxBody<bytes::Bytes, BoxError>>;

/// How long a stale watch shows nothing new.
const STALE: Duration = Duration::from_millis(800);

/// What goes wrong at a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process dies before the request is sent.
    CrashBefore,
    /// The process dies after the server has done it and before the answer is read.
    CrashAfter,
    /// The server does it, and the answer is lost.
    Lost,
    /// The server refuses it with this code.
    Refused(u16),
    /// The server does it, and for a while no watch shows anything new.
    Stale,
    /// The server does it, and all watches break: what they were about to tell is lost until they go on where they broke off.
    Dropped,
    /// The server does it, all watches break, and where they broke off is too old: what happened in between is not told.
    Gone,
    /// The process stands still before the request is sent, another one takes over, and the request is sent at the end.
    Paused,
}

impl Fault {
    pub const ALL: [Self; 10] = [
        Self::CrashBefore,
        Self::CrashAfter,
        Self::Lost,
        Self::Refused(409),
        Self::Refused(429),
        Self::Refused(500),
        Self::Stale,
        Self::Dropped,
        Self::Gone,
        Self::Paused,
    ];
}

/// One process's way to the API server. Its writes are counted, but for those of the Lease.
pub struct Faults {
    /// At which write, and what.
    planned: Option<(usize, Fault)>,
    writes: AtomicUsize,
    /// What was written: method and path.
    pub log: Mutex<Vec<String>>,
    /// Whether the process has died, or stands still.
    pub halted: watch::Sender<bool>,
    /// Whether what stands still goes on.
    pub resumed: watch::Sender<bool>,
    frozen: watch::Sender<bool>,
    cuts: watch::Sender<Cut>,
    /// Watches that will be told that they are too old.
    outdated: Mutex<BTreeSet<String>>,
    /// The path of a watch that always fails.
    broken: Option<&'static str>,
    /// How often it has failed.
    pub broke: AtomicUsize,
}

/// The last time that all watches broke.
#[derive(Default)]
struct Cut {
    /// Whether where they broke off is too old.
    outdates: bool,
}

impl Faults {
    pub fn new(planned: Option<(usize, Fault)>, broken: Option<&'static str>) -> Arc<Self> {
        Arc::new(Self {
            planned,
            writes: AtomicUsize::default(),
            log: Mutex::default(),
            halted: watch::channel(false).0,
            resumed: watch::channel(false).0,
            frozen: watch::channel(false).0,
            cuts: watch::channel(Cut::default()).0,
            outdated: Mutex::default(),
            broken,
            broke: AtomicUsize::default(),
        })
    }

    /// The fault of this request, if it is the one.
    fn of(&self, request: &Request<Body>) -> Option<Fault> {
        let path = request.uri().path();
        if request.method() == Method::GET || path.contains("/leases") {
            return None;
        }
        self.log.lock().unwrap().push(format!("{} {path}", request.method()));
        let n = self.writes.fetch_add(1, Ordering::SeqCst);
        self.planned.filter(|(at, _)| *at == n).map(|(_, fault)| fault)
    }

    async fn halt(&self) {
        self.halted.send_replace(true);
        _ = self.resumed.subscribe().wait_for(|resumed| *resumed).await;
    }
}

/// Puts [`Faults`] into a client.
pub struct Through(pub Arc<Faults>);

impl<S> Layer<S> for Through {
    type Service = Faulty<S>;

    fn layer(&self, inner: S) -> Faulty<S> {
        Faulty { inner: Arc::new(tokio::sync::Mutex::new(inner)), faults: self.0.clone() }
    }
}

/// A client's service with faults.
pub struct Faulty<S> {
    inner: Arc<tokio::sync::Mutex<S>>,
    faults: Arc<Faults>,
}

impl<S, B> Service<Request<Body>> for Faulty<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError> + Send + 'static,
    S::Future: Send + 'static,
    B: http_body::Body<Data = bytes::Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Answer;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (inner, faults) = (self.inner.clone(), self.faults.clone());
        let send = async move |request: Request<Body>| {
            let answer = {
                let mut inner = inner.lock().await;
                std::future::poll_fn(|c| inner.poll_ready(c)).await?;
                inner.call(request)
            };
            answer.await.map(|answer| answer.map(|body| body.map_err(Into::into).boxed_unsync()))
        };
        Box::pin(async move {
            let query = request.uri().query().unwrap_or_default();
            if query.contains("watch=true") {
                let path = request.uri().path().to_owned();
                if faults.broken.is_some_and(|broken| path.ends_with(broken)) {
                    faults.broke.fetch_add(1, Ordering::SeqCst);
                    return Ok(refusal(500));
                }
                if faults.outdated.lock().unwrap().remove(&path) {
                    return Ok(refusal(410));
                }
                return send(request).await.map(|answer| watched(answer, path, faults));
            }
            match faults.of(&request) {
                None => send(request).await,
                Some(Fault::CrashBefore) => {
                    faults.halt().await;
                    Err("the process is dead".into())
                }
                Some(Fault::CrashAfter) => {
                    send(request).await?;
                    faults.halt().await;
                    Err("the process is dead".into())
                }
                Some(Fault::Paused) => {
                    faults.halt().await;
                    send(request).await
                }
                Some(Fault::Lost) => {
                    send(request).await?;
                    Err("the connection broke".into())
                }
                Some(Fault::Refused(code)) => Ok(refusal(code)),
                Some(Fault::Stale) => {
                    faults.frozen.send_replace(true);
                    let later = faults.clone();
                    tokio::spawn(async move {
                        tokio::time::sleep(STALE).await;
                        later.frozen.send_replace(false);
                    });
                    send(request).await
                }
                Some(fault @ (Fault::Dropped | Fault::Gone)) => {
                    // From here on the watches see nothing of what this write changes.
                    faults.cuts.send_replace(Cut { outdates: fault == Fault::Gone });
                    send(request).await
                }
            }
        })
    }
}

/// The answer to a watch, which can be cut off and held up.
fn watched(answer: Answer, path: String, faults: Arc<Faults>) -> Answer {
    let (mut cuts, frozen) = (faults.cuts.subscribe(), faults.frozen.subscribe());
    cuts.mark_unchanged();
    let cut = async move {
        _ = cuts.changed().await;
        if cuts.borrow().outdates {
            faults.outdated.lock().unwrap().insert(path);
        }
    };
    answer.map(|body| {
        let held = body.into_data_stream().then(move |chunk| {
            let mut frozen = frozen.clone();
            async move {
                _ = frozen.wait_for(|frozen| !*frozen).await;
                chunk
            }
        });
        StreamBody::new(held.take_until(Box::pin(cut)).map_ok(Frame::data)).boxed_unsync()
    })
}

fn refusal(code: u16) -> Answer {
    let reason = match code {
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        _ => "InternalError",
    };
    let status = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "message": format!("injected: {reason}"), "reason": reason, "code": code,
    });
    let body = Full::from(status.to_string()).map_err(|never| match never {});
    let mut answer = Response::new(body.boxed_unsync());
    *answer.status_mut() = StatusCode::from_u16(code).expect("a status code");
    answer
}
