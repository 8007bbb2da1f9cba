//! An event loop as the suite sees it: a table of C functions, for Selvedge in its hosts as for the loops' own ways.

use crate::proc;
use std::ffi::c_void;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub type Callback = unsafe extern "C" fn(arg: *mut c_void);

/// `bench_loop` of `loops/loop.h`.
#[repr(C)]
pub struct Vtable {
    create: unsafe extern "C" fn() -> *mut c_void,
    run: unsafe extern "C" fn(handle: *mut c_void),
    end: Callback,
    call_soon: unsafe extern "C" fn(handle: *mut c_void, fn_: Callback, arg: *mut c_void),
    call_soon_here: Option<unsafe extern "C" fn(*mut c_void, Callback, *mut c_void)>,
    call: Option<unsafe extern "C" fn(handle: *mut c_void, fn_: Callback, arg: *mut c_void)>,
    submit: Option<unsafe extern "C" fn(*mut c_void, Callback, Callback, *mut c_void)>,
    destroy: unsafe extern "C" fn(handle: *mut c_void),
}

// `LOOPS`: every loop with its table, or with the reason why it is not here.
include!(concat!(env!("OUT_DIR"), "/loops.rs"));

pub fn find(id: &str) -> Result<&'static Vtable, String> {
    let symbol = id.replace('-', "_");
    LOOPS
        .iter()
        .find(|(name, _)| *name == symbol)
        .map_or(Err("unknown".into()), |(_, found)| match found {
            Ok(vtable) => Ok(*vtable),
            Err(reason) => Err((*reason).into()),
        })
}

impl Vtable {
    pub fn queues_here(&self) -> bool {
        self.call_soon_here.is_some()
    }
}

/// A loop of the calling thread.
pub struct Loop {
    vtable: &'static Vtable,
    handle: *mut c_void,
}

impl Loop {
    pub fn new(vtable: &'static Vtable) -> Loop {
        // SAFETY: it takes nothing.
        let handle = unsafe { (vtable.create)() };
        assert!(!handle.is_null(), "the loop cannot be created");
        Loop { vtable, handle }
    }

    /// Runs until `end`.
    pub fn run(&self) {
        // SAFETY: on the thread that created it: `Loop` is not `Send`.
        unsafe { (self.vtable.run)(self.handle) }
    }

    /// In a callback of the loop.
    pub fn end(&self) {
        // SAFETY: as for `run`.
        unsafe { (self.vtable.end)(self.handle) }
    }

    /// # Safety
    /// `arg` is what `fn_` takes, alive until it has run; it runs before the loop is dropped.
    pub unsafe fn call_soon(&self, fn_: Callback, arg: *mut c_void) {
        let call_soon = self.vtable.call_soon_here.expect("asked before");
        call_soon(self.handle, fn_, arg);
    }

    /// # Safety
    /// As for `call_soon`, for both functions.
    pub unsafe fn submit(&self, work: Callback, done: Callback, arg: *mut c_void) {
        let submit = self.vtable.submit.expect("asked before");
        submit(self.handle, work, done, arg);
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        // SAFETY: created by the same table on this thread, destroyed once.
        unsafe { (self.vtable.destroy)(self.handle) }
    }
}

/// A loop that runs on a thread of its own, for callers on other threads.
pub struct Running {
    vtable: &'static Vtable,
    handle: *mut c_void,
    wchan: File,
    thread: Option<JoinHandle<()>>,
}

// SAFETY: what may be called from other threads is what `loops/loop.h` allows them to call.
unsafe impl Sync for Running {}

struct Handle(*mut c_void);
// SAFETY: handed over for the calls of `Running` only.
unsafe impl Send for Handle {}

impl Running {
    pub fn start(vtable: &'static Vtable, cpu: usize) -> Result<Running, String> {
        let (sender, receiver) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            proc::stay_on_cpu(cpu);
            let own = Loop::new(vtable);
            // SAFETY: no arguments, no failure.
            let tid = unsafe { libc::gettid() };
            let told = sender.send((Handle(own.handle), tid));
            told.expect("the starter waits");
            own.run();
        });
        let (Handle(handle), tid) = receiver.recv().expect("the loop's thread tells");
        let wchan = File::open(format!("/proc/self/task/{tid}/wchan"));
        let running = Running {
            vtable,
            handle,
            wchan: wchan.expect("every thread has one"),
            thread: Some(thread),
        };
        // g_main_context_invoke runs its function on the spot while no thread runs the loop.
        running.await_sleep()?;
        Ok(running)
    }

    /// Waits until the loop's thread sleeps in its poll.
    pub fn await_sleep(&self) -> Result<(), String> {
        let patience = Instant::now() + Duration::from_secs(10);
        loop {
            let mut name = [0; 64];
            let len = self.wchan.read_at(&mut name, 0).unwrap_or(0);
            if name[..len].windows(4).any(|w| w == b"poll") {
                return Ok(());
            }
            if Instant::now() > patience {
                let name = String::from_utf8_lossy(&name[..len]);
                return Err(format!("the loop sleeps in {name:?}, not in its poll"));
            }
            std::thread::yield_now();
        }
    }

    /// # Safety
    /// `arg` is what `fn_` takes, alive until it has run.
    pub unsafe fn call_soon(&self, fn_: Callback, arg: *mut c_void) {
        (self.vtable.call_soon)(self.handle, fn_, arg);
    }

    /// # Safety
    /// As for `call_soon`.
    pub unsafe fn call(&self, fn_: Callback, arg: *mut c_void) {
        let call = self.vtable.call.expect("asked before");
        call(self.handle, fn_, arg);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // SAFETY: `end` wants to be called on the loop's thread, with its handle.
        unsafe { self.call_soon(self.vtable.end, self.handle) };
        let thread = self.thread.take().expect("joined once");
        thread.join().expect("the loop's thread failed");
    }
}
