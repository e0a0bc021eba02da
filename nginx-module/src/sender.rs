//! One worker's way to the shipper.
//!
//! In: events. Out: datagrams, when the buffer is full or a tenth of a second old, and once more when the worker ends. Promised: the socket
//! never blocks; a datagram that nobody takes is dropped, counted, and told by the next that is taken, within a second or so after
//! somebody listens again; the error log says so at most once a minute. A worker is one thread, so there is one sender and nobody to share it with.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::ptr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nginx_sys::{ngx_add_timer, ngx_del_timer};
use ngx::ffi::{ngx_connection_t, ngx_event_t, ngx_log_t, ngx_msec_t, NGX_LOG_WARN};
use ngx::ngx_log_error;
use peep_nginx_record::{Buffer, Event};

use crate::guarded;

struct Sender {
    socket: UnixDatagram,
    path: PathBuf,
    buffer: Buffer,
    timer: ngx_event_t,
    log: *mut ngx_log_t,
    complained: Option<Instant>,
    dropped_since: u64,
}

/// How old an event may get in the buffer, in milliseconds.
const FLUSH_AFTER_MS: ngx_msec_t = 100;

/// How often a worker with nothing else to say tries to tell what it has dropped.
const TELL_AFTER_MS: ngx_msec_t = 1000;

const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

/// Of this worker. The timer in it has an address that nginx keeps, so it is boxed and never moves.
static mut SENDER: *mut Sender = ptr::null_mut();

/// What nginx's debug log looks for behind a timer: the number of a connection.
static mut NO_CONNECTION: Option<ngx_connection_t> = None;

/// Called once, when the worker begins.
pub(crate) fn start(path: &Path, log: *mut ngx_log_t) {
    let socket = UnixDatagram::unbound().and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
    let socket = match socket {
        Ok(socket) => socket,
        Err(error) => {
            ngx_log_error!(NGX_LOG_WARN, log, "peep: no socket, no events: {}", error);
            return;
        }
    };
    // SAFETY: a worker is one thread, and this is its beginning: nobody else looks at these statics. An event and a connection
    // of zeros are what nginx itself begins with.
    unsafe {
        let mut connection: ngx_connection_t = std::mem::zeroed();
        connection.fd = -1;
        NO_CONNECTION = Some(connection);
        let sender = Box::into_raw(Box::new(Sender {
            socket,
            path: path.to_owned(),
            buffer: Buffer::new(worker()),
            timer: std::mem::zeroed(),
            log,
            complained: None,
            dropped_since: 0,
        }));
        let timer = &mut (*sender).timer;
        timer.handler = Some(on_timer);
        timer.data = ptr::addr_of_mut!(NO_CONNECTION).cast();
        timer.log = log;
        // It does not keep a worker alive that is asked to go.
        timer.set_cancelable(1);
        SENDER = sender;
    }
}

/// Different for every worker that there was: the number of the process and a moment.
fn worker() -> u64 {
    let moment = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
    u64::from(std::process::id()) << 40 ^ moment
}

fn with(act: impl FnOnce(&mut Sender)) {
    // SAFETY: a worker is one thread, and no callback of this module calls another: there is no second reference.
    if let Some(sender) = unsafe { SENDER.as_mut() } {
        act(sender);
    }
}

/// Takes one event on its way.
pub(crate) fn send(event: &Event<'_>) {
    with(|sender| {
        if !sender.buffer.push(event) {
            sender.flush();
            let fits = sender.buffer.push(event);
            debug_assert!(fits, "an empty buffer takes any event");
        }
        if sender.buffer.events() == 1 {
            sender.wake_after(FLUSH_AFTER_MS);
        }
    });
}

/// Called once, when the worker ends.
pub(crate) fn stop() {
    with(Sender::flush_what_there_is);
}

extern "C" fn on_timer(_event: *mut ngx_event_t) {
    guarded((), || with(Sender::flush_what_there_is));
}

impl Sender {
    fn flush_what_there_is(&mut self) {
        if !self.buffer.is_empty() || self.buffer.has_untold_drops() {
            self.flush();
        }
    }

    fn wake_after(&mut self, delay_ms: ngx_msec_t) {
        // SAFETY: the event is in the box, which stays where it is; nginx's timers belong to this thread.
        unsafe {
            if self.timer.timer_set() != 0 {
                ngx_del_timer(&mut self.timer);
            }
            ngx_add_timer(&mut self.timer, delay_ms);
        }
    }

    fn flush(&mut self) {
        let events = self.buffer.events();
        // By its path each time: a shipper that was started again is found without anything more.
        match self.socket.send_to(self.buffer.datagram(), &self.path) {
            Ok(_) => self.buffer.sent(),
            Err(error) => {
                self.buffer.drop_all();
                self.dropped_since += events;
                self.wake_after(TELL_AFTER_MS);
                self.complain(&error);
            }
        }
    }

    fn complain(&mut self, error: &std::io::Error) {
        if self.complained.is_some_and(|complained| complained.elapsed() < COMPLAINT_INTERVAL) {
            return;
        }
        self.complained = Some(Instant::now());
        let dropped = std::mem::take(&mut self.dropped_since);
        ngx_log_error!(NGX_LOG_WARN, self.log, "peep: {} events dropped: {}: {}", dropped, self.path.display(), error);
    }
}
