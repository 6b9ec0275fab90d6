//! The watches. Each has a task, a cache and a backoff of its own, so that one that fails holds up none of the others.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::cache::Fill;
use crate::health::Health;
use crate::metrics::Metrics;

/// The first wait after an error; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The longest.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// What a watch tells of.
pub enum News<'a, K> {
    /// An object appeared or changed.
    Of(&'a K),
    /// An object went; the cache shows it no more.
    Gone(&'a K),
    /// Everything was listed anew; something may have gone unseen.
    Relisted,
}

/// Where a watch's progress is recorded.
#[derive(Clone)]
pub struct Watched {
    /// The watch's name.
    pub name: &'static str,
    /// For `/livez` and `/readyz`.
    pub health: Arc<Health>,
    /// For `/metrics`.
    pub metrics: Arc<Metrics>,
}

/// Follows a resource for ever: fills the cache, and tells of what changes after the cache shows it.
pub async fn follow<K>(
    watched: Watched,
    api: Api<K>,
    config: watcher::Config,
    mut cache: impl Fill<K>,
    strip: fn(&mut K),
    mut tell: impl FnMut(News<'_, K>),
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    K::DynamicType: Hash + Eq + Clone,
{
    let Watched { name, health, metrics } = watched;
    let label = [("watch", name)];
    let mut stream = Box::pin(watcher::watcher(api, config));
    let mut wait = FIRST_WAIT;
    while let Some(event) = stream.next().await {
        let mut event = match event {
            Ok(event) => event,
            Err(error) => {
                metrics.watch_errors.get_or_create(&label).inc();
                health.failed(name, error.to_string());
                tracing::warn!(watch = name, %error, "the watch failed and is begun again");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(LONGEST_WAIT);
                continue;
            }
        };
        wait = FIRST_WAIT;
        if let Event::Apply(object) | Event::InitApply(object) | Event::Delete(object) = &mut event {
            object.managed_fields_mut().clear();
            strip(object);
        }
        metrics.watch_events.get_or_create(&label).inc();
        metrics.watch_moved.get_or_create(&label).set(jiff::Timestamp::now().as_second() as f64);
        cache.fill(&event);
        health.moved(name, matches!(event, Event::InitDone));
        match &event {
            Event::Apply(object) => tell(News::Of(object)),
            Event::Delete(object) => tell(News::Gone(object)),
            Event::InitDone => tell(News::Relisted),
            Event::Init | Event::InitApply(_) => {}
        }
    }
}

/// Nothing but metadata's bulk can be dropped.
pub fn as_it_is<K>(_: &mut K) {}
