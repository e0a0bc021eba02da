//! The public interface is what `api.txt` says it is, so that a change of it is seen as one.
//!
//! The lint `unreachable_pub` makes `pub` in these sources mean public; everything else says `pub(crate)`. A line that
//! disappears or changes breaks somebody's build: it takes a new minor version below 1.0, a major one above, and a word in the
//! changelog. A line that is new takes none of it. To accept: `PEEP_UPDATE_API=1 cargo test -p peep-sdk --test api`.

const SOURCES: [(&str, &str); 5] = [
    ("client", include_str!("../src/client.rs")),
    ("config", include_str!("../src/config.rs")),
    ("event", include_str!("../src/event.rs")),
    ("layer", include_str!("../src/layer.rs")),
    ("lib", include_str!("../src/lib.rs")),
];

/// Implementations for what nobody outside can name.
const PRIVATE: [&str; 9] = [
    "for Handle",
    "impl Shared",
    "impl State",
    "impl Wall",
    "impl Stamp",
    "impl Ending",
    "for Ending",
    "impl RouteOf",
    "Observation",
];

/// Public items, their attributes, the variants of public enums, and the implementations of traits.
fn interface_of(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut attributes = Vec::new();
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        let text = line.trim();
        if text.starts_with("#[derive") || text == "#[non_exhaustive]" {
            attributes.push(line.to_owned());
            continue;
        }
        if text.starts_with("///") || text.starts_with("#[") {
            continue;
        }
        if text.starts_with("pub ") || text.starts_with("impl") {
            found.append(&mut attributes);
            let signature = signature(line, &mut lines);
            let is_enum = signature.starts_with("pub enum");
            found.push(signature);
            if is_enum {
                let variants = lines.by_ref().take_while(|line| *line != "}");
                found.extend(variants.filter(|line| !line.trim().starts_with("///")).map(str::to_owned));
            }
        }
        attributes.clear();
    }
    found
}

/// Of several lines one, up to where the body begins.
fn signature<'a>(first: &str, lines: &mut impl Iterator<Item = &'a str>) -> String {
    let mut whole = first.trim_end().to_owned();
    let is_field = first.trim_end().ends_with(',');
    while !is_field && !whole.contains(['{', ';']) {
        let Some(next) = lines.next() else { break };
        whole = format!("{whole} {}", next.trim());
    }
    whole.trim_end_matches([' ', '{', ',']).to_owned()
}

#[test]
fn the_public_interface_is_the_one_that_was_agreed_on() {
    let mut found = String::new();
    for (module, source) in SOURCES {
        found.push_str(&format!("// {module}\n"));
        for line in interface_of(source).iter().filter(|line| !PRIVATE.iter().any(|name| line.ends_with(name))) {
            found.push_str(&format!("{line}\n"));
        }
    }
    let place = concat!(env!("CARGO_MANIFEST_DIR"), "/api.txt");
    if std::env::var_os("PEEP_UPDATE_API").is_some() {
        std::fs::write(place, &found).expect("api.txt is written");
    }
    let agreed = std::fs::read_to_string(place).unwrap_or_default();
    for (line, (found, agreed)) in found.lines().zip(agreed.lines()).enumerate() {
        assert_eq!(found, agreed, "line {} of api.txt; see the head of this file", line + 1);
    }
    assert_eq!(found.len(), agreed.len(), "api.txt has another end; see the head of this file");
}

#[test]
fn a_client_and_its_layer_go_to_every_thread() {
    fn everywhere<T: Clone + Send + Sync + 'static>() {}
    everywhere::<peep_sdk::Client>();
    everywhere::<peep_sdk::PeepLayer>();
    everywhere::<peep_sdk::Config>();
}
