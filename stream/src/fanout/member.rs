//! One WebSocket: what it still has to take, what it says, and how it ends.
//!
//! Two sides work on it, never at the same time, since both run on its thread: whoever publishes calls [`Member::deliver`], and the
//! connection's own task polls [`Member::poll`] when the socket can be read or takes more. [`Member::supervise`] looks at the time.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use axum::body::Bytes;
use tokio::io::ReadBuf;

use super::FanoutLimits;
use super::socket::Wire;
use crate::hub::{LiveTopic, Version};
use crate::message::{Kind, Message};
use crate::metrics::{self, Cut, ViewerConnected};
use crate::standing::Standing;
use crate::subscriber::{Offer, Subscriber};
use crate::websocket::frame::{self, Opcode, close_code};
use crate::websocket::inbound::{Event, Inbound, Violation};

pub(super) struct Member {
    wire: RefCell<Wire>,
    subscriber: RefCell<Subscriber>,
    inbound: RefCell<Inbound>,
    outgoing: RefCell<Outgoing>,
    /// Of its own task.
    waker: RefCell<Option<Waker>>,
    standing: Arc<Standing>,
    /// Frames it sent lately; the sweep takes some away.
    heard: Cell<u32>,
    /// Where it is in its group.
    pub(super) index: Cell<usize>,
    is_gone: Cell<bool>,
    _open: ViewerConnected,
}

/// What is on its way to the client.
#[derive(Default)]
struct Outgoing {
    message: Option<Arc<Message>>,
    written: usize,
    /// A pong or a goodbye; goes out at the next end of a fragment.
    control: Option<Bytes>,
    control_written: usize,
    /// Something was published that it has not got yet.
    is_behind: bool,
    /// Since when it has been writing this message, and when a byte of it was last taken.
    waits: Option<Waits>,
    farewell: Farewell,
}

#[derive(Clone, Copy)]
struct Waits {
    since: Instant,
    moved: Instant,
}

#[derive(Clone, Copy, Default)]
enum Farewell {
    #[default]
    None,
    /// Waits to be written since then.
    Due(Instant),
    /// Is written; the other side may hang up.
    Said(Instant),
}

/// The connection is no more.
struct Gone;

/// Messages written while publishing, to be counted all at once.
#[derive(Default)]
pub(super) struct Tally {
    frames: u64,
    heartbeats: u64,
    snapshots: u64,
}

impl Tally {
    fn count(&mut self, kind: Kind) {
        match kind {
            Kind::Frame => self.frames += 1,
            Kind::Heartbeat => self.heartbeats += 1,
            Kind::Snapshot => self.snapshots += 1,
        }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        metrics::messages_sent(Kind::Frame, self.frames);
        metrics::messages_sent(Kind::Heartbeat, self.heartbeats);
        metrics::messages_sent(Kind::Snapshot, self.snapshots);
    }
}

impl Member {
    pub(super) fn new(wire: Wire, subscriber: Subscriber, first: Arc<Message>, standing: Arc<Standing>) -> Rc<Self> {
        metrics::messages_sent(first.kind(), 1);
        let outgoing = Outgoing {
            message: Some(first),
            // A version may have been published on its way here.
            is_behind: true,
            waits: Some(Waits { since: Instant::now(), moved: Instant::now() }),
            ..Outgoing::default()
        };
        Rc::new(Self {
            wire: RefCell::new(wire),
            subscriber: RefCell::new(subscriber),
            inbound: RefCell::new(Inbound::new(INBOUND_BYTES_MAX)),
            outgoing: RefCell::new(outgoing),
            waker: RefCell::new(None),
            standing,
            heard: Cell::new(0),
            index: Cell::new(0),
            is_gone: Cell::new(false),
            _open: metrics::viewer_connected("websocket"),
        })
    }

    pub(super) fn topic(&self) -> Arc<LiveTopic> {
        Arc::clone(self.subscriber.borrow().topic())
    }

    pub(super) fn is_gone(&self) -> bool {
        self.is_gone.get()
    }

    /// Gives it what was published, or remembers that it is behind.
    pub(super) fn deliver(&self, version: &Version, tally: &mut Tally) {
        let mut outgoing = self.outgoing.borrow_mut();
        if outgoing.message.is_some() || outgoing.control.is_some() {
            outgoing.is_behind = true;
            return;
        }
        if !matches!(outgoing.farewell, Farewell::None) || self.is_gone.get() {
            return;
        }
        let mut subscriber = self.subscriber.borrow_mut();
        let own;
        let message = match subscriber.offer(version) {
            Offer::Nothing => return,
            Offer::Shared(message) => message,
            Offer::Own(message) => {
                own = message;
                &own
            }
        };
        tally.count(message.kind());
        let written = match self.wire.borrow().try_write(message.frame()) {
            Ok(written) if written == message.frame().len() => return,
            Ok(written) => written,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => 0,
            Err(_) => {
                drop(outgoing);
                return self.leave();
            }
        };
        let now = Instant::now();
        outgoing.message = Some(Arc::clone(message));
        outgoing.written = written;
        outgoing.waits = Some(Waits { since: now, moved: now });
        drop(outgoing);
        self.wake();
    }

    /// Its own task: reads, and writes what the socket did not take at once. Ready when the connection is over.
    pub(super) fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            *waker = Some(context.waker().clone());
        }
        drop(waker);
        if self.is_gone.get() {
            return Poll::Ready(());
        }
        // Written before and after: what is read may ask for an answer.
        let over = self.write(context).and_then(|()| self.read(context)).and_then(|()| self.write(context));
        match over {
            Ok(()) => Poll::Pending,
            Err(Gone) => {
                self.is_gone.set(true);
                Poll::Ready(())
            }
        }
    }

    fn read(&self, context: &mut Context<'_>) -> Result<(), Gone> {
        // On the stack of the thread, for all of its connections.
        let mut buffer = [0; READ_BYTES];
        for _ in 0..READS_MAX {
            let mut filled = ReadBuf::new(&mut buffer);
            match self.wire.borrow_mut().poll_read(context, &mut filled) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Err(_)) => return Err(Gone),
                Poll::Ready(Ok(())) => {}
            }
            let length = filled.filled().len();
            if length == 0 {
                return Err(Gone);
            }
            self.hear(&mut buffer[..length]);
        }
        // Others want to be heard as well.
        context.waker().wake_by_ref();
        Ok(())
    }

    /// Takes what the client has sent.
    pub(super) fn hear(&self, bytes: &mut [u8]) {
        if !matches!(self.outgoing.borrow().farewell, Farewell::None) {
            // Whatever it says now, we are leaving.
            return;
        }
        let (mut pong, mut leaving, mut frames) = (None, None, 0);
        let read = self.inbound.borrow_mut().read(bytes, |event| match event {
            Event::Frame => frames += 1,
            // Nothing that a client says means anything here.
            Event::Piece { .. } | Event::Pong => {}
            // Of several only the newest has to be answered.
            Event::Ping(payload) => pong = Some(frame::control(Opcode::Pong, payload)),
            Event::Close(code) => leaving = Some(code),
        });
        self.heard.set(self.heard.get() + frames);
        if let Some(pong) = pong {
            let mut outgoing = self.outgoing.borrow_mut();
            // One that is half written has to be finished first; this one is then not answered.
            if outgoing.control_written == 0 {
                outgoing.control = Some(pong);
            }
        }
        match (read, leaving) {
            (Err(Violation { code, reason }), _) => {
                metrics::viewer_cut(Cut::Violation);
                self.say_goodbye(Some(code), reason);
            }
            (Ok(()), Some(code)) => self.say_goodbye(code, ""),
            (Ok(()), None) if self.heard.get() > FRAMES_MAX => {
                metrics::viewer_cut(Cut::Flood);
                self.say_goodbye(Some(close_code::POLICY), "too many frames");
            }
            (Ok(()), None) => {}
        }
    }

    /// Queues the goodbye; it goes out as soon as a fragment ends.
    pub(super) fn say_goodbye(&self, code: Option<u16>, reason: &str) {
        let mut outgoing = self.outgoing.borrow_mut();
        if !matches!(outgoing.farewell, Farewell::None) {
            return;
        }
        let goodbye = frame::close(code, reason);
        outgoing.control = match outgoing.control.take() {
            // A pong that is half written goes on in front of it.
            Some(pong) if outgoing.control_written > 0 => {
                let rest = pong.slice(outgoing.control_written..);
                outgoing.control_written = 0;
                Some([rest, goodbye].concat().into())
            }
            _ => Some(goodbye),
        };
        outgoing.farewell = Farewell::Due(Instant::now());
        drop(outgoing);
        self.wake();
    }

    /// Writes as far as the socket takes it, and wakes the task when it takes more.
    fn write(&self, context: &mut Context<'_>) -> Result<(), Gone> {
        let mut outgoing = self.outgoing.borrow_mut();
        let mut wire = self.wire.borrow_mut();
        while let Some(bytes) = outgoing.next_bytes() {
            match wire.poll_write(context, bytes) {
                Poll::Ready(Ok(written)) if written > 0 => outgoing.advance(written),
                Poll::Ready(_) => return Err(Gone),
                Poll::Pending => {
                    outgoing.waits_since(Instant::now());
                    return Ok(());
                }
            }
            if outgoing.message.is_none() && outgoing.control.is_none() && std::mem::take(&mut outgoing.is_behind) {
                outgoing.message = self.subscriber.borrow_mut().newest();
                if let Some(message) = &outgoing.message {
                    metrics::messages_sent(message.kind(), 1);
                }
            }
        }
        match wire.poll_flush(context) {
            Poll::Ready(Ok(())) => outgoing.waits = None,
            Poll::Ready(Err(_)) => return Err(Gone),
            Poll::Pending => outgoing.waits_since(Instant::now()),
        }
        if matches!(outgoing.farewell, Farewell::Said(_)) {
            // The client hangs up when it has read that; whether this works does not matter any more.
            let _ = wire.poll_shutdown(context);
        }
        Ok(())
    }

    /// Looks at the time. Answers the bytes that wait for this viewer.
    pub(super) fn supervise(&self, now: Instant, limits: &FanoutLimits, retry_s: u32) -> usize {
        self.heard.set(self.heard.get().saturating_sub(FRAMES_FORGIVEN));
        let (farewell, waits, unsent) = {
            let outgoing = self.outgoing.borrow();
            (outgoing.farewell, outgoing.waits, outgoing.unsent())
        };
        let passed = |since: Instant| now.saturating_duration_since(since) + super::thread::SWEEP;
        match (farewell, waits) {
            (Farewell::Said(since), _) if passed(since) >= CLOSE_WAIT => self.leave(),
            // The rest of a fragment comes first, and a slow one takes its time for that.
            (Farewell::Due(since), _) if passed(since) >= limits.slow_timeout.max(limits.write_timeout) => {
                self.cut(Cut::Stalled);
            }
            (_, Some(waits)) if passed(waits.moved) >= limits.write_timeout => self.cut(Cut::Stalled),
            (Farewell::None, _) if self.standing.has_ended() => {
                metrics::viewer_cut(Cut::Revoked);
                self.say_goodbye(Some(close_code::POLICY), "the key or session is not valid any more");
            }
            (Farewell::None, Some(waits)) => {
                let is_slow = passed(waits.since) >= limits.slow_timeout;
                let holds_much = unsent > limits.viewer_bytes_max && passed(waits.since) >= limits.write_timeout;
                if is_slow || holds_much {
                    self.send_away(retry_s);
                }
            }
            _ => {}
        }
        unsent
    }

    /// Since when it has been waiting for its message to be taken.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        self.outgoing.borrow().waits.map(|waits| waits.since)
    }

    /// It is too slow; the reason says when to come back.
    pub(super) fn send_away(&self, retry_s: u32) {
        metrics::viewer_cut(Cut::Slow);
        self.say_goodbye(
            Some(close_code::TRY_AGAIN_LATER),
            &format!("retry={retry_s}; this view is more than the connection takes"),
        );
    }

    /// Not even a goodbye would get through.
    fn cut(&self, why: Cut) {
        metrics::viewer_cut(why);
        self.wire.borrow().forget_unsent();
        self.leave();
    }

    fn leave(&self) {
        self.is_gone.set(true);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

impl Outgoing {
    /// A control frame at the end of a fragment, else the message as far as it may go.
    fn next_bytes(&self) -> Option<&[u8]> {
        let border = self.message.as_ref().map(|message| frame::fragment_end(message.frame(), self.written));
        match (&self.control, &self.message, border) {
            (Some(control), _, border) if border.is_none_or(|border| border == self.written) => {
                Some(&control[self.control_written..])
            }
            (Some(_), Some(message), Some(border)) => Some(&message.frame()[self.written..border]),
            (_, Some(message), _) => Some(&message.frame()[self.written..]),
            _ => None,
        }
    }

    fn advance(&mut self, written: usize) {
        if let Some(waits) = &mut self.waits {
            waits.moved = Instant::now();
        }
        let at_border = self
            .message
            .as_ref()
            .is_none_or(|message| frame::fragment_end(message.frame(), self.written) == self.written);
        if let Some(control) = self.control.as_ref().filter(|_| at_border) {
            self.control_written += written;
            if self.control_written == control.len() {
                self.control = None;
                self.control_written = 0;
                if matches!(self.farewell, Farewell::Due(_)) {
                    self.farewell = Farewell::Said(Instant::now());
                    // After a goodbye nothing follows, not even the rest of a message.
                    self.message = None;
                    self.is_behind = false;
                }
            }
            return;
        }
        self.written += written;
        if self.message.as_ref().is_some_and(|message| message.frame().len() == self.written) {
            self.message = None;
            self.written = 0;
            // The next one has its own time.
            self.waits = None;
        }
    }

    fn waits_since(&mut self, now: Instant) {
        self.waits.get_or_insert(Waits { since: now, moved: now });
    }

    fn unsent(&self) -> usize {
        self.message.as_ref().map_or(0, |message| message.frame().len() - self.written)
    }
}

/// Nobody has more to say here than a close with a reason.
const INBOUND_BYTES_MAX: u64 = 4096;
const READ_BYTES: usize = 4096;
/// Reads of one connection before the others have their turn.
const READS_MAX: usize = 4;
/// Frames at once, and how many are forgiven with each sweep: eight a second. Browsers send none, libraries a ping now and then.
const FRAMES_MAX: u32 = 100;
const FRAMES_FORGIVEN: u32 = 2;
/// For the client to hang up after a goodbye.
const CLOSE_WAIT: std::time::Duration = std::time::Duration::from_secs(1);
