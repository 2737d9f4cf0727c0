//! Compilers and package managers with their trees on the mount.

use super::{LIMIT, STEP};
use dfs_tests::mount::Mount;
use dfs_tests::{programs, shell, tree, wait, world};
use std::path::{Path, PathBuf};

#[test]
fn cargo_build_of_the_smallest_crate() {
    world::run(LIMIT, |w| {
        let (_server, a, b) = w.two_mounts();
        let root = programs::workspace();
        // The core alone, with the lock file that its offline build needs.
        let copy = format!("mkdir ws && cp -r '{0}/dfs-core' '{0}/Cargo.lock' ws/", root.display());
        shell::script(STEP, a.path(), &copy);
        let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
        let members = manifest.lines().position(|line| line.starts_with("members")).unwrap();
        let lines = manifest.lines().enumerate().map(|(number, line)| match number == members {
            true => "members = [\"dfs-core\"]",
            false => line,
        });
        let manifest: String = lines.flat_map(|line| [line, "\n"]).collect();
        std::fs::write(a.at("ws/Cargo.toml"), manifest).unwrap();
        let build = "unset CARGO_TARGET_DIR; cargo build --offline -q -p dfs-core 2>&1";
        let (printed, took) = {
            let path = a.at("ws");
            wait::start("cargo build", move || shell::try_script(STEP, &path, build))
                .timed_within(STEP)
        };
        assert!(printed.status.success(), "{}", shell::describe(&printed));
        tree::compare(&a.at("ws/target"), &b.at("ws/target"));
        // Nothing looks changed: times and sizes are the same on the other mount.
        let again = shell::script(STEP, &b.at("ws"), &build.replace("-q ", ""));
        assert!(!again.contains("Compiling"), "built again on the other mount: {again}");
        w.say(format!("cargo build took {took:.1?}; nothing to do on the other mount"));
    });
}

/// Makes a shared library of a real C project, and a program that needs it.
const MAKEFILE: &str = r#"
left_out := alloc-override free page-queue static
names := $(filter-out $(left_out),$(basename $(notdir $(wildcard src/*.c))))
objects := $(names:%=build/%.o) build/prim.o
all: build/hello
build/%.o: src/%.c | build
	$(CC) -O0 -fPIC -MMD -Iinclude -c -o $@ $<
build/prim.o: src/prim/prim.c | build
	$(CC) -O0 -fPIC -MMD -Iinclude -c -o $@ $<
build:
	mkdir -p $@
build/libproject.so: $(objects)
	$(CC) -shared -o $@ $^ -lpthread
build/hello: hello.c build/libproject.so
	$(CC) -Iinclude -o $@ $< -Lbuild -lproject -Wl,-rpath,'$$ORIGIN'
-include $(wildcard build/*.d)
"#;

const HELLO: &str = r#"
#include <mimalloc.h>
#include <stdio.h>
int main(void) {
    char *text = mi_malloc(100);
    snprintf(text, 100, "built with version %d", mi_version());
    puts(text);
    mi_free(text);
    return 0;
}
"#;

/// The C sources that a crate of this workspace brings along.
fn c_project() -> PathBuf {
    let command = "cargo metadata --offline --format-version 1 \
                   --filter-platform \"$(rustc -vV | sed -n 's/host: //p')\"";
    let metadata = shell::script(STEP, programs::workspace(), command);
    let paths = metadata.split('"').filter(|text| text.ends_with("/Cargo.toml"));
    let mut manifests = paths.filter(|path| path.contains("/libmimalloc-sys-"));
    let manifest = manifests.next().expect("a dependency of the workspace");
    Path::new(manifest).with_file_name("c_src/mimalloc/v3")
}

#[test]
fn make_of_a_c_project() {
    world::run(LIMIT, |w| {
        programs::need("make");
        programs::need("cc");
        let (_server, a, b) = w.two_mounts();
        let (here, there) = (a.at("project"), b.at("project"));
        let copy = format!("cp -r '{}' project", c_project().display());
        shell::script(STEP, a.path(), &copy);
        std::fs::write(here.join("Makefile"), MAKEFILE).unwrap();
        std::fs::write(here.join("hello.c"), HELLO).unwrap();
        let built = shell::script(STEP, &here, "make -j2");
        assert!(built.contains("-o build/theap.o"), "{built}");
        let run = "./build/hello; LD_PRELOAD=$PWD/build/libproject.so cat Makefile | wc -l";
        let nothing = "make: Nothing to be done for 'all'.\n";
        for folder in [&there, &here] {
            assert_eq!(shell::script(STEP, folder, "make"), nothing);
            let printed = shell::script(STEP, folder, run);
            assert!(printed.starts_with("built with version 3"), "{printed}");
            assert!(printed.ends_with(&format!("{}\n", MAKEFILE.lines().count())), "{printed}");
        }
        // What one changes, the other builds: the file, and what is made of it.
        for (change, least, most) in
            [("echo >> src/stats.c", 1, 1), ("touch include/mimalloc.h", 15, 20)]
        {
            shell::script(STEP, &there, change);
            let again = shell::script(STEP, &here, "make -j2");
            let compiled = again.lines().filter(|line| line.contains(" -c ")).count();
            assert!((least..=most).contains(&compiled), "{compiled} compiled: {again}");
            assert!(again.contains("-o build/hello"), "{again}");
            assert_eq!(shell::script(STEP, &there, "make"), nothing);
            assert_eq!(shell::script(STEP, &here, "make"), nothing);
        }
        w.say(
            "a C project built on one mount, changed on the other; each builds just what it must",
        );
    });
}

#[test]
fn python_environment_and_its_compiled_modules() {
    world::run(LIMIT, |w| {
        programs::need("python3");
        let (_server, a, b) = w.two_mounts();
        let make = "python3 -m venv --without-pip env
             site=$(env/bin/python -c 'import site; print(site.getsitepackages()[0])')
             mkdir \"$site/part\"
             for n in $(seq 40); do echo \"def get(): return $n\" > \"$site/part/m$n.py\"; done
             : > \"$site/part/__init__.py\"
             env/bin/python -m compileall -q \"$site/part\"
             echo \"${site#$PWD/}\"";
        let site = shell::script(STEP, a.path(), make);
        let compiled = b.at(site.trim()).join("part/__pycache__");
        let before = tree::describe(&compiled);
        let names = "import part, importlib, sys
assert sys.prefix.endswith('env') and sys.prefix != sys.base_prefix, sys.prefix
print(sum(importlib.import_module(f'part.m{n}').get() for n in range(1, 41)))";
        std::fs::write(a.at("sum.py"), names).unwrap();
        for mount in [&b, &a] {
            assert_eq!(shell::script(STEP, mount.path(), "env/bin/python sum.py"), "820\n");
        }
        // Python compiles anew what is older than its source or of another size.
        assert_eq!(tree::describe(&compiled), before, "compiled again on the other mount");
        std::fs::write(b.at(site.trim()).join("part/m40.py"), "def get(): return 1040\n").unwrap();
        for mount in [&a, &b] {
            assert_eq!(shell::script(STEP, mount.path(), "env/bin/python sum.py"), "1820\n");
        }
        w.say("41 modules compiled on one mount, used and changed on the other");
    });
}

#[test]
#[ignore = "needs npm, which brings hundreds of packages: scripts/conformance --full"]
fn npm_installs_a_tree() {
    world::run(LIMIT, |w| {
        programs::need("npm");
        let (_server, a, b) = w.two_mounts();
        // Packages of our own: no network.
        let make = "for n in $(seq 30); do
               mkdir -p packages/p$n/lib packages/p$n/bin
               echo \"module.exports = () => $n;\" > packages/p$n/lib/index.js
               printf '#!/usr/bin/env node\\nconsole.log(require(\"../lib/index.js\")())\\n' > packages/p$n/bin/p$n
               echo \"{\\\"name\\\":\\\"p$n\\\",\\\"version\\\":\\\"1.0.0\\\",\\\"main\\\":\\\"lib/index.js\\\",\\\"bin\\\":{\\\"p$n\\\":\\\"bin/p$n\\\"}}\" > packages/p$n/package.json
             done
             (cd packages && npm pack --silent ./p* >/dev/null)
             mkdir app && cd app && npm init -y >/dev/null
             npm install --offline --no-audit --no-fund ../packages/*.tgz";
        let home = w.folder("home");
        let npm = |mount: &Mount, folder: &str, text: &str| {
            let text = format!("export HOME='{}'\n{text}", home.display());
            shell::script(STEP, &mount.at(folder), &text)
        };
        let printed = npm(&a, "", make);
        assert!(printed.contains("added 30 packages"), "{printed}");
        tree::compare(&a.at("app"), &b.at("app"));
        let sum = "node -e 'let s = 0; for (let n = 1; n <= 30; n++) s += require(`p${n}`)(); console.log(s)'
             ./node_modules/.bin/p7; npm ls --offline | wc -l";
        assert_eq!(npm(&b, "app", sum), "465\n7\n32\n");
        let again = npm(&b, "app", "npm install --offline --no-audit --no-fund");
        assert!(again.contains("up to date"), "{again}");
        npm(&b, "app", "rm -r node_modules && npm ci --offline --no-audit --no-fund");
        assert_eq!(npm(&a, "app", sum), "465\n7\n32\n");
        w.say("30 packages packed, installed, used and installed anew by the other mount");
    });
}

#[test]
#[ignore = "needs the network: scripts/conformance --full"]
fn configure_and_make_of_vendored_sources() {
    world::run(LIMIT, |w| {
        programs::need("make");
        let (_server, a, b) = w.two_mounts();
        let manifest = "[package]\nname = \"v\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\
                        [dependencies]\nlibffi-sys = \"=4.2.2\"\n";
        std::fs::create_dir_all(a.at("v/src")).unwrap();
        std::fs::write(a.at("v/Cargo.toml"), manifest).unwrap();
        std::fs::write(a.at("v/src/lib.rs"), "").unwrap();
        shell::script(STEP, &a.at("v"), "cargo vendor -q >/dev/null && mkdir out");
        let configure = "../vendor/libffi-sys/libffi/configure --disable-docs && make -j2";
        shell::script(STEP, &a.at("v/out"), configure);
        tree::compare(&a.at("v"), &b.at("v"));
        let again = shell::script(STEP, &b.at("v/out"), "make");
        assert!(!again.contains("libtool"), "built again on the other mount: {again}");
        let load = "python3 -c 'import ctypes; print(ctypes.CDLL(\"./.libs/libffi.so\").ffi_call)'";
        assert!(shell::script(STEP, &b.at("v/out"), load).contains("_FuncPtr"));
        shell::script(STEP, &b.at("v/out"), "make distclean");
        shell::script(STEP, &a.at("v/out"), configure);
        tree::compare(&a.at("v"), &b.at("v"));
        w.say("cargo vendor, configure and make on one mount, nothing to do on the other");
    });
}
