//! Channels of bytes: every message is copied into memory of its own by the sender and freed by the receiver, as through
//! Selvedge's C ABI. The receiver checks that each sender's messages come whole and in order.

use super::MESSAGE;
use crate::peers::selvedge::check;
use crate::{proc, selv};
use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::mem::size_of;
use std::ptr::null_mut;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

pub trait Channel: Sync + Sized {
    /// `None`: no bound.
    fn new(capacity: Option<usize>) -> Self;
    /// What each thread gets before it begins.
    fn seat() -> u64 {
        0
    }
    fn send(&self, seat: u64, data: &[u8]);
    /// # Safety
    /// On the one receiving thread only.
    unsafe fn receive(&self, seat: u64, read: impl FnOnce(&[u8]));
}

/// `senders` threads share `count` messages to one receiver: from the first start to the last message.
pub fn stream<C: Channel>(senders: u32, capacity: Option<usize>, count: u32) -> Duration {
    let channel = C::new(capacity);
    let barrier = Barrier::new(senders as usize + 1);
    let share = u64::from(count / senders);
    thread::scope(|scope| {
        let (channel, barrier) = (&channel, &barrier);
        let starts: Vec<_> = (0..senders)
            .map(|sender| {
                scope.spawn(move || {
                    proc::stay_on_cpu(sender as usize);
                    let seat = C::seat();
                    let mut message = [0; MESSAGE];
                    message[8] = sender as u8;
                    barrier.wait();
                    let start = Instant::now();
                    for number in 0..share {
                        message[..8].copy_from_slice(&number.to_ne_bytes());
                        channel.send(seat, &message);
                    }
                    start
                })
            })
            .collect();
        let receiver = scope.spawn(move || {
            proc::stay_on_cpu(1);
            let seat = C::seat();
            let mut next = vec![0u64; senders as usize];
            barrier.wait();
            for _ in 0..share * u64::from(senders) {
                let read = |message: &[u8]| {
                    assert_eq!(message.len(), MESSAGE);
                    let number = u64::from_ne_bytes(message[..8].try_into().expect("eight"));
                    let next = &mut next[usize::from(message[8])];
                    assert_eq!(number, *next, "a message was lost, doubled or overtaken");
                    *next += 1;
                };
                // SAFETY: this is the only thread that receives.
                unsafe { channel.receive(seat, read) };
            }
            Instant::now()
        });
        let starts = starts
            .into_iter()
            .map(|s| s.join().expect("a sender failed"));
        let start = starts.min().expect("at least one");
        receiver.join().expect("the receiver failed") - start
    })
}

// ---- Selvedge ----

pub struct Selvedge(*mut selv::Channel);

// SAFETY: the library's handles may be used from every thread.
unsafe impl Sync for Selvedge {}

impl Channel for Selvedge {
    fn new(capacity: Option<usize>) -> Self {
        let mut options = selv::ChannelOptions::zeroed();
        options.struct_size = size_of::<selv::ChannelOptions>() as u32;
        options.capacity = capacity.unwrap_or(0) as u64;
        let mut channel = null_mut();
        // SAFETY: both pointers are to live locals.
        check(
            unsafe { selv::selv_channel_new(&options, &mut channel) },
            "selv_channel_new",
        );
        Selvedge(channel)
    }

    fn seat() -> u64 {
        // SAFETY: no arguments.
        unsafe { selv::selv_task_current() }
    }

    fn send(&self, task: u64, data: &[u8]) {
        // SAFETY: the channel lives as long as `self`, and the bytes are copied by the call.
        let status = unsafe {
            selv::selv_channel_send(
                self.0,
                task,
                data.as_ptr().cast(),
                data.len(),
                selv::FOREVER,
            )
        };
        check(status, "selv_channel_send");
    }

    unsafe fn receive(&self, task: u64, read: impl FnOnce(&[u8])) {
        let (mut data, mut len) = (null_mut(), 0);
        let status = selv::selv_channel_recv(self.0, task, selv::FOREVER, &mut data, &mut len);
        check(status, "selv_channel_recv");
        read(std::slice::from_raw_parts(data.cast(), len));
        selv::selv_bytes_free(data);
    }
}

impl Drop for Selvedge {
    fn drop(&mut self) {
        // SAFETY: nobody uses it any more; freed once.
        unsafe {
            check(selv::selv_channel_close(self.0), "selv_channel_close");
            check(selv::selv_channel_free(self.0), "selv_channel_free");
        }
    }
}

// ---- Rust crates ----

type Bytes = Box<[u8]>;

/// A channel of a Rust crate behind C functions, so that its callers pay for a call and a copy like those of Selvedge.
pub trait Ends: Sized {
    fn new(capacity: Option<usize>) -> Self;
    fn send(&self, bytes: Bytes);
    /// # Safety
    /// On the one receiving thread only.
    unsafe fn receive(&self) -> Bytes;
}

pub struct Wrapped<E> {
    ends: E,
    send: unsafe extern "C" fn(ends: *const c_void, data: *const u8, len: usize),
    receive: unsafe extern "C" fn(ends: *const c_void, out_len: *mut usize) -> *mut u8,
    free: unsafe extern "C" fn(data: *mut u8, len: usize),
}

// SAFETY: the sending ends may be shared by all threads, and there is one receiver.
unsafe impl<E> Sync for Wrapped<E> {}

impl<E: Ends> Channel for Wrapped<E> {
    fn new(capacity: Option<usize>) -> Self {
        unsafe extern "C" fn send<E: Ends>(ends: *const c_void, data: *const u8, len: usize) {
            (*ends.cast::<E>()).send(std::slice::from_raw_parts(data, len).into());
        }
        unsafe extern "C" fn receive<E: Ends>(ends: *const c_void, len: *mut usize) -> *mut u8 {
            let bytes = (*ends.cast::<E>()).receive();
            *len = bytes.len();
            Box::into_raw(bytes).cast()
        }
        unsafe extern "C" fn free(data: *mut u8, len: usize) {
            drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(data, len)));
        }
        std::hint::black_box(Wrapped {
            ends: E::new(capacity),
            send: send::<E>,
            receive: receive::<E>,
            free,
        })
    }

    fn send(&self, _: u64, data: &[u8]) {
        let ends = std::ptr::from_ref(&self.ends).cast();
        // SAFETY: the function copies the bytes.
        unsafe { (self.send)(ends, data.as_ptr(), data.len()) }
    }

    unsafe fn receive(&self, _: u64, read: impl FnOnce(&[u8])) {
        let mut len = 0;
        let data = (self.receive)(std::ptr::from_ref(&self.ends).cast(), &mut len);
        read(std::slice::from_raw_parts(data, len));
        (self.free)(data, len);
    }
}

pub struct Crossbeam(
    crossbeam_channel::Sender<Bytes>,
    crossbeam_channel::Receiver<Bytes>,
);

impl Ends for Crossbeam {
    fn new(capacity: Option<usize>) -> Self {
        let (sender, receiver) = match capacity {
            Some(capacity) => crossbeam_channel::bounded(capacity),
            None => crossbeam_channel::unbounded(),
        };
        Crossbeam(sender, receiver)
    }
    fn send(&self, bytes: Bytes) {
        self.0.send(bytes).expect("the receiver lives");
    }
    unsafe fn receive(&self) -> Bytes {
        self.1.recv().expect("the sender lives")
    }
}

pub struct AsyncChannel(async_channel::Sender<Bytes>, async_channel::Receiver<Bytes>);

impl Ends for AsyncChannel {
    fn new(capacity: Option<usize>) -> Self {
        let (sender, receiver) = match capacity {
            Some(capacity) => async_channel::bounded(capacity),
            None => async_channel::unbounded(),
        };
        AsyncChannel(sender, receiver)
    }
    fn send(&self, bytes: Bytes) {
        self.0.send_blocking(bytes).expect("the receiver lives");
    }
    unsafe fn receive(&self) -> Bytes {
        self.1.recv_blocking().expect("the sender lives")
    }
}

/// Two types in tokio. Its receiver wants to be held exclusively, which the single receiving thread does.
pub enum Tokio {
    Bounded(
        tokio::sync::mpsc::Sender<Bytes>,
        UnsafeCell<tokio::sync::mpsc::Receiver<Bytes>>,
    ),
    Unbounded(
        tokio::sync::mpsc::UnboundedSender<Bytes>,
        UnsafeCell<tokio::sync::mpsc::UnboundedReceiver<Bytes>>,
    ),
}

impl Ends for Tokio {
    fn new(capacity: Option<usize>) -> Self {
        match capacity {
            Some(capacity) => {
                let (sender, receiver) = tokio::sync::mpsc::channel(capacity);
                Tokio::Bounded(sender, UnsafeCell::new(receiver))
            }
            None => {
                let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
                Tokio::Unbounded(sender, UnsafeCell::new(receiver))
            }
        }
    }
    fn send(&self, bytes: Bytes) {
        match self {
            Tokio::Bounded(sender, _) => sender.blocking_send(bytes).expect("the receiver lives"),
            Tokio::Unbounded(sender, _) => sender.send(bytes).expect("the receiver lives"),
        }
    }
    unsafe fn receive(&self) -> Bytes {
        let received = match self {
            Tokio::Bounded(_, receiver) => (*receiver.get()).blocking_recv(),
            Tokio::Unbounded(_, receiver) => (*receiver.get()).blocking_recv(),
        };
        received.expect("the sender lives")
    }
}

pub enum Std {
    Bounded(
        std::sync::mpsc::SyncSender<Bytes>,
        std::sync::mpsc::Receiver<Bytes>,
    ),
    Unbounded(
        std::sync::mpsc::Sender<Bytes>,
        std::sync::mpsc::Receiver<Bytes>,
    ),
}

impl Ends for Std {
    fn new(capacity: Option<usize>) -> Self {
        match capacity {
            Some(capacity) => {
                let (sender, receiver) = std::sync::mpsc::sync_channel(capacity);
                Std::Bounded(sender, receiver)
            }
            None => {
                let (sender, receiver) = std::sync::mpsc::channel();
                Std::Unbounded(sender, receiver)
            }
        }
    }
    fn send(&self, bytes: Bytes) {
        match self {
            Std::Bounded(sender, _) => sender.send(bytes).expect("the receiver lives"),
            Std::Unbounded(sender, _) => sender.send(bytes).expect("the receiver lives"),
        }
    }
    unsafe fn receive(&self) -> Bytes {
        match self {
            Std::Bounded(_, receiver) | Std::Unbounded(_, receiver) => {
                receiver.recv().expect("the sender lives")
            }
        }
    }
}
