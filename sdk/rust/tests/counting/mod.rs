//! An allocator that counts: how often this thread asked for memory, and how much the process holds at most.
#![allow(dead_code, reason = "each test program uses its part")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, Ordering};

thread_local! {
    pub(crate) static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static IS_LEFT_OUT: Cell<bool> = const { Cell::new(false) };
}

static HELD: AtomicIsize = AtomicIsize::new(0);
static HELD_MAX: AtomicIsize = AtomicIsize::new(0);

/// What this thread holds is the test's and not the SDK's.
pub(crate) fn leave_this_thread_out() {
    IS_LEFT_OUT.set(true);
}

pub(crate) fn held() -> isize {
    HELD.load(Ordering::Relaxed)
}

/// The most that was held since the last call.
pub(crate) fn take_held_max() -> isize {
    HELD_MAX.swap(held(), Ordering::Relaxed)
}

fn count(difference: isize) {
    // A thread that is being torn down has no counters any more.
    if IS_LEFT_OUT.try_with(Cell::get).unwrap_or(false) {
        return;
    }
    if difference > 0 {
        let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
    }
    let held = HELD.fetch_add(difference, Ordering::Relaxed) + difference;
    HELD_MAX.fetch_max(held, Ordering::Relaxed);
}

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; counting allocates nothing.
#[allow(unsafe_code, reason = "an allocator is an unsafe trait; tests only")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // As if there were two pieces for a moment, which there may be.
        count(size as isize);
        count(-(layout.size() as isize));
        // SAFETY: the caller keeps the contract of `realloc`, which is the same.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller keeps the contract of `dealloc`, which is the same.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;
