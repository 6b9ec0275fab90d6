//! What a process tells of itself: logs on standard error, and spans to a collector if there is one.
//!
//! - [`start`] sets both up, as the flags and the environment say
//! - [`follow`] makes a span part of a trace that another process began
//! - [`Tail`] keeps the end of the log, for those who look after the process is gone

#![forbid(unsafe_code)]

mod collector;
mod filter;
mod tail;

use std::collections::HashMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, reload};

pub use tail::Tail;

/// The variable that names the collector, as every OpenTelemetry program reads it.
pub const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// The variable that names the span under which a process works.
pub const TRACEPARENT: &str = "TRACEPARENT";

/// How long the end of a process waits for the collector.
const FLUSH: Duration = Duration::from_secs(2);

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// What is set up.
pub struct Options {
    /// What the process is called in traces.
    pub service: &'static str,
    /// How log lines are written.
    pub format: Format,
    /// What is logged where `RUST_LOG` says nothing that can be understood.
    pub filter: &'static str,
    /// A file that says what is logged, in place of both, from the moment at which it does.
    pub filter_file: Option<PathBuf>,
    /// Keeps the end of the log, too: whatever is logged at `info`, and the workers' own at `debug`.
    pub tail: Option<Tail>,
}

/// Logs and traces of this process. What was not sent yet is sent when it is dropped, unless that takes too long.
#[must_use = "spans that were not sent yet are lost without it"]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(provider) = &self.provider {
            // A collector that does not answer has been complained of already.
            _ = provider.shutdown_with_timeout(FLUSH);
        }
    }
}

/// Begins to log, and to send spans if [`ENDPOINT`] says where. To be called once, first of all.
pub fn start(options: Options) -> Telemetry {
    let usual = filter::usual(options.filter);
    let (filter, handle) = reload::Layer::new(filter::parse(&usual).unwrap_or_default());
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let lines = match options.format {
        Format::Json => lines.json().with_span_list(false).boxed(),
        Format::Text => lines.boxed(),
    };
    let tail = options.tail.map(|tail| {
        let wanted = Targets::new().with_default(LevelFilter::INFO).with_target("realsyn_worker", LevelFilter::DEBUG);
        fmt::layer().with_ansi(false).with_writer(move || tail.clone()).with_filter(wanted)
    });
    let (provider, trouble) = match provider(options.service) {
        Ok(provider) => (provider, None),
        Err(trouble) => (None, Some(trouble)),
    };
    let spans = provider.as_ref().map(|provider| {
        let ours = Targets::new().with_target("realsyn", LevelFilter::INFO);
        let tracer = provider.tracer(options.service);
        let layer = tracing_opentelemetry::layer().with_location(false).with_threads(false);
        layer.with_tracked_inactivity(false).with_tracer(tracer).with_filter(ours)
    });
    tracing_subscriber::registry().with(lines.with_filter(filter)).with(tail).with(spans).init();
    if let Some(trouble) = trouble {
        tracing::warn!("{ENDPOINT}: {trouble}; no traces are sent");
    }
    if let Some(path) = options.filter_file {
        filter::FilterFile::new(path, usual, handle).watch();
    }
    Telemetry { provider }
}

fn provider(service: &'static str) -> Result<Option<SdkTracerProvider>, String> {
    let Some(endpoint) = std::env::var(ENDPOINT).ok().filter(|endpoint| !endpoint.is_empty()) else { return Ok(None) };
    if !["http://", "https://"].iter().any(|scheme| endpoint.starts_with(scheme)) {
        return Err(format!("`{endpoint}` begins with neither http:// nor https://"));
    }
    let exporter = SpanExporter::builder().with_http().with_http_client(collector::Client::default());
    let exporter = exporter.with_protocol(Protocol::HttpBinary).build().map_err(|error| error.to_string())?;
    // Spans wait in a queue of bounded length for a thread of their own; what does not fit is dropped.
    let resource = Resource::builder().with_service_name(service).build();
    Ok(Some(SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build()))
}

/// Makes a span part of the trace that a `traceparent` names. To be called before the span is entered. Text that is no
/// `traceparent` leaves it as it is.
pub fn follow(span: &Span, traceparent: &str) {
    let carrier = HashMap::from([("traceparent".to_owned(), traceparent.to_owned())]);
    // Refused only where no spans are sent.
    _ = span.set_parent(TraceContextPropagator::new().extract(&carrier));
}

/// Makes a span part of the trace that [`TRACEPARENT`] names, if it is set.
pub fn follow_environment(span: &Span) {
    if let Ok(traceparent) = std::env::var(TRACEPARENT) {
        follow(span, &traceparent);
    }
}
