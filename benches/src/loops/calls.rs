//! What is measured of a loop that other threads, and its own, have call things. Threads stay on one CPU each: the loop's on the
//! second, those that call on all in turn, so that a call has to cross; or all of them on one.

use super::face::{Loop, Running, Vtable};
use crate::latch::Latch;
use crate::proc;
use std::cell::{Cell, UnsafeCell};
use std::ffi::c_void;
use std::ptr::from_ref;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

/// Where the loop's thread runs; whoever calls it runs on CPU 0.
#[derive(Clone, Copy)]
pub enum Place {
    OtherCpu,
    SameCpu,
}

impl Place {
    pub fn cpu(self) -> usize {
        match self {
            Place::OtherCpu => 1,
            Place::SameCpu => 0,
        }
    }
}

fn as_arg<T>(value: &T) -> *mut c_void {
    from_ref(value).cast_mut().cast()
}

/// On a thread of its own, which may then stay on one CPU.
fn aside<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(run).join().expect("the calling thread failed"))
}

// ---- latency ----

struct Arrival {
    at: UnsafeCell<Instant>,
    latch: &'static Latch,
}

unsafe extern "C" fn arrive(arg: *mut c_void) {
    let arrival = &*arg.cast::<Arrival>();
    *arrival.at.get() = Instant::now();
    arrival.latch.signal();
}

/// From before the call to the first statement of the function, into a loop that sleeps in its poll: the median of `count` calls,
/// since one preemption weighs more than all of them.
pub fn latency(vtable: &'static Vtable, place: Place, count: u32) -> Result<Duration, String> {
    static LATCH: Latch = Latch::new();
    aside(|| {
        // First: threads inherit the affinity of the one that starts them.
        let running = Running::start(vtable, place.cpu())?;
        proc::stay_on_cpu(0);
        let arrival = Arrival {
            at: UnsafeCell::new(Instant::now()),
            latch: &LATCH,
        };
        let mut times = Vec::new();
        let warm_up = count / 10;
        for number in 0..warm_up + count {
            running.await_sleep()?;
            LATCH.arm(1);
            let start = Instant::now();
            // SAFETY: the arrival outlives the call, of which the latch tells.
            unsafe { running.call_soon(arrive, as_arg(&arrival)) };
            LATCH.wait();
            // SAFETY: written before the latch was signalled, and not again before the next call.
            let time = unsafe { *arrival.at.get() } - start;
            if number >= warm_up {
                times.push(time);
            }
        }
        times.sort();
        Ok(times[times.len() / 2])
    })
}

// ---- throughput ----

struct Stream {
    /// On the loop's thread: the next number of each producer, and how many calls are left.
    next: Box<[Cell<u32>]>,
    left: Cell<u32>,
    end: Cell<Instant>,
    latch: &'static Latch,
}

struct Item {
    stream: *const Stream,
    producer: u32,
    number: u32,
}

// SAFETY: made by one thread and read by the loop's.
unsafe impl Sync for Item {}

unsafe extern "C" fn consume(arg: *mut c_void) {
    let item = &*arg.cast::<Item>();
    let stream = &*item.stream;
    let next = &stream.next[item.producer as usize];
    assert_eq!(
        item.number,
        next.get(),
        "a call was lost, doubled or overtaken"
    );
    next.set(item.number + 1);
    stream.left.set(stream.left.get() - 1);
    if stream.left.get() == 0 {
        stream.end.set(Instant::now());
        stream.latch.signal();
    }
}

/// `producers` threads share `count` calls: from the first start to the last call's run.
pub fn stream(vtable: &'static Vtable, producers: u32, count: u32) -> Result<Duration, String> {
    static LATCH: Latch = Latch::new();
    let running = Running::start(vtable, Place::OtherCpu.cpu())?;
    let share = count / producers;
    let stream = Stream {
        next: (0..producers).map(|_| Cell::new(0)).collect(),
        left: Cell::new(share * producers),
        end: Cell::new(Instant::now()),
        latch: &LATCH,
    };
    LATCH.arm(1);
    let stream_of = &stream;
    let items: Vec<Vec<Item>> = (0..producers)
        .map(|producer| {
            let item = |number| Item {
                stream: stream_of,
                producer,
                number,
            };
            (0..share).map(item).collect()
        })
        .collect();
    let barrier = Barrier::new(producers as usize);
    let start = thread::scope(|scope| {
        let threads: Vec<_> = items
            .iter()
            .enumerate()
            .map(|(producer, items)| {
                let (running, barrier) = (&running, &barrier);
                scope.spawn(move || {
                    proc::stay_on_cpu(producer);
                    barrier.wait();
                    let start = Instant::now();
                    for item in items {
                        // SAFETY: the items outlive their calls, of whose end the latch tells.
                        unsafe { running.call_soon(consume, as_arg(item)) };
                    }
                    start
                })
            })
            .collect();
        let starts = threads
            .into_iter()
            .map(|t| t.join().expect("a producer failed"));
        starts.min().expect("at least one")
    });
    LATCH.wait();
    Ok(stream.end.get() - start)
}

// ---- on the loop's own thread ----

/// So many chains on one loop, which ends with the last of them.
struct Chains {
    own: Loop,
    living: Cell<u32>,
}

struct Chain<'a> {
    of: &'a Chains,
    left: Cell<u32>,
}

impl Chains {
    fn new(vtable: &'static Vtable) -> Chains {
        Chains {
            own: Loop::new(vtable),
            living: Cell::new(0),
        }
    }

    /// Begins `chains` chains of `each` links with `next` and runs the loop until the last link.
    fn run(&self, chains: u32, each: u32, next: impl Fn(&Chain)) {
        self.living.set(chains);
        let chains: Vec<Chain> = (0..chains)
            .map(|_| Chain {
                of: self,
                left: Cell::new(each),
            })
            .collect();
        chains.iter().for_each(next);
        self.own.run();
        assert!(chains.iter().all(|chain| chain.left.get() == 0));
    }
}

impl Chain<'_> {
    /// A link is done. Is there another one?
    fn goes_on(&self) -> bool {
        self.left.set(self.left.get() - 1);
        if self.left.get() > 0 {
            return true;
        }
        self.of.living.set(self.of.living.get() - 1);
        if self.of.living.get() == 0 {
            self.of.own.end();
        }
        false
    }

    fn call(&self) {
        // SAFETY: the chain outlives its last link.
        unsafe { self.of.own.call_soon(hop, as_arg(self)) }
    }

    fn submit(&self) {
        // SAFETY: as above.
        unsafe { self.of.own.submit(nothing, delivered, as_arg(self)) }
    }
}

unsafe extern "C" fn hop(arg: *mut c_void) {
    let chain = &*arg.cast::<Chain>();
    if chain.goes_on() {
        chain.call();
    }
}

unsafe extern "C" fn nothing(_: *mut c_void) {}

unsafe extern "C" fn delivered(arg: *mut c_void) {
    let chain = &*arg.cast::<Chain>();
    if chain.goes_on() {
        chain.submit();
    }
}

/// Functions that have the loop call them again: `chains` of them run in each pass of the loop. The loop thread's processor time.
pub fn here(vtable: &'static Vtable, chains: u32, count: u32) -> Duration {
    aside(|| {
        let own = Chains::new(vtable);
        own.run(chains, count / chains / 10 + 1, |chain| chain.call());
        let start = proc::thread_time();
        own.run(chains, count / chains, |chain| chain.call());
        proc::thread_time() - start
    })
}

/// Jobs submitted by the loop's thread, `chains` of them under way at a time; the next one follows when the loop is told of the
/// one before.
pub fn jobs(vtable: &'static Vtable, chains: u32, count: u32) -> Duration {
    aside(|| {
        let own = Chains::new(vtable);
        own.run(chains, count / chains / 10 + 1, |chain| chain.submit());
        let start = Instant::now();
        own.run(chains, count / chains, |chain| chain.submit());
        start.elapsed()
    })
}

// ---- calls that wait ----

unsafe extern "C" fn add_one(arg: *mut c_void) {
    let calls = &*arg.cast::<Cell<u32>>();
    calls.set(calls.get() + 1);
}

/// Another thread has the loop run a function and waits for its end.
pub fn call(vtable: &'static Vtable, place: Place, count: u32) -> Result<Duration, String> {
    aside(|| {
        // First: threads inherit the affinity of the one that starts them.
        let running = Running::start(vtable, place.cpu())?;
        proc::stay_on_cpu(0);
        let calls = Cell::new(0u32);
        let run = |count: u32| {
            for _ in 0..count {
                // SAFETY: the counter outlives the call, which has ended when this returns.
                unsafe { running.call(add_one, as_arg(&calls)) };
            }
        };
        let warm_up = count / 10;
        run(warm_up);
        let start = Instant::now();
        run(count);
        let time = start.elapsed();
        assert_eq!(calls.get(), warm_up + count, "calls ran");
        Ok(time)
    })
}
