//! The QEMU plugin: built for the interface that this QEMU has, and its intervals read back.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::command;
use crate::packages;
use crate::qemu::Qemu;

/// Its source.
const SOURCE: &str = include_str!("../plugin/counts.c");

/// The built plugin; the directory goes when this goes.
#[derive(Debug)]
pub struct Plugin {
    directory: tempfile::TempDir,
}

impl Plugin {
    /// Compiles it. A QEMU that was built without plugins is an error.
    pub fn build(qemu: &Qemu) -> Result<Self> {
        let Some(interface) = qemu.plugin_interface() else {
            bail!("{} was built without plugins; install your distribution's QEMU", qemu.version_text);
        };
        let compiler = match compiler() {
            Some(compiler) => compiler,
            None => {
                packages::get(packages::COMPILER)?;
                compiler().context("no C compiler")?
            }
        };
        let directory = tempfile::Builder::new().prefix("unfold-plugin-").tempdir()?;
        let source = directory.path().join("counts.c");
        std::fs::write(&source, SOURCE)?;
        let mut compile = Command::new(compiler);
        compile.args(["-std=gnu11", "-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-fvisibility=hidden"]);
        if cfg!(target_os = "macos") {
            compile.args(["-undefined", "dynamic_lookup"]);
        }
        compile.arg(format!("-DPLUGIN_API={interface}")).arg("-o").arg(directory.path().join("counts.so")).arg(&source);
        command::run(&mut compile)?;
        Ok(Self { directory })
    }

    /// The arguments that load it, and the file that it writes: a new one for each `name`.
    pub fn arguments(&self, name: &str) -> (Vec<String>, PathBuf) {
        let out = self.directory.path().join(format!("{name}.json"));
        let library = self.directory.path().join("counts.so");
        (vec!["-plugin".to_owned(), format!("{},out={}", library.display(), out.display())], out)
    }
}

/// The intervals in a file that the plugin wrote.
pub fn intervals(file: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("the plugin wrote no {}", file.display()))?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

fn compiler() -> Option<PathBuf> {
    let named = std::env::var("CC").ok().and_then(|name| command::find(&name));
    named.or_else(|| ["cc", "gcc", "clang"].into_iter().find_map(command::find))
}
