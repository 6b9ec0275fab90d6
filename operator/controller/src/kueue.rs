//! What Kueue says of our Jobs: the conditions of the Workload that it keeps beside each Job of a queue. It may be installed
//! and removed at any time, and nothing here depends on it: without it a Job of a queue only waits without a reason.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroup, Condition};
use kube::api::DynamicObject;
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::watcher::{Config, Event};
use kube::{Api, Client};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::cache::excerpt::Excerpt;
use crate::cache::{Cache, Fill, Kept, controller};
use crate::text::sentence;
use crate::watches::{News, Watched, as_it_is, follow};

const GROUP: &str = "kueue.x-k8s.io";
/// Versions in which a Workload's conditions are the same, the one to ask for first.
const VERSIONS: [&str; 2] = ["v1beta2", "v1beta1"];
/// How often it is looked whether Kueue is there, and in which version.
const LOOK_AGAIN: Duration = Duration::from_secs(20);
/// Workloads in one answer.
const PAGE: u32 = 500;

/// A Workload without its spec.
pub type ReadWorkload = Excerpt<DynamicObject, IgnoredAny, WorkloadStatus>;

/// What is read of its status.
#[derive(Clone, Debug, Deserialize)]
pub struct WorkloadStatus {
    #[serde(default)]
    conditions: Vec<Condition>,
}

/// A Workload.
pub struct HeldWorkload {
    /// Why its Job may not run, in Kueue's words.
    pub says: Option<String>,
    /// The UID of that Job.
    job: Arc<str>,
}

impl Kept for HeldWorkload {
    fn owner(&self) -> &Arc<str> {
        &self.job
    }
}

impl From<&ReadWorkload> for HeldWorkload {
    fn from(workload: &ReadWorkload) -> Self {
        let says = workload.status.as_ref().and_then(|status| says(&status.conditions));
        Self { says, job: controller(&workload.metadata).into() }
    }
}

/// Why a Workload with these conditions is not admitted, if it is not and Kueue has said anything.
fn says(conditions: &[Condition]) -> Option<String> {
    let find = |type_: &str| conditions.iter().find(|c| c.type_ == type_);
    let is = |type_: &str| find(type_).is_some_and(|c| c.status == "True");
    if is("Admitted") {
        return None;
    }
    let words = |c: &Condition| match &*c.message {
        "" => c.reason.clone(),
        message => format!("{}: {message}", c.reason),
    };
    let evicted = find("Evicted").filter(|c| c.status == "True");
    let waits = if is("QuotaReserved") {
        // Its admission checks are next.
        let checks = || "its quota is reserved, its admission checks are not done".to_owned();
        Some(find("Admitted").map_or_else(checks, words))
    } else {
        // Right after an eviction both say the same.
        let is_news = |c: &&Condition| evicted.is_none_or(|evicted| evicted.message != c.message);
        find("QuotaReserved").filter(is_news).map(words)
    };
    let evicted = evicted.map(|c| format!("evicted, {}", words(c)));
    let told = [evicted, waits].into_iter().flatten().map(|words| sentence(&words, 200)).collect::<Vec<_>>();
    (!told.is_empty()).then(|| format!("its queue has not admitted it: {}", told.join("; ")))
}

/// Follows the Workloads of this namespace, or of all, for ever, whenever Kueue is there; tells the UIDs of Jobs of which it
/// says something else.
pub async fn watch(
    watched: Watched,
    client: Client,
    namespace: Option<String>,
    workloads: Arc<Cache<HeldWorkload>>,
    tell: impl Fn(&str) + Clone,
) {
    loop {
        let served = served(&client).await;
        let Some(version) = &served else {
            tokio::time::sleep(LOOK_AGAIN).await;
            continue;
        };
        tracing::info!(version, "Kueue is there; its Workloads say why Jobs of queues wait");
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, version, "Workload"));
        let api: Api<ReadWorkload> = match &namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        let news = {
            let tell = tell.clone();
            move |news: News<'_, ReadWorkload>| match news {
                News::Of(workload) | News::Gone(workload) => tell(controller(&workload.metadata)),
                News::Relisted => {}
            }
        };
        let pages = Config::default().page_size(PAGE);
        let follows = follow(watched.clone(), api, pages, workloads.clone(), as_it_is, news);
        tokio::select! {
            () = follows => {}
            () = changed(&client, version) => {}
        }
        // What it said last is no longer so.
        let mut workloads = workloads.clone();
        for event in [Event::<ReadWorkload>::Init, Event::InitDone] {
            workloads.fill(&event);
        }
    }
}

/// Returns once Kueue is gone, or is to be asked in another version.
async fn changed(client: &Client, version: &str) {
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        match client.list_api_groups().await {
            Ok(groups) if of(&groups.groups) != Some(version) => return,
            // An API server that does not answer has not lost it.
            _ => {}
        }
    }
}

async fn served(client: &Client) -> Option<String> {
    match client.list_api_groups().await {
        Ok(groups) => of(&groups.groups).map(str::to_owned),
        Err(error) => {
            tracing::debug!(%error, "the API server does not say whether Kueue is there");
            None
        }
    }
}

/// The version in which Workloads are asked for.
fn of(groups: &[APIGroup]) -> Option<&'static str> {
    let group = groups.iter().find(|group| group.name == GROUP)?;
    VERSIONS.into_iter().find(|version| group.versions.iter().any(|served| served.version == *version))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn workload(conditions: &[[&str; 4]]) -> HeldWorkload {
        let conditions: Vec<Value> = conditions
            .iter()
            .map(|[type_, status, reason, message]| {
                let at = "2027-01-15T08:00:00Z";
                json!({ "type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": at })
            })
            .collect();
        let owner = json!({ "apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "job", "controller": true });
        let read: ReadWorkload = serde_json::from_value(json!({
            "metadata": { "name": "w", "uid": "w", "ownerReferences": [owner] },
            "spec": { "podSets": [{ "name": "main", "count": 3 }] },
            "status": { "conditions": conditions },
        }))
        .unwrap();
        HeldWorkload::from(&read)
    }

    #[test]
    fn a_workload_says_why_its_job_waits() {
        let says = |conditions: &[[&str; 4]]| workload(conditions).says;
        assert_eq!(&**workload(&[]).owner(), "job");
        assert_eq!(says(&[]), None);

        let short =
            ["QuotaReserved", "False", "Pending", "insufficient unused quota for nvidia.com/gpu, 8 more needed"];
        let told = says(&[short]).unwrap();
        assert_eq!(
            told,
            "its queue has not admitted it: Pending: insufficient unused quota for nvidia.com/gpu, 8 more needed"
        );

        let evicted = ["Evicted", "True", "Preempted", "Preempted to accommodate a workload of a higher priority"];
        let at_once = ["QuotaReserved", "False", "Pending", evicted[3]];
        let told = says(&[at_once, evicted]).unwrap();
        assert_eq!(told, format!("its queue has not admitted it: evicted, Preempted: {}", evicted[3]));
        let told = says(&[short, evicted]).unwrap();
        assert!(told.ends_with(&format!("{}; Pending: {}", evicted[3], short[3])), "{told}");

        let reserved = ["QuotaReserved", "True", "QuotaReserved", "Quota reserved in ClusterQueue gpus"];
        assert!(says(&[reserved]).unwrap().ends_with("its admission checks are not done"));
        let checks = ["Admitted", "False", "UnsatisfiedChecks", "The workload has not all checks ready"];
        assert!(
            says(&[reserved, checks]).unwrap().ends_with("UnsatisfiedChecks: The workload has not all checks ready")
        );
        // Admitted again: that it was evicted before is over.
        let admitted = ["Admitted", "True", "Admitted", "The workload is admitted"];
        assert_eq!(says(&[reserved, admitted, ["Evicted", "False", "QuotaReserved", ""]]), None);
    }

    #[test]
    fn the_newest_served_version_that_is_known_is_asked_for() {
        let groups = |versions: &[&str]| {
            let version = |v: &&str| json!({ "groupVersion": format!("{GROUP}/{v}"), "version": v });
            let versions: Vec<Value> = versions.iter().map(version).collect();
            let named = |name: &str| json!({ "name": name, "versions": versions });
            serde_json::from_value::<Vec<APIGroup>>(json!([named("visibility.kueue.x-k8s.io"), named(GROUP)])).unwrap()
        };
        assert_eq!(of(&groups(&["v1beta1", "v1beta2"])), Some("v1beta2"));
        assert_eq!(of(&groups(&["v1beta1"])), Some("v1beta1"));
        assert_eq!(of(&groups(&["v1"])), None);
        assert_eq!(of(&groups(&["v1beta1"])[..1]), None);
    }
}
