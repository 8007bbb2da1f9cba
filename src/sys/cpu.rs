//! How many processors this process may run on: spinning for another thread is pointless on one.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The number of processors in this process's affinity mask when first asked; at least 1.
pub fn count() -> u32 {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    match COUNT.load(Relaxed) {
        0 => {
            let n = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
            COUNT.store(n, Relaxed);
            n
        }
        n => n,
    }
}

/// One pause in a short wait for another processor, longer with each round, and later given to other threads. False where
/// there is one processor, and in the models: then it is not worth looking again.
pub fn pause(round: u32) -> bool {
    if cfg!(any(loom, shuttle)) {
        return false;
    }
    match round {
        0..3 if count() > 1 => (0..2 << round).for_each(|_| std::hint::spin_loop()),
        _ => std::thread::yield_now(),
    }
    true
}
