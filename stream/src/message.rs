//! One message of a live view, encoded once for everybody who gets it.
//!
//! Arrives: JSON. Leaves: the bytes that each transport writes, shared and never copied: a WebSocket message, and on first
//! use a server-sent event. Promises: the bytes are complete; a transport adds nothing to them.

use std::sync::{Arc, OnceLock};

use bytes::{BufMut, Bytes, BytesMut};

use crate::websocket::frame::{self, Opcode};

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Everything, or everything since a version that a reader knew before it was away.
    Snapshot,
    /// What changed after a version.
    Frame,
    /// Nothing changed.
    Heartbeat,
}

impl Kind {
    /// As in the message's `type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Frame => "frame",
            Self::Heartbeat => "heartbeat",
        }
    }
}

/// One message, ready for the wire.
#[derive(Debug)]
pub struct Message {
    kind: Kind,
    id: String,
    frame: Bytes,
    event: OnceLock<Bytes>,
}

impl Message {
    /// `id` is what a reader gives back as `since` or `Last-Event-ID`; `json` is one line.
    pub fn new(kind: Kind, id: String, json: &str) -> Arc<Self> {
        debug_assert!(!json.contains('\n'), "one data line per event");
        let frame = frame::message(Opcode::Text, json.as_bytes());
        Arc::new(Self { kind, id, frame, event: OnceLock::new() })
    }

    /// What it is about.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// For `since` or `Last-Event-ID`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A WebSocket text message.
    pub fn frame(&self) -> &Bytes {
        &self.frame
    }

    /// A server-sent event. JSON on one line needs no further escaping.
    pub fn event(&self) -> &Bytes {
        self.event.get_or_init(|| {
            let head = format!("event: {}\nid: {}\ndata: ", self.kind.name(), self.id);
            let mut event = BytesMut::with_capacity(head.len() + self.frame.len() + 2);
            event.put_slice(head.as_bytes());
            frame::payload_of(&self.frame).for_each(|piece| event.put_slice(piece));
            event.put_slice(b"\n\n");
            event.freeze()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_transports_carry_the_same_text() {
        let json = format!(r#"{{"rows":"{}"}}"#, "é".repeat(40_000));
        let message = Message::new(Kind::Frame, "e-7".to_owned(), &json);
        assert_eq!(message.event(), &format!("event: frame\nid: e-7\ndata: {json}\n\n"));
        assert_eq!(frame::payload_of(message.frame()).collect::<Vec<_>>().concat(), json.as_bytes());
    }
}
