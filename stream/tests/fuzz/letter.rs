//! Bytes of dead letters, which were set aside because something was wrong with them.

use peep_stream::rejects::contents::Contents;

/// Whatever lies there: a preview of so many events, as JSON that reads back.
pub(crate) fn check(data: &[u8]) {
    for received_ms in [None, Some(1_795_200_000_000)] {
        let contents = Contents::of(data, received_ms);
        let preview = contents.preview(3);
        let shown = preview.as_array().expect("a list").len();
        assert!(shown <= 3 && shown <= contents.events().len());
        // Not compared as a whole: JSON's reader rounds the last digit of a number differently now and then.
        let again: serde_json::Value = serde_json::from_str(&preview.to_string()).expect("JSON reads back");
        assert_eq!(again.as_array().map(Vec::len), Some(shown));
    }
}
