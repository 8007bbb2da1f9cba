//! `make install` into an empty folder, then a C program built from nothing but what pkg-config says about that folder,
//! dynamically and statically, and run.

mod support;

use libtest_mimic::Trial;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::OnceLock;
use std::time::Duration;
use support::program::{self, output_of};
use support::{root, summary, tool};

const PREFIX: &str = "/usr";

fn main() -> ExitCode {
    let out = match tempfile::tempdir() {
        Ok(out) => out,
        Err(e) => {
            eprintln!("install test: no temporary folder: {e}");
            return ExitCode::FAILURE;
        }
    };
    let dest = out.path().join("dest");
    let trial = |name: &str, test: fn(&Path) -> Result<(), String>| {
        let dest = dest.clone();
        Trial::test(name, move || {
            Ok(installed(&dest).and_then(|()| test(&dest))?)
        })
    };
    summary::run(vec![
        trial("installs_every_file", every_file),
        trial("pkg_config_dynamic", |dest| builds_and_runs(dest, false)),
        trial("pkg_config_static", |dest| builds_and_runs(dest, true)),
        trial("nothing_names_the_build_folder", no_build_paths),
    ])
}

fn installed(dest: &Path) -> Result<(), String> {
    static ONCE: OnceLock<Result<(), String>> = OnceLock::new();
    ONCE.get_or_init(|| {
        let mut make = Command::new("make");
        make.current_dir(root())
            .arg("install")
            .arg(format!("PREFIX={PREFIX}"))
            .arg(format!("DESTDIR={}", dest.display()));
        // A make that runs this driver would hand its own job server and flags down.
        make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL");
        program::run_command(&mut make, Duration::from_secs(600))?.into_result()
    })
    .clone()
}

fn every_file(dest: &Path) -> Result<(), String> {
    let mut wanted = vec![
        "include/selvedge.h".to_owned(),
        "include/selvedge.hpp".to_owned(),
    ];
    for preset in support::files_with_extension(&root().join("include/selvedge"), "h")? {
        wanted.push(format!("include/selvedge/{}.h", support::stem(&preset)));
    }
    for file in wanted {
        let path = dest.join("usr").join(&file);
        if !path.exists() {
            return Err(format!("{file} was not installed"));
        }
        let same = std::fs::read(&path).ok() == std::fs::read(root().join(&file)).ok();
        if !same {
            return Err(format!(
                "the installed {file} is not the one of the project"
            ));
        }
    }
    let lib = lib_folder(dest)?;
    for file in ["libselvedge.so", "libselvedge.so.0", "libselvedge.a"] {
        if !lib.join(file).exists() {
            return Err(format!(
                "{file} is not in {} (or its link leads nowhere)",
                lib.display()
            ));
        }
    }
    let link = std::fs::read_link(lib.join("libselvedge.so"))
        .map_err(|e| format!("libselvedge.so is no link: {e}"))?;
    if link.is_absolute() {
        return Err(format!(
            "libselvedge.so leads to {}: a link inside DESTDIR must be relative",
            link.display()
        ));
    }
    Ok(())
}

fn pkg_config(dest: &Path, args: &[&str]) -> Result<Vec<String>, String> {
    let dirs = [
        "lib/pkgconfig",
        "lib64/pkgconfig",
        "share/pkgconfig",
        "lib/x86_64-linux-gnu/pkgconfig",
    ];
    let dirs: Vec<_> = dirs
        .iter()
        .map(|d| dest.join("usr").join(d).to_string_lossy().into_owned())
        .collect();
    let mut command = Command::new("pkg-config");
    command
        .env("PKG_CONFIG_LIBDIR", dirs.join(":"))
        .env("PKG_CONFIG_SYSROOT_DIR", dest);
    // Else it would leave out -I/usr/include and -L/usr/lib, which below DESTDIR are no system folders.
    command
        .env("PKG_CONFIG_ALLOW_SYSTEM_CFLAGS", "1")
        .env("PKG_CONFIG_ALLOW_SYSTEM_LIBS", "1");
    let text = output_of(command.args(args).arg("selvedge"))?;
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

fn lib_folder(dest: &Path) -> Result<PathBuf, String> {
    let words = pkg_config(dest, &["--libs-only-L"])?;
    let dir = words
        .iter()
        .find_map(|w| w.strip_prefix("-L"))
        .ok_or(format!("no -L in {words:?}"))?;
    Ok(PathBuf::from(dir))
}

const PROGRAM: &str = r#"#include <selvedge.h>
#include <stdio.h>
#include <string.h>

static int32_t answer(void *arg, void **out_value) {
  (void)out_value;
  return *(int *)arg + 2;
}

int main(int argc, char **argv) {
  selv_cache *cache;
  selv_outcome outcome;
  int forty = 40;
  if (argc != 2 || strcmp(argv[1], selv_version()) != 0) {
    fprintf(stderr, "the library is %s\n", selv_version());
    return 1;
  }
  if (selv_cache_default(&cache) != SELV_OK) return 2;
  if (selv_cache_run(cache, answer, &forty, SELV_FOREVER, &outcome) != SELV_OK) return 3;
  selv_cache_release(cache);
  return outcome.code == 42 ? 0 : 4;
}
"#;

/// The program also compares the version that pkg-config tells with the one that the library tells.
fn builds_and_runs(dest: &Path, statically: bool) -> Result<(), String> {
    let dir = tempfile::tempdir().map_err(|e| format!("no temporary folder: {e}"))?;
    let (source, exe) = (dir.path().join("host.c"), dir.path().join("host"));
    std::fs::write(&source, PROGRAM)
        .map_err(|e| format!("cannot write {}: {e}", source.display()))?;
    let lib = lib_folder(dest)?;
    let mut words = pkg_config(
        dest,
        if statically {
            &["--static", "--cflags", "--libs"]
        } else {
            &["--cflags", "--libs"]
        },
    )?;
    if statically {
        // The linker would take the shared library of the same folder first: name the archive.
        words = words
            .into_iter()
            .map(|w| {
                if w == "-lselvedge" {
                    "-l:libselvedge.a".to_owned()
                } else {
                    w
                }
            })
            .collect();
    }
    let mut command = Command::new(tool("SELV_CC", "gcc"));
    command
        .args([
            "-std=c99",
            "-Wall",
            "-Wextra",
            "-Wpedantic",
            "-Werror",
            "-o",
        ])
        .arg(&exe)
        .arg(&source)
        .args(words);
    output_of(&mut command)?;
    let needed = output_of(
        Command::new("readelf")
            .args(["--dynamic", "--wide"])
            .arg(&exe),
    )?;
    if needed.contains("libselvedge.so.0") == statically {
        return Err(format!(
            "linked {}, but it needs:\n{needed}",
            if statically {
                "statically"
            } else {
                "dynamically"
            }
        ));
    }
    let version = pkg_config(dest, &["--modversion"])?.concat();
    let mut run = Command::new(&exe);
    run.arg(version);
    if !statically {
        run.env("LD_LIBRARY_PATH", lib);
    }
    program::run_command(&mut run, Duration::from_secs(60))?.into_result()
}

/// A package built in one place must not send its users to that place.
fn no_build_paths(dest: &Path) -> Result<(), String> {
    let lib = lib_folder(dest)?;
    let pc = support::files_with_extension(&lib.join("pkgconfig"), "pc")?;
    for file in pc {
        let text = std::fs::read_to_string(&file)
            .map_err(|e| format!("cannot read {}: {e}", file.display()))?;
        for place in [dest.to_path_buf(), root()] {
            if text.contains(&*place.to_string_lossy()) {
                return Err(format!(
                    "{} names {}:\n{text}",
                    file.display(),
                    place.display()
                ));
            }
        }
    }
    let dynamic = output_of(
        Command::new("readelf")
            .args(["--dynamic", "--wide"])
            .arg(lib.join("libselvedge.so")),
    )?;
    if dynamic.contains("RPATH") || dynamic.contains("RUNPATH") {
        return Err(format!(
            "the installed library has a search path of its own:\n{dynamic}"
        ));
    }
    Ok(())
}
