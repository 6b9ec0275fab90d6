//! What an hour of a GPU costs: as typed, else as an annotation of the namespace says, which one team sets once.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use realsyn_objects::names::GPU_PRICES;

use crate::args::price;
use crate::cluster::Cluster;

/// Costs of a GPU-hour by product. Who may not read the namespace has only what was typed.
pub async fn prices(cluster: &Cluster, typed: &[(String, f64)]) -> BTreeMap<String, f64> {
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let found = namespaces.get_metadata_opt(&cluster.namespace).await.ok().flatten();
    let annotations = found.and_then(|namespace| namespace.metadata.annotations).unwrap_or_default();
    let (mut prices, wrong) = read(annotations.get(GPU_PRICES).map_or("", String::as_str));
    for why in wrong {
        eprintln!("warning: the annotation {GPU_PRICES} of the namespace {}: {why}", cluster.namespace);
    }
    prices.extend(typed.iter().cloned());
    prices
}

/// The prices of an annotation, and what is wrong with it.
fn read(text: &str) -> (BTreeMap<String, f64>, Vec<String>) {
    let (mut prices, mut wrong) = (BTreeMap::new(), Vec::new());
    for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        match price(entry) {
            Ok((product, cost)) => _ = prices.insert(product, cost),
            Err(why) => wrong.push(realsyn_objects::text::sentence(&why, 200)),
        }
    }
    (prices, wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_of_a_namespace_are_read_one_by_one() {
        let (prices, wrong) = read(" A100-80GB=2.5, H100=4,\n");
        assert_eq!(prices, BTreeMap::from([("A100-80GB".to_owned(), 2.5), ("H100".to_owned(), 4.0)]));
        assert!(wrong.is_empty(), "{wrong:?}");
        let (prices, wrong) = read("A100-80GB=\u{1b}cheap,H100=4");
        assert_eq!((prices.len(), wrong.len()), (1, 1));
        assert!(!wrong[0].contains('\u{1b}'), "{wrong:?}");
        assert!(read("").0.is_empty());
    }
}
