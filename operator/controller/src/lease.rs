//! Who leads: a Lease, renewed while the process lives.
//!
//! The Lease only saves work. What keeps two leaders from harming each other is the resource version on every write of a
//! status.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::watch;

/// How long a silent leader leads.
const HELD_FOR: Duration = Duration::from_secs(15);
/// How often a leader renews, and another one looks.
const PERIOD: Duration = Duration::from_secs(3);
/// A leader that could not renew for so long steps down, well before another takes over.
const STEP_DOWN: Duration = Duration::from_secs(10);

/// One contender for a Lease.
pub struct Contender {
    api: Api<Lease>,
    name: String,
    identity: String,
    // What was last seen, and when by our own clock: clocks of two machines are never compared.
    seen: Option<(String, Instant)>,
    renewed: Option<Instant>,
}

impl Contender {
    /// Contends for the Lease of this name under an identity that no other process has.
    pub fn new(client: Client, namespace: &str, name: &str, identity: String) -> Self {
        let api = Api::namespaced(client, namespace);
        Self { api, name: name.to_owned(), identity, seen: None, renewed: None }
    }

    /// Contends until told to stop, then hands the Lease back. `leads` always says how it stands.
    pub async fn run(mut self, leads: watch::Sender<bool>, mut stop: watch::Receiver<bool>) {
        loop {
            let held = match tokio::time::timeout(PERIOD, self.contend()).await {
                Ok(Ok(held)) => held,
                Ok(Err(error)) => {
                    tracing::warn!(lease = self.name, %error, "the Lease cannot be renewed");
                    self.renewed.is_some_and(|at| at.elapsed() < STEP_DOWN)
                }
                Err(_) => self.renewed.is_some_and(|at| at.elapsed() < STEP_DOWN),
            };
            if leads.send_if_modified(|now| std::mem::replace(now, held) != held) {
                tracing::info!(identity = self.identity, leads = held, "leadership changed");
            }
            tokio::select! {
                () = tokio::time::sleep(PERIOD) => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        let held = leads.send_replace(false);
        if held {
            // Without this the next one waits until the Lease has run out.
            if let Err(error) = self.write("").await {
                tracing::warn!(%error, "the Lease cannot be handed back; it runs out by itself");
            }
        }
    }

    /// Renews the Lease, or takes it if nobody holds it. Tells whether it is held.
    async fn contend(&mut self) -> Result<bool, kube::Error> {
        let Some(lease) = self.api.get_opt(&self.name).await? else {
            let lease = self.lease(None, &self.identity);
            self.api.create(&PostParams::default(), &lease).await?;
            self.renewed = Some(Instant::now());
            return Ok(true);
        };
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        let holder = lease.spec.as_ref().and_then(|s| s.holder_identity.clone()).unwrap_or_default();
        if self.seen.as_ref().is_none_or(|(seen, _)| *seen != version) {
            self.seen = Some((version, Instant::now()));
        }
        let silent = self.seen.as_ref().map_or(Duration::ZERO, |(_, since)| since.elapsed());
        if holder != self.identity && !holder.is_empty() && silent < HELD_FOR {
            self.renewed = None;
            return Ok(false);
        }
        let begun = Instant::now();
        let next = self.lease(Some(&lease), &self.identity);
        match self.api.replace(&self.name, &PostParams::default(), &next).await {
            Ok(_) => {
                self.renewed = Some(begun);
                Ok(true)
            }
            // Somebody else was faster.
            Err(kube::Error::Api(refusal)) if refusal.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn write(&self, holder: &str) -> Result<(), kube::Error> {
        let lease = self.api.get_opt(&self.name).await?;
        let is_ours = |l: &Lease| l.spec.as_ref().and_then(|s| s.holder_identity.as_deref()) == Some(&self.identity);
        if let Some(lease) = lease.filter(is_ours) {
            self.api.replace(&self.name, &PostParams::default(), &self.lease(Some(&lease), holder)).await?;
        }
        Ok(())
    }

    fn lease(&self, before: Option<&Lease>, holder: &str) -> Lease {
        let old = before.and_then(|l| l.spec.clone()).unwrap_or_default();
        let now = MicroTime(Timestamp::now());
        let same = old.holder_identity.as_deref() == Some(holder);
        let changes = old.lease_transitions.unwrap_or_default();
        Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                resource_version: before.and_then(|l| l.metadata.resource_version.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                lease_duration_seconds: Some(HELD_FOR.as_secs() as i32),
                acquire_time: if same { old.acquire_time } else { Some(now.clone()) },
                renew_time: Some(now),
                lease_transitions: Some(if same { changes } else { changes + 1 }),
                ..LeaseSpec::default()
            }),
        }
    }
}
