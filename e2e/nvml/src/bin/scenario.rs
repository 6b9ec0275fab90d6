//! Prints a scenario for the stand-in library: where scripts begin.

use clap::Parser;
use clap::builder::PossibleValuesParser;
use realsyn_nvml::inventory;

/// Prints the scenario of a node as JSON.
#[derive(Parser)]
struct Flags {
    /// The node.
    #[arg(value_parser = PossibleValuesParser::new(inventory::NAMES))]
    name: String,
}

fn main() -> anyhow::Result<()> {
    let scenario = inventory::named(&Flags::parse().name).expect("one of the names that are allowed");
    println!("{}", serde_json::to_string_pretty(&scenario)?);
    Ok(())
}
