//! `/livez`, `/readyz` and `/metrics`.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::metrics::Metrics;

/// The loop beats every second; when it has not for so long, something blocks it.
const SILENT_FOR: Duration = Duration::from_secs(60);

/// How the process is.
pub struct Health(Mutex<State>);

struct State {
    beat: Instant,
    looked: bool,
    wrote: Result<bool, String>,
}

impl Default for Health {
    fn default() -> Self {
        Self(Mutex::new(State { beat: Instant::now(), looked: false, wrote: Ok(false) }))
    }
}

impl Health {
    /// The loop runs.
    pub fn beat(&self) {
        self.state().beat = Instant::now();
    }

    /// The driver has been looked at, or there is none.
    pub fn looked(&self) {
        self.state().looked = true;
    }

    /// How the last write went.
    pub fn wrote(&self, outcome: Result<(), String>) {
        self.state().wrote = outcome.map(|()| true);
    }

    /// Why the process should be started anew, if it should.
    pub fn wedged(&self) -> Option<String> {
        let silent = self.state().beat.elapsed();
        (silent > SILENT_FOR).then(|| format!("the agent's loop has not run for {} s", silent.as_secs()))
    }

    /// Why what others see of the node may be wrong, if it may.
    pub fn unready(&self) -> Option<String> {
        let state = self.state();
        match &state.wrote {
            _ if !state.looked => Some("the driver has not been looked at yet".to_owned()),
            Ok(true) => None,
            Ok(false) => Some("nothing has been written to the API server yet".to_owned()),
            Err(error) => Some(error.clone()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers for ever.
pub async fn serve(listener: TcpListener, health: Arc<Health>, metrics: Arc<Metrics>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (health, metrics) = (health.clone(), metrics.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let answer = answer(request.uri().path(), &health, &metrics);
            async move { Ok::<_, Infallible>(answer) }
        });
        tokio::spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // Who opens a connection and says nothing is not served for ever.
            _ = tokio::time::timeout(Duration::from_secs(60), connection).await;
        });
    }
}

fn answer(path: &str, health: &Health, metrics: &Metrics) -> Response<Full<Bytes>> {
    let verdict = |trouble: Option<String>| match trouble {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    };
    let (code, text) = match path {
        "/livez" => verdict(health.wedged()),
        "/readyz" => verdict(health.unready()),
        "/metrics" => (StatusCode::OK, metrics.text()),
        _ => (StatusCode::NOT_FOUND, "there are /livez, /readyz and /metrics\n".to_owned()),
    };
    let kind = match path {
        "/metrics" => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        _ => "text/plain; charset=utf-8",
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::Health;

    #[test]
    fn ready_means_looked_and_written() {
        let health = Health::default();
        assert!(health.unready().unwrap().contains("driver"));
        health.looked();
        assert!(health.unready().unwrap().contains("API server"));
        health.wrote(Err("refused".to_owned()));
        assert_eq!(health.unready().as_deref(), Some("refused"));
        health.wrote(Ok(()));
        assert_eq!((health.unready(), health.wedged()), (None, None));
    }
}
