//! The two kinds of object that people write. They are read as plain JSON: one that cannot be read must not hide the others.

use kube::api::{ApiResource, GroupVersionKind};
use kube::runtime::reflector::{Lookup, ObjectRef};
pub use realsyn_crds::Kind;
use realsyn_crds::{GROUP, VERSION};

/// What a kind is to the API server.
pub trait KindExt {
    /// The value of the label, and of the metrics' label.
    fn label(self) -> &'static str;
    /// Where its objects are found.
    fn resource(self) -> ApiResource;
    /// A reference to an object of this kind.
    fn reference<K: Lookup<DynamicType = ApiResource>>(self, namespace: &str, name: &str) -> ObjectRef<K>;
}

impl KindExt for Kind {
    fn label(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Release => "release",
        }
    }

    fn resource(self) -> ApiResource {
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, VERSION, self.name()), self.plural())
    }

    fn reference<K: Lookup<DynamicType = ApiResource>>(self, namespace: &str, name: &str) -> ObjectRef<K> {
        ObjectRef::new_with(name, self.resource()).within(namespace)
    }
}
