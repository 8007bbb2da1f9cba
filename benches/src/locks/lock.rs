//! A lock as the suite sees it, and every lock that takes part. The measured loops call each of them through one pointer to a C
//! function, as a C program would: Selvedge's and pthread's own functions, for the others one that wraps no more than the lock.

use crate::peers::selvedge::check;
use crate::selv;
use parking_lot::lock_api::RawMutex as _;
use parking_lot_eventual::lock_api as eventual;
use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::hint::black_box;
use std::mem::{size_of, MaybeUninit};
use std::ptr::null_mut;
use std::sync::{Mutex, MutexGuard};

pub trait Lock: Sync {
    /// What a thread passes along with each of its calls, got once.
    type Seat: Copy;
    fn seat(&self) -> Self::Seat;
    fn acquire(&self, seat: Self::Seat);
    fn release(&self, seat: Self::Seat);
}

/// Every lock lies on cache lines of its own, so that what it protects does not move with it.
#[repr(align(128))]
struct Line<T>(T);

// ---- Selvedge ----

/// How Selvedge's lock is made and called.
#[derive(Clone, Copy)]
pub struct Variant {
    pub flags: u32,
    /// Pass `SELV_TASK_CURRENT` in place of the task.
    pub current: bool,
}

pub struct Selvedge {
    lock: *mut selv::Lock,
    current: bool,
}

// SAFETY: the library's handles may be used from every thread.
unsafe impl Sync for Selvedge {}
unsafe impl Send for Selvedge {}

impl Selvedge {
    pub fn new(variant: Variant) -> Selvedge {
        let mut options = selv::LockOptions::zeroed();
        options.struct_size = size_of::<selv::LockOptions>() as u32;
        options.flags = variant.flags;
        let mut lock = null_mut();
        // SAFETY: both pointers are to live locals.
        check(
            unsafe { selv::selv_lock_new(&options, &mut lock) },
            "selv_lock_new",
        );
        Selvedge {
            lock,
            current: variant.current,
        }
    }

    pub fn raw(&self) -> *mut selv::Lock {
        self.lock
    }
}

impl Lock for Selvedge {
    type Seat = selv::Task;

    fn seat(&self) -> selv::Task {
        if self.current {
            selv::TASK_CURRENT
        } else {
            // SAFETY: no arguments.
            unsafe { selv::selv_task_current() }
        }
    }

    #[inline(always)]
    fn acquire(&self, task: selv::Task) {
        // SAFETY: the lock lives as long as `self`.
        let status = unsafe { selv::selv_lock_acquire(self.lock, task, selv::FOREVER) };
        check(status, "selv_lock_acquire");
    }

    #[inline(always)]
    fn release(&self, task: selv::Task) {
        // SAFETY: as above.
        let status = unsafe { selv::selv_lock_release(self.lock, task) };
        check(status, "selv_lock_release");
    }
}

impl Drop for Selvedge {
    fn drop(&mut self) {
        // SAFETY: made by `new`, freed once; `check` fails if somebody still holds it.
        check(unsafe { selv::selv_lock_free(self.lock) }, "selv_lock_free");
    }
}

// ---- locks behind a table of C functions ----

/// `bench_lock` of `peers/lock.h`.
#[repr(C)]
pub struct Vtable {
    create: unsafe extern "C" fn() -> *mut c_void,
    lock: unsafe extern "C" fn(lock: *mut c_void),
    unlock: unsafe extern "C" fn(lock: *mut c_void),
    destroy: unsafe extern "C" fn(lock: *mut c_void),
}

// `LOCKS`: the peers in C and C++, each with its table or with the reason why it is not here.
include!(concat!(env!("OUT_DIR"), "/locks.rs"));

pub fn native(id: &str) -> Result<&'static Vtable, String> {
    LOCKS
        .iter()
        .find(|(name, _)| *name == id)
        .map_or(Err("unknown".into()), |(_, found)| match found {
            Ok(vtable) => Ok(*vtable),
            Err(reason) => Err((*reason).into()),
        })
}

pub struct Peer {
    vtable: &'static Vtable,
    lock: *mut c_void,
}

// SAFETY: it is a lock.
unsafe impl Sync for Peer {}
unsafe impl Send for Peer {}

impl Peer {
    pub fn new(vtable: &'static Vtable) -> Peer {
        // Hidden from the compiler, which would inline the Rust crates' functions and leave Selvedge alone with a call.
        let vtable = black_box(vtable);
        // SAFETY: a function of the table, which takes nothing.
        let lock = unsafe { (vtable.create)() };
        assert!(!lock.is_null(), "the lock cannot be created");
        Peer { vtable, lock }
    }
}

impl Lock for Peer {
    type Seat = ();

    fn seat(&self) {}

    #[inline(always)]
    fn acquire(&self, (): ()) {
        // SAFETY: the lock lives as long as `self`.
        unsafe { (self.vtable.lock)(self.lock) }
    }

    #[inline(always)]
    fn release(&self, (): ()) {
        // SAFETY: as above; every caller acquired it.
        unsafe { (self.vtable.unlock)(self.lock) }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // SAFETY: created by the same table, destroyed once.
        unsafe { (self.vtable.destroy)(self.lock) }
    }
}

/// The table of a type that locks through a shared reference.
pub trait Face: Sized {
    fn new() -> Self;
    fn lock(&self);
    /// # Safety
    /// The calling thread holds it.
    unsafe fn unlock(&self);

    const VTABLE: Vtable = {
        unsafe extern "C" fn create<T: Face>() -> *mut c_void {
            Box::into_raw(Box::new(Line(T::new()))).cast()
        }
        unsafe extern "C" fn lock<T: Face>(lock: *mut c_void) {
            (*lock.cast::<Line<T>>()).0.lock();
        }
        unsafe extern "C" fn unlock<T: Face>(lock: *mut c_void) {
            (*lock.cast::<Line<T>>()).0.unlock();
        }
        unsafe extern "C" fn destroy<T: Face>(lock: *mut c_void) {
            drop(Box::from_raw(lock.cast::<Line<T>>()));
        }
        Vtable {
            create: create::<Self>,
            lock: lock::<Self>,
            unlock: unlock::<Self>,
            destroy: destroy::<Self>,
        }
    };
}

/// parking_lot 0.13: a waiter that was woken competes with everybody else, for ever.
struct ParkingLot(parking_lot::RawMutex);

impl Face for ParkingLot {
    fn new() -> Self {
        ParkingLot(parking_lot::RawMutex::INIT)
    }
    fn lock(&self) {
        self.0.lock();
    }
    unsafe fn unlock(&self) {
        self.0.unlock(Default::default());
    }
}

/// parking_lot 0.12: about every half millisecond a release hands over.
struct ParkingLotEventual(parking_lot_eventual::RawMutex);

impl Face for ParkingLotEventual {
    fn new() -> Self {
        ParkingLotEventual(<parking_lot_eventual::RawMutex as eventual::RawMutex>::INIT)
    }
    fn lock(&self) {
        eventual::RawMutex::lock(&self.0);
    }
    unsafe fn unlock(&self) {
        eventual::RawMutex::unlock(&self.0);
    }
}

struct ParkingLotFair(parking_lot::RawFairMutex);

impl Face for ParkingLotFair {
    fn new() -> Self {
        ParkingLotFair(parking_lot::RawFairMutex::INIT)
    }
    fn lock(&self) {
        self.0.lock();
    }
    unsafe fn unlock(&self) {
        self.0.unlock(Default::default());
    }
}

/// std's lock can be let go of only through its guard, so the guard lies beside it.
struct Std {
    mutex: Mutex<()>,
    guard: UnsafeCell<MaybeUninit<MutexGuard<'static, ()>>>,
}

impl Face for Std {
    fn new() -> Self {
        Std {
            mutex: Mutex::new(()),
            guard: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }
    fn lock(&self) {
        let guard = self.mutex.lock().expect("nobody panics in it");
        // SAFETY: the guard ends, in `unlock`, before the lock does.
        let guard: MutexGuard<'static, ()> = unsafe { std::mem::transmute(guard) };
        // SAFETY: whoever holds the lock has the cell for itself.
        unsafe { *self.guard.get() = MaybeUninit::new(guard) };
    }
    unsafe fn unlock(&self) {
        drop((*self.guard.get()).assume_init_read());
    }
}

pub static PARKING_LOT: Vtable = ParkingLot::VTABLE;
pub static PARKING_LOT_EVENTUAL: Vtable = ParkingLotEventual::VTABLE;
pub static PARKING_LOT_FAIR: Vtable = ParkingLotFair::VTABLE;
pub static STD: Vtable = Std::VTABLE;

// ---- pthread ----

pub struct Pthread {
    mutex: Box<Line<UnsafeCell<libc::pthread_mutex_t>>>,
    lock: unsafe extern "C" fn(*mut libc::pthread_mutex_t) -> c_int,
    unlock: unsafe extern "C" fn(*mut libc::pthread_mutex_t) -> c_int,
}

// SAFETY: it is a lock.
unsafe impl Sync for Pthread {}
unsafe impl Send for Pthread {}

impl Pthread {
    pub fn new(kind: c_int, robust: bool) -> Pthread {
        // SAFETY: the attribute and the mutex are initialised before anything else is done with them.
        unsafe {
            let mut attributes = MaybeUninit::uninit();
            let attributes = attributes.as_mut_ptr();
            let mutex = Box::new(Line(UnsafeCell::new(std::mem::zeroed())));
            assert_eq!(libc::pthread_mutexattr_init(attributes), 0);
            assert_eq!(libc::pthread_mutexattr_settype(attributes, kind), 0);
            if robust {
                let robust = libc::PTHREAD_MUTEX_ROBUST;
                assert_eq!(libc::pthread_mutexattr_setrobust(attributes, robust), 0);
            }
            assert_eq!(libc::pthread_mutex_init(mutex.0.get(), attributes), 0);
            libc::pthread_mutexattr_destroy(attributes);
            Pthread {
                mutex,
                lock: black_box(libc::pthread_mutex_lock),
                unlock: black_box(libc::pthread_mutex_unlock),
            }
        }
    }

    pub fn raw(&self) -> *mut libc::pthread_mutex_t {
        self.mutex.0.get()
    }
}

#[inline(always)]
fn worked(error: c_int, what: &str) {
    #[cold]
    #[inline(never)]
    fn fail(error: c_int, what: &str) -> ! {
        panic!("{what}: {}", std::io::Error::from_raw_os_error(error))
    }
    if error != 0 {
        fail(error, what);
    }
}

impl Lock for Pthread {
    type Seat = ();

    fn seat(&self) {}

    #[inline(always)]
    fn acquire(&self, (): ()) {
        // SAFETY: the mutex lives as long as `self`.
        let error = unsafe { (self.lock)(self.raw()) };
        worked(error, "pthread_mutex_lock");
    }

    #[inline(always)]
    fn release(&self, (): ()) {
        // SAFETY: as above; every caller acquired it.
        let error = unsafe { (self.unlock)(self.raw()) };
        worked(error, "pthread_mutex_unlock");
    }
}

impl Drop for Pthread {
    fn drop(&mut self) {
        // SAFETY: initialised by `new`, and nobody holds it any more.
        unsafe { libc::pthread_mutex_destroy(self.raw()) };
    }
}
