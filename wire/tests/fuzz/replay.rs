//! A corpus, seeds and their seeded mutations through one check, with an eye on memory.
//!
//! Not a fuzzer: it has no coverage to follow. It keeps what the fuzzer asks true between two of its runs, and finds
//! what is shallow. The same every time, so that a failure comes back.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;
use std::time::{Duration, Instant};

/// Mutations of each target …
const MUTATIONS: usize = 20_000;
/// … or as many as fit, on a machine that has better things to do.
const TIME_MAX: Duration = Duration::from_millis(2_500);
/// What a check may hold at once, beside a multiple of its input. No length in the input may decide an allocation.
const BYTES_MAX: usize = 512 << 10;
const BYTES_MAX_PER_BYTE: usize = 256;
const INPUT_BYTES_MAX: usize = 4 << 10;

/// Runs `check` on what the fuzzer kept of this target and on every seed, then on mutations of them; `tokens` are what this kind
/// of input is made of.
pub(crate) fn replay(target: &str, seeds: &[Vec<u8>], tokens: &[&[u8]], check: fn(&[u8])) {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let until = Instant::now() + TIME_MAX;
    let seeds = [seeds, &corpus(target)].concat();
    let seeds = seeds.as_slice();
    seeds.iter().for_each(|seed| measured(seed, check));
    for number in 0..MUTATIONS {
        if number % 64 == 0 && Instant::now() > until {
            eprintln!("out of time after {number} mutations");
            return;
        }
        let mut input = random.pick(seeds).clone();
        for _ in 0..=random.below(4) {
            mutate(&mut input, seeds, tokens, &mut random);
        }
        input.truncate(INPUT_BYTES_MAX);
        measured(&input, check);
    }
}

/// `fuzz/corpus/<target>/`, in an order that does not change.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("read {}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files.iter().map(|file| std::fs::read(file).expect("read an input")).collect()
}

/// Says which input it was when the check panics.
struct Shown<'i>(&'i [u8]);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("input: b\"{}\"", self.0.escape_ascii());
        }
    }
}

fn measured(input: &[u8], check: fn(&[u8])) {
    let shown = Shown(input);
    let before = HELD.get();
    PEAK.set(before);
    check(input);
    let peak = usize::try_from(PEAK.get() - before).unwrap_or(0);
    assert!(peak <= BYTES_MAX + input.len() * BYTES_MAX_PER_BYTE, "{peak} bytes for {} of input", input.len());
    drop(shown);
}

fn mutate(input: &mut Vec<u8>, seeds: &[Vec<u8>], tokens: &[&[u8]], random: &mut Random) {
    let at = random.below(input.len() + 1);
    let end = (at + 1 + random.below(16)).min(input.len());
    match random.below(10) {
        0 if at < input.len() => input[at] ^= 1 << random.below(8),
        1 if at < input.len() => input[at] = *random.pick(&[0, 1, 0x7f, 0x80, 0xff, b'"', b'\\', b'\n']),
        2 => drop(input.drain(at.min(end)..end)),
        3 => input.truncate(at),
        4 => {
            let again = input[at.min(end)..end].to_vec();
            drop(input.splice(at..at, again));
        }
        5 => drop(input.splice(at..at, random.next().to_le_bytes())),
        6 => {
            let other = random.pick(seeds);
            let from = random.below(other.len() + 1);
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        7 => drop(input.splice(at..at, random.pick(&VARINTS).iter().copied())),
        _ if tokens.is_empty() => input.push(random.next() as u8),
        8 => drop(input.splice(at..at, random.pick(tokens).iter().copied())),
        _ => drop(input.splice(at.min(end)..end, random.pick(tokens).iter().copied())),
    }
}

/// The largest ones, and one of two bytes that is worth nothing.
const VARINTS: [&[u8]; 3] = [&[0xff; 9], &[0xff, 0xff, 0xff, 0xff, 0x0f], &[0x80, 0]];

/// SplitMix64: small, seeded, good enough.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    fn pick<'t, T>(&mut self, from: &'t [T]) -> &'t T {
        &from[self.below(from.len())]
    }
}

thread_local! {
    /// Bytes that this thread has allocated and not freed.
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, counting by thread.
struct Counting;

impl Counting {
    fn count(bytes: isize) {
        // A thread that is being torn down has no counter any more.
        let _ = HELD.try_with(|held| {
            held.set(held.get() + bytes);
            let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
        });
    }
}

// SAFETY: every call goes to the system's allocator unchanged; counting allocates nothing.
#[allow(unsafe_code, reason = "an allocator is an unsafe trait; tests only")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Counting::count(layout.size() as isize);
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        Counting::count(-(layout.size() as isize));
        // SAFETY: the pointer came from `alloc` above, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
