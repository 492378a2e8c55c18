//! The images that pods are made of, written without a registry and without building anything in a container.

mod archive;
mod layer;

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::cache::Cache;
use crate::command::run;
use crate::directory::NodeDirectory;
use crate::failure::NodeError;
use crate::parts::{PAUSE_IMAGE, ctr};
use crate::programs::Programs;
use crate::progress::Progress;
use archive::{Image, Layer};
use layer::LayerFile;

pub const AGENT: &str = "localhost/lap-agent:test";
pub const HARNESS: &str = "localhost/lap-harness-opencode:test";
pub const PROBE: &str = "localhost/probe:test";
/// Where containers of the agent's image copy the program from.
const AGENT_PROGRAM: &str = "opt/lap-image/sandbox-agent";
/// What `harnesses/opencode/Dockerfile` installs.
const PACKAGES: &str = "ca-certificates,curl,git,procps,python3,ripgrep";
const BASE: &str = "base-bookworm-1";

/// What images are made from.
#[derive(Debug)]
pub(crate) struct Images<'a> {
    pub(crate) directory: &'a NodeDirectory,
    pub(crate) cache: &'a Cache,
    pub(crate) programs: &'a Programs,
    pub(crate) progress: Progress,
    /// The clone.
    pub(crate) root: &'a Path,
    /// Where the clone's programs are built.
    pub(crate) binaries: &'a Path,
}

impl Images<'_> {
    /// Makes the image without which no pod starts.
    pub(crate) fn load_pause(&self) -> Result<(), NodeError> {
        let program = self.programs.pause()?;
        let mut layer = LayerFile::new()?;
        layer.file("pause", &program, 0o755)?;
        let config = json!({"Entrypoint": ["/pause"], "User": "65535:65535"});
        self.load(&Image { name: PAUSE_IMAGE, layers: vec![layer.finish()?], config })
    }

    /// Makes the images of sandboxes and of tests. What is not there to put in is told and left out.
    pub(crate) fn load_all(&self) -> Result<(), NodeError> {
        let base = self.base()?;
        let shell = json!({"Cmd": ["sleep", "infinity"], "Env": [PATH]});
        self.load(&Image { name: PROBE, layers: vec![base.clone()], config: shell })?;
        match self.harness()? {
            Some(folder) => self.load(&harness(base, &folder)?)?,
            None => self.progress.step("no image of opencode: scripts/up installs it"),
        }
        let agent = self.binaries.join("sandbox-agent");
        if agent.exists() {
            return self.load(&agent_image(&agent)?);
        }
        self.progress.step("no image of sandbox-agent: cargo build -p sandbox-agent makes it");
        Ok(())
    }

    fn load(&self, image: &Image) -> Result<(), NodeError> {
        let listed =
            run(ctr(self.directory).args(["images", "list", &format!("name=={}", image.name)]))?;
        if listed.contains(&image.digest()) {
            return Ok(());
        }
        self.progress.step(&format!("loading the image {} …", image.name));
        let folder = self.directory.folder("images")?;
        let path = folder.join("next.tar");
        let file = File::create(&path).map_err(NodeError::file("write", &path))?;
        image.write(BufWriter::new(file)).map_err(NodeError::file("write", &path))?;
        let import = ["images", "import", "--snapshotter", "overlayfs"];
        run(ctr(self.directory).args(import).arg(&path))?;
        std::fs::remove_file(&path).map_err(NodeError::file("remove", &path))
    }

    /// A Debian with what tools of agents need, as the images of harnesses have it.
    fn base(&self) -> Result<Layer, NodeError> {
        Layer::of_file(self.fetch_base()?)
    }

    /// The same as a file.
    pub(crate) fn fetch_base(&self) -> Result<PathBuf, NodeError> {
        let notice = "installing a Debian for images, for minutes …";
        let folder = self.cache.ensure(BASE, notice, |folder| {
            let path = folder.join("base.tar");
            let mut command = Command::new("mmdebstrap");
            command.args(["--variant=minbase", &format!("--include={PACKAGES}")]);
            command.arg("--aptopt=Acquire::Languages \"none\"");
            for documents in ["doc", "man", "locale"] {
                command.arg(format!("--dpkgopt=path-exclude=/usr/share/{documents}/*"));
            }
            run(command.arg("bookworm").arg(path)).map(drop)
        })?;
        Ok(folder.join("base.tar"))
    }

    /// Where opencode lies, once it is installed.
    fn harness(&self) -> Result<Option<PathBuf>, NodeError> {
        let manifest = self.root.join("harnesses/opencode/harness.toml");
        let text =
            std::fs::read_to_string(&manifest).map_err(NodeError::file("read", &manifest))?;
        let unreadable =
            |problem: String| NodeError::Unreadable { path: manifest.clone(), problem };
        let parsed: toml::Table = text
            .parse()
            .map_err(|error: toml::de::Error| unreadable(error.message().to_owned()))?;
        let version = parsed.get("version").and_then(toml::Value::as_str);
        let version = version.ok_or_else(|| unreadable("it names no version".to_owned()))?;
        let folder = self.cache.path(&format!("harnesses/opencode-{version}"));
        Ok(folder.join("bin/opencode").exists().then_some(folder))
    }
}

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// As `harnesses/opencode/Dockerfile` makes it.
fn harness(base: Layer, folder: &Path) -> Result<Image, NodeError> {
    let users = layer::files_of(&base, &["etc/passwd", "etc/group"])?;
    let mut layer = LayerFile::new()?;
    let added = ["agent:x:5001:5001::/home/agent:/bin/sh\n", "agent:x:5001:\n"];
    for ((path, text), line) in users.iter().zip(added) {
        layer.text(path, &format!("{text}{line}"), 0o644)?;
    }
    layer.folder("home/agent", 5001, 0o755)?;
    layer.folder("workspace", 5001, 0o755)?;
    layer.folder("opt/harness", 0, 0o755)?;
    layer.folder("opt/harness/bin", 0, 0o755)?;
    layer.file("opt/harness/bin/opencode", &folder.join("bin/opencode"), 0o755)?;
    let config =
        json!({"User": "agent", "WorkingDir": "/workspace", "Cmd": ["bash"], "Env": [PATH]});
    Ok(Image { name: HARNESS, layers: vec![base, layer.finish()?], config })
}

/// The program with the libraries that it is linked with, and nothing else.
fn agent_image(program: &Path) -> Result<Image, NodeError> {
    let mut layer = LayerFile::new()?;
    for library in libraries(&run(Command::new("ldd").arg(program))?) {
        layer.file(library.trim_start_matches('/'), Path::new(library), 0o755)?;
    }
    layer.text("etc/passwd", "root:x:0:0::/:/\nsupervise:x:5002:5002::/:/\n", 0o644)?;
    layer.text("etc/group", "root:x:0:\nsupervise:x:5002:\n", 0o644)?;
    layer.folder("tmp", 0, 0o1777)?;
    layer.file(AGENT_PROGRAM, program, 0o755)?;
    let entrypoint = format!("/{AGENT_PROGRAM}");
    let config = json!({"Entrypoint": [entrypoint], "User": "5002:5002", "Env": [PATH]});
    Ok(Image { name: AGENT, layers: vec![layer.finish()?], config })
}

/// The files that `ldd` names: `name => /path (0x…)`, or `/path (0x…)` for the loader.
fn libraries(listed: &str) -> Vec<&str> {
    let words = listed
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    words.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_libraries_of_a_program_are_those_with_a_file() {
        let listed = "\tlinux-vdso.so.1 (0x00007f1f7a71c000)\n\
            \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f1f7993e000)\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x00007f1f7a71e000)\n";
        let expected = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(libraries(listed), expected);
    }
}
