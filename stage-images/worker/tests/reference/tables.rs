//! `docs/tables.md`: stages and steps as the plan has them, objects, and the columns of every table as they are defined.

use std::fmt::Write;

use realsyn_crds::Stage;
use realsyn_dataset::formats::Row;
use realsyn_dataset::formats::table::DataType;
use realsyn_plan::Step;
use realsyn_plan::graph::{BUILD, Cut, RELEASE, Read, Sharding, stages_read};
use realsyn_plan::recipe::revision;
use realsyn_worker::stages::release::{BandRow, ClusterBalance};
use realsyn_worker::stages::rows::{Table, tables};

use crate::objects::OBJECTS;

const INTRO: &str = "\
# Stages, steps, objects, tables

What the [data contract](data-contract.md) counts on, one by one. This page is written from the code by the worker's test `reference`.
";

/// The whole page.
pub fn page() -> String {
    [INTRO.to_owned(), stages(), steps(), objects(), columns()].join("\n")
}

fn stages() -> String {
    let mut text = "## Stages\n\nIn graph order. A stage's digest is made of those of the stages that it reads, in the order given.\n\n\
                    | stage | revision | reads |\n|---|---|---|\n"
        .to_owned();
    for stage in Stage::ALL.iter().copied().filter(|stage| *stage != Stage::Inventory) {
        let reads: Vec<String> = stages_read(stage).iter().map(|read| format!("`{read}`")).collect();
        _ = writeln!(text, "| `{stage}` | {} | {} |", revision(stage), reads.join(", "));
    }
    text
}

fn steps() -> String {
    let mut text =
        "## Steps\n\nIn graph order. What a shard reads stands in the order in which it enters the shard's key.\n\n\
                    | step | shards | a shard reads | shuffles |\n|---|---|---|---|\n"
            .to_owned();
    for Step { id, sharding, reads, shuffles } in BUILD.iter().chain(RELEASE) {
        let shards = match *sharding {
            Sharding::One => "one".to_owned(),
            Sharding::Each(cut) => pieces(cut),
            Sharding::Groups(by) => format!("groups of `{by}`"),
            Sharding::Runs(by, role) => format!("runs of `{by}:{role}`"),
        };
        let reads: Vec<String> = reads.iter().map(read).collect();
        let shuffles: Vec<String> =
            shuffles.iter().map(|(role, cut)| format!("`{role}` to {}", pieces(*cut))).collect();
        _ = writeln!(text, "| `{id}` | {shards} | {} | {} |", reads.join(", "), shuffles.join(", "));
    }
    text
}

fn pieces(cut: Cut) -> String {
    match cut {
        Cut::Home => "inventory shards".to_owned(),
        Cut::Ranges => "ranges".to_owned(),
        Cut::Buckets => "buckets".to_owned(),
        Cut::Like(step) => format!("as `{step}`"),
        Cut::Counted(step, name) => format!("the count `{name}` of `{step}`"),
    }
}

fn read(read: &Read) -> String {
    match *read {
        Read::Source => "source".to_owned(),
        Read::Shard(from) => format!("shard of `{from}`"),
        Read::Group(from) => format!("group of `{from}`"),
        Read::Partition(from, role) => format!("partition of `{from}:{role}`"),
        Read::Whole(from) => format!("whole `{from}`"),
    }
}

fn objects() -> String {
    let mut text = "## Objects\n\n*shuffled* are tables in a `.parts` object, one file for each partition.\n\n\
                    | step | role | file | holds |\n|---|---|---|---|\n"
        .to_owned();
    for (step, role, file, about) in OBJECTS {
        let file = match file.strip_prefix("shuffled ") {
            _ if file.starts_with('.') => format!("`{file}`"),
            Some(table) => format!("shuffled [{table}](#{})", table.to_lowercase()),
            None => format!("[{file}](#{})", file.to_lowercase()),
        };
        _ = writeln!(text, "| `{step}` | `{role}` | {file} | {about} |");
    }
    text
}

/// Every table, by name.
fn all() -> Vec<Table> {
    let mut all = tables();
    all.push(Table {
        name: "ClusterBalance",
        about: " A cluster's pairs before and after balancing.",
        columns: ClusterBalance::fields(),
        abouts: vec![" The cluster.", " Pairs inside the band.", " Pairs released."],
    });
    all.push(Table {
        name: "BandRow",
        about: " The band as cosines; both ends are inside.",
        columns: BandRow::fields(),
        abouts: vec![" Lowest cosine kept.", " Highest cosine kept."],
    });
    all.sort_by_key(|table| table.name);
    all
}

fn columns() -> String {
    let mut text =
        "## Tables\n\nBy name. Only columns marked so may be null; lists and structs never are.\n".to_owned();
    let all = all();
    for Table { name, about, columns, abouts } in &all {
        _ = writeln!(text, "\n### {name}\n\n{}\n\n| column | type | null | is |\n|---|---|---|---|", about.trim());
        for (column, about) in columns.iter().zip(abouts) {
            let (kind, null) = (type_of(column.data_type(), &all), if column.is_nullable() { "yes" } else { "" });
            _ = writeln!(text, "| `{}` | {kind} | {null} | {} |", column.name(), about.trim());
        }
    }
    text
}

fn type_of(data_type: &DataType, all: &[Table]) -> String {
    match data_type {
        DataType::Utf8 => "string".to_owned(),
        DataType::Boolean => "bool".to_owned(),
        DataType::Float32 => "float".to_owned(),
        DataType::Float64 => "double".to_owned(),
        DataType::List(element) => format!("list of {}", type_of(element.data_type(), all)),
        DataType::Struct(fields) => {
            let table = all.iter().find(|table| fields.iter().eq(&table.columns)).expect("every struct is a table");
            format!("[{}](#{})", table.name, table.name.to_lowercase())
        }
        plain => plain.to_string().to_lowercase(),
    }
}
