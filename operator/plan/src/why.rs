//! Why a stage runs again: the fields whose change reached it.

use std::collections::BTreeSet;

use realsyn_crds::Stage;

use crate::graph::stages_read;
use crate::recipe::{Recipe, Recipes};

/// The field paths whose values differ between two recipes.
pub fn changed_fields(old: &Recipe, new: &Recipe) -> Vec<String> {
    let names: BTreeSet<&String> = old.fields.keys().chain(new.fields.keys()).collect();
    names.into_iter().filter(|n| old.fields.get(*n) != new.fields.get(*n)).cloned().collect()
}

/// One sentence for a stage whose digest differs from an earlier plan's, or `None` where it does not.
///
/// Names what changed closest to the stage: its own fields, else the stage it reads that changed, else the corpus.
pub fn why(stage: Stage, old: &Recipes, new: &Recipes) -> Option<String> {
    if old.stage_digest(stage) == new.stage_digest(stage) {
        return None;
    }
    let Some((before, after)) = old.recipe(stage).zip(new.recipe(stage)) else {
        return Some("not part of the earlier plan".into());
    };
    if before.digest != after.digest {
        let fields = changed_fields(before, after);
        return Some(match fields.as_slice() {
            [] => "the stage's own revision changed".into(),
            fields => {
                let quoted: Vec<String> = fields.iter().map(|f| format!("`{f}`")).collect();
                format!("{} changed", quoted.join(", "))
            }
        });
    }
    let roots: BTreeSet<&str> = origins(stage, old, new).into_iter().map(Stage::name).collect();
    Some(if roots.is_empty() {
        "the corpus changed".into()
    } else {
        format!("follows from {}", roots.into_iter().collect::<Vec<_>>().join(", "))
    })
}

/// The stages upstream whose own recipes changed.
fn origins(stage: Stage, old: &Recipes, new: &Recipes) -> BTreeSet<Stage> {
    let mut found = BTreeSet::new();
    for read in stages_read(stage) {
        let digest = |r: &Recipes| r.recipe(read).map(|r| r.digest);
        if digest(old) != digest(new) {
            found.insert(read);
        } else {
            found.extend(origins(read, old, new));
        }
    }
    found
}
