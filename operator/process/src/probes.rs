//! `/livez`, `/readyz` and `/metrics`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// Who opens a connection and says nothing is not served for ever.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a process says of itself.
pub trait Probes: Send + Sync + 'static {
    /// Why it should be started anew, if it should.
    fn wedged(&self) -> Option<String>;
    /// Why it cannot do its work yet, if it cannot.
    fn unready(&self) -> Option<String>;
    /// What a person who looks is told besides, in lines.
    fn report(&self) -> String {
        String::new()
    }
    /// Its metrics, in the text format of OpenMetrics.
    fn metrics(&self) -> String;
}

/// Answers for ever. Also while the process is not ready: that is when people look.
pub async fn serve(listener: TcpListener, probes: Arc<impl Probes>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let probes = probes.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let answer = answer(request.uri().path(), &*probes);
            async move { Ok::<_, Infallible>(answer) }
        });
        tokio::spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            _ = tokio::time::timeout(PATIENCE, connection).await;
        });
    }
}

fn answer(path: &str, probes: &impl Probes) -> Response<Full<Bytes>> {
    const PLAIN: &str = "text/plain; charset=utf-8";
    let verdict = |trouble: Option<String>| {
        let code = if trouble.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (code, format!("{}\n{}", trouble.as_deref().unwrap_or("ok"), probes.report()), PLAIN)
    };
    let (code, text, kind) = match path {
        "/livez" => verdict(probes.wedged()),
        "/readyz" => verdict(probes.unready()),
        "/metrics" => (StatusCode::OK, probes.metrics(), "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        _ => (StatusCode::NOT_FOUND, "there are /livez, /readyz and /metrics\n".to_owned(), PLAIN),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Sick;

    impl Probes for Sick {
        fn wedged(&self) -> Option<String> {
            None
        }

        fn unready(&self) -> Option<String> {
            Some("it has not begun".to_owned())
        }

        fn report(&self) -> String {
            "pods: moved 3 s ago\n".to_owned()
        }

        fn metrics(&self) -> String {
            "# EOF\n".to_owned()
        }
    }

    #[test]
    fn each_path_has_its_answer() {
        let of = |path: &str| {
            let answer = answer(path, &Sick);
            (answer.status().as_u16(), answer.headers()[CONTENT_TYPE].to_str().unwrap().to_owned())
        };
        assert_eq!(of("/livez"), (200, "text/plain; charset=utf-8".to_owned()));
        assert_eq!(of("/readyz").0, 503);
        assert!(of("/metrics").1.starts_with("application/openmetrics-text"));
        assert_eq!(of("/").0, 404);
    }
}
