//! Builds the C and C++ peers that are installed, Selvedge in their loops, and the two programs that attach to real runtimes, and
//! checks that the hand-made declarations in `src/selv.rs` agree with `include/selvedge.h`. What is not found is left out, with
//! its reason compiled in so that the report can print it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

#[allow(dead_code)]
#[path = "src/selv.rs"]
mod selv;

/// A peer behind `peers/peer.h` or `peers/lock.h`, or a file of `loops/`.
struct Native {
    /// Also what its table is called, unless `tables` has other names.
    id: &'static str,
    file: &'static str,
    /// Names, with spaces between them.
    pkg_config: Option<&'static str>,
    /// What to link where there is no pkg-config file.
    link: &'static [&'static str],
    debian: &'static str,
    tables: &'static [&'static str],
}

const NATIVE: &[Native] = &[
    Native {
        id: "libuv",
        file: "libuv.c",
        pkg_config: Some("libuv"),
        link: &[],
        debian: "libuv1-dev",
        tables: &[],
    },
    Native {
        id: "glib",
        file: "glib.c",
        pkg_config: Some("glib-2.0"),
        link: &[],
        debian: "libglib2.0-dev",
        tables: &[],
    },
    Native {
        id: "onetbb",
        file: "onetbb.cpp",
        pkg_config: Some("tbb"),
        link: &[],
        debian: "libtbb-dev",
        tables: &[],
    },
    Native {
        id: "asio",
        file: "asio.cpp",
        pkg_config: None,
        link: &[],
        debian: "libboost-dev",
        tables: &[],
    },
    Native {
        id: "bs",
        file: "bs.cpp",
        pkg_config: None,
        link: &[],
        debian: "",
        tables: &[],
    },
    Native {
        id: "rvaser",
        file: "rvaser.cpp",
        pkg_config: None,
        link: &[],
        debian: "libthread-pool-dev",
        tables: &[],
    },
];

const LOCKS: &[Native] = &[
    Native {
        id: "nsync",
        file: "nsync.c",
        pkg_config: None,
        link: &["nsync"],
        debian: "libnsync-dev",
        tables: &[],
    },
    Native {
        id: "absl",
        file: "absl.cpp",
        pkg_config: Some("absl_synchronization"),
        link: &[],
        debian: "libabsl-dev",
        tables: &[],
    },
];

/// Event loops, and Selvedge in them.
const LOOPS: &[Native] = &[
    Native {
        id: "selvedge_epoll",
        file: "selvedge_epoll.c",
        pkg_config: None,
        link: &[],
        debian: "",
        tables: &["selvedge", "selvedge_max", "selvedge_bare"],
    },
    Native {
        id: "selvedge_glib",
        file: "selvedge_glib.c",
        pkg_config: Some("glib-2.0"),
        link: &[],
        debian: "libglib2.0-dev",
        tables: &["selvedge_glib", "selvedge_glib_wake"],
    },
    Native {
        id: "selvedge_uv",
        file: "selvedge_uv.c",
        pkg_config: Some("libuv"),
        link: &[],
        debian: "libuv1-dev",
        tables: &["selvedge_uv", "selvedge_uv_wake"],
    },
    Native {
        id: "glib",
        file: "glib.c",
        pkg_config: Some("gio-2.0"),
        link: &[],
        debian: "libglib2.0-dev",
        tables: &["glib_idle", "glib_invoke"],
    },
    Native {
        id: "libuv",
        file: "libuv.c",
        pkg_config: Some("libuv"),
        link: &[],
        debian: "libuv1-dev",
        tables: &["libuv", "libuv_bare"],
    },
    Native {
        id: "asio",
        file: "asio.cpp",
        pkg_config: None,
        link: &[],
        debian: "libboost-dev",
        tables: &[],
    },
];

/// A libuv loop, run by itself and by others.
const GUESTS: &[Native] = &[
    Native {
        id: "native",
        file: "guest_native.c",
        pkg_config: Some("libuv"),
        link: &[],
        debian: "libuv1-dev",
        tables: &["native", "backend_epoll"],
    },
    Native {
        id: "glib",
        file: "guest_glib.c",
        pkg_config: Some("libuv glib-2.0"),
        link: &[],
        debian: "libuv1-dev, libglib2.0-dev",
        tables: &["backend_glib"],
    },
    Native {
        id: "selvedge",
        file: "guest_selvedge.c",
        pkg_config: Some("libuv glib-2.0"),
        link: &[],
        debian: "libuv1-dev, libglib2.0-dev",
        tables: &["selvedge", "selvedge_glib"],
    },
];

fn main() {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap());
    let root = here.parent().expect("benches/ has a parent").to_path_buf();
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap());
    for path in ["build.rs", "src/selv.rs", "peers", "attach", "loops"] {
        println!("cargo:rerun-if-changed={path}");
    }
    check_layout(&root, &out);
    let lib_dir = link_selvedge(&root);
    native_peers(&here, &root, &out);
    attach_programs(&here, &root, &out, &lib_dir);
    println!("cargo:rustc-env=BENCH_ROOT={}", root.display());
}

/// Has the C compiler compare what `selv.rs` declares with the header.
fn check_layout(root: &Path, out: &Path) {
    let header = root.join("include/selvedge.h");
    println!("cargo:rerun-if-changed={}", header.display());
    let mut source = String::from("#include <stddef.h>\n#include \"selvedge.h\"\n");
    let hint = "benches/src/selv.rs is out of date";
    for layout in selv::LAYOUTS {
        let (name, size) = (layout.name, layout.size);
        // A struct that tells its size may have grown at its end since: the library takes the shorter one.
        let fits = match layout.fields[0].0 {
            "struct_size" => ">=",
            _ => "==",
        };
        writeln!(
            source,
            "_Static_assert(sizeof({name}) {fits} {size}, \"{hint}: size of {name}\");"
        )
        .unwrap();
        for (field, offset) in layout.fields {
            let field = field.trim_end_matches('_');
            writeln!(
                source,
                "_Static_assert(offsetof({name}, {field}) == {offset}, \"{hint}: {name}.{field}\");"
            )
            .unwrap();
        }
    }
    for (name, value) in selv::CONSTANTS {
        // Some are macros for unsigned 64-bit values, some for negative numbers: each is compared as what it is.
        let suffix = if *value > i128::from(i64::MAX) {
            "ull"
        } else {
            ""
        };
        writeln!(
            source,
            "_Static_assert({name} == {value}{suffix}, \"{hint}: {name}\");"
        )
        .unwrap();
    }
    let file = out.join("selv_layout.c");
    fs::write(&file, source).unwrap();
    cc::Build::new()
        .file(&file)
        .include(root.join("include"))
        .flag("-std=c11")
        .warnings(true)
        .compile("selv_layout");
}

fn link_selvedge(root: &Path) -> PathBuf {
    println!("cargo:rerun-if-env-changed=SELVEDGE_LIB_DIR");
    let dir =
        env::var_os("SELVEDGE_LIB_DIR").map_or_else(|| root.join("target/release"), PathBuf::from);
    if !dir.join("libselvedge.so").exists() {
        panic!(
            "{} holds no libselvedge.so: run `make lib` first, or set SELVEDGE_LIB_DIR",
            dir.display()
        );
    }
    println!("cargo:rustc-link-search=native={}", dir.display());
    println!("cargo:rustc-link-lib=dylib=selvedge");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", dir.display());
    dir
}

/// Writes the tables of the pools, locks and loops that could be built.
fn native_peers(here: &Path, root: &Path, out: &Path) {
    println!("cargo:rerun-if-env-changed=BS_THREAD_POOL_INCLUDE");
    let bs = env::var_os("BS_THREAD_POOL_INCLUDE").map_or_else(
        || root.join("target/runtimes/bs-thread-pool"),
        PathBuf::from,
    );
    let mut link_cpp = false;
    for (peers, folder, symbol, list, file) in [
        (NATIVE, "peers", "bench_peer", "NATIVE", "native.rs"),
        (LOCKS, "peers", "bench_lock", "LOCKS", "locks.rs"),
        (LOOPS, "loops", "bench_loop", "LOOPS", "loops.rs"),
        (GUESTS, "loops", "bench_guest", "GUESTS", "guests.rs"),
    ] {
        let folder = here.join(folder);
        let mut externs = String::new();
        let mut table = format!("pub const {list}: &[(&str, Result<&Vtable, &str>)] = &[\n");
        for peer in peers {
            let built = native_peer(&folder, root, &bs, out, symbol, peer);
            link_cpp |= built.is_ok() && peer.file.ends_with(".cpp");
            let own_id = [peer.id];
            let ids = if peer.tables.is_empty() {
                &own_id
            } else {
                peer.tables
            };
            for id in ids {
                match &built {
                    Ok(()) => {
                        writeln!(externs, "    static {symbol}_{id}: Vtable;").unwrap();
                        writeln!(table, "    ({id:?}, Ok(unsafe {{ &{symbol}_{id} }})),").unwrap();
                    }
                    Err(reason) => writeln!(table, "    ({id:?}, Err({reason:?})),").unwrap(),
                }
            }
        }
        table.push_str("];\n");
        fs::write(
            out.join(file),
            format!("extern \"C\" {{\n{externs}}}\n{table}"),
        )
        .unwrap();
    }
    if link_cpp {
        println!("cargo:rustc-link-lib=dylib=stdc++");
    }
}

fn native_peer(
    folder: &Path,
    root: &Path,
    bs: &Path,
    out: &Path,
    symbol: &str,
    peer: &Native,
) -> Result<(), String> {
    let missing = if peer.debian.is_empty() {
        "BS_thread_pool.hpp not found: set BS_THREAD_POOL_INCLUDE to its folder".to_string()
    } else {
        format!("not installed (Debian: {})", peer.debian)
    };
    let mut build = cc::Build::new();
    build
        .cpp(peer.file.ends_with(".cpp"))
        .file(folder.join(peer.file))
        .include(folder)
        .include(root.join("include"))
        .opt_level(2)
        .warnings(false)
        .std(if peer.file.ends_with(".cpp") {
            "c++17"
        } else {
            "c11"
        });
    if peer.id == "bs" {
        println!(
            "cargo:rerun-if-changed={}",
            bs.join("BS_thread_pool.hpp").display()
        );
        if !bs.join("BS_thread_pool.hpp").exists()
            && !Path::new("/usr/include/BS_thread_pool.hpp").exists()
        {
            return Err(missing);
        }
        build.include(bs);
    }
    let mut libraries = Vec::new();
    for name in peer.pkg_config.unwrap_or_default().split_whitespace() {
        // Its link flags are printed below, after the object that needs them.
        let mut config = pkg_config::Config::new();
        let library = config.cargo_metadata(false).probe(name);
        libraries.push(library.map_err(|_| missing.clone())?);
    }
    for library in &libraries {
        build.includes(&library.include_paths);
    }
    // A trial without Cargo's lines on the output: a failed peer must leave no trace in the link.
    let trial = out.join("trial");
    fs::create_dir_all(&trial).unwrap();
    if peer.pkg_config.is_none() && !peer.id.starts_with("selvedge") {
        build
            .clone()
            .cargo_metadata(false)
            .out_dir(&trial)
            .try_compile("trial")
            .map_err(|_| missing)?;
    }
    build.compile(&format!("{symbol}_{}", peer.id));
    for library in libraries {
        for path in &library.link_paths {
            println!("cargo:rustc-link-search=native={}", path.display());
        }
        for lib in &library.libs {
            println!("cargo:rustc-link-lib=dylib={lib}");
        }
    }
    for lib in peer.link {
        println!("cargo:rustc-link-lib=dylib={lib}");
    }
    Ok(())
}

/// One line of `target/runtimes/found.tsv`: kind, version, cflags, ldflags, env, extra.
struct Runtime {
    kind: String,
    version: String,
    cflags: Vec<String>,
    ldflags: Vec<String>,
    env: String,
    extra: String,
}

fn found_runtimes(root: &Path) -> Vec<Runtime> {
    let path = root.join("target/runtimes/found.tsv");
    println!("cargo:rerun-if-changed={}", path.display());
    let text = fs::read_to_string(path).unwrap_or_default();
    let words = |s: &str| {
        s.split_whitespace()
            .filter(|w| *w != "-")
            .map(str::to_string)
            .collect()
    };
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let columns: Vec<&str> = line.split('\t').collect();
            let [kind, version, cflags, ldflags, env, extra] = columns[..] else {
                return None;
            };
            Some(Runtime {
                kind: kind.to_string(),
                version: version.to_string(),
                cflags: words(cflags),
                ldflags: words(ldflags),
                env: env.to_string(),
                extra: extra.to_string(),
            })
        })
        .collect()
}

/// The programs under `attach/`, one for the newest runtime of each kind; each is a whole process of its own.
fn attach_programs(here: &Path, root: &Path, out: &Path, lib_dir: &Path) {
    let runtimes = found_runtimes(root);
    let compiler = cc::Build::new().get_compiler();
    let mut table = String::from("pub const ATTACH: &[(&str, Result<Program, &str>)] = &[\n");
    for kind in ["jvm", "python"] {
        let header = root.join(format!("include/selvedge/{kind}.h"));
        println!("cargo:rerun-if-changed={}", header.display());
        let version_key = |r: &&Runtime| {
            r.version
                .split('.')
                .map(|p| p.parse::<u64>().unwrap_or(0))
                .collect::<Vec<_>>()
        };
        let Some(runtime) = runtimes
            .iter()
            .filter(|r| r.kind == kind)
            .max_by_key(version_key)
        else {
            let reason = "none in target/runtimes/found.tsv: run tools/setup.sh bench and tools/find-runtimes.sh";
            writeln!(table, "    ({kind:?}, Err({reason:?})),").unwrap();
            continue;
        };
        let program = out.join(format!("attach_{kind}"));
        let result = Command::new(compiler.path())
            .args(["-std=gnu11", "-O2", "-Wall", "-Wextra", "-o"])
            .arg(&program)
            .arg(here.join("attach").join(format!("{kind}.c")))
            .arg("-I")
            .arg(root.join("include"))
            .args(&runtime.cflags)
            .arg("-L")
            .arg(lib_dir)
            .arg(format!("-Wl,-rpath,{}", lib_dir.display()))
            .arg("-lselvedge")
            .args(&runtime.ldflags)
            .arg("-lpthread")
            .output();
        match result {
            Ok(output) if output.status.success() => {
                let Runtime {
                    version,
                    env,
                    extra,
                    ..
                } = runtime;
                writeln!(
                    table,
                    "    ({kind:?}, Ok(Program {{ path: {program:?}, version: {version:?}, env: {env:?}, home: {extra:?} }})),"
                )
                .unwrap();
            }
            Ok(output) => {
                for line in String::from_utf8_lossy(&output.stderr).lines().take(20) {
                    println!("cargo:warning=attach/{kind}.c: {line}");
                }
                writeln!(
                    table,
                    "    ({kind:?}, Err(\"attach/{kind}.c does not build here\")),"
                )
                .unwrap();
            }
            Err(error) => panic!(
                "cannot run the C compiler {}: {error}",
                compiler.path().display()
            ),
        }
    }
    table.push_str("];\n");
    fs::write(out.join("attach.rs"), table).unwrap();
}
