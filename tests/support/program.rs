//! Building one C program and running it in a process of its own, with a timeout and its output kept for the failure report.

use super::{env_words, files_with_extension, header, lib_dir, out_dir, root, tool};
use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, SystemTime};

/// The ways in which a host can get at the library; each test runs in all of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Variant {
    /// C99, linked with the shared library.
    Shared,
    /// C99, linked with the archive.
    Static,
    /// The same source as C++17.
    Cxx,
    /// C99, linked with nothing: each function is found with dlsym.
    Dlopened,
}

impl Variant {
    pub const ALL: [Variant; 4] = [
        Variant::Shared,
        Variant::Static,
        Variant::Cxx,
        Variant::Dlopened,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Variant::Shared => "shared",
            Variant::Static => "static",
            Variant::Cxx => "cxx",
            Variant::Dlopened => "dlopened",
        }
    }
}

const DEFAULT_TIMEOUT_S: u64 = 120;

/// What the first lines of a C test say about it: `/* timeout: 300 */`, `/* variants: shared dlopened */`.
pub fn directive(source: &Path, name: &str) -> Result<Option<String>, String> {
    let text =
        fs::read_to_string(source).map_err(|e| format!("cannot read {}: {e}", source.display()))?;
    let marker = format!("/* {name}:");
    Ok(text.lines().take(12).find_map(|line| {
        let rest = line.trim().strip_prefix(marker.as_str())?;
        Some(rest.trim_end_matches("*/").trim().to_owned())
    }))
}

/// How long `source` may run.
pub fn timeout_of(source: &Path) -> Result<Duration, String> {
    let seconds = match directive(source, "timeout")? {
        Some(text) => text
            .parse()
            .map_err(|_| format!("{}: bad timeout \"{text}\"", source.display()))?,
        None => DEFAULT_TIMEOUT_S,
    };
    let factor: u64 = std::env::var("SELV_TIMEOUT_FACTOR")
        .ok()
        .and_then(|f| f.parse().ok())
        .unwrap_or(1);
    Ok(Duration::from_secs(seconds * factor))
}

/// The variants in which `source` is to be built.
pub fn variants_of(source: &Path) -> Result<Vec<Variant>, String> {
    let own = directive(source, "variants")?;
    let asked = std::env::var("SELV_VARIANTS").ok();
    let wants = |list: &Option<String>, v: Variant| {
        list.as_ref()
            .is_none_or(|l| l.split([',', ' ']).any(|word| word == v.name()))
    };
    Ok(Variant::ALL
        .into_iter()
        .filter(|v| wants(&own, *v) && wants(&asked, *v))
        .collect())
}

/// Flags for every C file of the project: nothing that compiles here may warn anywhere.
pub const WARNINGS: [&str; 4] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"];

/// A program to build. `cflags` and `ldflags` are a runtime's own.
pub struct Program<'a> {
    pub source: &'a Path,
    pub variant: Variant,
    pub cflags: &'a [String],
    pub ldflags: &'a [String],
    /// Path of the executable, relative to [`out_dir`].
    pub output: PathBuf,
}

impl Program<'_> {
    /// Compiles and links, unless the executable is newer than all that went into it. Returns its path.
    pub fn build(&self) -> Result<PathBuf, String> {
        let exe = out_dir().join(&self.output);
        let dir = exe.parent().ok_or("a program needs a folder")?;
        fs::create_dir_all(dir).map_err(|e| format!("cannot make {}: {e}", dir.display()))?;
        // Built beside its place and moved there: two trials may want the same program at the same time.
        let fresh = tempfile::NamedTempFile::new_in(dir)
            .map_err(|e| format!("no temporary file: {e}"))?
            .into_temp_path();
        let command = self.command(&fresh)?;
        let stamp = exe.with_extension("command");
        let line = format!("{command:?}").replace(&*fresh.to_string_lossy(), "OUT");
        if fs::read_to_string(&stamp).is_ok_and(|old| old == line)
            && modified(&exe) > self.newest_input()?
        {
            return Ok(exe);
        }
        output_of(&mut { command })?;
        fs::rename(&fresh, &exe).map_err(|e| format!("cannot move to {}: {e}", exe.display()))?;
        fs::write(&stamp, line).map_err(|e| format!("cannot write {}: {e}", stamp.display()))?;
        Ok(exe)
    }

    fn command(&self, exe: &Path) -> Result<Command, String> {
        let lib = lib_dir();
        let (compiler, language, standard) = match self.variant {
            Variant::Cxx => (tool("SELV_CXX", "g++"), "c++", "-std=c++17"),
            _ => (tool("SELV_CC", "gcc"), "c", "-std=c99"),
        };
        let mut command = Command::new(compiler);
        command
            .args([standard, "-D_GNU_SOURCE", "-O1", "-g", "-pthread"])
            .args(WARNINGS)
            .args(self.cflags);
        command.args(env_words("SELV_CFLAGS"));
        command
            .arg("-I")
            .arg(root().join("include"))
            .arg("-I")
            .arg(root().join("c-tests"));
        if self.variant == Variant::Dlopened {
            command.arg("-include").arg(write_shim()?);
        }
        command
            .args(["-x", language])
            .arg(self.source)
            .args(["-x", "none"]);
        match self.variant {
            Variant::Static => {
                command
                    .arg(lib.join("libselvedge.a"))
                    .args(["-ldl", "-lm", "-lgcc_s"]);
            }
            Variant::Dlopened => {
                command.arg("-ldl");
            }
            Variant::Shared | Variant::Cxx => {
                // Not as RUNPATH: cargo points LD_LIBRARY_PATH to a library of its own, which would come first.
                let rpath = format!("-Wl,--disable-new-dtags,-rpath,{}", lib.display());
                command.arg("-L").arg(&lib).arg("-lselvedge").arg(rpath);
            }
        }
        command
            .args(self.ldflags)
            .args(env_words("SELV_LDFLAGS"))
            .arg("-o")
            .arg(exe);
        Ok(command)
    }

    fn newest_input(&self) -> Result<SystemTime, String> {
        let library = if self.variant == Variant::Static {
            "libselvedge.a"
        } else {
            "libselvedge.so"
        };
        let mut inputs = vec![
            self.source.to_owned(),
            root().join("include/selvedge.h"),
            lib_dir().join(library),
        ];
        let near = self.source.parent().unwrap_or(Path::new("."));
        for dir in [
            root().join("include/selvedge"),
            root().join("c-tests"),
            near.to_owned(),
        ] {
            if dir.exists() {
                inputs.extend(files_with_extension(&dir, "h")?);
            }
        }
        Ok(inputs
            .iter()
            .map(|path| modified(path))
            .max()
            .unwrap_or(SystemTime::UNIX_EPOCH))
    }
}

fn modified(path: &Path) -> SystemTime {
    fs::metadata(path)
        .and_then(|m| m.modified())
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

fn write_shim() -> Result<PathBuf, String> {
    let path = out_dir().join("dlopened.h");
    let text = header::dlopen_shim(&header::functions()?, &lib_dir().join("libselvedge.so"));
    if fs::read_to_string(&path).is_ok_and(|old| old == text) {
        return Ok(path);
    }
    // Moved into place whole: another trial may be compiling with it.
    let fresh = tempfile::NamedTempFile::new_in(out_dir())
        .map_err(|e| format!("no temporary file: {e}"))?
        .into_temp_path();
    fs::write(&fresh, text).map_err(|e| format!("cannot write {}: {e}", fresh.display()))?;
    fresh
        .persist(&path)
        .map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    Ok(path)
}

/// How a program ended.
pub struct Ended {
    pub status: ExitStatus,
    pub timed_out: bool,
    /// What it printed, both streams together.
    pub output: String,
}

impl Ended {
    /// Passed, or the reason with everything that the program printed.
    pub fn into_result(self) -> Result<(), String> {
        if !self.timed_out && self.status.success() {
            return Ok(());
        }
        let how = match (self.timed_out, self.status.signal()) {
            (true, _) => "did not end in time".to_owned(),
            (false, Some(signal)) => format!("was killed by signal {signal}"),
            (false, None) => format!("ended with {}", self.status),
        };
        Err(format!("the program {how}; it printed:\n{}", self.output))
    }
}

/// Runs `exe` to its end or to `timeout`, then kills whatever it left behind in its process group.
pub fn run(exe: &Path, env: &[(String, String)], timeout: Duration) -> Result<Ended, String> {
    let mut words = env_words("SELV_RUNNER");
    words.push(exe.to_string_lossy().into_owned());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).envs(env.iter().cloned());
    run_command(&mut command, timeout)
}

/// The same for a command that is no test program (make, javac).
pub fn run_command(command: &mut Command, timeout: Duration) -> Result<Ended, String> {
    // A file and not a pipe: a grandchild that lives on must not keep the driver waiting for the end of the output.
    let log = tempfile::NamedTempFile::new().map_err(|e| format!("no temporary file: {e}"))?;
    let open = || {
        File::options()
            .append(true)
            .open(log.path())
            .map_err(|e| format!("cannot open the log: {e}"))
    };
    command
        .stdin(Stdio::null())
        .stdout(open()?)
        .stderr(open()?)
        .process_group(0);
    let mut child = command
        .spawn()
        .map_err(|e| format!("cannot start {command:?}: {e}"))?;
    let pid = child.id().cast_signed();
    let (ended, watched) = mpsc::channel::<()>();
    let (status, late) = std::thread::scope(|scope| {
        let watch = scope.spawn(move || match watched.recv_timeout(timeout) {
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let threads = threads_of(pid);
                kill_group(pid);
                Some(threads)
            }
            _ => None,
        });
        let status = child.wait();
        drop(ended);
        (status, watch.join())
    });
    let status = status.map_err(|e| format!("cannot wait for {command:?}: {e}"))?;
    kill_group(pid);
    let late = late.map_err(|_| "the watch on the program panicked")?;
    let mut output =
        String::from_utf8_lossy(&fs::read(log.path()).unwrap_or_default()).into_owned();
    if let Some(threads) = &late {
        output += &format!("\nstill there after {} s:\n{threads}", timeout.as_secs());
    }
    Ok(Ended {
        status,
        timed_out: late.is_some(),
        output,
    })
}

/// The threads of a hanging program and the system call that each is in: the first thing that one wants to know.
fn threads_of(pid: i32) -> String {
    let mut text = String::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let read = |file: &str| fs::read_to_string(task.path().join(file)).unwrap_or_default();
        text += &format!(
            "  {} \"{}\" syscall {}",
            task.file_name().to_string_lossy(),
            read("comm").trim(),
            read("syscall")
        );
    }
    text
}

fn kill_group(pid: i32) {
    // SAFETY: kill has no memory effects; the group was made for this child alone by process_group(0).
    unsafe { libc::kill(-pid, libc::SIGKILL) };
}

/// Runs a tool (compiler, nm, readelf) that must succeed; returns its standard output.
pub fn output_of(command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .map_err(|e| format!("cannot start {command:?}: {e}"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "{command:?} ended with {}:\n{errors}",
            output.status
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
