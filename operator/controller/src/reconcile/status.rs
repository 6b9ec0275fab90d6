//! The one write of the status. None if nothing has changed.

use kube::api::{DynamicObject, PostParams};
use kube::{Api, ResourceExt};
use serde_json::Value;

use super::Error;
use crate::context::Context;
use crate::kinds::{Kind, KindExt};

/// A status never grows beyond this, whatever the store or a report says.
const MAX_BYTES: usize = 64 * 1024;

/// Writes the status if it is another than the object has, and tells whether it was. The object's resource version is
/// the fence: a view that is out of date, or a leader that is none any more, writes nothing.
///
/// # Errors
/// The write was refused.
pub async fn write(kind: Kind, object: &DynamicObject, status: &Value, context: &Context) -> Result<bool, Error> {
    if object.data.get("status") == Some(status) {
        return Ok(false);
    }
    let bytes = status.to_string().len();
    if bytes > MAX_BYTES {
        return Err(Error::Apply(format!("a status of {bytes} bytes was to be written; {MAX_BYTES} are allowed")));
    }
    let namespace = object.namespace().unwrap_or_default();
    let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), &namespace, &kind.resource());
    let mut next = object.clone();
    next.data["status"] = status.clone();
    match api.replace_status(&object.name_any(), &PostParams::default(), &next).await {
        Ok(_) => {
            context.metrics.status_writes.inc();
            Ok(true)
        }
        Err(kube::Error::Api(refusal)) if refusal.code == 409 || refusal.code == 404 => Err(Error::Conflict),
        Err(error) => Err(Error::Status(error)),
    }
}

/// Asks whether the object is still what the cache showed.
///
/// # Errors
/// It is not, or the question failed.
pub async fn is_current(kind: Kind, object: &DynamicObject, context: &Context) -> Result<(), Error> {
    let namespace = object.namespace().unwrap_or_default();
    let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), &namespace, &kind.resource());
    let now = api.get_metadata_opt(&object.name_any()).await.map_err(Error::Read)?;
    match now.is_some_and(|now| now.metadata.resource_version == object.metadata.resource_version) {
        true => Ok(()),
        false => Err(Error::Conflict),
    }
}
