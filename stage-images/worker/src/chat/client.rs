//! One HTTP exchange, bounded in time and bytes. Redirects are not followed: they would carry the key elsewhere.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Request, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::wire::{Said, longest, read};
use super::{Asked, Options, wire};

/// The time to a connection, its handshake included.
const CONNECT: Duration = Duration::from_secs(20);
/// How long a connection may lie idle: less than servers usually wait, so that none is closed under a request.
const IDLE: Duration = Duration::from_secs(4);
/// The longest wait that a server may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

pub(super) struct Client {
    pool: Pools,
    address: Uri,
    key: Option<HeaderValue>,
}

/// Without TLS no certificates are needed, and a machine may have none.
enum Pools {
    Plain(Pool<HttpConnector, Full<Bytes>>),
    Tls(Pool<HttpsConnector<HttpConnector>, Full<Bytes>>),
}

impl Client {
    /// # Errors
    /// An address or key that cannot be one, or no certificates on this machine for an `https` address.
    pub(super) fn new(options: &Options) -> Result<Self, String> {
        let address = format!("{}/chat/completions", options.endpoint.trim_end_matches('/'));
        let address: Uri = address.parse().map_err(|error| format!("it is not an address: {error}"))?;
        let key = options.key.as_ref().map(|key| {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", key.trim()))
                .map_err(|_| "OPENAI_API_KEY holds characters that no key has".to_owned())?;
            value.set_sensitive(true);
            Ok::<_, String>(value)
        });
        let mut plain = HttpConnector::new();
        plain.set_connect_timeout(Some(CONNECT));
        plain.set_nodelay(true);
        let pool = |executor| {
            let mut builder = Pool::builder(executor);
            builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE);
            builder
        };
        let pool = match address.scheme_str() {
            Some("http") => Pools::Plain(pool(TokioExecutor::new()).build(plain)),
            Some("https") => {
                let roots = HttpsConnectorBuilder::new().with_native_roots();
                let roots = roots.map_err(|error| format!("there are no certificates to check it by: {error}"))?;
                plain.enforce_http(false);
                Pools::Tls(pool(TokioExecutor::new()).build(roots.https_only().enable_http1().wrap_connector(plain)))
            }
            _ => return Err("it begins with neither http:// nor https://".to_owned()),
        };
        Ok(Self { pool, address, key: key.transpose()? })
    }

    /// Asks one question once.
    pub(super) async fn ask(&self, asked: &Asked<'_>, options: &Options) -> Said {
        match tokio::time::timeout(options.each, self.exchange(asked, options)).await {
            Ok(said) => said,
            Err(_) => Said::later(format!("no answer within {} s", options.each.as_secs_f32())),
        }
    }

    async fn exchange(&self, asked: &Asked<'_>, options: &Options) -> Said {
        let body = wire::request(asked, &options.model, options.max_tokens);
        let mut request = Request::post(self.address.clone()).header(CONTENT_TYPE, "application/json");
        if let Some(key) = &self.key {
            request = request.header(AUTHORIZATION, key.clone());
        }
        let request = match request.body(Full::new(Bytes::from(body))) {
            Ok(request) => request,
            Err(error) => return Said::Wrong(format!("it cannot be asked: {error}")),
        };
        let response = match &self.pool {
            Pools::Plain(pool) => pool.request(request).await,
            Pools::Tls(pool) => pool.request(request).await,
        };
        let response = match response {
            Ok(response) => response,
            Err(error) => return Said::later(innermost(&error)),
        };
        let status = response.status();
        let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let after = after.map(|seconds| Duration::from_secs(seconds).min(LONGEST_WAIT));
        match Limited::new(response.into_body(), longest(options.max_tokens)).collect().await {
            Ok(body) => read(status, after, &body.to_bytes(), &options.model, options.max_tokens),
            Err(error) if error.is::<LengthLimitError>() => Said::Nonsense("its answer does not end".to_owned()),
            Err(error) => Said::later(format!("it broke off its answer: {}", innermost(&*error))),
        }
    }
}

/// The cause that says what happened; those above it say only that something did.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    innermost.to_string()
}
