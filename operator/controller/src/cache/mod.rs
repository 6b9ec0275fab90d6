//! What is remembered of the cluster. Of Jobs and pods, of which there are thousands, what is looked at and no more, found
//! by their owners; builds and releases as the text that came.

pub mod excerpt;
pub mod jobs;
pub mod objects;
pub mod pods;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use kube::Resource;
use kube::core::ObjectMeta;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::Event;

/// What is kept of an object that another owns.
pub trait Kept {
    /// The UID of its controller; empty without one.
    fn owner(&self) -> &Arc<str>;
}

/// What is kept of the objects of one kind, by their UIDs and by their owners'.
pub struct Cache<T> {
    entries: RwLock<Entries<T>>,
}

struct Entries<T> {
    /// With the listing that they were last seen in or after.
    all: HashMap<Arc<str>, (Arc<T>, u32)>,
    /// Owners, with what they own.
    owned: BTreeSet<(Arc<str>, Arc<str>)>,
    listings: u32,
}

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Self { entries: RwLock::new(Entries { all: HashMap::new(), owned: BTreeSet::new(), listings: 0 }) }
    }
}

impl<T: Kept> Cache<T> {
    /// The object of this UID.
    pub fn get(&self, uid: &str) -> Option<Arc<T>> {
        self.read().all.get(uid).map(|(kept, _)| kept.clone())
    }

    /// The objects whose controller has this UID, in the order of their own.
    pub fn of(&self, owner: &str) -> Vec<Arc<T>> {
        let entries = self.read();
        let from = (Arc::from(owner), Arc::from(""));
        let owned = entries.owned.range(from..).take_while(|(o, _)| **o == *owner);
        owned.filter_map(|(_, uid)| Some(entries.all.get(uid)?.0.clone())).collect()
    }

    /// The objects of which that is true, in any order.
    pub fn filter(&self, is: impl Fn(&T) -> bool) -> Vec<Arc<T>> {
        self.read().all.values().filter(|(kept, _)| is(kept)).map(|(kept, _)| kept.clone()).collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, Entries<T>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows a watch. While everything is listed anew, what was known stays known.
    pub fn apply<K: Resource>(&self, event: &Event<K>, keep: impl Fn(&K) -> T) {
        let uid = |object: &K| Arc::from(object.meta().uid.as_deref().unwrap_or_default());
        match event {
            Event::Init => self.write().listings += 1,
            Event::InitApply(object) | Event::Apply(object) => {
                // Made before anybody has to wait.
                let kept = keep(object);
                self.write().insert(uid(object), kept);
            }
            Event::Delete(object) => self.write().remove(&uid(object)),
            Event::InitDone => self.write().sweep(),
        }
    }

    fn write(&self) -> RwLockWriteGuard<'_, Entries<T>> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Kept> Entries<T> {
    fn insert(&mut self, uid: Arc<str>, kept: T) {
        let owner = kept.owner().clone();
        let before = self.all.insert(uid.clone(), (Arc::new(kept), self.listings));
        if let Some((before, _)) = before.filter(|(before, _)| *before.owner() != owner) {
            self.owned.remove(&(before.owner().clone(), uid.clone()));
        }
        self.owned.insert((owner, uid));
    }

    fn remove(&mut self, uid: &Arc<str>) {
        if let Some((kept, _)) = self.all.remove(uid) {
            self.owned.remove(&(kept.owner().clone(), uid.clone()));
        }
    }

    /// Forgets what the listing that has just ended did not bring.
    fn sweep(&mut self) {
        let (owned, now) = (&mut self.owned, self.listings);
        self.all.retain(|uid, (kept, seen)| {
            let stays = *seen == now;
            if !stays {
                owned.remove(&(kept.owner().clone(), uid.clone()));
            }
            stays
        });
    }
}

/// Where a watch's events go.
pub trait Fill<K>: Send {
    /// Takes an event in.
    fn fill(&mut self, event: &Event<K>);
}

impl<K> Fill<K> for Writer<K>
where
    K: Resource + Clone + Send + Sync + 'static,
    K::DynamicType: std::hash::Hash + Eq + Clone + Send + Sync,
{
    fn fill(&mut self, event: &Event<K>) {
        self.apply_watcher_event(event);
    }
}

impl<K: Resource, T: Kept + Send + Sync> Fill<K> for Arc<Cache<T>>
where
    for<'a> T: From<&'a K>,
{
    fn fill(&mut self, event: &Event<K>) {
        self.apply(event, |object| T::from(object));
    }
}

/// The UID of an object's controller; empty without one.
pub fn controller(metadata: &ObjectMeta) -> &str {
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    owners.iter().find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.as_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    struct Owned(Arc<str>, String);

    impl Kept for Owned {
        fn owner(&self) -> &Arc<str> {
            &self.0
        }
    }

    fn pod(uid: &str, owner: &str) -> Pod {
        let owners = json!([
            { "apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "another" },
            { "apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": owner, "controller": true },
        ]);
        serde_json::from_value(json!({ "metadata": { "name": uid, "uid": uid, "ownerReferences": owners } })).unwrap()
    }

    fn keep(pod: &Pod) -> Owned {
        Owned(controller(&pod.metadata).into(), pod.metadata.name.clone().unwrap())
    }

    fn names(found: Vec<Arc<Owned>>) -> Vec<String> {
        found.iter().map(|owned| owned.1.clone()).collect()
    }

    #[test]
    fn a_cache_shows_what_the_watch_has_told() {
        let cache = Cache::default();
        let tell = |event: Event<Pod>| cache.apply(&event, keep);
        tell(Event::Init);
        for (uid, owner) in [("a", "x"), ("b", "xy"), ("c", "x")] {
            tell(Event::InitApply(pod(uid, owner)));
        }
        tell(Event::InitDone);
        assert_eq!((names(cache.of("x")), names(cache.of("xy"))), (vec!["a".into(), "c".into()], vec!["b".into()]));
        assert!(cache.of("").is_empty() && cache.of("another").is_empty());

        // Another owner, and then none any more.
        tell(Event::Apply(pod("a", "z")));
        assert_eq!((names(cache.of("x")), names(cache.of("z"))), (vec!["c".into()], vec!["a".into()]));
        tell(Event::Delete(pod("c", "x")));
        assert!(cache.of("x").is_empty() && cache.get("c").is_none());

        // A listing that breaks off forgets nothing; the next one forgets what it does not bring.
        tell(Event::Init);
        tell(Event::InitApply(pod("b", "xy")));
        assert_eq!(names(cache.of("z")), ["a"]);
        tell(Event::Init);
        tell(Event::InitApply(pod("d", "z")));
        tell(Event::Apply(pod("e", "z")));
        tell(Event::InitDone);
        assert_eq!((names(cache.of("z")), names(cache.of("xy"))), (vec!["d".into(), "e".into()], Vec::new()));
        assert_eq!(cache.filter(|_| true).len(), 2);
    }
}
