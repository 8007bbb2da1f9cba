//! What the kernel tells about processes and the machine.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

/// The threads of this process.
pub fn threads() -> usize {
    fs::read_dir("/proc/self/task").map_or(0, |tasks| tasks.count())
}

/// Waits until this process has no more than `limit` threads; pools that end their threads in the background need it. Gives up
/// after `patience`: a leftover idle thread disturbs nothing but counts.
pub fn settle(limit: usize, patience: Duration) -> bool {
    wait_until(patience, || threads() <= limit)
}

/// Waits until every thread but the calling one sleeps in the kernel.
pub fn all_asleep(patience: Duration) -> bool {
    // SAFETY: no arguments, no failure.
    let me = unsafe { libc::gettid() }.to_string();
    wait_until(patience, || {
        fs::read_dir("/proc/self/task")
            .into_iter()
            .flatten()
            .flatten()
            .all(|task| {
                task.file_name().to_string_lossy() == me
                    || fs::read_to_string(task.path().join("stat")).map_or(true, |stat| {
                        stat.rsplit(')').next().unwrap_or("").starts_with(" S")
                    })
            })
    })
}

fn wait_until(patience: Duration, condition: impl Fn() -> bool) -> bool {
    let end = Instant::now() + patience;
    while !condition() {
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}

/// Runs `f`, and every thread that it starts, on one CPU.
pub fn on_one_cpu<T>(f: impl FnOnce() -> T) -> T {
    // SAFETY: a set of CPUs is plain data, read and written by the kernel for the calling thread only.
    unsafe {
        let size = std::mem::size_of::<libc::cpu_set_t>();
        let mut all: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size, &mut all);
        let first = (0..libc::CPU_SETSIZE as usize).find(|cpu| libc::CPU_ISSET(*cpu, &all));
        let mut one: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(first.expect("this thread runs somewhere"), &mut one);
        libc::sched_setaffinity(0, size, &one);
        let result = f();
        libc::sched_setaffinity(0, size, &all);
        result
    }
}

/// Keeps the calling thread on one of the CPUs that it may use, counted round.
pub fn stay_on_cpu(number: usize) {
    // SAFETY: as in `on_one_cpu`.
    unsafe {
        let size = std::mem::size_of::<libc::cpu_set_t>();
        let mut all: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size, &mut all);
        let allowed: Vec<usize> = (0..libc::CPU_SETSIZE as usize)
            .filter(|cpu| libc::CPU_ISSET(*cpu, &all))
            .collect();
        let mut one: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(allowed[number % allowed.len()], &mut one);
        libc::sched_setaffinity(0, size, &one);
    }
}

/// The processor time that the calling thread has had: on a shared machine the steadier clock for what one thread does alone.
pub fn thread_time() -> Duration {
    cpu_time(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// The same for all threads of this process together.
pub fn process_time() -> Duration {
    cpu_time(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn cpu_time(clock: libc::clockid_t) -> Duration {
    // SAFETY: plain data, filled by the kernel; these clocks cannot fail.
    unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(clock, &mut time);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }
}

/// Proportional set size of this process, in KiB.
pub fn pss_kib() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    let line = text.lines().find(|line| line.starts_with("Pss:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// CPU seconds that the whole machine spent working (or that its host took away), and those of this process and its reaped
/// children. The difference over a run is how much others disturbed it.
#[derive(Clone, Copy)]
pub struct CpuClock {
    machine: f64,
    stolen: f64,
    own: f64,
    at: Instant,
}

pub struct Disturbance {
    pub others: f64,
    pub stolen: f64,
    pub seconds: f64,
}

impl CpuClock {
    pub fn now() -> CpuClock {
        // SAFETY: sysconf has no preconditions; rusage is plain data filled by the kernel.
        let (tick, own) = unsafe {
            let tick = libc::sysconf(libc::_SC_CLK_TCK) as f64;
            let mut total = 0.0;
            for who in [libc::RUSAGE_SELF, libc::RUSAGE_CHILDREN] {
                let mut usage: libc::rusage = std::mem::zeroed();
                libc::getrusage(who, &mut usage);
                for time in [usage.ru_utime, usage.ru_stime] {
                    total += time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
                }
            }
            (tick, total)
        };
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let columns: Vec<f64> = stat
            .lines()
            .next()
            .unwrap_or("")
            .split_whitespace()
            .skip(1)
            .map(|n| n.parse::<f64>().unwrap_or(0.0) / tick)
            .collect();
        let column = |i: usize| columns.get(i).copied().unwrap_or(0.0);
        // user nice system idle iowait irq softirq steal
        let machine = [0, 1, 2, 5, 6].into_iter().map(column).sum();
        CpuClock {
            machine,
            stolen: column(7),
            own,
            at: Instant::now(),
        }
    }

    /// Shares of all CPUs since `start`.
    pub fn since(&self, start: &CpuClock) -> Disturbance {
        let seconds = (self.at - start.at).as_secs_f64();
        let all = seconds * cpus() as f64;
        let others = (self.machine - start.machine) - (self.own - start.own);
        Disturbance {
            others: (others / all).max(0.0),
            stolen: (self.stolen - start.stolen) / all,
            seconds,
        }
    }
}

pub fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

pub fn machine() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split(':').nth(1))
        .map_or("unknown processor", str::trim);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let system = fs::read_to_string("/etc/os-release")
        .ok()
        .and_then(|text| {
            let line = text
                .lines()
                .find_map(|l| l.strip_prefix("PRETTY_NAME="))?
                .to_string();
            Some(line.trim_matches('"').to_string())
        })
        .unwrap_or_else(|| "unknown system".into());
    let virtual_machine = if cpuinfo.contains(" hypervisor") {
        ", a virtual machine"
    } else {
        ""
    };
    format!(
        "{} CPUs ({model}{virtual_machine}), {system}, Linux {}",
        cpus(),
        kernel.trim()
    )
}

pub fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("?").to_string()
}

pub fn today() -> String {
    let output = Command::new("date")
        .args(["-u", "+%Y-%m-%d %H:%M UTC"])
        .output();
    output.map_or("unknown date".into(), |o| {
        String::from_utf8_lossy(&o.stdout).trim().to_string()
    })
}
