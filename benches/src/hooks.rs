//! What hooks cost a job that has nothing to do with them.

use crate::entrants::Entrant;
use crate::peers::list::{normal, DEFAULT};
use crate::peers::selvedge::{check, Selvedge};
use crate::scenarios::{chain, ns_per, Sample};
use crate::selv;
use std::ffi::{c_void, CString};
use std::ptr::null_mut;

/// Selvedge against itself: the cheapest job there is, a hop of a chain, with more and more hooks registered.
pub fn rows(hops: u32) -> Vec<Entrant> {
    let rows = [
        ("hooks-0", "no hook", 0, false),
        ("hooks-1", "1 hook, start and exit", 1, false),
        ("hooks-4", "4 hooks, start and exit", 4, false),
        (
            "hooks-1-around",
            "1 hook, with before and after each job",
            1,
            true,
        ),
        (
            "hooks-4-around",
            "4 hooks, with before and after each job",
            4,
            true,
        ),
    ];
    rows.into_iter()
        .map(|(id, label, count, around)| Entrant {
            id: id.into(),
            label: label.into(),
            run: Ok(Box::new(move || {
                let pool = Selvedge::new(&normal(), DEFAULT);
                let hooks: Vec<_> = (0..count).map(|i| register(&pool, i, around)).collect();
                let (time, _) = chain(&pool, hops);
                for hook in hooks {
                    let mut attached = 0;
                    // SAFETY: registered above, released once.
                    unsafe {
                        check(
                            selv::selv_hook_unregister(hook, 10_000_000_000, &mut attached),
                            "selv_hook_unregister",
                        );
                        selv::selv_hook_release(hook);
                    }
                }
                Ok(Sample::plain(ns_per(time, hops)))
            })),
        })
        .collect()
}

// ---- hooks that do nothing ----

unsafe extern "C" fn on_start(
    _: *mut c_void,
    _: *const selv::Worker,
    slot: *mut *mut c_void,
) -> i32 {
    *slot = null_mut();
    0
}
unsafe extern "C" fn on_exit(_: *mut c_void, _: *const selv::Worker, _: *mut c_void) {}
unsafe extern "C" fn before(_: *mut c_void, _: *const selv::Worker, _: *mut c_void) -> i32 {
    0
}
unsafe extern "C" fn after(_: *mut c_void, _: *const selv::Worker, _: *mut c_void) {}

fn register(pool: &Selvedge, number: u32, around: bool) -> *mut selv::Hook {
    let name = CString::new(format!("bench-{number}")).expect("no NUL");
    let mut options = selv::HookOptions::zeroed();
    options.struct_size = std::mem::size_of::<selv::HookOptions>() as u32;
    options.name = name.as_ptr();
    options.on_start = Some(on_start);
    options.on_exit = Some(on_exit);
    if around {
        options.before_job = Some(before);
        options.after_job = Some(after);
    }
    let mut hook = null_mut();
    // SAFETY: the name is copied by the call, and both pointers are to live locals.
    check(
        unsafe { selv::selv_hook_register(pool.cache(), &options, &mut hook) },
        "selv_hook_register",
    );
    hook
}
