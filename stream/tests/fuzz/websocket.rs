//! What a client sends over a WebSocket.

use peep_stream::websocket::frame::close_code;
use peep_stream::websocket::inbound::{Event, Inbound, Violation};

const MESSAGE_BYTES_MAX: u64 = 4096;

/// The same events and the same verdict, however the bytes are cut; messages within the limit, text in UTF-8, and verdicts that
/// may be sent.
pub(crate) fn check(data: &[u8]) {
    let whole = hear(data, data.len().max(1));
    for chop in [1, 7] {
        assert_eq!(whole, hear(data, chop), "in chops of {chop}");
    }
    let (said, violation) = whole;
    let mut message = Vec::new();
    for one in &said {
        if let Said::Piece { is_text, bytes, is_last } = one {
            message.extend_from_slice(bytes);
            assert!(message.len() as u64 <= MESSAGE_BYTES_MAX);
            if *is_last {
                assert!(!is_text || std::str::from_utf8(&message).is_ok());
                message.clear();
            }
        }
    }
    assert!(violation.is_none_or(|violation| close_code::may_be_sent(violation.code) && violation.reason.len() <= 123));
}

#[derive(Debug, PartialEq, Eq)]
enum Said {
    Frame,
    /// Pieces of a message that came one after another are one.
    Piece {
        is_text: bool,
        bytes: Vec<u8>,
        is_last: bool,
    },
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>),
}

fn hear(data: &[u8], chop: usize) -> (Vec<Said>, Option<Violation>) {
    let mut inbound = Inbound::new(MESSAGE_BYTES_MAX);
    let mut said: Vec<Said> = Vec::new();
    for piece in data.chunks(chop) {
        let read = inbound.read(&mut piece.to_vec(), |event| {
            let one = match event {
                Event::Frame => Said::Frame,
                Event::Piece { opcode, bytes, is_last } => {
                    let is_text = opcode == peep_stream::websocket::frame::Opcode::Text;
                    if let Some(Said::Piece { bytes: before, is_last: ended @ false, .. }) = said.last_mut() {
                        before.extend_from_slice(bytes);
                        *ended = is_last;
                        return;
                    }
                    if bytes.is_empty() && !is_last {
                        return;
                    }
                    Said::Piece { is_text, bytes: bytes.to_vec(), is_last }
                }
                Event::Ping(payload) => Said::Ping(payload.to_vec()),
                Event::Pong => Said::Pong,
                Event::Close(code) => Said::Close(code),
            };
            said.push(one);
        });
        if let Err(violation) = read {
            // How much of the piece that broke off was lent before depends on the cut.
            if matches!(said.last(), Some(Said::Piece { is_last: false, .. })) {
                said.pop();
            }
            return (said, Some(violation));
        }
    }
    (said, None)
}
