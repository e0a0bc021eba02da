//! Frame heads in a stream of bytes, however the bytes are cut, and what they cost.

use tokio::time::Instant;

use super::PREFACE;

/// How far a connection was read.
pub(super) struct Frames {
    place: Place,
    /// Frames that may come now; refilled over time.
    budget: f64,
    per_second: f64,
    refilled: Instant,
}

enum Place {
    /// So many bytes of the preface have come.
    Preface(usize),
    /// In the head of a frame.
    Head { bytes: [u8; HEAD_BYTES], filled: usize },
    /// In the payload of a frame.
    Payload { left: usize },
    /// Not HTTP/2.
    Foreign,
}

impl Frames {
    pub(super) fn new(per_second: u32) -> Self {
        let per_second = f64::from(per_second);
        Self { place: Place::Preface(0), budget: per_second * BURST_SECONDS, per_second, refilled: Instant::now() }
    }

    /// The next bytes of the connection. False: there were too many frames that carry no request.
    pub(super) fn admit(&mut self, mut bytes: &[u8]) -> bool {
        let mut cost = 0;
        while !bytes.is_empty() {
            match &mut self.place {
                Place::Foreign => return true,
                Place::Preface(seen) => {
                    let wanted = &PREFACE[*seen..];
                    let taken = wanted.len().min(bytes.len());
                    if wanted[..taken] != bytes[..taken] {
                        self.place = Place::Foreign;
                        return true;
                    }
                    *seen += taken;
                    if *seen == PREFACE.len() {
                        self.place = EMPTY_HEAD;
                    }
                    bytes = &bytes[taken..];
                }
                Place::Head { bytes: head, filled } => {
                    let taken = (HEAD_BYTES - *filled).min(bytes.len());
                    head[*filled..*filled + taken].copy_from_slice(&bytes[..taken]);
                    *filled += taken;
                    bytes = &bytes[taken..];
                    if *filled == HEAD_BYTES {
                        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
                        cost += u32::from(!carries_request(head[3]));
                        self.place = if length == 0 { EMPTY_HEAD } else { Place::Payload { left: length } };
                    }
                }
                Place::Payload { left } => {
                    let taken = (*left).min(bytes.len());
                    *left -= taken;
                    bytes = &bytes[taken..];
                    if *left == 0 {
                        self.place = EMPTY_HEAD;
                    }
                }
            }
        }
        cost == 0 || self.pay(cost)
    }

    fn pay(&mut self, cost: u32) -> bool {
        let now = Instant::now();
        let earned = (now - self.refilled).as_secs_f64() * self.per_second;
        self.refilled = now;
        self.budget = (self.budget + earned).min(self.per_second * BURST_SECONDS) - f64::from(cost);
        self.budget >= 0.0
    }
}

/// Frames that belong to a request; h2 bounds those. PUSH_PROMISE is an error from a client anyway.
fn carries_request(kind: u8) -> bool {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const CONTINUATION: u8 = 9;
    matches!(kind, DATA | HEADERS | CONTINUATION)
}

const HEAD_BYTES: usize = 9;
const EMPTY_HEAD: Place = Place::Head { bytes: [0; HEAD_BYTES], filled: 0 };
/// A client may save up for a burst, such as cancelling everything at once. Ten times as much was felt by others: a new
/// connection has all of it, and ten thousand frames are milliseconds.
const BURST_SECONDS: f64 = 1.0;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn frame(kind: u8, length: usize) -> Vec<u8> {
        let mut frame = vec![(length >> 16) as u8, (length >> 8) as u8, length as u8, kind, 0, 0, 0, 0, 1];
        frame.resize(HEAD_BYTES + length, 0xaa);
        frame
    }

    fn after_preface(per_second: u32) -> Frames {
        let mut frames = Frames::new(per_second);
        assert!(frames.admit(PREFACE));
        frames
    }

    #[tokio::test(start_paused = true)]
    async fn control_frames_are_counted_however_the_bytes_are_cut() {
        const PING: u8 = 6;
        let bytes: Vec<u8> = (0..15).flat_map(|_| [frame(PING, 8), frame(0, 300), frame(1, 0)].concat()).collect();
        for piece in [1, 2, 7, 9, 100, 100_000] {
            let mut frames = after_preface(5);
            let admitted =
                bytes.chunks(piece).map_while(|bytes| frames.admit(bytes).then_some(bytes.len())).sum::<usize>();
            let pings = admitted / (bytes.len() / 15);
            assert!(admitted < bytes.len() && pings <= 5, "{piece}: {admitted}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_are_free_and_time_pays_for_the_rest() {
        let mut frames = after_preface(10);
        assert!(frames.admit(&frame(0, 20_000).repeat(1_000)));
        assert!(frames.admit(&frame(4, 0).repeat(10)));
        assert!(!frames.admit(&frame(4, 0)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(frames.admit(&frame(8, 4).repeat(9)));
        assert!(!frames.admit(&frame(3, 4).repeat(9)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_http_2_passes() {
        for first in [&b"GET / HTTP/1.1\r\n"[..], b"PRI * HTTP/1.1", b"\x16\x03\x01"] {
            let mut frames = Frames::new(1);
            assert!(first.iter().all(|byte| frames.admit(&[*byte])));
            assert!(frames.admit(&[6; 10_000]));
        }
    }
}
