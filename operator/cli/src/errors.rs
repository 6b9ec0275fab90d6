//! The API server's refusals, in words that say what to do.

use anyhow::{Result, anyhow};
use kube::core::Status;

/// What was asked of the API server.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    verb: &'a str,
    resource: &'a str,
    namespace: &'a str,
}

impl<'a> Asked<'a> {
    /// A verb on a resource (as rights name them) in a namespace.
    pub fn new(verb: &'a str, resource: &'a str, namespace: &'a str) -> Self {
        Self { verb, resource, namespace }
    }

    /// An error of this request, in words.
    pub fn error(&self, error: kube::Error) -> anyhow::Error {
        let Self { verb, resource, namespace } = self;
        match error {
            kube::Error::Api(status) => self.refusal(&status),
            other => anyhow::Error::new(other)
                .context(format!("the API server was asked to {verb} {resource} in {namespace}")),
        }
    }

    fn refusal(&self, status: &Status) -> anyhow::Error {
        let Self { verb, resource, namespace } = self;
        let said = realsyn_objects::text::sentence(&status.message, 600);
        let no_such_resource = status.details.as_ref().is_none_or(|d| d.name.is_empty());
        match status.code {
            // Without the words of the authorizer it was an admission policy, a quota, or pod security.
            403 if said.contains(" cannot ") => anyhow!(
                "you may not {verb} {resource} in the namespace {namespace}: ask for the verb `{verb}` on `{resource}` there \
                 ({said})"
            ),
            401 => anyhow!("the API server does not know who you are: log in again ({said})"),
            404 if no_such_resource && resource.starts_with("realsyn") => anyhow!(
                "this cluster does not know {resource}: install the definitions first (helm install realsyn-crds)"
            ),
            _ => anyhow!("the API server refused to {verb} {resource} in {namespace}: {said}"),
        }
    }
}

/// Errors of the API server, in words.
pub trait Explained<T> {
    /// The error in words, by what was asked.
    ///
    /// # Errors
    /// The same.
    fn explained(self, asked: &Asked<'_>) -> Result<T>;
}

impl<T> Explained<T> for Result<T, kube::Error> {
    fn explained(self, asked: &Asked<'_>) -> Result<T> {
        self.map_err(|error| asked.error(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(code: u16, message: &str) -> String {
        let status = Status { code, message: message.to_owned(), ..Status::default() };
        Asked::new("create", "pods", "datasets").error(kube::Error::Api(Box::new(status))).to_string()
    }

    #[test]
    fn a_missing_right_is_named_and_a_policy_is_quoted() {
        let rights = said(403, "pods is forbidden: User \"ann\" cannot create resource \"pods\" in API group \"\"");
        assert!(
            rights.starts_with("you may not create pods in the namespace datasets: ask for the verb `create`"),
            "{rights}"
        );
        let policy = said(403, "pods \"x\" is forbidden: exceeded quota: few, requested: pods=1");
        assert!(
            policy.ends_with("exceeded quota: few, requested: pods=1") && !policy.contains("you may not"),
            "{policy}"
        );
    }

    #[test]
    fn definitions_that_are_not_installed_are_missed_by_name() {
        let status = Status { code: 404, message: "404 page not found".to_owned(), ..Status::default() };
        let error = Asked::new("get", "realsynbuilds", "n").error(kube::Error::Api(Box::new(status)));
        assert!(error.to_string().contains("realsyn-crds"), "{error}");
    }
}
