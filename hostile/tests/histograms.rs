//! H12: encoded histograms that ask for much. Whatever they say about themselves, they are refused within a millisecond and less
//! than a mebibyte.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::{Duration, Instant};

use peep_wire::histogram::{DURATION_US_MAX, Histogram, Totals};

/// Adds up what this thread asks for.
struct Counting;

thread_local! {
    static BYTES: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged; counting touches no memory of its own.
#[allow(unsafe_code, reason = "an allocator is an unsafe trait; tests only")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = BYTES.try_with(|bytes| bytes.set(bytes.get() + layout.size()));
        // SAFETY: the caller keeps the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`, which is the same.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Cookie, length of what follows, normalising offset, digits, lowest, highest, ratio; then the counts.
fn payload(length: u32, digits: i32, lowest: i64, highest: i64, counts: &[u8]) -> Vec<u8> {
    let mut bytes = Histogram::new().encoded();
    bytes[4..8].copy_from_slice(&length.to_be_bytes());
    bytes[12..16].copy_from_slice(&digits.to_be_bytes());
    bytes[16..24].copy_from_slice(&lowest.to_be_bytes());
    bytes[24..32].copy_from_slice(&highest.to_be_bytes());
    bytes.truncate(40);
    bytes.extend_from_slice(counts);
    bytes
}

trait Encoded {
    fn encoded(&self) -> Vec<u8>;
}

impl Encoded for Histogram {
    fn encoded(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.encode_v2(&mut bytes);
        bytes
    }
}

#[test]
fn a_histogram_that_asks_for_much_gets_nothing() {
    let highest = DURATION_US_MAX as i64;
    // A run of zeros as long as can be said: -2^62 as a zigzag varint.
    let zeros = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    let many = zeros.repeat(1_000);
    let cases: &[(&str, Vec<u8>)] = &[
        ("length 2^32-1", payload(u32::MAX, 3, 1, highest, b"\x02")),
        ("length 2^31", payload(1 << 31, 3, 1, highest, b"\x02")),
        ("5 digits", payload(1, 5, 1, highest, b"\x02")),
        ("2^31 digits", payload(1, i32::MIN, 1, highest, b"\x02")),
        ("highest 2^63", payload(1, 3, 1, i64::MIN, b"\x02")),
        ("highest 2^63-1", payload(1, 3, 1, i64::MAX, b"\x02")),
        ("lowest 0", payload(1, 3, 0, highest, b"\x02")),
        ("all of them", payload(u32::MAX, 5, i64::MIN, i64::MAX, b"")),
        ("a run of 2^62 zeros", payload(9, 3, 1, highest, &zeros)),
        ("a thousand such runs", payload(many.len() as u32, 3, 1, highest, &many)),
        ("8 MiB of zeros", payload(8 << 20, 3, 1, highest, &vec![0; 8 << 20])),
        ("8 MiB of counts", payload(8 << 20, 3, 1, highest, &vec![2; 8 << 20])),
        ("nothing", Vec::new()),
        ("half a head", payload(1, 3, 1, highest, b"\x02")[..20].to_vec()),
    ];
    let totals = Totals { sum_us: u64::MAX, min_us: 0, max_us: u64::MAX };
    for (name, bytes) in cases {
        let mut histogram = Histogram::new();
        let before = BYTES.get();
        let started = Instant::now();
        let refused = histogram.merge_v2(bytes, totals).is_err();
        let (took, asked) = (started.elapsed(), BYTES.get() - before);
        assert!(refused, "{name} was taken");
        assert!(histogram == Histogram::new(), "{name} was refused, and yet something was added");
        assert!(asked < 1 << 20, "{name} asked for {asked} bytes");
        // The best of a few: the machine has other things to do.
        let fastest = (0..5).map(|_| clocked(bytes, totals)).min().unwrap_or(took).min(took);
        assert!(fastest < TIME_MAX, "{name} took {fastest:?}");
    }
}

/// A millisecond; what is not optimised takes several times as long.
const TIME_MAX: Duration = Duration::from_millis(if cfg!(debug_assertions) { 10 } else { 1 });

fn clocked(bytes: &[u8], totals: Totals) -> Duration {
    let started = Instant::now();
    let _ = Histogram::new().merge_v2(bytes, totals);
    started.elapsed()
}
