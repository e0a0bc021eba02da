//! The migrations are embedded at compile time; without this line a new file would not be noticed.

fn main() {
    println!("cargo:rerun-if-changed=.");
}
