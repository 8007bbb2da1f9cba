//! The C++ header: alone, in two translation units, and every program in `c-tests/cpp/`, compiled by g++ and clang++ as C++17
//! and C++20 with no warning, and once with sanitizers. One trial each: `gxx_cxx17::locks`. The programs in
//! `docs/cpp.md` are compiled and run as they stand there.

mod support;

use libtest_mimic::{Completion, Failed, Trial};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::SystemTime;
use support::program::{self, WARNINGS, output_of};
use support::{
    env_words, files_with_extension, header, lib_dir, out_dir, require_library, root, stem,
    summary, tool,
};

/// What the header must be free of beyond what every file here is free of.
const MORE_WARNINGS: [&str; 2] = ["-Wshadow", "-Wconversion"];

/// A program whose name ends so is linked with the program that it belongs to, and is none by itself.
const OTHER_UNIT: &str = "_other";

/// A compiler with a language standard.
#[derive(Clone)]
struct Dialect {
    name: &'static str,
    compiler: String,
    flags: Vec<String>,
}

/// Both standards with both compilers; one of each optimised, for inlining decides what an unwinding thread comes through.
fn dialects() -> Vec<Dialect> {
    let gxx = tool("SELV_CXX", "g++");
    let clangxx = clangxx();
    [
        ("gxx_cxx17", &gxx, "-std=c++17", "-O1"),
        ("gxx_cxx20", &gxx, "-std=c++20", "-O0"),
        ("clangxx_cxx17", &clangxx, "-std=c++17", "-O0"),
        ("clangxx_cxx20", &clangxx, "-std=c++20", "-O1"),
    ]
    .into_iter()
    .map(|(name, compiler, standard, optimise)| Dialect {
        name,
        compiler: compiler.clone(),
        flags: vec![standard.to_owned(), optimise.to_owned()],
    })
    .collect()
}

fn with_sanitizers() -> Dialect {
    let flags = [
        "-std=c++17",
        "-O0",
        "-fsanitize=address,undefined",
        // g++ takes any handler of `abi::__forced_unwind &`, as of the end of a thread, for a reference to nothing.
        "-fno-sanitize=null",
        "-fno-sanitize-recover=undefined",
        "-fno-omit-frame-pointer",
    ];
    Dialect {
        name: "asan",
        compiler: tool("SELV_CXX", "g++"),
        flags: flags.map(str::to_owned).to_vec(),
    }
}

fn clangxx() -> String {
    let here = |name: &str| {
        Command::new(name)
            .arg("--version")
            .output()
            .is_ok_and(|o| o.status.success())
    };
    std::env::var("SELV_CLANGXX").unwrap_or_else(|_| {
        let known = ["clang++-22", "clang++"];
        let found = known.into_iter().find(|name| here(name));
        found.unwrap_or(known[0]).to_owned()
    })
}

fn main() -> ExitCode {
    match trials() {
        Ok(trials) => summary::run(trials),
        Err(reason) => {
            eprintln!("C++ tests: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn trials() -> Result<Vec<Trial>, String> {
    require_library()?;
    let (units, programs): (Vec<PathBuf>, Vec<PathBuf>) =
        files_with_extension(&root().join("c-tests/cpp"), "cpp")?
            .into_iter()
            .partition(|source| stem(source).ends_with(OTHER_UNIT));
    let mut trials = vec![
        Trial::test("coverage::every_function_is_wrapped", || Ok(coverage()?)),
        Trial::test("old_standards_are_refused", || Ok(old_standard()?)),
    ];
    for dialect in dialects() {
        trials.push(trial(&dialect, "header_alone", |dialect| {
            compiles(dialect, "#include <selvedge.hpp>\n")
        }));
        trials.push(trial(&dialect, "documentation", documentation));
    }
    for dialect in dialects().into_iter().chain([with_sanitizers()]) {
        for source in &programs {
            // `/* without: asan */` in its first lines: it cannot be built or run so, for a reason that stands beside it.
            if program::directive(source, "without")?.as_deref() == Some(dialect.name) {
                continue;
            }
            let mut sources = vec![source.clone()];
            let other = format!("{}{OTHER_UNIT}", stem(source));
            sources.extend(units.iter().filter(|unit| stem(unit) == other).cloned());
            trials.push(trial(&dialect, &stem(source), move |dialect| {
                run_one(dialect, &sources)
            }));
        }
    }
    Ok(trials)
}

/// Skipped, and told of, where the compiler is missing.
fn trial(
    dialect: &Dialect,
    what: &str,
    test: impl FnOnce(&Dialect) -> Result<(), String> + Send + 'static,
) -> Trial {
    let dialect = dialect.clone();
    let name = format!("{}::{what}", dialect.name);
    Trial::ignorable_test(name.clone(), move || -> Result<Completion, Failed> {
        if Command::new(&dialect.compiler)
            .arg("--version")
            .output()
            .is_err()
        {
            return summary::skip(&name, &format!("no {} found", dialect.compiler));
        }
        test(&dialect)?;
        Ok(Completion::Completed)
    })
}

fn run_one(dialect: &Dialect, sources: &[PathBuf]) -> Result<(), String> {
    let exe = build(dialect, sources)?;
    let env = [
        // As for the C tests: what is freed is filled, so that its use is seen without a sanitizer, too.
        (
            "GLIBC_TUNABLES".to_owned(),
            "glibc.malloc.perturb=165:glibc.malloc.tcache_count=0".to_owned(),
        ),
        // A thread that ends inside a callback leaves a fake stack behind.
        (
            "ASAN_OPTIONS".to_owned(),
            "detect_leaks=1:detect_stack_use_after_return=0".to_owned(),
        ),
    ];
    program::run(&exe, &env, program::timeout_of(&sources[0])?)?.into_result()
}

fn compiler(dialect: &Dialect) -> Command {
    let mut command = Command::new(&dialect.compiler);
    command
        .args(&dialect.flags)
        .args(["-D_GNU_SOURCE", "-g", "-pthread"])
        .args(WARNINGS)
        .args(MORE_WARNINGS)
        .args(env_words("SELV_CFLAGS"))
        .arg("-I")
        .arg(root().join("include"))
        .arg("-I")
        .arg(root().join("c-tests"));
    command
}

/// Compiles and links, unless the executable is newer than all that went into it.
fn build(dialect: &Dialect, sources: &[PathBuf]) -> Result<PathBuf, String> {
    let lib = lib_dir();
    let dir = out_dir().join("cpp").join(dialect.name);
    fs::create_dir_all(&dir).map_err(|e| format!("cannot make {}: {e}", dir.display()))?;
    let exe = dir.join(stem(&sources[0]));
    let mut command = compiler(dialect);
    // Not as RUNPATH: cargo points LD_LIBRARY_PATH to a library of its own, which would come first.
    command
        .args(sources)
        .arg("-L")
        .arg(&lib)
        .arg("-lselvedge")
        .arg(format!("-Wl,--disable-new-dtags,-rpath,{}", lib.display()))
        .args(env_words("SELV_LDFLAGS"))
        .arg("-o")
        .arg(&exe);
    let stamp = exe.with_extension("command");
    let line = format!("{command:?}");
    if fs::read_to_string(&stamp).is_ok_and(|old| old == line)
        && modified(&exe) > newest_input(sources)?
    {
        return Ok(exe);
    }
    output_of(&mut command)?;
    fs::write(&stamp, line).map_err(|e| format!("cannot write {}: {e}", stamp.display()))?;
    Ok(exe)
}

fn newest_input(sources: &[PathBuf]) -> Result<SystemTime, String> {
    let mut inputs = sources.to_vec();
    inputs.extend(files_with_extension(&root().join("c-tests/cpp"), "hpp")?);
    for file in [
        "include/selvedge.h",
        "include/selvedge.hpp",
        "c-tests/check.h",
    ] {
        inputs.push(root().join(file));
    }
    inputs.push(lib_dir().join("libselvedge.so"));
    let newest = inputs.iter().map(|path| modified(path)).max();
    Ok(newest.unwrap_or(SystemTime::UNIX_EPOCH))
}

fn modified(path: &Path) -> SystemTime {
    fs::metadata(path)
        .and_then(|m| m.modified())
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Compiles `text` with warnings as errors, and links it with nothing.
fn compiles(dialect: &Dialect, text: &str) -> Result<(), String> {
    let dir = tempfile::tempdir().map_err(|e| format!("no temporary folder: {e}"))?;
    let file = dir.path().join("text.cpp");
    fs::write(&file, text).map_err(|e| format!("cannot write {}: {e}", file.display()))?;
    output_of(compiler(dialect).arg("-fsyntax-only").arg(file)).map(drop)
}

/// A C++ block of the guide.
struct Block {
    /// The page's line that it begins on.
    line: usize,
    text: String,
}

impl Block {
    fn is_program(&self) -> bool {
        self.text.contains("int main(")
    }
}

fn blocks_of(page: &Path) -> Result<Vec<Block>, String> {
    let text =
        fs::read_to_string(page).map_err(|e| format!("cannot read {}: {e}", page.display()))?;
    let mut blocks = Vec::new();
    let mut inside: Option<Block> = None;
    for (number, line) in (1..).zip(text.lines()) {
        match &mut inside {
            None if line == "```cpp" => {
                let (line, text) = (number + 1, String::new());
                inside = Some(Block { line, text });
            }
            None => {}
            Some(_) if line == "```" => blocks.extend(inside.take()),
            Some(block) => block.text += &format!("{line}\n"),
        }
    }
    Ok(blocks)
}

/// The programs of the guide are built and run as they stand there, with nothing added; the other blocks are compiled after an
/// `#include <selvedge.hpp>`, as the page says, each in a namespace of its own.
fn documentation(dialect: &Dialect) -> Result<(), String> {
    let page = root().join("docs/cpp.md");
    let (programs, parts): (Vec<Block>, Vec<Block>) =
        blocks_of(&page)?.into_iter().partition(Block::is_program);
    if programs.is_empty() || parts.is_empty() {
        return Err(format!(
            "{} has {} programs and {} parts of one",
            page.display(),
            programs.len(),
            parts.len()
        ));
    }
    let dir = out_dir().join("cpp").join(dialect.name);
    fs::create_dir_all(&dir).map_err(|e| format!("cannot make {}: {e}", dir.display()))?;
    for Block { line, text } in &programs {
        let source = dir.join(format!("docs_cpp_md_{line}.cpp"));
        fs::write(&source, text).map_err(|e| format!("cannot write {}: {e}", source.display()))?;
        run_one(dialect, &[source])
            .map_err(|e| format!("{}:{line}, as it stands there: {e}", page.display()))?;
    }
    let mut text = "#include <selvedge.hpp>\n".to_owned();
    for part in parts {
        let Block { line, text: block } = part;
        if block.contains("#include") {
            return Err(format!(
                "{}:{line}: an include in a part of a program",
                page.display()
            ));
        }
        // So that the compiler speaks of the page's own lines.
        text += &format!(
            "namespace at_line_{line} {{\n#line {line} \"{}\"\n{block}}}\n",
            page.display()
        );
    }
    compiles(dialect, &text)
}

/// The header is to cover the whole C interface: each function is called in it.
fn coverage() -> Result<(), String> {
    // A second reference to a hook is of no use to an owner that unregisters.
    const NOT_NEEDED: [&str; 1] = ["selv_hook_retain"];
    let path = root().join("include/selvedge.hpp");
    let text =
        fs::read_to_string(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    let words: std::collections::BTreeSet<&str> = text
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .collect();
    let missing: Vec<String> = header::functions()?
        .into_iter()
        .filter(|f| !words.contains(f.as_str()) && !NOT_NEEDED.contains(&f.as_str()))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{} does not use {}",
        path.display(),
        missing.join(", ")
    ))
}

/// Who compiles as C++14 is told in one line what is wrong.
fn old_standard() -> Result<(), String> {
    let old = Dialect {
        name: "gxx_cxx14",
        compiler: tool("SELV_CXX", "g++"),
        flags: vec!["-std=c++14".to_owned()],
    };
    match compiles(&old, "#include <selvedge.hpp>\n") {
        Ok(()) => Err("C++14 was accepted".to_owned()),
        Err(e) if e.contains("needs C++17") => Ok(()),
        Err(e) => Err(format!("it does not say what is wrong:\n{e}")),
    }
}
