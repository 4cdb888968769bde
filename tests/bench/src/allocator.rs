//! Selects the allocator at the start of the process, so that one binary measures each of them.
#![expect(
    unsafe_code,
    reason = "an allocator is unsafe by its trait, and nothing may be allocated to read a variable"
)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicU8, Ordering},
};

use mimalloc::MiMalloc;

pub(crate) struct Chosen;

const UNDECIDED: u8 = 0;
const SYSTEM: u8 = 1;
const MIMALLOC: u8 = 2;

static CHOICE: AtomicU8 = AtomicU8::new(UNDECIDED);

#[global_allocator]
static ALLOCATOR: Chosen = Chosen;

impl Chosen {
    fn is_mimalloc() -> bool {
        match CHOICE.load(Ordering::Relaxed) {
            UNDECIDED => Self::decide(),
            choice => choice == MIMALLOC,
        }
    }

    /// `BERTH_BENCH_ALLOCATOR` names it: `mimalloc`, which the image ships with, or `system` (default).
    // The first allocation is made before `main`, by one thread: what it decides stays.
    #[cold]
    fn decide() -> bool {
        // SAFETY: the name ends with a zero byte, and nothing changes the environment meanwhile.
        let value = unsafe { libc::getenv(c"BERTH_BENCH_ALLOCATOR".as_ptr()) };
        // SAFETY: a value of the environment ends with a zero byte.
        let mimalloc = !value.is_null() && unsafe { *value } == b'm'.cast_signed();
        CHOICE.store(if mimalloc { MIMALLOC } else { SYSTEM }, Ordering::Relaxed);
        mimalloc
    }
}

// SAFETY: each call goes to one and the same allocator, in all its life.
unsafe impl GlobalAlloc for Chosen {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the trait's contract, and it is passed on.
        unsafe { if Self::is_mimalloc() { MiMalloc.alloc(layout) } else { System.alloc(layout) } }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe {
            if Self::is_mimalloc() {
                MiMalloc.dealloc(pointer, layout);
            } else {
                System.dealloc(pointer, layout);
            }
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe {
            if Self::is_mimalloc() { MiMalloc.alloc_zeroed(layout) } else { System.alloc_zeroed(layout) }
        }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        unsafe {
            if Self::is_mimalloc() {
                MiMalloc.realloc(pointer, layout, size)
            } else {
                System.realloc(pointer, layout, size)
            }
        }
    }
}

/// The name of the allocator of this process.
pub(crate) fn name() -> &'static str {
    if Chosen::is_mimalloc() { "mimalloc" } else { "system" }
}
