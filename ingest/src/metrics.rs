//! The catalogue of ingest's metrics. Handles are looked up once; call sites add numbers. What every accepted request counts is
//! tallied by thread.
//!
//! Counted per batch, labelled by closed sets only: no tenant input ever becomes a label.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Counter, Gauge, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use peep_chassis::tally;
use peep_wire::json::{Rejection, RejectionCode};
use peep_wire::otlp::{Ignored, NoEvent};

use crate::admission::{Admission, Shed};
use crate::outcome::Reason;

const REQUESTS: &str = "peep_ingest_requests_total";
const REQUEST_SECONDS: &str = "peep_ingest_request_duration_seconds";
const EVENTS_ACCEPTED: &str = "peep_ingest_events_accepted_total";
const EVENTS_REJECTED: &str = "peep_ingest_events_rejected_total";
const SPANS_IGNORED: &str = "peep_ingest_spans_ignored_total";
const BUNDLES: &str = "peep_ingest_bundles_total";
const BUNDLED_BATCHES: &str = "peep_ingest_bundled_batches_total";
const BODY_BYTES: &str = "peep_ingest_body_bytes_total";
const RECORD_BYTES: &str = "peep_ingest_record_bytes_total";
const SHED: &str = "peep_ingest_shed_total";
const CONNECTIONS: &str = "peep_ingest_connections";
const CONNECTIONS_TOTAL: &str = "peep_ingest_connections_total";
const CONNECTIONS_CUT: &str = "peep_ingest_connections_cut_total";
const REQUESTS_IN_FLIGHT: &str = "peep_ingest_requests_in_flight";
const BYTES_IN_FLIGHT: &str = "peep_ingest_body_bytes_in_flight";
const DRAIN: &str = "peep_ingest_drain_bytes_per_second";
const PRODUCERS: &str = "peep_ingest_producers";
const CLOCK_DRIFT: &str = "peep_ingest_clock_drift_seconds";

const KEY_RATE: &str = "key_events_per_second";

/// Histograms and their bounds, for the recorder. 202 answers wait for the log: from a local commit to its timeout.
pub const BUCKETS: &[(&str, &[f64])] = &[(REQUEST_SECONDS, REQUEST_SECONDS_BUCKETS)];
const REQUEST_SECONDS_BUCKETS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

struct Handles {
    accepted: tally::Counter,
    refused: Vec<Counter>,
    seconds: tally::Histogram,
    events_accepted: tally::Counter,
    events_rejected: Vec<Counter>,
    spans_ignored: Vec<Counter>,
    body_bytes: tally::Counter,
    record_bytes: tally::Counter,
    bundles: tally::Counter,
    bundled_batches: tally::Counter,
    connections: Gauge,
    requests_in_flight: Gauge,
    bytes_in_flight: Gauge,
    drain: Gauge,
    producers: Gauge,
    clock_drift: Gauge,
}

fn handles() -> &'static Handles {
    static HANDLES: OnceLock<Handles> = OnceLock::new();
    HANDLES.get_or_init(|| {
        describe();
        Handles {
            accepted: tally::Counter::new(counter!(REQUESTS, "code" => "accepted")),
            refused: Reason::ALL.iter().map(|reason| counter!(REQUESTS, "code" => reason.code())).collect(),
            seconds: tally::Histogram::new(histogram!(REQUEST_SECONDS), REQUEST_SECONDS_BUCKETS),
            events_accepted: tally::Counter::new(counter!(EVENTS_ACCEPTED)),
            events_rejected: RejectionCode::ALL
                .iter()
                .map(|code| counter!(EVENTS_REJECTED, "code" => code.as_str()))
                .collect(),
            spans_ignored: NoEvent::ALL
                .iter()
                .map(|reason| counter!(SPANS_IGNORED, "reason" => reason.as_str()))
                .collect(),
            body_bytes: tally::Counter::new(counter!(BODY_BYTES)),
            record_bytes: tally::Counter::new(counter!(RECORD_BYTES)),
            bundles: tally::Counter::new(counter!(BUNDLES)),
            bundled_batches: tally::Counter::new(counter!(BUNDLED_BATCHES)),
            connections: gauge!(CONNECTIONS),
            requests_in_flight: gauge!(REQUESTS_IN_FLIGHT),
            bytes_in_flight: gauge!(BYTES_IN_FLIGHT),
            drain: gauge!(DRAIN),
            producers: gauge!(PRODUCERS),
            clock_drift: gauge!(CLOCK_DRIFT),
        }
    })
}

fn describe() {
    describe_counter!(REQUESTS, "Requests answered, by stable code.");
    describe_histogram!(
        REQUEST_SECONDS,
        Unit::Seconds,
        "From the request's head to its answer, the log's acknowledgement included."
    );
    describe_counter!(EVENTS_ACCEPTED, "Events acknowledged as durable.");
    describe_counter!(EVENTS_REJECTED, "Events refused one by one, by code.");
    describe_counter!(
        SPANS_IGNORED,
        "OTLP spans that are no events, by their kind; unconventional: a server or consumer span without an attribute of HTTP, RPC, messaging or FaaS."
    );
    describe_counter!(BODY_BYTES, Unit::Bytes, "Body bytes received, as sent.");
    describe_counter!(RECORD_BYTES, Unit::Bytes, "Record bytes appended to the log.");
    describe_counter!(BUNDLES, "Records that small requests shared.");
    describe_counter!(BUNDLED_BATCHES, "Small requests whose events travelled together; by bundles: how many at once.");
    describe_counter!(
        SHED,
        "Requests turned away, by the budget that was full; key_events_per_second: the rate of a key."
    );
    describe_gauge!(CONNECTIONS, "Open connections.");
    describe_counter!(CONNECTIONS_TOTAL, "Connections that spoke, by protocol.");
    describe_counter!(
        CONNECTIONS_CUT,
        "Connections, and streams of HTTP/2, that were ended; idle: nothing asked; stalled: takes no data; stream: an HTTP/2 request without an end; control_frames: a flood of frames that carry no request."
    );
    describe_gauge!(REQUESTS_IN_FLIGHT, "Requests between head and answer.");
    describe_gauge!(BYTES_IN_FLIGHT, Unit::Bytes, "Body bytes held.");
    describe_gauge!(
        DRAIN,
        "Body bytes given back per second, averaged over seconds, while more than one project's share is in flight; 0 below. `Retry-After` of 503 follows it."
    );
    describe_gauge!(PRODUCERS, "Producers that have a place, of all projects.");
    describe_gauge!(
        CLOCK_DRIFT,
        Unit::Seconds,
        "By how much the wall clock jumped within the last ten seconds; 0 below a second."
    );
}

/// Makes every series appear at zero, so that a rate over it is right from the first event on.
pub(crate) fn register() {
    handles();
    for shed in Shed::ALL {
        counter!(SHED, "budget" => shed.as_str()).increment(0);
    }
    counter!(SHED, "budget" => KEY_RATE).increment(0);
    for protocol in [Protocol::Http1, Protocol::Http2] {
        counter!(CONNECTIONS_TOTAL, "protocol" => protocol.as_str()).increment(0);
    }
    for cut in [Cut::Idle, Cut::Stalled, Cut::Stream, Cut::ControlFrames] {
        counter!(CONNECTIONS_CUT, "reason" => cut.as_str()).increment(0);
    }
}

/// What a connection speaks.
#[derive(Clone, Copy)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

impl Protocol {
    fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
        }
    }
}

/// Why a connection, or a stream of one, was ended by us.
#[derive(Clone, Copy)]
pub(crate) enum Cut {
    Idle,
    Stalled,
    Stream,
    ControlFrames,
}

impl Cut {
    fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Stalled => "stalled",
            Self::Stream => "stream",
            Self::ControlFrames => "control_frames",
        }
    }
}

pub(crate) fn connection_speaks(protocol: Protocol) {
    counter!(CONNECTIONS_TOTAL, "protocol" => protocol.as_str()).increment(1);
}

pub(crate) fn connection_cut(cut: Cut) {
    counter!(CONNECTIONS_CUT, "reason" => cut.as_str()).increment(1);
}

pub(crate) fn accepted(events: u32, rejected: &[Rejection], body_bytes: usize, record_bytes: usize, elapsed: Duration) {
    let handles = handles();
    handles.accepted.increment(1);
    handles.seconds.record(elapsed);
    handles.events_accepted.increment(u64::from(events));
    handles.body_bytes.increment(body_bytes as u64);
    handles.record_bytes.increment(record_bytes as u64);
    count_rejected(rejected);
}

pub(crate) fn bundled(batches: usize) {
    let handles = handles();
    handles.bundles.increment(1);
    handles.bundled_batches.increment(batches as u64);
}

pub(crate) fn refused(reason: Reason, rejected: &[Rejection], elapsed: Duration) {
    let handles = handles();
    let at = Reason::ALL.iter().position(|known| *known == reason).expect("every reason is listed");
    handles.refused[at].increment(1);
    handles.seconds.record(elapsed);
    count_rejected(rejected);
}

fn count_rejected(rejected: &[Rejection]) {
    for rejection in rejected {
        let at = RejectionCode::ALL.iter().position(|code| *code == rejection.code).expect("every code is listed");
        handles().events_rejected[at].increment(1);
    }
}

pub(crate) fn ignored(ignored: &Ignored) {
    for (counter, (_, spans)) in handles().spans_ignored.iter().zip(ignored.iter()).filter(|(_, (_, spans))| *spans > 0)
    {
        counter.increment(u64::from(spans));
    }
}

pub(crate) fn shed(shed: Shed) {
    counter!(SHED, "budget" => shed.as_str()).increment(1);
}

pub(crate) fn key_in_debt() {
    counter!(SHED, "budget" => KEY_RATE).increment(1);
}

pub(crate) fn drain(bytes_per_second: u64) {
    handles().drain.set(bytes_per_second as f64);
}

pub(crate) fn connection_opened() {
    handles().connections.increment(1.0);
}

pub(crate) fn connection_closed() {
    handles().connections.decrement(1.0);
}

pub(crate) fn producers(places: usize) {
    handles().producers.set(places as f64);
}

pub(crate) fn clock_drift(drift_ms: i64) {
    handles().clock_drift.set(drift_ms as f64 / 1000.0);
}

pub(crate) fn in_flight(admission: &Admission) {
    handles().requests_in_flight.set(admission.requests_in_flight() as f64);
    handles().bytes_in_flight.set(admission.bytes_in_flight() as f64);
}
