//! Writes the CRDs and JSON schemas below `crds/generated`.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("generated");
    std::fs::create_dir_all(&folder)?;
    for file in realsyn_crds::crd::generated() {
        let path = folder.join(file.name);
        std::fs::write(&path, &file.text)?;
        println!("{} ({} bytes)", path.display(), file.text.len());
    }
    Ok(())
}
