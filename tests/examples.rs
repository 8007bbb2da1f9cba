//! What a newcomer does: the README's program and its compile line, the short examples, those beside event loops where there are such
//! loops, and the main job on a few files; and that what the pages about locks and host loops show is what the
//! examples are and print.

mod support;

use libtest_mimic::{Completion, Failed, Trial};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::OnceLock;
use std::time::Duration;
use support::program::run_command;
use support::{root, runtimes, summary};

const MINUTES: Duration = Duration::from_secs(300);

fn main() -> ExitCode {
    let trial = |name: &str, test: fn() -> Result<(), String>| {
        Trial::test(name, move || {
            Ok(support::require_library().and_then(|()| test())?)
        })
    };
    summary::run(vec![
        trial("readme_program_is_hello_c", readme_program),
        trial("readme_compile_line", readme_compile_line),
        trial("readme_links", readme_links),
        trial("short_examples", short_examples),
        Trial::ignorable_test("glib_jobs", || {
            beside_loops("glib_jobs", &["glib"], GLIB_JOBS)
        }),
        Trial::ignorable_test("uv_guest", || {
            beside_loops("uv_guest", &["glib", "uv"], UV_GUEST)
        }),
        trial("pages_show_the_examples", pages_show_the_examples),
        trial("pages_show_what_they_print", pages_show_what_they_print),
        trial("main_job_three_runtimes", || main_job("python,jvm,clr")),
        trial("main_job_with_mono", || main_job("python,jvm,mono")),
        trial("main_job_bad_option", main_job_bad_option),
        trial("deadlock_demo", deadlock_demo),
        Trial::ignorable_test("guest_demo", guest_demo),
    ])
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

/// The fenced blocks of one language in a Markdown page.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut inside: Option<String> = None;
    for line in page.lines() {
        match &mut inside {
            Some(block) if line == "```" => {
                found.push(std::mem::take(block));
                inside = None;
            }
            Some(block) => *block += &format!("{line}\n"),
            None if line == format!("```{language}") => inside = Some(String::new()),
            None => {}
        }
    }
    found
}

/// A page without its fenced blocks, where a lambda of C++ looks like a link.
fn outside_of_blocks(page: &str) -> String {
    let mut is_inside = false;
    page.lines()
        .filter(|line| {
            let is_fence = line.starts_with("```");
            is_inside ^= is_fence;
            !is_inside && !is_fence
        })
        .flat_map(|line| [line, "\n"])
        .collect()
}

fn readme_program() -> Result<(), String> {
    let page = read(&root().join("README.md"))?;
    let program = read(&root().join("examples-c/hello.c"))?;
    match blocks(&page, "c").first() {
        Some(block) if *block == program => Ok(()),
        Some(_) => Err("the first C program of the README is not examples-c/hello.c".into()),
        None => Err("the README has no C program".into()),
    }
}

fn readme_compile_line() -> Result<(), String> {
    let page = read(&root().join("README.md"))?;
    let shell = blocks(&page, "sh").concat();
    let line = shell
        .lines()
        .find(|l| l.starts_with("cc ") && l.contains("hello.c"))
        .ok_or("the README has no compile line for hello.c")?;
    let here = tempfile::tempdir().map_err(|e| e.to_string())?;
    // The line as it stands, but for where the program is put.
    let line = line
        .replace("-o hello ", &format!("-o {}/hello ", here.path().display()))
        .replace("./hello", &format!("{}/hello", here.path().display()));
    let mut sh = Command::new("bash");
    sh.current_dir(root()).args(["-euc", &line]);
    let ended = run_command(&mut sh, MINUTES)?;
    if !ended.output.contains("the square of 12 is 144") {
        return Err(format!("{line}\nprinted:\n{}", ended.output));
    }
    ended.into_result()
}

/// Every link to a file of the project leads to one, from the README and from each page of the documentation.
fn readme_links() -> Result<(), String> {
    let mut pages = support::files_with_extension(&root().join("docs"), "md")?;
    pages.push(root().join("README.md"));
    for page in pages {
        let folder = page.parent().ok_or("a page has no folder")?.to_owned();
        for link in outside_of_blocks(&read(&page)?).split("](").skip(1) {
            let link = link.split([')', '#']).next().unwrap_or_default();
            if !link.is_empty() && !link.contains("://") && !folder.join(link).exists() {
                return Err(format!(
                    "{} links to {link}, which is not there",
                    page.display()
                ));
            }
        }
    }
    Ok(())
}

fn make(arguments: &[&str]) -> Result<support::program::Ended, String> {
    let mut make = Command::new("make");
    make.current_dir(root()).args(arguments);
    // A make that runs this driver would hand its own job server and flags down.
    make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL");
    run_command(&mut make, MINUTES)
}

/// The short examples, built once: two makes at a time in one folder would write the same files.
fn built_examples() -> Result<PathBuf, String> {
    static BUILT: OnceLock<Result<(), String>> = OnceLock::new();
    BUILT
        .get_or_init(|| make(&["-C", "examples-c", "PREFIX="])?.into_result())
        .clone()?;
    Ok(root().join("target/examples-c"))
}

fn short_examples() -> Result<(), String> {
    built_examples()?;
    make(&["-C", "examples-c", "run", "PREFIX="])?.into_result()
}

const GLIB_JOBS: [&str; 2] = [
    "1000 jobs delivered, the sum of their squares is 333833500",
    "in the dialog of the timer: 250 or more; in the dialog of a delivery: 0",
];
const UV_GUEST: [&str; 1] =
    ["1000 of 1000 round trips answered, 25 ticks of libuv's timer, some of GLib's"];

/// An example that is left out where pkg-config does not know its event loops.
fn beside_loops<const N: usize>(
    program: &str,
    loops: &[&str],
    lines: [&str; N],
) -> Result<Completion, Failed> {
    support::require_library()?;
    let found = runtimes::found()?;
    if let Some(missing) = loops.iter().find(|l| !found.iter().any(|r| r.kind == **l)) {
        return summary::skip(program, &format!("no {missing} found"));
    }
    let ended = run_command(&mut Command::new(built_examples()?.join(program)), MINUTES)?;
    let printed = ended.output.clone();
    ended.into_result()?;
    match lines
        .iter()
        .find(|wanted| !printed.lines().any(|l| l == **wanted))
    {
        Some(missing) => Err(format!("\"{missing}\" was expected; it printed:\n{printed}").into()),
        None => Ok(Completion::Completed),
    }
}

/// The pages whose programs are pieces of files that are built and run.
fn pages_with_programs() -> Result<Vec<(PathBuf, String)>, String> {
    [
        ("README.md", "Locks that do not hang"),
        ("docs/locks.md", ""),
        ("docs/host-loops.md", ""),
    ]
    .into_iter()
    .map(|(page, section)| {
        let path = root().join(page);
        let text = read(&path)?;
        let from = text.find(section).ok_or("the section is missing")?;
        let part = &text[from..];
        let end = match section {
            "" => part.len(),
            _ => part.find("\n## ").unwrap_or(part.len()),
        };
        Ok((path, part[..end].to_owned()))
    })
    .collect()
}

/// Lines without their indentation, so that a piece of a function may stand anywhere.
fn unindented(text: &str) -> String {
    text.lines().flat_map(|l| [l.trim(), "\n"]).collect()
}

/// Every program on those pages stands, line for line, in an example or in a test.
fn pages_show_the_examples() -> Result<(), String> {
    for (language, extension, folders) in [
        ("c", "c", &["examples-c"][..]),
        (
            "python",
            "py",
            &["c-tests/runtimes/python", "examples-c/trio_guest"],
        ),
    ] {
        let mut sources = Vec::new();
        for folder in folders {
            for file in support::files_with_extension(&root().join(folder), extension)? {
                sources.push(unindented(&read(&file)?));
            }
        }
        for (page, text) in pages_with_programs()? {
            for block in blocks(&text, language) {
                let block = unindented(&block);
                if !sources.iter().any(|s| s.contains(&block)) {
                    return Err(format!(
                        "{}: this is in no .{extension} file of {folders:?}:\n{block}",
                        page.display()
                    ));
                }
            }
        }
    }
    Ok(())
}

/// Numbers, and the units of times after them, differ from run to run.
fn without_numbers(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        out += &rest[..at];
        out.push('#');
        rest = rest[at..].trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        for unit in [" us", " ms", " s"] {
            if let Some(after) = rest.strip_prefix(unit)
                && !after.starts_with(|c: char| c.is_ascii_alphanumeric())
            {
                out += " of time";
                rest = after;
                break;
            }
        }
    }
    out + rest
}

/// Every output on those pages is what one of the examples prints.
fn pages_show_what_they_print() -> Result<(), String> {
    let folder = built_examples()?;
    let mut printed = Vec::new();
    for (program, argument) in [
        ("broken_lock", None),
        ("fibres", None),
        ("wait_graph", None),
        ("wait_graph", Some("dot")),
    ] {
        let ended = run_command(Command::new(folder.join(program)).args(argument), MINUTES)?;
        printed.push(without_numbers(&ended.output));
        ended.into_result()?;
    }
    let mut seen = 0;
    for (page, text) in pages_with_programs()? {
        for block in blocks(&text, "text") {
            seen += 1;
            let wanted = without_numbers(block.trim_end());
            if !printed.iter().any(|p| p.contains(&wanted)) {
                return Err(format!(
                    "{}: no example prints:\n{block}\nbut:\n{}",
                    page.display(),
                    printed.join("\n")
                ));
            }
        }
    }
    match seen {
        0 => Err("the pages show no output".into()),
        _ => Ok(()),
    }
}

/// The main job, built once: two makes at a time in one folder would write the same files.
fn demo() -> Result<Command, String> {
    static BUILT: OnceLock<Result<(), String>> = OnceLock::new();
    BUILT
        .get_or_init(|| make(&["-C", "examples-c/demo", "PREFIX="])?.into_result())
        .clone()?;
    Ok(Command::new(root().join("target/demo/demo")))
}

fn main_job(runtimes: &str) -> Result<(), String> {
    let trace = tempfile::NamedTempFile::new().map_err(|e| e.to_string())?;
    let mut demo = demo()?;
    demo.args(["--runtimes", runtimes, "--limit", "300", "--sample", "20"])
        .arg("--trace")
        .arg(trace.path());
    run_command(&mut demo, MINUTES)?.into_result()?;
    let text = read(trace.path())?;
    let events: Vec<serde_json::Value> =
        serde_json::from_str(&text).map_err(|e| format!("the trace is no JSON: {e}"))?;
    let jobs = events
        .iter()
        .filter(|e| e["cat"] == "job" && e["ph"] == "B")
        .count();
    if jobs < 300 {
        return Err(format!("300 files, but {jobs} jobs in the trace"));
    }
    Ok(())
}

fn main_job_bad_option() -> Result<(), String> {
    let ended = run_command(demo()?.arg("--jobs=none"), MINUTES)?;
    match ended.status.code() {
        Some(2) => Ok(()),
        other => Err(format!(
            "status {other:?}, expected 2; it printed:\n{}",
            ended.output
        )),
    }
}

/// The ring of three languages: two waits in both graphs, the third refused by name, everybody's work done all the same.
fn deadlock_demo() -> Result<(), String> {
    let out = tempfile::tempdir().map_err(|e| e.to_string())?;
    let build = root().join("target/demo/deadlock-build");
    let ended = make(&[
        "-C",
        "examples-c/deadlock",
        "run",
        "PREFIX=",
        &format!("OUT={}", out.path().display()),
        &format!("BUILD={}", build.display()),
    ])?;
    let told = ended.output.clone();
    ended.into_result()?;
    let refusal = told
        .lines()
        .find(|line| line.starts_with("SELV_E_DEADLOCK: "))
        .ok_or_else(|| format!("no refusal is told:\n{told}"))?;
    let mut rest = refusal;
    for name in [
        "'accounting (C)'",
        "'prices'",
        "'pricing (Python)'",
        "'stock'",
        "'shipping (Java)'",
        "'ledger'",
        "'accounting (C)'",
    ] {
        let at = rest
            .find(name)
            .ok_or_else(|| format!("{name} is not in its place in the ring: {refusal}"))?;
        rest = &rest[at + name.len()..];
    }
    let waits = told.lines().filter(|line| line.contains(" waits, "));
    if waits.count() != 2 {
        return Err(format!("two waits were expected in the graph:\n{told}"));
    }
    let dot = read(&out.path().join("deadlock.dot"))?;
    let drawn = read(&out.path().join("deadlock.svg"))?;
    let edges = |label: &str| dot.matches(&format!("[label=\"{label}")).count();
    if (edges("waits"), edges("held by")) != (2, 3) {
        return Err(format!("two waits and three holders expected:\n{dot}"));
    }
    for name in ["accounting (C)", "pricing (Python)", "shipping (Java)"] {
        if !drawn.contains(name) {
            return Err(format!("{name} is not in the drawing"));
        }
    }
    Ok(())
}

/// Trio in a GLib main loop: its customers are served, and each worker was attached to the JVM once.
fn guest_demo() -> Result<Completion, Failed> {
    support::require_library()?;
    let found = runtimes::found()?;
    if let Some(missing) = ["python", "jvm", "glib"]
        .into_iter()
        .find(|kind| !found.iter().any(|r| r.kind == *kind))
    {
        return summary::skip("guest_demo", &format!("no {missing} found"));
    }
    let python = found
        .iter()
        .filter(|r| r.kind == "python")
        .max_by_key(|r| r.version_key())
        .ok_or("no python found")?;
    let packages = root()
        .join("target/runtimes/python-packages")
        .join(&python.version);
    if !packages.join("trio").exists() {
        return summary::skip("guest_demo", &format!("no Trio in {}", packages.display()));
    }
    let ended = make(&["-C", "examples-c/trio_guest", "run", "PREFIX="])?;
    let told = ended.output.clone();
    ended.into_result()?;
    let served = told.matches(" has all quotes").count();
    let counts: Vec<u32> = told
        .lines()
        .find(|line| line.contains(" workers: attached to the JVM "))
        .ok_or_else(|| format!("no line tells of the workers:\n{told}"))?
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect();
    match counts[..] {
        [workers, attached, detached, _]
            if workers >= 2 && attached == workers && detached == workers && served == 6 =>
        {
            Ok(Completion::Completed)
        }
        _ => Err(format!("{counts:?}, and {served} customers served:\n{told}").into()),
    }
}
