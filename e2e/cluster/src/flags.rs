//! The flags of the control plane's processes.

use std::path::Path;

use crate::authority::Identity;
use crate::site::Site;

/// Services get their addresses from here; the API server's own is the first.
pub(crate) const SERVICE_RANGE: &str = "10.96.0.0/16";
pub(crate) const API_SERVICE: &str = "10.96.0.1";
/// Pods of a node get theirs from here.
pub(crate) const POD_RANGE: &str = "10.244.0.0/16";

/// The certificates that the control plane's processes show each other.
pub(crate) struct Identities {
    pub authority: Identity,
    /// What etcd and the controller manager serve with.
    pub loopback: Identity,
    /// What the API server serves with.
    pub server: Identity,
    /// What the API server shows etcd and kubelets.
    pub client: Identity,
    pub token_key: std::path::PathBuf,
    pub token_public: std::path::PathBuf,
}

fn flag(name: &str, value: impl std::fmt::Display) -> String {
    format!("--{name}={value}")
}

fn path(name: &str, value: &Path) -> String {
    flag(name, value.display())
}

pub(crate) fn etcd(site: &Site, identities: &Identities) -> Vec<String> {
    let client = format!("https://127.0.0.1:{}", site.ports.etcd);
    let peer = format!("https://127.0.0.1:{}", site.ports.etcd_peer);
    vec![
        path("data-dir", &site.folder.join("etcd")),
        // A test's data need not outlive the machine, only the process.
        "--unsafe-no-fsync".to_owned(),
        flag("listen-client-urls", &client),
        flag("advertise-client-urls", &client),
        flag("listen-peer-urls", &peer),
        flag("initial-advertise-peer-urls", &peer),
        flag("initial-cluster", format!("default={peer}")),
        path("cert-file", &identities.loopback.certificate),
        path("key-file", &identities.loopback.key),
        "--client-cert-auth".to_owned(),
        path("trusted-ca-file", &identities.authority.certificate),
        path("peer-cert-file", &identities.loopback.certificate),
        path("peer-key-file", &identities.loopback.key),
        "--peer-client-cert-auth".to_owned(),
        path("peer-trusted-ca-file", &identities.authority.certificate),
    ]
}

pub(crate) fn api_server(site: &Site, identities: &Identities) -> Vec<String> {
    let mut flags = vec![
        flag("etcd-servers", format!("https://127.0.0.1:{}", site.ports.etcd)),
        path("etcd-cafile", &identities.authority.certificate),
        path("etcd-certfile", &identities.client.certificate),
        path("etcd-keyfile", &identities.client.key),
        flag("secure-port", site.ports.api),
        flag("advertise-address", site.address),
        path("tls-cert-file", &identities.server.certificate),
        path("tls-private-key-file", &identities.server.key),
        path("client-ca-file", &identities.authority.certificate),
        flag("service-cluster-ip-range", SERVICE_RANGE),
        path("service-account-key-file", &identities.token_public),
        path("service-account-signing-key-file", &identities.token_key),
        flag("service-account-issuer", "https://kubernetes.default.svc.cluster.local"),
        flag("authorization-mode", "Node,RBAC"),
        flag("enable-admission-plugins", "NodeRestriction"),
        flag("allow-privileged", true),
        // Models may lie in images; on by itself from 1.35.
        flag("feature-gates", "ImageVolume=true"),
        flag("kubelet-preferred-address-types", "InternalIP"),
        path("kubelet-certificate-authority", &identities.authority.certificate),
        path("kubelet-client-certificate", &identities.client.certificate),
        path("kubelet-client-key", &identities.client.key),
    ];
    if site.inside.is_some() {
        flags.push(flag("bind-address", "0.0.0.0"));
    } else {
        flags.push(flag("bind-address", site.address));
        // An address on loopback may not stand in the endpoints of a Service; without a node nobody reads them.
        flags.push(flag("endpoint-reconciler-type", "none"));
    }
    flags
}

pub(crate) fn controller_manager(site: &Site, identities: &Identities, kubeconfig: &Path) -> Vec<String> {
    vec![
        path("kubeconfig", kubeconfig),
        path("authentication-kubeconfig", kubeconfig),
        path("authorization-kubeconfig", kubeconfig),
        // Each controller then acts with its own rights, as in a real cluster.
        "--use-service-account-credentials".to_owned(),
        path("service-account-private-key-file", &identities.token_key),
        path("root-ca-file", &identities.authority.certificate),
        path("cluster-signing-cert-file", &identities.authority.certificate),
        path("cluster-signing-key-file", &identities.authority.key),
        flag("bind-address", "127.0.0.1"),
        flag("secure-port", site.ports.controller_manager),
        path("tls-cert-file", &identities.loopback.certificate),
        path("tls-private-key-file", &identities.loopback.key),
        flag("leader-elect", false),
        // It would make its default folder in /usr otherwise.
        path("flex-volume-plugin-dir", &site.folder.join("flex-volumes")),
        flag("cluster-cidr", POD_RANGE),
        flag("allocate-node-cidrs", false),
        // The default, 20 a second, is what a Job of a thousand pods would wait for.
        flag("kube-api-qps", 200),
        flag("kube-api-burst", 400),
    ]
}
