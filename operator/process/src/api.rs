//! A client of the API server that does not wait for ever.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use http::{Request, Response};
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use tower::{BoxError, Layer, Service};

/// The API server gives most requests a minute itself.
const DEADLINE: Duration = Duration::from_secs(75);

/// A client for these settings. A request that gets no answer fails: the library by itself would wait for as long as the
/// connection stands, and whatever waits for the answer with it. Watches, which may be silent, are left alone.
///
/// # Errors
/// The settings are wrong.
pub fn client(config: Config) -> anyhow::Result<Client> {
    let builder = ClientBuilder::try_from(config).context("making a client of the API server")?;
    Ok(builder.with_layer(&Deadline(DEADLINE)).build())
}

/// How long a request that is no watch may go without an answer.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(pub Duration);

impl<S> Layer<S> for Deadline {
    type Service = Within<S>;

    fn layer(&self, inner: S) -> Within<S> {
        Within { inner, deadline: self.0 }
    }
}

/// A service under a [`Deadline`].
pub struct Within<S> {
    inner: S,
    deadline: Duration,
}

impl<S, B> Service<Request<Body>> for Within<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let is_watch = request.uri().query().is_some_and(|query| query.split('&').any(|part| part == "watch=true"));
        let (answer, deadline) = (self.inner.call(request), self.deadline);
        Box::pin(async move {
            if is_watch {
                return answer.await;
            }
            let late = |_| format!("the API server has not answered for {} s", deadline.as_secs());
            tokio::time::timeout(deadline, answer).await.map_err(late)?
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_without_an_answer_fails_and_a_watch_does_not() {
        const ANSWER: Duration = Duration::from_millis(200);
        let slow = tower::service_fn(async |_: Request<Body>| {
            tokio::time::sleep(ANSWER).await;
            Ok::<_, BoxError>(Response::new(()))
        });
        let ask = async |deadline, uri: &str| {
            let request = Request::get(uri).body(Body::empty()).unwrap();
            Deadline(deadline).layer(slow).call(request).await.map_err(|error| error.to_string())
        };
        let short = Duration::from_millis(1);
        assert_eq!(ask(short, "/api/v1/pods?limit=500").await.unwrap_err(), "the API server has not answered for 0 s");
        assert!(ask(short, "/api/v1/pods?limit=500&watch=true").await.is_ok());
        assert!(ask(Duration::from_secs(3600), "/api/v1/pods").await.is_ok());
    }
}
