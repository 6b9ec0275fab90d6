//! What a name on the command line stands for.

use std::convert::Infallible;
use std::str::FromStr;

use realsyn_objects::kinds::Kind;

/// A name, and the kind if it was given as `kind/name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    kind: Option<Kind>,
    /// The object's name.
    pub name: String,
}

impl FromStr for Target {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let (kind, name) = match text.split_once('/') {
            Some(("build" | "rsb" | "realsynbuild" | "realsynbuilds", name)) => (Some(Kind::Build), name),
            Some(("release" | "rsr" | "realsynrelease" | "realsynreleases", name)) => (Some(Kind::Release), name),
            _ => (None, text),
        };
        Ok(Self { kind, name: name.to_owned() })
    }
}

impl Target {
    /// The kind: as written, else a release if a flag says so, else a build.
    pub fn kind(&self, release: bool) -> Kind {
        self.kind.unwrap_or(if release { Kind::Release } else { Kind::Build })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_understood_as_kubectl_does() {
        let kind = |text: &str, release| text.parse::<Target>().unwrap().kind(release);
        assert_eq!(kind("obelics", false), Kind::Build);
        assert_eq!(kind("obelics", true), Kind::Release);
        assert_eq!(kind("release/obelics", false), Kind::Release);
        assert_eq!(kind("rsb/obelics", true), Kind::Build);
        assert_eq!("rsr/v1".parse::<Target>().unwrap().name, "v1");
        assert_eq!(
            "pod/v1".parse::<Target>().unwrap().name,
            "pod/v1",
            "the API server says that there is no such name"
        );
    }
}
