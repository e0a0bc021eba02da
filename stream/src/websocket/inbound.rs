//! What a client sends, byte by byte and without keeping it (RFC 6455, sections 5 to 8).
//!
//! Arrives: bytes as they come from the socket, cut anywhere. Leaves: events; pieces of messages are lent, not kept, so a
//! client that has nothing to say costs a few words of memory whatever it sends. Promises: everything that the protocol forbids
//! is found at its first byte and named by the close code it deserves: bits and opcodes without a meaning, frames without a mask,
//! lengths longer than they need to be, control frames that are long or cut, fragments out of order, text that is no UTF-8,
//! close frames that say nothing sensible, messages above the limit (told by the header, before a byte of them is read).
//! Does not: read sockets, answer, or count how often.

use super::frame::{CONTROL_BYTES_MAX, FIN, Opcode, close_code};
use super::utf8::Utf8;

/// The state between two reads.
#[derive(Debug)]
pub struct Inbound {
    message_bytes_max: u64,
    /// As much of the head as has come.
    head: [u8; HEAD_BYTES_MAX],
    head_length: u8,
    /// The frame whose payload is coming.
    frame: Option<Frame>,
    /// The message that is not finished yet.
    message: Option<Message>,
    /// Payload of a control frame that came in pieces.
    control: Vec<u8>,
    /// Nothing counts after a close.
    closed: bool,
}

#[derive(Debug, Clone, Copy)]
struct Frame {
    opcode: Opcode,
    is_last: bool,
    mask: [u8; 4],
    /// Payload that has come, and that is still to come.
    taken: u64,
    left: u64,
}

#[derive(Debug)]
struct Message {
    bytes: u64,
    /// `None` for a binary message.
    text: Option<Utf8>,
}

/// Something a client did.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The head of a frame, whatever follows: for counting.
    Frame,
    /// A piece of a message.
    Piece {
        opcode: Opcode,
        bytes: &'a [u8],
        is_last: bool,
    },
    Ping(&'a [u8]),
    Pong,
    /// It wants to leave, and said why or did not.
    Close(Option<u16>),
}

/// The client broke the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Violation {
    /// For the close frame.
    pub code: u16,
    pub reason: &'static str,
}

const fn protocol(reason: &'static str) -> Violation {
    Violation { code: close_code::PROTOCOL, reason }
}

impl Inbound {
    /// Takes messages of at most `message_bytes_max`, all fragments together.
    pub fn new(message_bytes_max: u64) -> Self {
        Self {
            message_bytes_max,
            head: [0; HEAD_BYTES_MAX],
            head_length: 0,
            frame: None,
            message: None,
            control: Vec::new(),
            closed: false,
        }
    }

    /// Takes what came, which is unmasked in place.
    ///
    /// # Errors
    /// At the first byte that breaks the protocol; nothing may be read after that.
    pub fn read(&mut self, mut input: &mut [u8], mut on: impl FnMut(Event<'_>)) -> Result<(), Violation> {
        while !self.closed {
            let Some(mut frame) = self.frame else {
                let Some((byte, rest)) = input.split_first_mut() else { return Ok(()) };
                input = rest;
                if self.take_head(*byte)? {
                    on(Event::Frame);
                }
                continue;
            };
            let length = usize::try_from(frame.left).unwrap_or(usize::MAX).min(input.len());
            if length == 0 && frame.left > 0 {
                return Ok(());
            }
            let (payload, rest) = input.split_at_mut(length);
            input = rest;
            unmask(payload, frame.mask, frame.taken);
            frame.taken += length as u64;
            frame.left -= length as u64;
            self.frame = (frame.left > 0).then_some(frame);
            if frame.opcode.is_control() {
                self.take_control(frame, payload, &mut on)?;
            } else {
                self.take_piece(frame, payload, &mut on)?;
            }
        }
        Ok(())
    }

    /// Answers whether the head is complete.
    fn take_head(&mut self, byte: u8) -> Result<bool, Violation> {
        self.head[usize::from(self.head_length)] = byte;
        self.head_length += 1;
        let known = usize::from(self.head_length);
        if known == 1 {
            self.check_first(byte)?;
            return Ok(false);
        }
        let (first, second) = (self.head[0], self.head[1]);
        let opcode = Opcode::from_bits(first & 0x0f).expect("checked with the first byte");
        if known == 2 {
            if second & MASKED == 0 {
                return Err(protocol("frames of clients are masked"));
            }
            if opcode.is_control() && usize::from(second & 0x7f) > CONTROL_BYTES_MAX {
                return Err(protocol("a control frame has at most 125 bytes"));
            }
        }
        let extended = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if known < 2 + extended {
            return Ok(false);
        }
        let length = match extended {
            0 => u64::from(second & 0x7f),
            _ => self.head[2..2 + extended].iter().fold(0, |length, byte| (length << 8) | u64::from(*byte)),
        };
        if known == 2 + extended {
            self.check_length(opcode, extended, length)?;
        }
        if known < 2 + extended + 4 {
            return Ok(false);
        }
        let mask = [0, 1, 2, 3].map(|n| self.head[2 + extended + n]);
        self.frame = Some(Frame { opcode, is_last: first & FIN != 0, mask, taken: 0, left: length });
        self.head_length = 0;
        Ok(true)
    }

    fn check_first(&mut self, first: u8) -> Result<(), Violation> {
        if first & RESERVED != 0 {
            return Err(protocol("a reserved bit is set and no extension was agreed on"));
        }
        let opcode = Opcode::from_bits(first & 0x0f).ok_or(protocol("this opcode has no meaning"))?;
        match (opcode, &self.message) {
            (opcode, _) if opcode.is_control() => {
                if first & FIN == 0 {
                    return Err(protocol("control frames are not cut into fragments"));
                }
            }
            (Opcode::Continuation, None) => return Err(protocol("there is no message to continue")),
            (Opcode::Continuation, Some(_)) => {}
            (_, Some(_)) => return Err(protocol("the message before has not ended")),
            (opcode, None) => {
                let text = (opcode == Opcode::Text).then(Utf8::default);
                self.message = Some(Message { bytes: 0, text });
            }
        }
        Ok(())
    }

    fn check_length(&mut self, opcode: Opcode, extended: usize, length: u64) -> Result<(), Violation> {
        let shortest = match extended {
            0 => 0,
            2 => 126,
            _ => 0x1_0000,
        };
        if length < shortest || length > i64::MAX.cast_unsigned() {
            return Err(protocol("the length is not written the shortest way"));
        }
        let Some(message) = self.message.as_mut().filter(|_| !opcode.is_control()) else { return Ok(()) };
        message.bytes = message.bytes.saturating_add(length);
        if message.bytes > self.message_bytes_max {
            return Err(Violation { code: close_code::TOO_BIG, reason: "the message is too long" });
        }
        Ok(())
    }

    fn take_piece(&mut self, frame: Frame, payload: &[u8], on: &mut impl FnMut(Event<'_>)) -> Result<(), Violation> {
        const NOT_TEXT: Violation = Violation { code: close_code::INVALID_TEXT, reason: "the text is not UTF-8" };
        let message = self.message.as_mut().expect("a data frame belongs to a message");
        let is_last = frame.is_last && frame.left == 0;
        if let Some(text) = &mut message.text {
            let so_far = text.take(payload);
            if !so_far || is_last && !text.is_whole() {
                return Err(NOT_TEXT);
            }
        }
        let opcode = if message.text.is_some() { Opcode::Text } else { Opcode::Binary };
        if is_last {
            self.message = None;
        }
        on(Event::Piece { opcode, bytes: payload, is_last });
        Ok(())
    }

    fn take_control(&mut self, frame: Frame, payload: &[u8], on: &mut impl FnMut(Event<'_>)) -> Result<(), Violation> {
        // Mostly it comes in one piece, and then it is not copied.
        if frame.left > 0 || !self.control.is_empty() {
            self.control.extend_from_slice(payload);
        }
        if frame.left > 0 {
            return Ok(());
        }
        let kept = std::mem::take(&mut self.control);
        let payload = if kept.is_empty() { payload } else { &kept };
        match frame.opcode {
            Opcode::Ping => on(Event::Ping(payload)),
            Opcode::Pong => on(Event::Pong),
            _ => {
                self.closed = true;
                on(Event::Close(closing(payload)?));
            }
        }
        Ok(())
    }
}

/// The code of a close frame.
fn closing(payload: &[u8]) -> Result<Option<u16>, Violation> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() { Ok(None) } else { Err(protocol("a close code has two bytes")) };
    };
    let code = u16::from_be_bytes(*code);
    if !close_code::may_be_sent(code) {
        return Err(protocol("this close code may not be sent"));
    }
    if std::str::from_utf8(reason).is_err() {
        return Err(Violation { code: close_code::INVALID_TEXT, reason: "the reason is not UTF-8" });
    }
    Ok(Some(code))
}

fn unmask(payload: &mut [u8], mask: [u8; 4], taken: u64) {
    let turn = (taken % 4) as usize;
    for (at, byte) in payload.iter_mut().enumerate() {
        *byte ^= mask[(at + turn) % 4];
    }
}

const MASKED: u8 = 0x80;
const RESERVED: u8 = 0x70;
/// Two bytes, a length of eight and a mask of four.
const HEAD_BYTES_MAX: usize = 14;
