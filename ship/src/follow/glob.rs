//! Patterns of paths: `/var/log/nginx/*.access.log`, `/var/log/pods/*/web/*.log`.
//!
//! In: a pattern in which `*` and `?` stand for anything but `/`. Out: the files that it means now. Promised: a link in a
//! cycle ends nothing, because a pattern has as many levels as it has slashes. Not done: `**`, `[a-z]`, `{a,b}`.

use std::path::{Path, PathBuf};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob {
    root: PathBuf,
    segments: Vec<String>,
}

impl Glob {
    /// `None`: the text has no wildcard and is a plain path.
    pub(crate) fn new(text: &str) -> Option<Self> {
        let first = text.find(['*', '?'])?;
        let (root, rest) = match text[..first].rfind('/') {
            Some(slash) => (&text[..=slash], &text[slash + 1..]),
            None => ("", text),
        };
        let segments = rest.split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect();
        Some(Self { root: PathBuf::from(root), segments })
    }

    /// In order of their names.
    pub(crate) fn find(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        descend(&self.root, &self.segments, &mut found);
        found.sort();
        found
    }

    /// Whether `find` would find `path`, if it were there.
    pub(crate) fn means(&self, path: &Path) -> bool {
        let Ok(rest) = path.strip_prefix(&self.root) else { return false };
        let names: Vec<&[u8]> = rest.iter().map(|name| name.as_encoded_bytes()).collect();
        names.len() == self.segments.len()
            && self.segments.iter().zip(names).all(|(segment, name)| matches(segment.as_bytes(), name))
    }
}

impl std::fmt::Display for Glob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.root.display(), self.segments.join("/"))
    }
}

fn descend(folder: &Path, segments: &[String], found: &mut Vec<PathBuf>) {
    let Some((segment, rest)) = segments.split_first() else { return };
    let reading = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    for entry in std::fs::read_dir(reading).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(text) = name.to_str() else { continue };
        if !matches(segment.as_bytes(), text.as_bytes()) {
            continue;
        }
        let path = folder.join(text);
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => descend(&path, rest, found),
            Ok(metadata) if metadata.is_file() && rest.is_empty() => found.push(path),
            _ => {}
        }
    }
}

/// `*` is any run of bytes, `?` any one byte; a leading dot has to be written.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    if name.first() == Some(&b'.') && pattern.first() != Some(&b'.') {
        return false;
    }
    let (mut at_pattern, mut at_name, mut star) = (0, 0, None);
    while at_name < name.len() {
        match pattern.get(at_pattern) {
            Some(b'*') => {
                star = Some((at_pattern, at_name));
                at_pattern += 1;
            }
            Some(&byte) if byte == b'?' || byte == name[at_name] => {
                at_pattern += 1;
                at_name += 1;
            }
            _ => match star {
                // The last star takes one byte more.
                Some((star_pattern, star_name)) => {
                    star = Some((star_pattern, star_name + 1));
                    (at_pattern, at_name) = (star_pattern + 1, star_name + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at_pattern..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_match_as_in_a_shell() {
        for (pattern, name, expected) in [
            ("*.log", "shop.access.log", true),
            ("*.log", "access.log.1", false),
            ("*.log", ".hidden.log", false),
            ("access?.log", "access1.log", true),
            ("access?.log", "access.log", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbY", false),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn files_are_found_through_folders() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["pods/a/web/0.log", "pods/b/web/0.log", "pods/b/db/0.log", "pods/0.log"] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let glob = Glob::new(&format!("{}/pods/*/web/*.log", folder.path().display())).unwrap();
        let expected = ["pods/a/web/0.log", "pods/b/web/0.log"].map(|name| folder.path().join(name));
        assert_eq!(glob.find(), expected);
        assert!(expected.iter().all(|path| glob.means(path)));
        assert!(!glob.means(&folder.path().join("pods/b/db/0.log")) && !glob.means(Path::new("0.log")));
        assert_eq!(Glob::new("/logs/*/x?.log").unwrap().to_string(), "/logs/*/x?.log");
        assert_eq!(Glob::new("/var/log/nginx/access.log"), None);
    }
}
