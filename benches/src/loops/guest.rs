//! A libuv loop with something to do, run by itself or by a host whose guest it is.

use crate::proc;
use std::ffi::c_void;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// `bench_guest` of `loops/guest.h`.
#[repr(C)]
pub struct Vtable {
    create: unsafe extern "C" fn() -> *mut c_void,
    run: unsafe extern "C" fn(guest: *mut c_void),
    destroy: unsafe extern "C" fn(guest: *mut c_void),
    idle: unsafe extern "C" fn(guest: *mut c_void, count: u32),
    timer: unsafe extern "C" fn(guest: *mut c_void, count: u32),
    echo: unsafe extern "C" fn(guest: *mut c_void) -> u16,
}

// `GUESTS`: every way to run a libuv loop with its table, or with the reason why it is not here.
include!(concat!(env!("OUT_DIR"), "/guests.rs"));

pub fn find(id: &str) -> Result<&'static Vtable, String> {
    let symbol = id.replace('-', "_");
    GUESTS
        .iter()
        .find(|(name, _)| *name == symbol)
        .map_or(Err("unknown".into()), |(_, found)| match found {
            Ok(vtable) => Ok(*vtable),
            Err(reason) => Err((*reason).into()),
        })
}

/// On the thread that made it, as everything of a libuv loop: it holds a raw pointer, so it is not `Send`.
struct Guest {
    vtable: &'static Vtable,
    handle: *mut c_void,
}

impl Guest {
    fn new(vtable: &'static Vtable) -> Guest {
        // SAFETY: it takes nothing.
        let handle = unsafe { (vtable.create)() };
        Guest { vtable, handle }
    }

    fn run(&self) {
        // SAFETY: on the thread that created it.
        unsafe { (self.vtable.run)(self.handle) }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // SAFETY: created by the same table on this thread, destroyed once.
        unsafe { (self.vtable.destroy)(self.handle) }
    }
}

#[derive(Clone, Copy)]
pub enum Ready {
    Idle,
    Timer,
}

/// `count` passes in each of which something is ready. The processor time of the whole process, since a guest may have a worker.
pub fn passes(vtable: &'static Vtable, ready: Ready, count: u32) -> Duration {
    let thread = std::thread::spawn(move || {
        let guest = Guest::new(vtable);
        let begin = match ready {
            Ready::Idle => vtable.idle,
            Ready::Timer => vtable.timer,
        };
        // SAFETY: on the thread that created it.
        unsafe { begin(guest.handle, count) };
        let start = proc::process_time();
        guest.run();
        proc::process_time() - start
    });
    thread.join().expect("the guest's thread failed")
}

/// Round trips to the loop's echo server.
pub fn echo(vtable: &'static Vtable, count: u32) -> Result<Duration, String> {
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let guest = Guest::new(vtable);
        // SAFETY: on the thread that created it.
        let port = unsafe { (vtable.echo)(guest.handle) };
        sender.send(port).expect("the client waits");
        guest.run();
    });
    let port = receiver.recv().map_err(|e| e.to_string())?;
    let time = round_trips(port, count);
    thread.join().expect("the guest's thread failed");
    time.map_err(|e| e.to_string())
}

/// The client's side of `echo`: one connection, 64 bytes to and fro.
pub fn round_trips(port: u16, count: u32) -> std::io::Result<Duration> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut trips = |count: u32| -> std::io::Result<()> {
        for number in 0..count {
            let sent = [number as u8; 64];
            let mut received = [0; 64];
            stream.write_all(&sent)?;
            stream.read_exact(&mut received)?;
            assert_eq!(sent, received, "what comes back");
        }
        Ok(())
    };
    trips(count / 10)?;
    let start = Instant::now();
    trips(count)?;
    Ok(start.elapsed())
}
