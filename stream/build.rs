//! Makes sure that the folder of the dashboard's export exists, so that a build without it works, and has the crate built
//! again when the export changes.

use std::path::Path;

fn main() {
    let export = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dashboard/out");
    if let Err(error) = std::fs::create_dir_all(&export) {
        println!("cargo::error=create {}: {error}", export.display());
    }
    println!("cargo::rerun-if-changed={}", export.display());
}
