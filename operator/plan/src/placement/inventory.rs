//! The nodes of a cluster. Equal nodes are held, and judged, once: a cluster has thousands of nodes and a few kinds of them.

use std::collections::HashMap;
use std::sync::Arc;

use super::NodeGpus;
use super::node::Shape;

/// The nodes of a cluster, by name.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// What nodes are like.
    pub(super) shapes: Vec<Shape>,
    /// Each node, in the order of names, with its shape.
    pub(super) nodes: Vec<(Arc<str>, usize)>,
    unknown: bool,
}

impl Inventory {
    /// Where nodes may not be read, nothing is known of them.
    pub fn unknown() -> Self {
        Self { unknown: true, ..Self::default() }
    }

    /// The product of a node's GPUs, as far as it is known; several by commas.
    pub fn product(&self, node: &str) -> Option<String> {
        let at = self.nodes.binary_search_by(|(name, _)| (**name).cmp(node)).ok()?;
        let units = &self.shapes[self.nodes[at].1].units;
        let mut names: Vec<String> =
            units.iter().filter_map(|(unit, _)| Some(unit.product.as_ref()?.to_string())).collect();
        names.sort_unstable();
        names.dedup();
        (!names.is_empty()).then(|| names.join(","))
    }

    /// Whether nodes could be read.
    pub fn is_known(&self) -> bool {
        !self.unknown
    }
}

/// Of two nodes of one name the later counts.
impl FromIterator<NodeGpus> for Inventory {
    fn from_iter<I: IntoIterator<Item = NodeGpus>>(nodes: I) -> Self {
        let mut seen: HashMap<Shape, usize> = HashMap::new();
        let mut named: Vec<(Arc<str>, usize)> = nodes
            .into_iter()
            .map(|node| {
                let next = seen.len();
                (node.name, *seen.entry(node.shape).or_insert(next))
            })
            .collect();
        // Stable, so that of equal names the later stays later.
        named.sort_by(|a, b| a.0.cmp(&b.0));
        named.dedup_by(|later, first| {
            let same = later.0 == first.0;
            if same {
                first.1 = later.1;
            }
            same
        });
        let mut shapes: Vec<(Shape, usize)> = seen.into_iter().collect();
        shapes.sort_unstable_by_key(|(_, at)| *at);
        Self { shapes: shapes.into_iter().map(|(shape, _)| shape).collect(), nodes: named, unknown: false }
    }
}
