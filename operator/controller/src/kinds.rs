//! The two kinds of object that are watched. They are read as plain JSON: one that cannot be read must not hide the others.

use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::reflector::ObjectRef;

use crate::names;

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `RealSynBuild`.
    Build,
    /// `RealSynRelease`.
    Release,
}

impl Kind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Build, Self::Release];

    /// The `kind` of a manifest.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Build => "RealSynBuild",
            Self::Release => "RealSynRelease",
        }
    }

    /// The value of the label, and of the metrics' label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Release => "release",
        }
    }

    /// How the API server calls it.
    pub fn resource(self) -> ApiResource {
        let plural = match self {
            Self::Build => "realsynbuilds",
            Self::Release => "realsynreleases",
        };
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(names::GROUP, "v1alpha1", self.name()), plural)
    }

    /// A reference to an object of this kind.
    pub fn reference(self, namespace: &str, name: &str) -> ObjectRef<DynamicObject> {
        ObjectRef::new_with(name, self.resource()).within(namespace)
    }
}
