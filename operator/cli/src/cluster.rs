//! The API server, and what is asked of it.

use anyhow::{Context, Result};
use k8s_openapi::NamespaceResourceScope;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, Resource, ResourceExt};
use realsyn_objects::kinds::{Kind, KindExt};
use serde_json::Value;

use crate::args::ClusterFlags;
use crate::errors::{Asked, Explained};

/// A namespace of a cluster.
pub struct Cluster {
    /// The client.
    pub client: Client,
    /// The namespace.
    pub namespace: String,
}

impl Cluster {
    /// Finds the cluster as kubectl does: flags, then $KUBECONFIG, then ~/.kube/config, then the pod's own account.
    ///
    /// # Errors
    /// There is none, or its settings are wrong.
    pub async fn connect(flags: &ClusterFlags) -> Result<Self> {
        let options = KubeConfigOptions { context: flags.context.clone(), ..KubeConfigOptions::default() };
        let config = match &flags.kubeconfig {
            Some(file) => {
                let read = Kubeconfig::read_from(file).with_context(|| format!("--kubeconfig {}", file.display()))?;
                Config::from_custom_kubeconfig(read, &options).await.with_context(|| format!("{}", file.display()))?
            }
            None if flags.context.is_some() => {
                Config::from_kubeconfig(&options).await.context("reading the kubeconfig for --context")?
            }
            None => Config::infer()
                .await
                .context("no cluster is configured: give --kubeconfig, or set KUBECONFIG, or log in to a cluster")?,
        };
        let namespace = flags.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).context("making a client of the API server")?;
        Ok(Self { client, namespace })
    }

    /// Objects of Kubernetes itself.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Builds or releases.
    pub fn objects(&self, kind: Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &kind.resource())
    }

    /// All builds or releases.
    ///
    /// # Errors
    /// They cannot be listed.
    pub async fn list(&self, kind: Kind) -> Result<Vec<DynamicObject>> {
        let list = self.objects(kind).list(&ListParams::default()).await;
        Ok(list.explained(&Asked::new("list", kind.plural(), &self.namespace))?.items)
    }

    /// One build or release.
    ///
    /// # Errors
    /// There is none of this name, which says what there is; or it cannot be read.
    pub async fn object(&self, kind: Kind, name: &str) -> Result<DynamicObject> {
        let asked = Asked::new("get", kind.plural(), &self.namespace);
        match self.objects(kind).get_opt(name).await.explained(&asked)? {
            Some(object) => Ok(object),
            None => Err(self.absent(kind, name).await),
        }
    }

    /// Says that there is no such object, and what there is.
    pub async fn absent(&self, kind: Kind, name: &str) -> anyhow::Error {
        let namespace = &self.namespace;
        let noun = kind.label();
        let there = match self.list(kind).await {
            Ok(all) if all.is_empty() => "; it has none at all, so look at another one with -n".to_owned(),
            Ok(all) => {
                let names: Vec<String> = all.iter().take(8).map(ResourceExt::name_any).collect();
                let more = if all.len() > names.len() { ", …" } else { "" };
                format!("; it has {}{more}", names.join(", "))
            }
            Err(_) => String::new(),
        };
        anyhow::anyhow!("there is no {noun} {name} in the namespace {namespace}{there}")
    }

    /// Changes a few fields of a build or release.
    ///
    /// # Errors
    /// There is none of this name, or it may not be changed.
    pub async fn patch(&self, kind: Kind, name: &str, fields: Value) -> Result<DynamicObject> {
        match self.objects(kind).patch(name, &PatchParams::default(), &Patch::Merge(fields)).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Err(self.absent(kind, name).await),
            done => done.explained(&Asked::new("patch", kind.plural(), &self.namespace)),
        }
    }
}
