//! What a binary or a source that uses the library depends on: the exported names, the soname, the libraries that it needs,
//! and headers that compile alone, in every dialect, without a warning.

mod support;

use libtest_mimic::{Completion, Failed, Trial};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use support::program::{WARNINGS, output_of};
use support::{
    files_with_extension, header, lib_dir, require_library, root, runtimes, stem, summary, tool,
};

const DIALECTS: [(&str, &str); 4] = [
    ("c", "c99"),
    ("c", "c11"),
    ("c++", "c++11"),
    ("c++", "c++17"),
];

fn main() -> ExitCode {
    if let Err(reason) = require_library() {
        eprintln!("abi tests: {reason}");
        return ExitCode::FAILURE;
    }
    let mut trials = vec![
        Trial::test("header::is_what_the_sources_generate", || {
            Ok(header_drift()?)
        }),
        Trial::test("header::declares_what_is_exported", || {
            Ok(header_against_exports()?)
        }),
        Trial::test("header::keeps_to_its_own_names", || Ok(header_names()?)),
        Trial::test("exports::are_the_golden_list", || Ok(exports_are_golden()?)),
        Trial::test("elf::soname", || Ok(soname()?)),
        Trial::test("elf::nodelete", || Ok(nodelete()?)),
        Trial::test("elf::needs_libc_only", || Ok(needs_libc_only()?)),
    ];
    for (language, standard) in DIALECTS {
        trials.push(Trial::test(
            format!("header::selvedge_alone_in_{standard}"),
            move || {
                Ok(compiles(
                    "#include <selvedge.h>\n",
                    language,
                    standard,
                    &[],
                )?)
            },
        ));
        trials.push(Trial::test(
            format!("header::initialisers_in_{standard}"),
            move || Ok(compiles(INITIALISERS, language, standard, &[])?),
        ));
    }
    match preset_trials() {
        Ok(presets) => trials.extend(presets),
        Err(reason) => trials.push(Trial::test("header::presets", move || Err(reason.into()))),
    }
    summary::run(trials)
}

/// Each initialiser must list every field: -Wextra warns of one that is missing.
const INITIALISERS: &str = "#include <selvedge.h>\n\
    selv_cache_options a = SELV_CACHE_OPTIONS_INIT;\n\
    selv_job_options b = SELV_JOB_OPTIONS_INIT;\n\
    selv_hook_options c = SELV_HOOK_OPTIONS_INIT;\n\
    selv_cache_stats d = SELV_CACHE_STATS_INIT;\n\
    selv_hook_stats e = SELV_HOOK_STATS_INIT;\n";

/// `build.rs` writes the header that the sources give to SELV_HEADER_OUT; the committed one must be the same to the letter.
fn header_drift() -> Result<(), String> {
    let out = tempfile::tempdir().map_err(|e| format!("no temporary folder: {e}"))?;
    let fresh = out.path().join("selvedge.h");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    // `check` runs the build script without compiling the library again, in a folder of its own because the caller may hold
    // the lock on target/.
    output_of(
        Command::new(cargo)
            .args(["check", "--quiet", "--lib"])
            .current_dir(root())
            .env(
                "CARGO_TARGET_DIR",
                support::target_dir().join("header-drift"),
            )
            .env("SELV_HEADER_OUT", &fresh),
    )?;
    let read = |path: &Path| {
        std::fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))
    };
    let (fresh, kept) = (read(&fresh)?, read(&root().join("include/selvedge.h"))?);
    if fresh == kept {
        return Ok(());
    }
    let differs = fresh
        .lines()
        .zip(kept.lines())
        .position(|(a, b)| a != b)
        .unwrap_or(usize::MAX)
        .saturating_add(1);
    Err(format!(
        "include/selvedge.h is not what the sources generate (first difference in line {differs}): run `make header`"
    ))
}

/// A host has its own LAZY and ALL: every macro, type and tag of the headers begins with the library's prefix.
fn header_names() -> Result<(), String> {
    let mut headers = vec![root().join("include/selvedge.h")];
    headers.extend(files_with_extension(&root().join("include/selvedge"), "h")?);
    let mut foreign = BTreeSet::new();
    for path in headers {
        let text = std::fs::read_to_string(&path)
            .map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        foreign.extend(header::names_without_prefix(&text));
    }
    if foreign.is_empty() {
        return Ok(());
    }
    Err(format!("the headers define {foreign:?}"))
}

fn exports() -> Result<BTreeSet<String>, String> {
    let library = lib_dir().join("libselvedge.so");
    let text = output_of(
        Command::new("nm")
            .args(["-D", "--defined-only", "--format=posix"])
            .arg(library),
    )?;
    Ok(text
        .lines()
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect())
}

fn differences(wanted: &BTreeSet<String>, seen: &BTreeSet<String>) -> Result<(), String> {
    let list = |a: &BTreeSet<String>, b: &BTreeSet<String>| {
        a.difference(b).cloned().collect::<Vec<_>>().join(", ")
    };
    match (list(wanted, seen), list(seen, wanted)) {
        (missing, extra) if missing.is_empty() && extra.is_empty() => Ok(()),
        (missing, extra) => Err(format!("missing: [{missing}]; not expected: [{extra}]")),
    }
}

fn exports_are_golden() -> Result<(), String> {
    let path = root().join("c-tests/abi/exports.txt");
    let golden = std::fs::read_to_string(&path)
        .map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    let golden = golden
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .map(str::to_owned)
        .collect();
    differences(&golden, &exports()?)
        .map_err(|e| format!("the exports are not those of c-tests/abi/exports.txt: {e}"))
}

fn header_against_exports() -> Result<(), String> {
    let declared = header::functions()?.into_iter().collect();
    differences(&declared, &exports()?)
        .map_err(|e| format!("the exports are not those of selvedge.h: {e}"))
}

fn dynamic() -> Result<String, String> {
    output_of(
        Command::new("readelf")
            .args(["--dynamic", "--wide"])
            .arg(lib_dir().join("libselvedge.so"))
            .env("LC_ALL", "C"),
    )
}

/// The text between brackets on the lines with `tag`.
fn dynamic_entries(tag: &str) -> Result<Vec<String>, String> {
    let inside = |line: &str| Some(line.split_once('[')?.1.split_once(']')?.0.to_owned());
    Ok(dynamic()?
        .lines()
        .filter(|line| line.contains(tag))
        .filter_map(inside)
        .collect())
}

fn soname() -> Result<(), String> {
    let names = dynamic_entries("(SONAME)")?;
    let wanted = ["libselvedge.so.0"];
    if names != wanted {
        return Err(format!("the soname is {names:?}, expected {wanted:?}"));
    }
    let link = lib_dir().join(wanted[0]);
    if !link.exists() {
        return Err(format!(
            "{} is missing: programs linked with the library cannot start",
            link.display()
        ));
    }
    Ok(())
}

fn nodelete() -> Result<(), String> {
    let text = dynamic()?;
    if text
        .lines()
        .any(|line| line.contains("(FLAGS_1)") && line.contains("NODELETE"))
    {
        return Ok(());
    }
    Err(format!(
        "the library is not linked with -z nodelete:\n{text}"
    ))
}

fn needs_libc_only() -> Result<(), String> {
    let allowed = [
        "libc.so.6",
        "libgcc_s.so.1",
        "ld-linux-x86-64.so.2",
        "ld-linux-aarch64.so.1",
    ];
    let needed = dynamic_entries("(NEEDED)")?;
    match needed
        .iter()
        .filter(|n| !allowed.contains(&n.as_str()))
        .collect::<Vec<_>>()
    {
        more if more.is_empty() => Ok(()),
        more => Err(format!("the library needs {more:?} beside libc")),
    }
}

/// Compiles `text` alone, with warnings as errors.
fn compiles(text: &str, language: &str, standard: &str, flags: &[String]) -> Result<(), String> {
    let dir = tempfile::tempdir().map_err(|e| format!("no temporary folder: {e}"))?;
    let file = dir.path().join("alone");
    std::fs::write(&file, text).map_err(|e| format!("cannot write {}: {e}", file.display()))?;
    let compiler = if language == "c" {
        tool("SELV_CC", "gcc")
    } else {
        tool("SELV_CXX", "g++")
    };
    let mut command = Command::new(compiler);
    command
        .arg(format!("-std={standard}"))
        .args(WARNINGS)
        .args(["-O1", "-fsyntax-only", "-x", language]);
    command
        .args(flags)
        .arg("-I")
        .arg(root().join("include"))
        .arg(file);
    output_of(&mut command).map(drop)
}

/// Each preset against every runtime of its kind, in each dialect. One that is for no runtime stands alone.
fn preset_trials() -> Result<Vec<Trial>, String> {
    let folder = root().join("include/selvedge");
    let presets: Vec<PathBuf> = if folder.exists() {
        files_with_extension(&folder, "h")?
    } else {
        Vec::new()
    };
    let found = runtimes::found()?;
    let mut trials = Vec::new();
    for preset in presets {
        let kind = stem(&preset);
        let of_kind: Vec<_> = found.iter().filter(|r| r.kind == kind).collect();
        if of_kind.is_empty() && runtimes::KINDS.contains(&kind.as_str()) {
            let name = format!("header::preset_{kind}");
            trials.push(Trial::ignorable_test(name.clone(), move || {
                summary::skip(&name, &format!("no {kind} found"))
            }));
            continue;
        }
        let hosts = of_kind
            .iter()
            .map(|r| (format!("_{}", r.version), system_includes(&r.cflags)));
        let hosts: Vec<_> = if of_kind.is_empty() {
            vec![(String::new(), Vec::new())]
        } else {
            hosts.collect()
        };
        for (version, flags) in hosts {
            for (language, standard) in DIALECTS {
                let (flags, kind) = (flags.clone(), kind.clone());
                let name = format!("header::preset_{kind}{version}_in_{standard}");
                trials.push(Trial::ignorable_test(name, move || {
                    preset_compiles(&kind, language, standard, &flags)
                }));
            }
        }
    }
    Ok(trials)
}

fn preset_compiles(
    kind: &str,
    language: &str,
    standard: &str,
    flags: &[String],
) -> Result<Completion, Failed> {
    compiles(
        &format!("#include <selvedge/{kind}.h>\n"),
        language,
        standard,
        flags,
    )?;
    Ok(Completion::Completed)
}

/// The runtime's own headers are not ours to judge: their warnings are not errors here.
fn system_includes(cflags: &[String]) -> Vec<String> {
    let one = |flag: &String| match flag.strip_prefix("-I") {
        Some(dir) => vec!["-isystem".to_owned(), dir.to_owned()],
        None => vec![flag.clone()],
    };
    cflags.iter().flat_map(one).collect()
}
