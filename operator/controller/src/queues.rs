//! Where objects wait to be reconciled, and which of them a change of anything calls for.

use std::sync::Arc;

use futures::channel::mpsc::UnboundedSender;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use crate::cache::jobs::works_for;
use crate::cache::objects::{Object, Objects};
use crate::context::Context;
use crate::kinds::{Kind, KindExt};
use crate::watches::News;

/// Where objects wait to be reconciled.
#[derive(Clone)]
pub struct Queues {
    builds: UnboundedSender<ObjectRef<Object>>,
    releases: UnboundedSender<ObjectRef<Object>>,
    context: Arc<Context>,
}

impl Queues {
    /// Into these channels.
    pub fn new(
        builds: UnboundedSender<ObjectRef<Object>>,
        releases: UnboundedSender<ObjectRef<Object>>,
        context: Arc<Context>,
    ) -> Self {
        Self { builds, releases, context }
    }

    fn push(&self, kind: Kind, namespace: &str, name: &str) {
        let object = kind.reference(namespace, name);
        if self.context.objects(kind).get(&object).is_none() {
            // Gone, or not seen yet: then it is told of by itself.
            return;
        }
        self.context.metrics.queued(kind, namespace, name);
        let queue = if kind == Kind::Build { &self.builds } else { &self.releases };
        // It is closed only while the process ends.
        _ = queue.unbounded_send(object);
    }

    /// A build or a release, and what reads it.
    pub fn object(&self, kind: Kind, news: News<'_, Object>) {
        let object = match news {
            News::Of(object) | News::Gone(object) => object,
            News::Relisted => {
                self.context.forget_gone();
                return self.all();
            }
        };
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        if let News::Gone(object) = news {
            self.context.metrics.taken(kind, &namespace, &name);
            self.context.forget(object.uid().as_deref().unwrap_or_default());
        }
        self.push(kind, &namespace, &name);
        if kind == Kind::Build {
            let reads_it = |other: &Object| {
                other.namespace().as_deref() == Some(&namespace)
                    && other.spec.as_ref().is_some_and(|spec| spec.reads == name)
            };
            for (kind, objects) in [(Kind::Release, &self.context.releases), (Kind::Build, &self.context.builds)] {
                for other in objects.state_filter(reads_it) {
                    self.push(kind, &namespace, &other.name_any());
                }
            }
        }
    }

    /// The object that a Job or pod is labelled with.
    pub fn labelled<K: ResourceExt>(&self, news: News<'_, K>) {
        let (News::Of(owned) | News::Gone(owned)) = news else { return self.all() };
        if let (Some((kind, name)), Some(namespace)) = (works_for(owned), owned.namespace()) {
            self.push(kind, &namespace, &name);
        }
    }

    /// The object that owns a Job.
    pub fn job(&self, uid: &str) {
        let job = self.context.jobs.get(uid);
        if let Some((job, (kind, name))) = job.as_ref().and_then(|job| Some((job, job.works_for.as_ref()?))) {
            self.push(*kind, &job.namespace, name);
        }
    }

    /// Builds with GPUs that are not done: what fits them may be another node now, or none.
    pub fn placed(&self) {
        let waits = |build: &Object| build.status.as_ref().is_some_and(|status| status.waits_for_gpus);
        for build in self.context.builds.state_filter(waits) {
            self.push(Kind::Build, &build.namespace().unwrap_or_default(), &build.name_any());
        }
    }

    /// Every build and release.
    pub fn all(&self) {
        let every = |kind, store: &Objects| {
            for object in store.state() {
                self.push(kind, &object.namespace().unwrap_or_default(), &object.name_any());
            }
        };
        every(Kind::Build, &self.context.builds);
        every(Kind::Release, &self.context.releases);
    }
}
