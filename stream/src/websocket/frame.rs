//! Frames as the server writes them (RFC 6455, section 5): never masked, encoded once for everybody who gets them.
//!
//! A long text goes out in fragments, so that a pong or a goodbye waits for at most one of them and not for a snapshot of
//! megabytes. Fragments have one size, so that a byte's position tells where its fragment ends and nobody has to remember.

use bytes::{BufMut, Bytes, BytesMut};

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    /// `None` for the opcodes that nobody has given a meaning yet.
    pub fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    pub fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// Reasons for a close, as numbers (section 7.4.1 and the registry of IANA).
pub mod close_code {
    /// The client is done and so are we.
    pub const NORMAL: u16 = 1000;
    /// The service ends or restarts.
    pub const AWAY: u16 = 1001;
    /// The client does not speak the protocol.
    pub const PROTOCOL: u16 = 1002;
    /// Text that is no text.
    pub const INVALID_TEXT: u16 = 1007;
    /// The client may not look any more, or sends without end.
    pub const POLICY: u16 = 1008;
    /// The client sent more than anybody has to say here.
    pub const TOO_BIG: u16 = 1009;
    /// The client is too slow, or all of us are; the reason says when to come back.
    pub const TRY_AGAIN_LATER: u16 = 1013;

    /// Whether a peer may send it.
    pub fn may_be_sent(code: u16) -> bool {
        matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

/// A whole message, in as many fragments as it takes.
pub fn message(opcode: Opcode, payload: &[u8]) -> Bytes {
    let fragments = payload.len().div_ceil(FRAGMENT_BYTES).max(1);
    let mut frames = BytesMut::with_capacity(payload.len() + fragments * HEADER_BYTES_MAX);
    for (number, piece) in pieces(payload).enumerate() {
        let opcode = if number == 0 { opcode } else { Opcode::Continuation };
        put_frame(&mut frames, opcode, number + 1 == fragments, piece);
    }
    frames.freeze()
}

fn pieces(payload: &[u8]) -> impl Iterator<Item = &[u8]> {
    // An empty message is one empty frame.
    let empty = payload.is_empty().then_some(payload);
    payload.chunks(FRAGMENT_BYTES).chain(empty)
}

/// A ping, a pong or a close.
pub fn control(opcode: Opcode, payload: &[u8]) -> Bytes {
    debug_assert!(opcode.is_control() && payload.len() <= CONTROL_BYTES_MAX, "control frames are short");
    let mut frame = BytesMut::with_capacity(2 + payload.len());
    put_frame(&mut frame, opcode, true, payload);
    frame.freeze()
}

/// A goodbye; without a code it has no reason either. A reason that does not fit is cut at a character.
pub fn close(code: Option<u16>, reason: &str) -> Bytes {
    let Some(code) = code else { return control(Opcode::Close, &[]) };
    let reason = &reason[..reason.floor_char_boundary(CONTROL_BYTES_MAX - 2)];
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(reason.as_bytes());
    control(Opcode::Close, &payload)
}

fn put_frame(into: &mut BytesMut, opcode: Opcode, is_last: bool, payload: &[u8]) {
    into.put_u8(if is_last { FIN } else { 0 } | opcode.bits());
    match payload.len() {
        length @ 0..=125 => into.put_u8(length as u8),
        length @ 126..=0xffff => {
            into.put_u8(126);
            into.put_u16(length as u16);
        }
        length => {
            into.put_u8(127);
            into.put_u64(length as u64);
        }
    }
    into.put_slice(payload);
}

/// Where the fragment that holds this position of a [`message`] ends: another frame may go out there.
pub fn fragment_end(message: &[u8], position: usize) -> usize {
    (position.div_ceil(STRIDE) * STRIDE).min(message.len())
}

/// The payload of a [`message`], piece by piece.
pub fn payload_of(message: &[u8]) -> impl Iterator<Item = &[u8]> {
    message.chunks(STRIDE).map(|frame| &frame[header_bytes(frame)..])
}

fn header_bytes(frame: &[u8]) -> usize {
    match frame.get(1).map_or(0, |length| length & 0x7f) {
        126 => 4,
        127 => 10,
        _ => 2,
    }
}

pub(super) const FIN: u8 = 0x80;
pub(super) const CONTROL_BYTES_MAX: usize = 125;
/// At 1 KB/s a goodbye waits for 8 s at most; the header is a two-thousandth of it.
const FRAGMENT_BYTES: usize = 8 << 10;
const HEADER_BYTES_MAX: usize = 10;
/// A full fragment has a length of two bytes.
const STRIDE: usize = FRAGMENT_BYTES + 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_cut_into_fragments_and_says_where_they_end() {
        for length in [0, 1, 125, 126, FRAGMENT_BYTES, FRAGMENT_BYTES + 1, 3 * FRAGMENT_BYTES, 5 * FRAGMENT_BYTES + 17]
        {
            let payload: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            let message = message(Opcode::Text, &payload);
            assert_eq!(payload_of(&message).collect::<Vec<_>>().concat(), payload, "{length}");
            let (mut at, mut frames) = (0, 0);
            while at < message.len() {
                let opcode = Opcode::from_bits(message[at] & 0x0f);
                assert_eq!(opcode, Some(if at == 0 { Opcode::Text } else { Opcode::Continuation }));
                let end = fragment_end(&message, at + 1);
                assert_eq!(message[at] & FIN != 0, end == message.len(), "only the last one says so");
                assert_eq!(fragment_end(&message, end), end, "a border is its own");
                (at, frames) = (end, frames + 1);
            }
            assert_eq!(frames, length.div_ceil(FRAGMENT_BYTES).max(1));
        }
    }

    #[test]
    fn a_reason_is_cut_at_a_character() {
        let frame = close(Some(close_code::TRY_AGAIN_LATER), &"ü".repeat(100));
        assert_eq!(frame.len(), 2 + 2 + 122);
        assert!(std::str::from_utf8(&frame[4..]).is_ok());
        assert_eq!(&close(None, "not said")[..], [0x88, 0]);
    }
}
