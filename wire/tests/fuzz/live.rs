//! Frames of the live topic.

use peep_wire::live::LiveFrame;

/// As it is, and behind the version byte: what is read is the same written and read again.
pub(crate) fn check(data: &[u8]) {
    for bytes in [data.to_vec(), [&[1], data].concat()] {
        let Ok(frame) = LiveFrame::decode(&bytes) else { continue };
        assert_eq!(LiveFrame::decode(&frame.encode()), Ok(frame));
    }
}
