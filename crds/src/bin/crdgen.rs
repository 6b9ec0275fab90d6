//! Writes the CRDs, the JSON schemas and the API reference.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate has a place in the tree");
    for file in realsyn_crds::crd::generated() {
        let path = root.join(file.name);
        std::fs::write(&path, &file.text)?;
        println!("{} ({} bytes)", path.display(), file.text.len());
    }
    Ok(())
}
