//! The certificate authority of one cluster, and what it signs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// A certificate and its key, as files.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Signs the certificates of one cluster, and writes everything into one folder.
pub(crate) struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes an authority, and the key pair that signs service account tokens.
    pub fn create(folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "realsyn-test-authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        write(&folder.join("ca.crt"), &certificate.pem())?;
        write(&folder.join("ca.key"), &key.serialize_pem())?;

        let tokens = KeyPair::generate()?;
        write(&folder.join("tokens.key"), &tokens.serialize_pem())?;
        write(&folder.join("tokens.pub"), &tokens.public_key_pem())?;
        Ok(Self { folder, issuer: Issuer::new(params, key) })
    }

    /// Signs a certificate in the name of `user`, a member of `group`, that also serves under `names` (host names and
    /// addresses).
    pub fn identity(&self, file: &str, user: &str, group: Option<&str>, names: &[&str]) -> Result<Identity> {
        let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, user);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if !names.is_empty() {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        let key = KeyPair::generate()?;
        let signed = params.signed_by(&key, &self.issuer)?;
        let identity = Identity {
            certificate: self.folder.join(format!("{file}.crt")),
            key: self.folder.join(format!("{file}.key")),
        };
        write(&identity.certificate, &signed.pem())?;
        write(&identity.key, &key.serialize_pem())?;
        Ok(identity)
    }

    /// The authority's own certificate and key.
    pub fn own(&self) -> Identity {
        Identity { certificate: self.folder.join("ca.crt"), key: self.folder.join("ca.key") }
    }

    /// The key pair of service account tokens: private, public.
    pub fn tokens(&self) -> (PathBuf, PathBuf) {
        (self.folder.join("tokens.key"), self.folder.join("tokens.pub"))
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}
