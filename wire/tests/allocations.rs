//! How much memory a body asks for once the scratch memory is warm: what the finished record takes, and nothing per event.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use peep_wire::json::{self, Context};
use peep_wire::otlp::{self, Encoding};
use peep_wire::record::RecordBuilder;
use peep_wire::{KeyId, ProjectId};

const NOW_MS: i64 = 1_795_200_000_000;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// Counts what this thread asks for.
struct Counting;

fn count() {
    // A thread that is being torn down has no counter any more.
    let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
}

// SAFETY: every call goes to the system's allocator unchanged; counting allocates nothing.
#[allow(unsafe_code, reason = "an allocator is an unsafe trait; tests only")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `realloc`, which is the same.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`, which is the same.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn context(lines: bool) -> Context<'static> {
    Context {
        bound_env: None,
        // The spans are recordings.
        age_ms_max: i64::MAX / 2,
        ahead_ms_max: 300_000,
        events_max: 100_000,
        event_bytes_max: 64 * 1024,
        depth_max: 32,
        lines,
    }
}

/// Allocations for each of the bodies, the largest of which has warmed the memory, and how many events were taken.
fn allocations(bodies: &[Vec<u8>], mut decode: impl FnMut(&[u8], &mut RecordBuilder)) -> Vec<(u64, u32)> {
    let mut record = RecordBuilder::default();
    let mut run = |body: &Vec<u8>| {
        let before = ALLOCATIONS.get();
        record.start(NOW_MS);
        decode(body, &mut record);
        let records = record.finish(ProjectId(1), KeyId(1), None);
        let spent = ALLOCATIONS.get() - before;
        assert_eq!(records.len(), 1, "one record, so that the bodies can be compared");
        (spent, record.event_count())
    };
    bodies.iter().for_each(|body| _ = run(body));
    bodies.iter().map(run).collect()
}

fn json_allocations(bodies: &[Vec<u8>], lines: bool) -> Vec<u64> {
    let mut decoder = json::Decoder::default();
    let counted = allocations(bodies, |body, record| {
        let mut rejected = Vec::new();
        decoder.decode(body, &context(lines), record, &mut rejected).expect("a body of events");
        assert_eq!(rejected, []);
    });
    counted.into_iter().map(|(spent, _)| spent).collect()
}

/// The list of records, and the record.
const RECORD_ALLOCATIONS: u64 = 2;

#[test]
fn a_thousand_events_ask_for_no_more_than_one() {
    let plain = format!(
        r#"{{"service":"checkout","env":"prod","route":"/a/{{id}}","method":"GET","status":200,"duration_ms":1.25,"ts":{NOW_MS},"host":"h","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"}}"#
    );
    let spaced = plain.replace("\":", "\": ").replace(",\"", ", \"");
    let rich = plain.replacen(
        '{',
        r#"{"error":"gone","bytes_in":1,"source":"sdk","other":[],"attrs":{"k":"v","n":3.5,"b":true},"#,
        1,
    );
    let rich = rich.replace("[]", "1.5");
    let reversed = plain[1..plain.len() - 1].split(',').rev().collect::<Vec<_>>().join(",");
    let mixed = format!("{plain}\n{spaced}\n{rich}\n{{{reversed}}}");
    for event in [plain, spaced, rich, mixed] {
        let lines = [1, 100, 1000].map(|times| format!("{event}\n").repeat(times).into_bytes());
        assert_eq!(json_allocations(&lines, true), [RECORD_ALLOCATIONS; 3], "{event}");
        let event = event.replace('\n', ",");
        let arrays = [1, 100, 1000].map(|times| format!("[{}]", vec![event.as_str(); times].join(",")).into_bytes());
        assert_eq!(json_allocations(&arrays, false), [RECORD_ALLOCATIONS; 3], "{event}");
    }
}

#[test]
fn a_thousand_spans_in_protobuf_ask_for_no_more_than_one() {
    // Requests one behind the other are one request with the spans of both.
    let request = include_bytes!("../fixtures/otlp/python-flask-traces-semconv-stable.pb");
    let bodies = [1, 10, 100].map(|times| request.repeat(times));
    let mut decoder = otlp::Decoder::default();
    let counted = allocations(&bodies, |body, record| {
        let mut rejected = Vec::new();
        decoder.decode(body, Encoding::Protobuf, &context(false), record, &mut rejected).expect("a request");
        assert_eq!(rejected, []);
    });
    let (spent, events): (Vec<_>, Vec<_>) = counted.into_iter().unzip();
    assert!(events[0] > 0 && events[2] == 100 * events[0], "{events:?}");
    assert_eq!(spent, [RECORD_ALLOCATIONS; 3]);
}
