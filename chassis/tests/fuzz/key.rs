//! The text of keys, and of origins.

use peep_chassis::keys::{Origin, format};

/// Whatever is presented: no panic, and a text with one character more or less is something else.
pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (prefix, last) = format::shown_parts(text);
    assert!(text.starts_with(prefix) && text.ends_with(last));
    if format::check(text).is_ok() {
        assert!(text.is_ascii() && (43..=74).contains(&text.len()), "{text}");
        assert!(prefix.len() + last.len() + 28 == text.len(), "most of it stays hidden: {prefix} {last}");
        assert!(format::check(&text[..text.len() - 1]).is_err() && format::check(&format!("{text}0")).is_err());
    }
    if let Ok(origin) = text.parse::<Origin>() {
        // Written as browsers write it: it reads back, and admits itself unless it is a pattern.
        assert_eq!(origin.as_str().parse(), Ok(origin.clone()));
        assert!(origin.admits(origin.as_str()));
        assert!(!origin.admits("null"));
    }
}
