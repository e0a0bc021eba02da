//! The delivery protocol under every fault that can be thought of, thousands of times, each time from one number.
//!
//! The real supervisor, leases, consumers and partitions of `peep_rollup` run on simulated time against a log and a store that
//! are slow, lie dead, lose answers, fail over to the past and lose their end. Workers are killed, frozen beyond their leases,
//! and thawed. Clients retry what they are not sure of; a viewer watches all the while. When the storm is over, nothing may
//! be lost, nothing doubled, and the viewer must have seen nothing but the truth.
//!
//! A seed decides everything: the shape of the installation, the faults, every delay. So a failure can be seen again:
//! - `PEEP_SIM_SEED=17 cargo test -p peep-rollup --test simulation` runs one seed and writes its history to
//!   `target/simulation/seed-17.txt`;
//! - `PEEP_SIM_SEEDS=100000` (or `5000..9000`) runs more, or others, than the usual ones.
//!
//! In the order of a record: [`client`], [`log`], [`workers`], [`store`], [`viewer`]; around them [`world`], [`process`],
//! [`storm`] and [`operator`]; [`run`] is one seed and [`check`] the judgement. That the judgement can be "guilty" is shown by
//! `make mutants`.

mod check;

mod client;

#[path = "../store/contract.rs"]
mod contract;

mod log;

mod operator;

mod process;

mod promises;

mod random;

mod run;

mod storm;

mod store;

mod trace;

mod viewer;

mod workers;

mod world;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::run::{Facts, Outcome, run};

/// As many as a minute has room for.
const SEEDS: u64 = 2_000;

#[test]
fn no_fault_loses_or_doubles_an_event() {
    catch_panics();
    if let Some(seed) = number("PEEP_SIM_SEED") {
        return replay(seed);
    }
    let seeds = seeds();
    let (next, failed) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let done: Mutex<BTreeMap<u64, Outcome>> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(2, |cores| cores.get());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let outcome = watched(seed, false);
                    if !outcome.violations.is_empty() {
                        failed.store(true, Ordering::Relaxed);
                    }
                    done.lock().insert(seed, outcome);
                }
            });
        }
    });
    let done = done.into_inner();
    if let Some((seed, _)) = done.iter().find(|(_, outcome)| !outcome.violations.is_empty()) {
        return replay(*seed);
    }
    let mut facts = Facts::default();
    done.values().for_each(|outcome| facts.add(&outcome.facts));
    println!("{} seeds: {facts:?}", done.len());
}

#[test]
fn the_same_seed_is_the_same_history() {
    catch_panics();
    for seed in 0..40 {
        let (first, second) = (watched(seed, false), watched(seed, true));
        if first.hash != second.hash {
            tell(seed, &second);
            panic!("two runs of seed {seed} went different ways");
        }
    }
}

/// One seed, with its history on disk; panics when a promise is broken.
fn replay(seed: u64) {
    let outcome = watched(seed, true);
    let place = tell(seed, &outcome);
    println!("seed {seed}: {:?}", outcome.facts);
    assert!(
        outcome.violations.is_empty(),
        "seed {seed} breaks a promise:\n  {}\nits history: {place}\nonce more: PEEP_SIM_SEED={seed} cargo test -p peep-rollup --test simulation",
        outcome.violations.join("\n  "),
    );
}

fn tell(seed: u64, outcome: &Outcome) -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("simulation");
    let place = folder.join(format!("seed-{seed}.txt"));
    let mut text = outcome.lines.join("\n");
    outcome.violations.iter().for_each(|violation| text.push_str(&format!("\nVIOLATION: {violation}")));
    let written = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&place, text));
    written.map_or_else(|error| format!("not written: {error}"), |()| place.display().to_string())
}

/// A panic anywhere in the simulated processes is a violation, though the tasks around it survive.
fn watched(seed: u64, readable: bool) -> Outcome {
    PANICS.with_borrow_mut(Vec::clear);
    let mut outcome = run(seed, readable);
    outcome.violations.extend(PANICS.take().into_iter().map(|panic| format!("panic: {panic}")));
    outcome
}

thread_local! {
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn catch_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.with_borrow_mut(|panics| panics.push(panic.to_string()));
            before(panic);
        }));
    });
}

fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("PEEP_SIM_SEEDS") else { return 0..SEEDS };
    let parse = |text: &str| text.parse().expect("PEEP_SIM_SEEDS is a number or a range such as 5000..9000");
    match text.split_once("..") {
        Some((start, end)) => parse(start)..parse(end),
        None => 0..parse(&text),
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}
