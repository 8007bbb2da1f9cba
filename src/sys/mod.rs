//! The operating system, one small face per concern. Nothing here knows of caches, hooks or jobs.

pub mod clock;
pub mod cpu;
pub mod eventfd;
pub mod fork;
pub mod futex;
pub mod lock;
pub mod sync;
pub mod table;
pub mod thread;
pub mod thread_exit;
