//! Where the test servers keep their files, and how the scripts that run them are called.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the checkout this was compiled from.
pub(crate) fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("testkit lies in a folder of the checkout")
}

/// Shared by all test processes of this checkout.
pub(crate) fn test_dir() -> PathBuf {
    let dir = env::var_os("PEEP_TEST_DIR").map_or_else(|| target_dir().join("testkit"), PathBuf::from);
    std::fs::create_dir_all(&dir).unwrap_or_else(|error| panic!("create test directory {}: {error}", dir.display()));
    dir
}

pub(crate) fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| checkout().join("target"), PathBuf::from)
}

/// Runs `scripts/<name>` and answers the last line it printed. Panics with the script's own words when it fails.
pub(crate) fn script(name: &str, arguments: &[&str]) -> String {
    try_script(name, arguments).unwrap_or_else(|said| panic!("{said}"))
}

/// The same for what may fail: the error is what the script said.
pub(crate) fn try_script(name: &str, arguments: &[&str]) -> Result<String, String> {
    let path = checkout().join("scripts").join(name);
    let output =
        Command::new(&path).args(arguments).output().unwrap_or_else(|error| panic!("run {}: {error}", path.display()));
    let printed = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let complained = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{name} {} failed:\n{complained}{printed}", arguments.join(" ")));
    }
    Ok(printed.lines().last().unwrap_or_default().to_owned())
}

/// For `drop`: a test that is failing already must not be cut short by a second panic. What cannot be stopped here stops by
/// itself, see `shared`.
pub(crate) fn stop_quietly(name: &str, dir: &Path) {
    let _ = Command::new(checkout().join("scripts").join(name)).args(["stop", "--kill", "--dir"]).arg(dir).output();
}

/// A path as an argument of a script.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("test directories have names in UTF-8")
}
