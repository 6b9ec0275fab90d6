//! Where a pod finds what lies on a volume: the controller mounts it there, and the worker looks there.

use crate::Digest;

/// What a URI of a volume leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// What is mounted.
    pub volume: Volume,
    /// Where.
    pub root: String,
    /// The path that the URI means, at or below `root`.
    pub path: String,
}

/// A volume that URIs can lead to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Volume {
    /// `pvc://CLAIM/path`: a volume claim.
    Claim(String),
    /// `oci://REFERENCE/path`: an image, whose files are a volume. The path begins behind the tag or digest.
    Image(String),
}

/// The volume that a URI leads to, if it leads to one.
pub fn mount(uri: &str) -> Option<Mount> {
    let (volume, rest) = if let Some(rest) = uri.strip_prefix("pvc://") {
        let (claim, path) = rest.split_once('/').unwrap_or((rest, ""));
        (Volume::Claim(claim.to_owned()), path)
    } else {
        let (reference, path) = image(uri.strip_prefix("oci://")?);
        (Volume::Image(reference.to_owned()), path)
    };
    let root = match &volume {
        Volume::Claim(claim) => format!("/claims/{claim}"),
        // References hold characters that paths had better not.
        Volume::Image(reference) => {
            format!("/images/{}", &Digest::builder("image").part(reference).finish().to_string()[..16])
        }
    };
    let (Volume::Claim(name) | Volume::Image(name)) = &volume;
    let path = rest.trim_matches('/');
    let path = if path.is_empty() { root.clone() } else { format!("{root}/{path}") };
    (!name.is_empty()).then_some(Mount { volume, root, path })
}

/// An image's reference, and the path behind it: `host:5000/team/model:1/weights` is cut behind the tag, which stands after
/// the last of the name's parts. Without tag and digest there is no path.
fn image(text: &str) -> (&str, &str) {
    let name = text.find('/').unwrap_or(0);
    let version = text.find('@').or_else(|| text[name..].find(':').map(|at| name + at));
    let end = version.and_then(|at| text[at..].find('/').map(|slash| at + slash));
    end.map_or((text, ""), |end| (&text[..end], &text[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_mounted_under_its_name() {
        let found = mount("pvc://models/llama/8b/").unwrap();
        assert_eq!((found.root.as_str(), found.path.as_str()), ("/claims/models", "/claims/models/llama/8b"));
        assert_eq!(mount("pvc://models").unwrap().path, "/claims/models");
        for other in ["pvc://", "pvc:///a", "oci://", "s3://b/k", "models/a", "/a"] {
            assert_eq!(mount(other), None, "{other}");
        }
    }

    #[test]
    fn an_image_is_cut_behind_its_version() {
        let cut = [
            ("oci://host/team/model:1", "host/team/model:1", ""),
            ("oci://host:5000/model:1/weights/a", "host:5000/model:1", "/weights/a"),
            ("oci://host:5000/model", "host:5000/model", ""),
            ("oci://host/model@sha256:ab/weights/", "host/model@sha256:ab", "/weights"),
            ("oci://host/model:1@sha256:ab", "host/model:1@sha256:ab", ""),
        ];
        for (uri, reference, path) in cut {
            let found = mount(uri).unwrap();
            assert_eq!(found.volume, Volume::Image(reference.to_owned()), "{uri}");
            assert_eq!(found.path, format!("{}{path}", found.root), "{uri}");
            assert!(found.root.starts_with("/images/") && found.root.len() == 24, "{}", found.root);
        }
        assert_ne!(mount("oci://h/m:1").unwrap().root, mount("oci://h/m:2").unwrap().root);
    }
}
